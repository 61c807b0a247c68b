"""From video to latent actions."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from flam_env.dream import Dream
from flam_env.frames import FrameFitter
from flam_env.models.factorizer import SlotHistory
from flam_env.validation import check_integer
from flam_env.videos import Video, frame_pieces, open_video
from flam_env.world import World, load_world


class Labels(NamedTuple):
    """What was inferred from T frames; of a batch of B videos, everything has an axis B in front.

    latent_actions: float32 (T - 1, K, A) in the environment's units, not clipped to its box; action t leads from
    frame t to frame t + 1, and is NaN where a new episode begins with frame t + 1.
    labelled: bool (T - 1,), False exactly there.
    """

    latent_actions: np.ndarray
    labelled: np.ndarray


class LabelState(NamedTuple):
    """All that the next label depends on, for a batch of B videos.

    slots: (B, K, S) of the newest frame; history: what the factorizer remembers of the frames so far; begun: bool (B,),
    False for a video that was restarted and has shown no frame since.
    """

    slots: Tensor
    history: SlotHistory
    begun: Tensor


class Labeller:
    """Infers the latent action of every slot between the frames of a video.

    Frames are seen in pieces that hand on the slots' history, so a video of any length takes the same memory (but for
    its labels), and the labels are those of one pass. Frames of any size are resized to those of the world by averaging
    areas, which is said in a warning.

    Args:
        world: whose slots and latent actions.
        device: as for `Dream`.
    """

    PIECE = 32

    def __init__(self, world: World, device: str = "cpu"):
        self.world = world
        self.dream = Dream(world, device)

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str = "cpu") -> Self:
        """A labeller of a bundled world (by name, e.g. "bigfish") or of one's own (by path).

        Raises:
            FileNotFoundError: there is no such world.
            ValueError: the world is damaged, or this machine has no such device.
        """
        return cls(load_world(name), device)

    def label(self, video: Video, starts: Sequence[int] | np.ndarray = ()) -> Labels:
        """Labels a video, or a batch of videos of the same length.

        Args:
            video: uint8 frames (T, H, W, 3) or (B, T, H, W, 3), T >= 2; the path of a video file or of a folder of
                images sorted by name, which are read bit by bit; or any iterator of frames (H, W, 3).
            starts: for frames (T, H, W, 3) only: indices, ascending, of frames with which a new episode begins. What
                was before is forgotten there, and the transition into such a frame gets no label.

        Raises:
            ValueError: frames of a wrong type, shape or number, a file that cannot be read, or wrong starts.
            ImportError: a file is given, and imageio or PyAV is not installed.
        """
        video = open_video(video)
        pieces = frame_pieces(video, self.PIECE, self.fitter())
        state, actions = None, []
        for begins, frames in _split(pieces, _check_starts(starts, video)):
            if begins and state is not None:
                state = self.restart(state, [0])
            state, inferred = self.advance(state, frames if frames.ndim == 5 else frames[None])
            actions.append(inferred)
        count = sum(inferred.shape[1] for inferred in actions) + bool(actions)
        if count < 2:
            raise ValueError(f"expected a video of 2 or more frames, got {count}; a latent action lies between two")
        latent_actions = np.concatenate(actions, 1)
        if not (isinstance(video, np.ndarray) and video.ndim == 5):
            latent_actions = latent_actions[0]
        return Labels(latent_actions, ~np.isnan(latent_actions).any((-2, -1)))

    def stream(self, batch: int | None = None) -> "LabelStream":
        """Labels frames as they come: one video, or `batch` videos side by side."""
        return LabelStream(self, batch)

    def fitter(self) -> FrameFitter:
        """What brings the frames of one video to the size of the world."""
        return FrameFitter(self.world.tokenizer.config.image_size)

    @torch.inference_mode()
    def advance(self, state: LabelState | None, frames: np.ndarray) -> tuple[LabelState, np.ndarray]:
        """Sees the next frames of B videos; what `label` and `stream` are made of.

        Args:
            state: after the frames before, None where there are none.
            frames: uint8 (B, t, H, W, 3), t >= 1, in the size of the world.

        Returns:
            The state after these frames, and latent actions float32 (B, t, K, A), the first of which leads to the first
            of these frames (NaN for a video that was restarted). Without a state there are t - 1.

        Raises:
            ValueError: frames of another size or type.
        """
        tokens = self.dream.encode(rearrange(frames, "b t h w c -> (b t) h w c"))
        tokens = rearrange(tokens, "(b t) n -> b t n", b=len(frames))
        slots = self.dream.model.observe(tokens, state.history if state else None)
        begun = torch.ones(len(frames), dtype=torch.bool, device=tokens.device)
        after = LabelState(slots.values[:, -1], slots.history, begun)
        if state is None:
            return after, self._infer(slots.values)
        actions = self._infer(torch.cat([state.slots[:, None], slots.values], 1))
        actions[~state.begun.cpu().numpy(), 0] = np.nan
        return after, actions

    @torch.inference_mode()
    def restart(self, state: LabelState, rows: Sequence[int]) -> LabelState:
        """The state with the videos in `rows` at their beginning; all others stay untouched."""
        index = torch.as_tensor(rows, dtype=torch.long, device=state.slots.device)
        blank = self.dream.model.factorizer.empty_history(len(index), index.device)
        history = tuple(old.index_copy(0, index, new) for old, new in zip(state.history, blank, strict=True))
        return LabelState(state.slots, history, state.begun.index_fill(0, index, False))

    @torch.inference_mode()
    def _infer(self, slots: Tensor) -> np.ndarray:
        """Slots (B, T, K, S) -> actions (B, T - 1, K, A) in units."""
        return self.world.units.from_model(self.dream.model.infer(slots).mean).cpu().numpy()


class LabelStream:
    """Labels frames as they come. Made by `Labeller.stream`.

    Attributes:
        state: all that the next label depends on, None before the first frame; it may be kept and set back.
    """

    def __init__(self, labeller: Labeller, batch: int | None = None):
        self.batch = None if batch is None else check_integer(batch, "batch", 1)
        self.state: LabelState | None = None
        self._labeller = labeller
        self._fit = labeller.fitter()

    def push(self, frames: np.ndarray) -> np.ndarray | None:
        """Sees the next frame.

        Args:
            frames: uint8 (H, W, 3), or (B, H, W, 3) for a batch.

        Returns:
            The latent action float32 (K, A), or (B, K, A), that led here from the frame before. None where there is
            no frame before; NaN for those videos of a batch that were restarted.

        Raises:
            ValueError: another dtype or shape, or another size than the frames before.
        """
        expected = "(H, W, 3)" if self.batch is None else f"({self.batch}, H, W, 3)"
        leading = () if self.batch is None else (self.batch,)
        if np.ndim(frames) != len(leading) + 3 or np.shape(frames)[:-3] != leading:
            raise ValueError(f"expected frames {expected}, got shape {np.shape(frames)}; give the next of each video")
        fitted = self._fit(frames)
        before, clips = self.state, fitted[None, None] if self.batch is None else fitted[:, None]
        self.state, actions = self._labeller.advance(before, clips)
        if before is None or not before.begun.any():
            return None
        return actions[0, 0] if self.batch is None else actions[:, 0]

    def restart(self, rows: Sequence[int] | None = None) -> None:
        """Forgets the frames so far, of all videos or of those in `rows`: a new episode begins with the next frame.

        Raises:
            ValueError: there is no such row.
        """
        rows = None if rows is None else [check_integer(row, "row", 0, (self.batch or 1) - 1) for row in rows]
        if rows is None:
            self.state = None
        elif self.state is not None:
            self.state = self._labeller.restart(self.state, rows)


def _check_starts(starts: Sequence[int] | np.ndarray, video: np.ndarray | Iterator[np.ndarray]) -> np.ndarray:
    found = np.asarray(starts)
    if found.size == 0:
        return np.zeros(0, np.int64)
    if not isinstance(video, np.ndarray) or video.ndim != 4:
        raise ValueError("expected starts with an array of frames (T, H, W, 3) only; label one array after the other")
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ValueError(
            f"expected starts to be indices of frames (N,), got {found.dtype} of shape {found.shape}; "
            "of flags, one for each frame, take np.flatnonzero"
        )
    found = found.astype(np.int64)
    if found.min() < 0 or found.max() >= len(video) or (np.diff(found) <= 0).any():
        raise ValueError(
            f"expected ascending starts in [0, {len(video) - 1}], each once, got {starts}; sort them and leave out "
            "what is no frame of the video"
        )
    return found


def _split(pieces: Iterable[np.ndarray], starts: np.ndarray) -> Iterator[tuple[bool, np.ndarray]]:
    """Pieces (..., t, H, W, 3), split so that each lies within one episode, and whether it begins one."""
    at = 0
    for piece in pieces:
        after = at + piece.shape[-4]
        inside = starts[np.searchsorted(starts, at) : np.searchsorted(starts, after)]
        for part in np.split(piece, inside[inside > at] - at, axis=-4):
            yield at in inside, part
            at += part.shape[-4]
