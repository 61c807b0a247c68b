"""From video to latent actions."""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from flam_env.dream import Dream
from flam_env.frames import check_frames
from flam_env.models.factorizer import SlotHistory, Slots
from flam_env.world import World, load_world


class Labels(NamedTuple):
    """What was inferred from T frames.

    latent_actions: float32 (T - 1, K, A) in the environment's units, not clipped to its box; action t leads from
    frame t to frame t + 1.
    """

    latent_actions: np.ndarray


class Labeller:
    """Infers the latent action of every slot between the frames of a video.

    Frames are seen in pieces that hand on the slots' history, so memory does not grow with the length of the video,
    and the labels are those of one pass.

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

    def label(self, frames: np.ndarray) -> Labels:
        """Labels a video of uint8 frames (T, H, W, 3), T >= 2, that has no cuts.

        Raises:
            ValueError: frames of a wrong size, type or number.
        """
        frames = check_frames(frames, self.world.tokenizer.config.image_size, shortest=2)
        labels, last, history = [], None, None
        for first in range(0, len(frames), self.PIECE):
            slots = self._observe(frames[first : first + self.PIECE], history)
            seen = slots.values if last is None else torch.cat([last, slots.values], 1)
            labels.append(self._infer(seen))
            last, history = slots.values[:, -1:], slots.history
        return Labels(np.concatenate(labels))

    @torch.inference_mode()
    def _observe(self, frames: np.ndarray, history: SlotHistory | None) -> Slots:
        return self.dream.model.observe(self.dream.encode(frames)[None], history)

    @torch.inference_mode()
    def _infer(self, slots: Tensor) -> np.ndarray:
        """Slots (1, T, K, S) -> actions (T - 1, K, A) in units."""
        return self.world.units.from_model(self.dream.model.infer(slots).mean)[0].cpu().numpy()
