"""`flam-train dreams`: long dreams under sampled actions, as a picture or a film: do things stay whole?"""

from pathlib import Path

import numpy as np
import torch

from flam_env.dream.dream import Dream
from flam_env.worlds.loading import load_world
from flam_train.evaluate.rollouts import roll_freely
from flam_train.pictures.sheets import contact_sheet, side_by_side, write_gif, write_png
from flam_train.pictures.steered import deciding_slot, film_of_steering

SHOWN_STEPS = (1, 2, 4, 8, 12, 16, 24, 32, 50, 75, 100, 150, 200)


def dreams(
    world: str = "bigfish",
    *,
    out: Path = Path("demo/dreams.png"),
    count: int = 8,
    steps: int = 100,
    slot: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Path:
    """Dreams from the world's starts in which nobody acts, and shows some of the frames.

    A film shows all of them, and beside each dream another one by the same chance, in which one slot is steered.

    Args:
        world: name of a bundled world or directory of one's own.
        out: the picture, a PNG, or a film, a GIF.
        count: how many dreams, each from another start.
        steps: how long.
        slot: which one is steered in a film; by default the one whose actions differ most in real video.
        seed: of starts and of all that is drawn.
        device: cpu, cuda or auto.

    Returns:
        The file that was written.

    Raises:
        FileNotFoundError: no such world.
        ValueError: no dream, or no step, is asked for; or a film of a slot that there is not.
    """
    if count < 1 or steps < 1:
        raise ValueError(f"expected count >= 1 and steps >= 1, got {count} and {steps}")
    dream = Dream(load_world(world), device)
    starts = dream.world.starts
    random = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(starts.tokens), generator=random)[:count]
    context = starts.tokens[chosen, : dream.world.settings.context]
    if Path(out).suffix == ".gif":
        steered = deciding_slot(dream.world) if slot is None else slot
        rows = film_of_steering(dream, context, chosen.tolist(), steps, steered, seed)
        write_gif(Path(out), side_by_side(rows, scale=3), dream.world.settings.frames_per_second)
        return Path(out)
    frames = roll_freely(dream, context, steps, random).cpu().numpy()
    first = dream.frame(dream.reset(context)).cpu().numpy()
    shown = [step for step in SHOWN_STEPS if step <= steps]
    rows = {
        f"start {start}, then steps {', '.join(map(str, shown))}": np.stack([before, *(row[s - 1] for s in shown)])
        for start, before, row in zip(chosen.tolist(), first, frames, strict=True)
    }
    write_png(Path(out), contact_sheet(rows))
    return Path(out)
