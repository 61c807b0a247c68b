"""Whether what enters a game comes into the dreams of a world that is told the true actions.

    python benchmarks/entries.py artifacts/bigfish.pack WORLD...

For every entity that comes into held-out clips: the share of its pixels that is lit, at its first frame and four
later, when the world predicts one step from the true frame before, and when it dreams from the clip's first frames
under the inferred actions; and the nats of actions that lead to first frames, beside those of all others. For games
on black, where entities are what is not black.
"""

import sys
from typing import Any

import numpy as np
import torch

from flam_env.dream.dream import Dream
from flam_env.video.frames import to_uint8
from flam_env.worlds.finding import find_world
from flam_env.worlds.loading import load_world
from flam_train.evaluate.entities import find_entities
from flam_train.evaluate.rollouts import context_and_actions, encoded_clips, roll
from flam_train.store.clips import Clips, draw_clips
from flam_train.store.training_data import open_data

CLIPS, FRAMES = 40, 24
LIT = 40  # of 255, in some channel
LATER = (0, 4)

Entry = tuple[int, int, int]
"""Clip, first frame and number of an entity."""


def main() -> None:
    """Prints a row for each world."""
    clips = draw_clips(open_data(sys.argv[1]), "test", CLIPS, FRAMES, 0)
    entities = find_entities(clips.frames)
    entries = list(find_entries(entities))
    print(
        f"{len(entries)} entries in {CLIPS} clips of {FRAMES} frames: {len(entries) / CLIPS / (FRAMES - 1):.3f} a frame"
    )
    for name in sys.argv[2:]:
        dream = Dream(load_world(find_world(name)))
        predicted, dreamt, nats = watch(dream, clips)
        at = np.zeros(nats.shape, bool)
        at[[clip for clip, *_ in entries], [frame - 1 for _, frame, _ in entries]] = True
        shares = []
        for later in LATER:
            one_step = lit(predicted, entities, entries, later, 1)
            in_dreams = lit(dreamt, entities, entries, later, dream.world.settings.context)
            shares.append(f"+{later}: {one_step:.2f} predicted, {in_dreams:.2f} dreamt")
        print(f"{name}: lit {'; '.join(shares)}; nats at entries {nats[at].mean():.2f}, else {nats[~at].mean():.2f}")


def find_entries(entities: np.ndarray) -> Any:
    """Entities int (B, T, h, w) -> each that is not there in the first frame of its clip."""
    for clip, frames in enumerate(entities):
        seen = set(np.unique(frames[0]))
        for time, frame in enumerate(frames):
            there = set(np.unique(frame))
            yield from ((clip, time, int(entity)) for entity in there - seen)
            seen |= there


@torch.inference_mode()
def watch(dream: Dream, clips: Clips) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames uint8 as predicted from true ones (B, T - 1, ...) and as dreamt (B, T - context, ...); nats (B, T - 1)."""
    predicted, dreamt, nats = [], [], []
    for _, tokens in encoded_clips(dream, clips):
        seen: Any = dream.model(tokens)
        shown = to_uint8(dream.tokenizer.decode(dream.model.next_tokens(seen.output).flatten(0, 1)))
        predicted.append(shown.unflatten(0, (len(tokens), -1)))
        dreamt.append(roll(dream, *context_and_actions(dream, tokens)))
        nats.append(seen.posterior.nats.sum(-1))
    return torch.cat(predicted).numpy(), torch.cat(dreamt).numpy(), torch.cat(nats).numpy()


def lit(frames: np.ndarray, entities: np.ndarray, entries: list[Entry], later: int, first: int) -> float:
    """Mean share of the pixels of entities that is lit so many frames after they came, in frames from `first` on."""
    shares = []
    for clip, time, entity in entries:
        time += later
        if first <= time < entities.shape[1]:
            there = entities[clip, time] == entity
            if there.any():
                shares.append((frames[clip, time - first][there].max(-1) > LIT).mean())
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
