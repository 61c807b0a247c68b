"""Running a learned world: state in, state out, batched, no hidden history.

The environment, the vector environment, the evaluator, the labeller and the examples all roll this one class.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from flam_env.heads.action_decoder import Transitions
from flam_env.heads.road import Road
from flam_env.heads.token_sampler import TokenSampler
from flam_env.models.protocol import ActionPrior, History, Observed
from flam_env.video.frames import check_frames, to_float, to_uint8
from flam_env.worlds.laws import Laws, NearestSeen, vanished
from flam_env.worlds.units import UnitConversion
from flam_env.worlds.world import World

Network = TypeVar("Network", bound=nn.Module)
State = TypeVar("State", bound=tuple)


class DreamState(NamedTuple):
    """All that the future depends on, for a batch of dreams.

    frame: what the model made of the current frame, T = 1; refused: (B, K) bool, the slots whose last action was
    refused (`flam_env.worlds.laws`); signs: (B, 3), running means of the signs that a dream has left the road
    (`flam_env.heads.road`), (B, 0) in a world that knows none.
    """

    frame: Observed
    refused: Tensor
    signs: Tensor

    @property
    def tokens(self) -> Tensor:
        """Of the current frame, (B, N) int64."""
        return self.frame.tokens[:, 0]

    @property
    def slots(self) -> Tensor:
        """Slots of the current frame, (B, K, S) float32."""
        return self.frame.slots[:, 0]

    @property
    def masks(self) -> Tensor:
        """The share of each slot in every cell, (B, K, cells) float32; see `Observed`."""
        return self.frame.masks[:, 0]


class Dream:
    """A world on a device: a name that torch knows, or "auto" for a GPU where there is one.

    Predicted tokens are observed again with all that the model remembers, so a dream of any length equals one pass over
    the same frames (paper 4.2). The world's laws hold: tokens that never occurred are not shown, and where nothing ever
    vanished, a slot whose action would make it vanish rests.

    Attributes:
        model: of the world, on the device.
        heads: of the world, on the device.
        units: converts latent actions, on the device.

    Raises:
        ValueError: this machine has no such device.
    """

    def __init__(self, world: World, device: torch.device | str = "cpu"):
        self.world = world
        self.device = find_device(device)
        self.tokenizer = _on_device(world.tokenizer, self.device)
        self.model = _on_device(world.model, self.device)
        self.heads = {name: _on_device(head, self.device) for name, head in world.heads.items()}
        self.road = cast(Road | None, self.heads.get("road"))
        self.sampler = cast(TokenSampler | None, self.heads.get("token_sampler"))
        self.units = UnitConversion(world.units).to(self.device)
        unseen = world.laws.unseen_tokens
        self._shown = NearestSeen(unseen, world.tokenizer.quantizer).to(self.device) if unseen else None

    def without_laws(self) -> Self:
        """The same dream where no action is refused and any token is shown."""
        return type(self)(replace(self.world, laws=Laws()), self.device)

    @torch.inference_mode()
    def encode(self, frames: np.ndarray) -> Tensor:
        """Frames uint8 (T, H, W, 3) -> tokens (T, N) int64.

        Raises:
            ValueError: frames of another size or type.
        """
        frames = check_frames(frames, self.tokenizer.config.image_size, shortest=1)
        return self.tokenizer.encode(to_float(frames, self.device))

    @torch.inference_mode()
    def reset(self, context: Tensor) -> DreamState:
        """Starts dreams from tokens (B, C, N) of C >= 1 real frames each."""
        usual = torch.empty(0, device=self.device) if self.road is None else self.road.usual
        return self._observe(context.to(self.device), None, usual.expand(len(context), -1))

    @torch.inference_mode()
    def step(self, state: DreamState, actions: Tensor, chance: Tensor | None = None) -> tuple[DreamState, Tensor]:
        """Takes one step.

        Args:
            state: of B dreams.
            actions: (B, K, A) in action units, or codes.
            chance: (B, `chance`) float32 in [0, 1), by which the tokens that follow are drawn, in a world with a token
                sampler; by default the likeliest follow.

        Returns:
            The next state and its frame, uint8 (B, H, W, 3).
        """
        actions = self.units.to_model(actions.to(self.device))
        chance = None if chance is None else chance.to(self.device)
        after = self._advance(state, actions, chance)
        if self.world.laws.permanence:
            after = self._keep_all(state, actions, after, chance)
        return after, self.frame(after)

    @property
    def chance(self) -> int:
        """How many numbers decide by chance what follows a step; 0 in a world without a token sampler."""
        return 0 if self.sampler is None else self.sampler.chance

    @torch.inference_mode()
    def frame(self, state: DreamState) -> Tensor:
        """The current frames, uint8 (B, H, W, 3)."""
        return to_uint8(self.tokenizer.decode(state.tokens))

    def _advance(self, state: DreamState, actions: Tensor, chance: Tensor | None) -> DreamState:
        """Takes actions (B, K, A) in the model's own units."""
        output = self.model.step(state.frame, actions[:, None])
        if self.sampler is None or chance is None:
            tokens = self.model.next_tokens(output)
        else:
            tokens = self.sampler.draw(self.model.level_logs(output)[:, 0], state.tokens, chance)[:, None]
        tokens, signs = tokens if self._shown is None else self._shown(tokens), state.signs
        if self.road is not None:
            step = self.road.signs(self.model.doubt(output)[:, 0], state.tokens, tokens[:, 0])
            signs = self.road.follow(signs, step)
        return self._observe(tokens, state.frame.history, signs)

    @torch.inference_mode()
    def draw(self, prior: ActionPrior, noise: Tensor) -> Tensor:
        """Standard normal numbers (B, 1, K, prior.noise) -> actions (B, K, A) in action units, or codes (B, K)."""
        return self.units.from_model(prior.draw(noise.to(self.device)))[:, 0]

    @torch.inference_mode()
    def transitions(self, observed: Observed) -> Transitions:
        """What happens between T frames of B videos, or dreams, as a decoder sees it; leading axes (B, T - 1)."""
        latent_actions = self.units.from_model(self.model.infer(observed).mode)
        slots, tokens, masks = map(_around, (observed.slots, observed.tokens, observed.masks))
        return Transitions(slots, latent_actions, tokens, masks)

    def between(self, before: DreamState, after: DreamState) -> Transitions:
        """What happened in the one step from B states to those that followed; leading axis (B,)."""
        return self.transitions(before.frame.followed_by(after.frame)).at((slice(None), 0))

    @torch.inference_mode()
    def off_road(self, state: DreamState) -> Tensor | None:
        """How far dreams are off the road, 0 to 1 (B,), see `flam_env.heads.road`; None in a world that cannot tell."""
        return None if self.road is None else self.road.left(state.signs)

    def _keep_all(self, state: DreamState, actions: Tensor, after: DreamState, chance: Tensor | None) -> DreamState:
        """The state after, in which slots rest that would vanish; in which all rest, where some would vanish still."""
        for everyone in (False, True):
            gone = vanished(state.masks, after.masks)
            rows = gone.any(-1).nonzero()[:, 0]
            if not len(rows):
                break
            before = take_rows(state, rows)
            refused = after.refused[rows] | gone[rows] | everyone
            rests = refused if actions.ndim == 2 else refused[..., None]  # codes have no axis of their own
            rest = torch.where(rests, self.model.rest(before.frame)[:, 0], actions[rows])
            again = self._advance(before, rest, None if chance is None else chance[rows])
            after = replace_rows(after, rows, again._replace(refused=refused))
        return after

    def _observe(self, tokens: Tensor, history: History | None, signs: Tensor) -> DreamState:
        newest = self.model.observe(tokens, history).at(slice(-1, None))
        refused = torch.zeros(newest.slots.shape[0], newest.slots.shape[2], dtype=torch.bool, device=self.device)
        return DreamState(newest, refused, signs)


def _around(frames: Tensor) -> Tensor:
    """What is of T frames (B, T, ...) -> of the frames around T - 1 transitions, (B, T - 1, 2, ...)."""
    return torch.stack([frames[:, :-1], frames[:, 1:]], 2)


def pixel_masks(masks: Tensor, image_size: int) -> Tensor:
    """Masks (..., K, N) of square frames as the state has them -> (..., K, H, W): each pixel has those of its cell."""
    cells = math.isqrt(masks.shape[-1])
    side = image_size // cells
    return masks.unflatten(-1, (cells, cells)).repeat_interleave(side, -2).repeat_interleave(side, -1)


def slot_owners(masks: Tensor) -> Tensor:
    """Masks (B, K, ...) -> the slot of the largest share at each place, -1 where a background sink took more.

    Returns:
        int64 (B, ...).
    """
    return masks.argmax(1).masked_fill(masks.amax(1) < 1 - masks.sum(1), -1)


@torch.inference_mode()
def take_rows(state: State, rows: Tensor) -> State:
    """The state of the dreams int64 (R,) of a batch."""
    return _each_tensor(lambda part: part[rows], state)


@torch.inference_mode()
def replace_rows(state: State, rows: Sequence[int] | Tensor, fresh: State) -> State:
    """The state of B dreams with `rows` taken from `fresh`, a state of len(rows) dreams; all others stay untouched."""
    index = torch.as_tensor(rows, device=_device_of(fresh))
    return _each_tensor(lambda old, new: old.index_copy(0, index, new), state, fresh)


def _each_tensor(change: Callable[..., Tensor], *states: Any) -> Any:
    """Nested tuples of one shape, tensor by tensor."""
    first = states[0]
    if isinstance(first, Tensor):
        return change(*states)
    parts = [_each_tensor(change, *parts) for parts in zip(*states, strict=True)]
    return first._make(parts) if hasattr(first, "_make") else tuple(parts)


def _device_of(state: Any) -> torch.device:
    return state.device if isinstance(state, Tensor) else _device_of(state[0])


def find_device(name: torch.device | str) -> torch.device:
    """The device of that name, with its index; "auto" is the GPU where there is one, else the CPU.

    Raises:
        ValueError: this machine has no such device, or it computes nothing ("meta").
    """
    name = str(name)
    if name == "auto":
        # A process that was forked from one that used the GPU cannot.
        name = "cuda" if torch.cuda.is_available() and not torch.cuda._is_in_bad_fork() else "cpu"
    try:
        probe = torch.zeros(1, device=name)
        probe.cpu()
        return probe.device
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without the backend
        reason = str(error).splitlines()[0]
        raise ValueError(f"expected a device of this machine, got {name!r} ({reason}); try 'auto'") from error


def _on_device(network: Network, device: torch.device) -> Network:
    """The network itself if it is there already, else a copy: a world may be shared, so it is never moved."""
    here = {tensor.device for tensor in (*network.parameters(), *network.buffers())}
    return network if here <= {device} else copy.deepcopy(network).to(device)
