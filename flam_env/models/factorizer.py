"""The factorizer: patch features of each frame to slots (paper 4.2, equations 2 and 3)."""

from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from flam_env.models.layers import FeedForward, attend, grown, rotary, rotary_turns

# Logit of the background at the start, in units of the key's length: the sink holds what most of a frame is made of
# before the slots have learned to look for anything.
SINK_GAIN = 6.0
# Frames of a clip up to which the tables of attention in time are made once.
PREPARED = 64


SlotHistory = tuple[Tensor, ...]
"""What a factorizer remembers of the frames before, to be handed on to it: tensors (B, ...), a row for each clip."""


class Slots(NamedTuple):
    """Slots of every frame of a clip.

    values: (B, T, K, S); masks: (B, T, K, N), the share of each slot in every patch, summing to 1 over slots, or to
    less where a background sink took the rest; history: after T.
    """

    values: Tensor
    masks: Tensor
    history: SlotHistory


class SlotAttention(nn.Module):
    """One iteration of slot attention (Locatello et al. 2020): slots compete for patches, then a GRU updates.

    The competition is in float32 whatever the precision around it. Three options are not in the paper:

    background_sink: one more competitor, which is no slot. It looks for what the frame is mostly made of, the mean of
    the keys, and what it takes is seen by nobody.
    focus: within a slot, patches weigh by how well they match it as well as by the share that it won. Without it, a
    slot that wins an agent and a background of sixty empty patches consists of one sixtieth of agent.
    persistence: in a competition frame by frame, so much is added to a slot's logit for a patch that was all its own in
    the frame before, or that was nobody's and lies beside one that was. Without it, slots that match a thing equally
    well take turns at it, and hand it on when it moves.
    cohesion: with persistence, what a slot held is only what hangs together with its strongest patch, up to so many
    patches to each side, and counts against it elsewhere; the sink takes its share before that. Without it, a slot that
    holds a thing takes others like it as well, and holds on to the background where a thing was.
    """

    def __init__(
        self,
        dim: int,
        feed_forward: int,
        *,
        sharpness: float,
        background_sink: bool,
        focus: bool,
        persistence: float = 0.0,
        cohesion: int | None = None,
    ):
        super().__init__()
        self.focus = focus
        self.persistence, self.cohesion = persistence, cohesion
        self.norm = nn.LayerNorm(dim)
        self.project_query = nn.Linear(dim, dim, bias=False)
        nn.init.orthogonal_(self.project_query.weight, gain=sharpness)
        self.update_gates = nn.Linear(dim, 3 * dim)
        self.state_gates = nn.Linear(dim, 3 * dim)
        self.feed_forward = FeedForward(dim, feed_forward)
        self.sink_gain = nn.Parameter(torch.tensor(SINK_GAIN)) if background_sink else None

    def forward(self, slots: Tensor, key: Tensor, value: Tensor, held: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Slots (B, K, S), keys and values (B, N, S) -> slots (B, K, S), masks (B, K, N) float32.

        Where B are the frames of clips, one clip after the other, `held` (clips, K, N) are the masks of the frame
        before each clip, and slots have an advantage where they were.
        """
        query = self.project_query(self.norm(slots)) * key.shape[-1] ** -0.5
        logits = (query @ key.transpose(1, 2)).float()
        masks = self._shares(logits, key, held)
        won = masks * (logits - logits.amax(-1, keepdim=True)).exp() if self.focus else masks
        weights = won / (won.sum(-1, keepdim=True) + 1e-8)
        slots = self._gated_update(weights.to(value.dtype) @ value, slots)
        return slots + self.feed_forward(slots), masks

    def _shares(self, logits: Tensor, key: Tensor, held: Tensor | None) -> Tensor:
        """Shares (B, K, N) of patches: a softmax over slots and, if there is one, the sink."""
        count = logits.shape[1]
        if self.sink_gain is not None:
            common = normalize(key.float().mean(1, keepdim=True), dim=-1) * key.shape[-1] ** -0.5
            logits = torch.cat([logits, self.sink_gain * (common @ key.float().transpose(1, 2))], 1)
        if held is None:
            return logits.softmax(1)[:, :count]
        shares, frames = [], logits.unflatten(0, (len(held), -1))
        left_by_sink = frames.softmax(2)[:, :, :count].sum(2, keepdim=True) if self.cohesion is not None else None
        for time, bids in enumerate(frames.unbind(1)):
            if left_by_sink is not None and self.cohesion is not None:
                advantage = self.persistence * _advantage_of_one_thing(held.detach(), self.cohesion)
                held = left_by_sink[:, time] * (bids[:, :count] + advantage).softmax(1)
            else:
                advantage = self.persistence * _reach(held.detach())
                held = (bids + pad(advantage, (0, 0, 0, bids.shape[1] - count))).softmax(1)[:, :count]
            shares.append(held)
        return torch.stack(shares, 1).flatten(0, 1)

    def _gated_update(self, update: Tensor, slots: Tensor) -> Tensor:
        update_reset, update_keep, update_new = self.update_gates(update).float().chunk(3, -1)
        state_reset, state_keep, state_new = self.state_gates(slots).float().chunk(3, -1)
        keep = torch.sigmoid(update_keep + state_keep)
        new = torch.tanh(update_new + torch.sigmoid(update_reset + state_reset) * state_new)
        return new + keep * (slots - new)


def _reach(held: Tensor) -> Tensor:
    """Masks (B, K, N) of a square grid, each grown by one patch to all sides into what is nobody's."""
    return held + _nobodys(held) * grown(held)


def _advantage_of_one_thing(held: Tensor, reach: int) -> Tensor:
    """What masks (B, K, N) of a square grid say for and against each slot in the next frame, from -1 to 1.

    For it: patches that hang together with its strongest one, at most `reach` to each side, and what is nobody's beside
    them. Against it, as much as it held anything: all that lies farther away.
    """
    strongest = held.amax(-1, keepdim=True)
    thing = torch.where(held == strongest, held, 0)
    for _ in range(reach):
        thing = torch.minimum(grown(thing), held)
    near = grown(thing)
    return thing + _nobodys(held) * near - (strongest - near)


def _nobodys(held: Tensor) -> Tensor:
    return (1 - held.sum(1, keepdim=True)).clamp(min=0)


class Timing(NamedTuple):
    """What attention in time needs to know of T frames and the W - 1 before them.

    turns: (2, W - 1 + T, d / 2) float32, as `rotary_turns` gives them; hidden: bool (B, 1, 1, T, W - 1 + T), True where
    a frame may not look.
    """

    turns: Tensor
    hidden: Tensor


class FrameTimes(nn.Module):
    """Makes the `Timing` of clips out of tables that are made once; a clip of more than PREPARED frames gets its own.

    Args:
        window: frames that a frame sees, itself included.
        dim: channels of an attention head.
    """

    frames: Tensor
    turns: Tensor
    outside: Tensor

    def __init__(self, window: int, dim: int):
        super().__init__()
        self.window, self.dim = window, dim
        for name, table in zip(("frames", "turns", "outside"), self._tables(PREPARED), strict=True):
            self.register_buffer(name, table, persistent=False)

    def forward(self, time: int, length: Tensor) -> Timing:
        """Of T frames after a history of which the last `length` (B,) frames are real."""
        frames, turns, outside = self._prepared(time) if time <= PREPARED else self._tables(time, length.device)
        blank = frames < self.window - 1 - length[:, None, None]
        return Timing(turns, (outside | blank)[:, None, None])

    def _prepared(self, time: int) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.window - 1 + time
        return self.frames[:seen], self.turns[:, :seen], self.outside[:time, :seen]

    def _tables(self, time: int, device: torch.device | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of the frames, their rotary turns, and where each of the last T looks beyond its window."""
        frames = torch.arange(self.window - 1 + time, device=device)
        now = frames[self.window - 1 :, None]
        return frames, rotary_turns(frames, self.dim), (frames > now) | (frames <= now - self.window)


class TemporalAttention(nn.Module):
    """Each slot attends to its own last `window` frames: banded causal attention, rotary in time (equation 3)."""

    def __init__(self, dim: int, heads: int, window: int):
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(dim)
        self.project_in = nn.Linear(dim, 3 * dim, bias=False)
        self.project_out = nn.Linear(dim, dim)

    def forward(self, slots: Tensor, keys: Tensor, values: Tensor, timing: Timing) -> tuple[Tensor, Tensor, Tensor]:
        """Slots (B, T, K, S) after a history (B, W - 1, K, S).

        Returns:
            The residual (B, T, K, S), and keys and values (B, W - 1 + T, K, S) with those of the T frames appended.
        """
        query, key, value = self.project_in(self.norm(slots)).chunk(3, -1)
        keys, values = torch.cat([keys.to(key.dtype), key], 1), torch.cat([values.to(value.dtype), value], 1)
        turns = timing.turns.to(key.dtype)
        attended = attend(
            rotary(self._split(query), turns[:, self.window - 1 :]),
            rotary(self._split(keys), turns),
            self._split(values),
            timing.hidden,
        )
        return self.project_out(rearrange(attended, "b k h t d -> b t k (h d)")), keys, values

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b t k (h d) -> b k h t d", h=self.heads)


class FrameFactorizer(nn.Module):
    """What all factorizers share: one learned embedding for each slot, and their competition for the patches.

    Weights are shared over the `iterations` of slot attention and over slots.
    """

    def __init__(
        self, *, dim: int, slots: int, iterations: int, feed_forward: int, sharpness: float, **competition: Any
    ):
        super().__init__()
        self.iterations = iterations
        self.slot_embedding = nn.Parameter(torch.empty(slots, dim))
        nn.init.orthogonal_(self.slot_embedding, gain=0.5 * dim**0.5)
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 2 * dim, bias=False)
        nn.init.orthogonal_(self.project.weight[:dim], gain=sharpness)
        self.slot_attention = SlotAttention(dim, feed_forward, sharpness=sharpness, **competition)


class Factorizer(FrameFactorizer):
    """Slots of every frame of a clip, all frames in parallel.

    Slots start from their embeddings and run `iterations` of slot attention (equation 2), each followed by temporal
    attention of every slot to its own past (equation 3), the last `window` frames. With persistence the last
    competition goes from frame to frame.
    """

    def __init__(self, *, dim: int, heads: int, window: int, patches: int, **shared: Any):
        super().__init__(dim=dim, **shared)
        self.window, self.patches = window, patches
        self.times = FrameTimes(window, dim // heads)
        self.temporal_attention = TemporalAttention(dim, heads, window)

    def empty_history(self, batch: int, device: torch.device) -> SlotHistory:
        """The history before the first frame.

        Returns:
            Keys and values of the temporal attention (B, I, W - 1, K, S), the newest frame last, how many of these
            frames are real, int64 (B,), and with persistence the masks (B, K, N).
        """
        count, dim = self.slot_embedding.shape
        blank = torch.zeros(batch, self.iterations, self.window - 1, count, dim, device=device)
        length = torch.zeros(batch, dtype=torch.long, device=device)
        if not self.slot_attention.persistence:
            return blank, blank, length
        return blank, blank, length, torch.zeros(batch, count, self.patches, device=device)

    def forward(self, features: Tensor, history: SlotHistory | None = None) -> Slots:
        """Patch features (B, T, N, D) -> slots of each frame.

        A clip may be given in pieces: the slots are the same when each piece gets the history of the one before.
        """
        batch, time = features.shape[:2]
        past_keys, past_values, length, *held = history or self.empty_history(batch, features.device)
        key, value = self.project(self.norm(rearrange(features, "b t n d -> (b t) n d"))).chunk(2, -1)
        slots, timing = self.slot_embedding.expand(batch * time, -1, -1), self.times(time, length)
        keys, values = [], []
        for i in range(self.iterations):
            slots, masks = self.slot_attention(slots, key, value, *held if i == self.iterations - 1 else ())
            slots = rearrange(slots, "(b t) k s -> b t k s", b=batch)
            past = past_keys[:, i], past_values[:, i]
            residual, new_keys, new_values = self.temporal_attention(slots, *past, timing)
            slots = rearrange(slots + residual, "b t k s -> (b t) k s")
            keys.append(new_keys[:, 1 - self.window :])
            values.append(new_values[:, 1 - self.window :])
        length = (length + time).clamp(max=self.window - 1)
        masks = rearrange(masks, "(b t) k n -> b t k n", b=batch)
        remembered = (torch.stack(keys, 1).float(), torch.stack(values, 1).float(), length)
        return Slots(
            rearrange(slots, "(b t) k s -> b t k s", b=batch),
            masks,
            (*remembered, masks[:, -1]) if held else remembered,
        )
