"""From video to latent actions."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from flam_env.dream.dream import Dream, replace_rows
from flam_env.heads.action_decoder import Transitions
from flam_env.models.protocol import Observed, check_infers
from flam_env.validation import check_integer
from flam_env.video.cuts import check_starts, split_at
from flam_env.video.frames import FrameFitter
from flam_env.video.rates import warn_of_rate
from flam_env.video.reader import Video, frame_pieces, open_video, video_rate
from flam_env.worlds.loading import load_world
from flam_env.worlds.world import World


class Labels(NamedTuple):
    """What was inferred from T frames; of a batch of B videos, everything has an axis B in front.

    latent_actions: float32 (T - 1, K, A) in the environment's units, not clipped to its box; action t leads from
    frame t to frame t + 1, and is NaN where a new episode begins with frame t + 1. Where the world's actions are codes,
    int64 (T - 1, K), and -1 there.
    labelled: bool (T - 1,), False exactly there.
    actions: int64 (T - 1,), the most likely real action of each transition, -1 where there is no label; None where the
    world has no action decoder.
    action_probabilities: float32 (T - 1, C), how likely each real action is, NaN where there is no label; or None.
    """

    latent_actions: np.ndarray
    labelled: np.ndarray
    actions: np.ndarray | None = None
    action_probabilities: np.ndarray | None = None

    def at(self, index: Any) -> "Labels":
        """Those at an index of the leading axes, e.g. of one video of a batch."""
        actions, probabilities = (
            None if part is None else part[index] for part in (self.actions, self.action_probabilities)
        )
        return Labels(self.latent_actions[index], self.labelled[index], actions, probabilities)

    @classmethod
    def join(cls, pieces: Sequence["Labels"]) -> "Labels":
        """Those of a batch of videos that was labelled in pieces of time, all by the same labeller."""
        latent_actions = np.concatenate([piece.latent_actions for piece in pieces], 1)
        labelled = np.concatenate([piece.labelled for piece in pieces], 1)
        actions = [piece.actions for piece in pieces if piece.actions is not None]
        probabilities = [piece.action_probabilities for piece in pieces if piece.action_probabilities is not None]
        if not actions:
            return cls(latent_actions, labelled)
        return cls(latent_actions, labelled, np.concatenate(actions, 1), np.concatenate(probabilities, 1))


class LabelState(NamedTuple):
    """All that the next label depends on, for a batch of B videos.

    newest: what the model made of the newest frame, T = 1, with what it remembers of the frames so far; begun: bool
    (B,), False for a video that was restarted and has shown no frame since.
    """

    newest: Observed
    begun: Tensor


class Labeller:
    """Infers the latent action of every slot between the frames of a video.

    Frames are seen in pieces that hand on the slots' history, so a video of any length takes the same memory (but for
    its labels), and the labels are those of one pass. Frames of any size are resized to those of the world by averaging
    areas, cropped or padded as the videos were that it learned from, which is said in a warning.

    Args:
        world: whose slots and latent actions.
        device: where the networks run, e.g. "cpu" or "cuda:1"; "auto" is the GPU where there is one, else the CPU.

    Raises:
        ValueError: the world is none, its model infers no latent actions, or this machine has no such device.
    """

    PIECE = 32

    def __init__(self, world: World, device: str = "auto"):
        if not isinstance(world, World):
            raise ValueError(f"expected a live World, got {world!r}; give its name or path to Labeller.from_pretrained")
        check_infers(world.model)
        self.world = world
        self.dream = Dream(world, device)

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str = "auto") -> Self:
        """A labeller of a bundled world (by name, e.g. "bigfish") or of one's own (by path).

        Raises:
            FileNotFoundError: there is no such world.
            ValueError: the world is damaged, its model infers no latent actions, or this machine has no such device.
        """
        return cls(load_world(name), device)

    def label(self, video: Video, starts: Sequence[int] | np.ndarray = (), *, fps: float | None = None) -> Labels:
        """Labels a video, or a batch of videos of the same length.

        A file that has other frames a second than the videos of the world is labelled with a warning, unless `fps` says
        that this is meant.

        Args:
            video: uint8 frames (T, H, W, 3) or (B, T, H, W, 3), T >= 2; the path of a video file or of a folder of
                images sorted by name, which are read bit by bit; or any iterator of frames (H, W, 3).
            starts: of one video, not of a batch: indices, ascending, of frames with which a new episode begins. What
                was before is forgotten there, and the transition into such a frame gets no label.
            fps: brings a file to so many frames a second, as `read_video(file, fps)` does; `starts` are indices of
                these. By default every frame is labelled as it is.

        Raises:
            ValueError: frames of a wrong type, shape or number, a file that cannot be read, wrong starts, or an `fps`
                for what is no file.
            ImportError: a file is given, and PyAV or Pillow is not installed.
        """
        if isinstance(video, str | PathLike):
            warn_of_rate(video_rate(video), fps, self.world.settings.frames_per_second, str(video))
        video = open_video(video, fps)
        pieces = frame_pieces(video, self.PIECE, self.fitter())
        state, labels = None, []
        for begins, frames in split_at(pieces, check_starts(starts, video)):
            if begins and state is not None:
                state = self.restart(state, [0])
            state, piece = self.advance(state, frames if frames.ndim == 5 else frames[None])
            labels.append(piece)
        count = sum(piece.labelled.shape[1] for piece in labels) + bool(labels)
        if count < 2:
            raise ValueError(f"expected a video of 2 or more frames, got {count}; a latent action lies between two")
        joined = Labels.join(labels)
        return joined if isinstance(video, np.ndarray) and video.ndim == 5 else joined.at(0)

    def stream(self, batch: int | None = None) -> "LabelStream":
        """Labels frames as they come: one video, or `batch` videos side by side."""
        return LabelStream(self, batch)

    def fitter(self) -> FrameFitter:
        """What brings the frames of one video to the size of the world."""
        return FrameFitter(self.world.tokenizer.config.image_size, self.world.settings.fit)

    @torch.inference_mode()
    def advance(self, state: LabelState | None, frames: np.ndarray) -> tuple[LabelState, Labels]:
        """Sees the next frames of B videos; what `label` and `stream` are made of.

        Args:
            state: after the frames before, None where there are none.
            frames: uint8 (B, t, H, W, 3), t >= 1, in the size of the world.

        Returns:
            The state after these frames, and labels of t transitions of each video, the first of which leads to the
            first of these frames (no label for a video that was restarted). Without a state there are t - 1.

        Raises:
            ValueError: frames of another size or type, or the world computes NaN or infinite actions from them.
        """
        tokens = self.dream.encode(rearrange(frames, "b t h w c -> (b t) h w c"))
        after, seen = self.follow(state, rearrange(tokens, "(b t) n -> b t n", b=len(frames)))
        labelled = torch.ones(seen.latent_actions.shape[:2], dtype=torch.bool, device=self.dream.device)
        if state is not None:
            labelled[:, 0] = state.begun
        decoder: Any = self.dream.heads.get("decoder")
        probabilities = None if decoder is None else decoder.probabilities(seen)
        return after, _labels(seen.latent_actions, labelled, probabilities)

    @torch.inference_mode()
    def follow(self, state: LabelState | None, tokens: Tensor) -> tuple[LabelState, Transitions]:
        """Sees the next frames of B videos as tokens int64 (B, t, N), as `advance` does.

        Returns:
            The state after these frames, and what is seen of t transitions (t - 1 without a state), leading axes
            (B, t); it means nothing where a video was restarted.
        """
        observed = self.dream.model.observe(tokens, state.newest.history if state else None)
        begun = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
        after = LabelState(observed.at(slice(-1, None)), begun)
        if state is not None:
            observed = state.newest.followed_by(observed)
        return after, self.dream.transitions(observed)

    @torch.inference_mode()
    def restart(self, state: LabelState, rows: Sequence[int]) -> LabelState:
        """The state with the videos in `rows` at their beginning; all others stay untouched."""
        index = torch.as_tensor(rows, dtype=torch.long, device=self.dream.device)
        blank = self.dream.model.empty_history(len(index), index.device)
        newest = state.newest._replace(history=replace_rows(state.newest.history, index, blank))
        return LabelState(newest, state.begun.index_fill(0, index, False))


def _labels(latent_actions: Tensor, labelled: Tensor, probabilities: Tensor | None) -> Labels:
    """Labels (B, t, ...) on the CPU, with what stands for none where there are none.

    Raises:
        ValueError: what was computed is NaN or infinite.
    """
    found, known = latent_actions.cpu().numpy(), labelled.cpu().numpy()
    if not np.isfinite(found).all():
        raise ValueError(
            "expected a world that infers finite latent actions, got NaN or infinite ones; its weights are damaged, or "
            "its training diverged: copy it again, or train it with a lower learning rate"
        )
    found[~known] = np.nan if found.dtype.kind == "f" else -1
    if probabilities is None:
        return Labels(found, known)
    chances = probabilities.cpu().numpy()
    if not np.isfinite(chances[known]).all():
        raise ValueError(
            "expected a decoder that tells finite probabilities, got NaN or infinite ones; its weights are damaged: "
            "learn it again with `flam-train ground`"
        )
    actions = np.where(known, chances.argmax(-1), -1)
    chances[~known] = np.nan
    return Labels(found, known, actions, chances)


class LabelStream:
    """Labels frames as they come. Made by `Labeller.stream`.

    Attributes:
        state: all that the next label depends on, None before the first frame; it may be kept and set back.
        newest: all that the last push inferred, without an axis of time; None where it returned None.
    """

    def __init__(self, labeller: Labeller, batch: int | None = None):
        self.batch = None if batch is None else check_integer(batch, "batch", 1)
        self.state: LabelState | None = None
        self.newest: Labels | None = None
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
        self.state, labels = self._labeller.advance(before, clips)
        self.newest = None
        if before is None or not before.begun.any():
            return None
        self.newest = labels.at((0 if self.batch is None else slice(None), 0))
        return self.newest.latent_actions

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
