"""What went wrong with a new world, if anything did, and what to do: each piece of advice names its number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import reduce
from torch import Tensor

from flam_env.dream.dream import Dream, slot_owners
from flam_train.evaluate.rollouts import encoded_clips
from flam_train.evaluate.simulator.horizon import ALIKE
from flam_train.new_world.watching import TORN, Seen, changes
from flam_train.phases.world_model import CLIP_FRAMES
from flam_train.sources.films.preview import RESTLESS, STILL
from flam_train.store.clips import Clips

HELD = 0.05  # share of the frames in which a slot owns a place, from which on it holds something
MOST_TORN, MOST_SHORT = 0.02, 0.2
MOST_FLICKER = 0.05
MOST_NATS = 10.0
LEAST_GAIN = 0.5  # dB over copying the last frame
LEAST_PACE = 0.5
WORST_DB = 5.0  # by so much, windows of a dream may be further from the nearest real one than real ones are


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What was measured of a new world and of its video.

    Attributes:
        seen: what there is to see in the video.
        slots: K.
        holding: slots that hold something.
        deciding: slots that decide something, with more than .1 nats a frame.
        nats: of latent actions a frame, to the world's own prior.
        flicker: share of the patches that stand still, but for the noise of a codec, whose token changes.
        gain: dB by which predictions are nearer to the truth than the last frame is.
        horizon: steps for which dreams are meant to hold.
        fell: the first step looked at within it at which they do not, None if they do.
        pace: speed of things in dreams over that in real video, None where nobody knows it.
    """

    seen: Seen
    slots: int
    holding: int
    deciding: int
    nats: float
    flicker: float
    gain: float
    horizon: int
    fell: int | None
    pace: float | None


class Advice(NamedTuple):
    """When something went wrong, and what to say of it."""

    wrong: Callable[[Signs], bool]
    text: Callable[[Signs], str]


ADVICE: Mapping[str, Advice] = {
    "nothing moves": Advice(
        lambda s: s.seen.moving < STILL,
        lambda s: (
            f"hardly anything moves: {s.seen.moving:.2%} of the pixels change from one frame to the next; import with "
            "a lower --fps, or films in which more happens"
        ),
    ),
    "restless": Advice(
        lambda s: s.seen.moving > RESTLESS,
        lambda s: (
            f"nearly everything moves: {s.seen.moving:.0%} of the pixels change from one frame to the next, as under a "
            "moving camera; slots hold places then, not things; take films from a camera that stands still"
        ),
    ),
    "cuts everywhere": Advice(
        lambda s: s.seen.torn > MOST_TORN and s.seen.moving <= RESTLESS,
        lambda s: (
            f"{s.seen.torn:.1%} of the frames have little in common with the one before (over {TORN:.0%} of the pixels "
            "change): scenes are cut there, or frames are far apart; import with --cuts detect, or a higher --fps"
        ),
    ),
    "clips too short": Advice(
        lambda s: s.seen.short > MOST_SHORT,
        lambda s: (
            f"{s.seen.short:.0%} of the frames lie in scenes of fewer than {CLIP_FRAMES} frames, of which nothing is "
            "learned; import longer films, with a higher --fps, or with --cuts none if the cuts are none"
        ),
    ),
    "tokens churn": Advice(
        lambda s: s.flicker > MOST_FLICKER,
        lambda s: (
            f"the tokens of {s.flicker:.1%} of the patches that stand still change: the world learns this flicker in "
            "place of what moves; import films of better quality, or train the tokenizer for longer "
            "(--tokenizer-steps)"
        ),
    ),
    "slots collapsed": Advice(
        lambda s: s.holding < min(max(s.seen.regions, 1), max(s.slots / 4, 1)),
        lambda s: (
            f"{s.holding} of {s.slots} slots hold something, and {s.seen.regions} things move at once: slots "
            "collapsed; train for longer, or with another --seed"
        ),
    ),
    "nobody decides": Advice(
        lambda s: s.deciding == 0,
        lambda s: (
            f"latent actions tell {s.nats:.2f} nats a frame and no slot's .1: nothing can be steered; train for "
            "longer, or with a lower --last-price"
        ),
    ),
    "K too small": Advice(
        lambda s: s.slots > 1 and s.deciding == s.slots,
        lambda s: (
            f"all {s.slots} slots decide something in a frame, and none is to spare: things may share one; take "
            f"--slots {2 * s.slots}"
        ),
    ),
    "a codec": Advice(
        lambda s: s.nats > MOST_NATS,
        lambda s: (
            f"latent actions tell {s.nats:.1f} nats a frame, over {MOST_NATS:g}: the world is told a video more than "
            "it knows one, and dreams whose actions are drawn will wander; raise --price and --last-price"
        ),
    ),
    "nothing was learned": Advice(
        lambda s: s.gain < LEAST_GAIN and s.seen.moving >= STILL,
        lambda s: (
            f"predictions are {s.gain:.2f} dB nearer to the truth than the last frame is: little was learned of how "
            "things move; train for longer, or with more films"
        ),
    ),
    "dreams stand still": Advice(
        lambda s: s.pace is not None and s.pace < LEAST_PACE,
        lambda s: (
            f"things in dreams have {s.pace:.0%} of the speed that they have in the films: motion was not learned, or "
            "nobody decides to move; train for longer, or with a lower --last-price"
        ),
    ),
    "dreams fall apart": Advice(
        lambda s: s.fell is not None,
        lambda s: (
            f"dreams fall apart by step {s.fell} of {s.horizon}: what they show is unlike any real frame, or too much "
            "or too little is shown; train for longer, scheduled sampling above all (--sampling-steps)"
        ),
    ),
}
"""By what went wrong."""


def advise(signs: Signs) -> dict[str, str]:
    """What to do about all that went wrong, by what that is."""
    return {name: advice.text(signs) for name, advice in ADVICE.items() if advice.wrong(signs)}


def read_signs(dream: Dream, clips: Clips, seen: Seen, report: Mapping[str, Any]) -> Signs:
    """Measures what its report does not say of a world, on held-out clips."""
    owned, flickers = [], []
    patch = dream.tokenizer.config.patch_size
    with torch.inference_mode():
        for frames, tokens in encoded_clips(dream, clips):
            owned.append(slot_owners(dream.model.observe(tokens).masks.flatten(0, 1)).cpu())
            flickers.append(flicker(frames.cpu().numpy(), tokens.cpu().numpy(), patch))
    horizon = dream.world.settings.horizon
    return Signs(
        seen=seen,
        slots=dream.model.slots,
        holding=holding_slots(torch.cat(owned), dream.model.slots),
        deciding=report["rate"]["deciding_slots"],
        nats=report["rate"]["nats"],
        flicker=float(np.mean(flickers)),
        gain=report["measures"]["gain_over_copy_last_db"],
        horizon=horizon,
        fell=fell_apart(report["dreams"], horizon),
        pace=report["life"]["stretches"][0]["ratio"]["speed"] if "life" in report else None,
    )


def holding_slots(owners: Tensor, slots: int) -> int:
    """How many slots own a place in some of the frames: int64 (F, places), -1 for none."""
    shown = torch.stack([(owners == slot).any(-1).double().mean() for slot in range(slots)])
    return int((shown >= HELD).sum())


def flicker(frames: np.ndarray, tokens: np.ndarray, patch: int) -> float:
    """Share of the patches that stand still from one frame to the next whose token changes, 0 where none stands still.

    Args:
        frames: uint8 (B, T, H, W, 3).
        tokens: int (B, T, N).
        patch: side of a patch in pixels.
    """
    moved = changes(frames[:, 1:], frames[:, :-1])
    still = ~reduce(moved, "b t (h p) (w q) -> b t h w", "any", p=patch, q=patch).reshape(tokens[:, 1:].shape)
    changed = tokens[:, 1:] != tokens[:, :-1]
    return float((changed & still).sum() / max(still.sum(), 1))


def fell_apart(dreams: Mapping[str, Any], horizon: int) -> int | None:
    """The first step of dreams, of those that a report looks at up to the horizon, at which they do not hold.

    They do while their windows are about as near to real ones as real ones are, and about as many show something.
    """
    real, shown = dreams["real_nearest_psnr"], dreams["real_filled"]
    if real is None:
        return None
    for step, near, filled in zip(dreams["step"], dreams["nearest_psnr"], dreams["filled"], strict=True):
        low, high = (bound * shown for bound in ALIKE)
        if step <= horizon and (near is None or near < real - WORST_DB or not low <= filled <= high):
            return step
    return None
