"""`flam-train demo`: dreams in a world and shows the dream beside the real future."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from flam_env.dream.dream import Dream, pixel_masks
from flam_env.worlds.clips import load_clips
from flam_env.worlds.finding import find_world
from flam_env.worlds.loading import load_world
from flam_train.evaluate.rollouts import context_and_actions, roll, roll_each_slot, rollout_scores
from flam_train.pictures.sheets import contact_sheet, overlay_masks, side_by_side, write_mp4, write_png
from flam_train.store.clips import Clips


class DemoResult(NamedTuple):
    """The files that were written, and the mean PSNR in dB over the world's own clips.

    psnr: prediction; recon, the round trip of the true future; copy_last.
    """

    picture: Path
    video: Path
    psnr: dict[str, float]


def demo(
    world: str = "bigfish",
    *,
    out: Path = Path("demo"),
    clip: int = 0,
    horizon: int = 16,
    device: str = "auto",
) -> DemoResult:
    """Writes `out/dream.mp4` and `out/dream.png`, and tells how close the dreams of the world's own clips come.

    Rows: the real future, the model's prediction from inferred latent actions, the same start with one slot steered,
    and the slots' masks as a coloured overlay.

    Args:
        world: name of a bundled world or directory of one's own.
        out: folder for the pictures.
        clip: which of the world's real held-out clips is shown.
        horizon: predicted frames.
        device: cpu, cuda or auto.

    Raises:
        FileNotFoundError: no such world.
        ValueError: the world has fewer clips, or shorter ones.
    """
    dream = Dream(load_world(world), device)
    frames = load_clips(find_world(world))
    length = dream.world.settings.context + horizon
    if not 0 <= clip < len(frames) or horizon < 1 or frames.shape[1] < length:
        have = f"{len(frames)} clips of {frames.shape[1]} frames"
        raise ValueError(f"expected a clip and a horizon within the world's {have}, got {clip=} and {horizon=}")
    rows = demo_rows(dream, frames[clip, :length])
    picture, video = Path(out) / "dream.png", Path(out) / "dream.mp4"
    write_png(picture, contact_sheet({label: row[::2] for label, row in rows.items()}))
    write_mp4(video, side_by_side(rows), dream.world.settings.frames_per_second)
    scores = rollout_scores(dream, Clips(frames[:, :length], ("",) * len(frames)))
    psnr = {name: float(scores[f"{name}_psnr"].mean()) for name in ("prediction", "recon", "copy_last")}
    return DemoResult(picture, video, psnr)


@torch.inference_mode()
def demo_rows(dream: Dream, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of the demo for one real clip, uint8 (T, H, W, 3) -> each uint8 (T - context, H, W, 3)."""
    context = dream.world.settings.context
    tokens = dream.encode(frames)[None]
    start, actions = context_and_actions(dream, tokens)
    predicted = roll(dream, start, actions)
    slot, steered = most_steerable(dream, start, actions, predicted)
    owned = dream.model.observe(tokens).masks[0, context:]
    masks = pixel_masks(owned, dream.tokenizer.config.image_size).cpu().numpy()
    return {
        "real future": frames[context:],
        "prediction, latent actions inferred from the real future": predicted[0].cpu().numpy(),
        f"same start, slot {slot} steered": steered.cpu().numpy(),
        "slots": overlay_masks(frames[context:], masks),
    }


def most_steerable(
    dream: Dream, start: torch.Tensor, actions: torch.Tensor, predicted: torch.Tensor
) -> tuple[int, torch.Tensor]:
    """The slot whose reversed actions change the dream most, and that dream, uint8 (H, h, w, 3)."""
    steered = roll_each_slot(dream, start, actions, -actions)
    change = (steered.float() - predicted.float()).abs().mean((1, 2, 3, 4))
    slot = int(change.argmax())
    return slot, steered[slot]
