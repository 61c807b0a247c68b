"""Of what the error of a dream is made: things that were there when it began, things that came later, and the rest.

    python benchmarks/error_shares.py artifacts/bigfish.pack WORLD...

Held-out clips are dreamt from their first frames under the inferred actions. Each pixel belongs to the thing that is
nearest in the real frame, up to 6 px away. For games on black, where things are what is not black.
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from flam_env.dream.dream import Dream
from flam_env.worlds.finding import find_world
from flam_env.worlds.loading import load_world
from flam_train.evaluate.entities import find_entities
from flam_train.evaluate.rollouts import context_and_actions, encoded_clips, roll
from flam_train.store.clips import Clips, draw_clips
from flam_train.store.training_data import open_data

CLIPS, FRAMES = 96, 24
NEAR = 6  # px
KINDS = ("elsewhere", "of things there before", "of things that came")


def main() -> None:
    """Prints a line for each world."""
    clips = draw_clips(open_data(sys.argv[1]), "test", CLIPS, FRAMES, 0)
    entities = find_entities(clips.frames)
    for name in sys.argv[2:]:
        dream = Dream(load_world(find_world(name)))
        context = dream.world.settings.context
        error = squared_error(dream, clips)
        kinds = np.stack(list(kinds_of_pixels(entities, context)))
        shares = [error[kinds == kind].sum() / error.sum() for kind in range(len(KINDS))]
        last = [error[:, -1][kinds[:, -1] == kind].sum() / error[:, -1].sum() for kind in range(len(KINDS))]
        said = "; ".join(
            f"{kind} {share:.2f}, in the last frame {at_end:.2f}"
            for kind, share, at_end in zip(KINDS, shares, last, strict=True)
        )
        print(f"{name}: {CLIPS} clips, {error.shape[1]} frames, mean squared error {error.mean():.5f}: {said}")


@torch.inference_mode()
def squared_error(dream: Dream, clips: Clips) -> np.ndarray:
    """Mean over channels, of pixels in [0, 1], in every frame that is dreamt: (B, H, h, w)."""
    dreamt = [roll(dream, *context_and_actions(dream, tokens)) for _, tokens in encoded_clips(dream, clips)]
    real = clips.frames[:, dream.world.settings.context :]
    return np.square((torch.cat(dreamt).numpy() - real.astype(np.float32)) / 255).mean(-1)


def kinds_of_pixels(entities: np.ndarray, context: int) -> Iterator[np.ndarray]:
    """Of entities int (B, T, h, w), for each clip where in KINDS its pixels belong: int (T - context, h, w)."""
    for frames in entities:
        before = np.isin(frames, np.unique(frames[context - 1]))
        kinds = np.where(frames == 0, 0, np.where(before, 1, 2))[context:]
        yield np.stack([_spread(frame) for frame in kinds])


def _spread(kinds: np.ndarray) -> np.ndarray:
    """Pixels (h, w) of kind 0 that are near one of another kind get the nearest one's."""
    if not kinds.any():
        return kinds
    distance, (rows, columns) = distance_transform_edt(kinds == 0, return_indices=True)
    return np.where(distance <= NEAR, kinds[rows, columns], 0)


if __name__ == "__main__":
    main()
