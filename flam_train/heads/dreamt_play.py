"""Play that a world dreams of: keys that are pressed for no reason, and what it makes of what follows.

Who learns from somebody's play learns what is done in which state as well, since whoever played had reasons; few labels
do not tell one from the other. In dreams any key can be pressed in any state, and what was asked for is known without a
label, as far as dreams obey.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.envs.controls import RealActionControl
from flam_env.envs.pressing import press
from flam_env.heads.action_decoder import Transitions
from flam_env.heads.action_encoder import ActionEncoder
from flam_train.store.tokens import TokenSplit

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("dreams of random keys need tqdm: pip install 'flam-env[train]'") from error

STEPS, HELD = 8, 4  # of a dream; for which a key is held
AT_ONCE = 50


class DreamtPlay(NamedTuple):
    """seen: D transitions, stored; keys: int64 (D,), what was asked for in each."""

    seen: Transitions
    keys: Tensor

    def likely(self, logits: Tensor, accuracy: float, stands_for: Tensor) -> Tensor:
        """What was likely done: what was asked for as far as dreams obey, else what a decoder reads; float32 (D, C).

        Dreams obey as much less than always as what was asked for is read less often than a decoder is right.

        Args:
            logits: of that decoder, (D, C).
            accuracy: how often it tells the class of a real action.
            stands_for: int64 (C,), for each action the one that stands for all those of equal effect.
        """
        read = (stands_for[logits.argmax(-1)] == self.keys).float().mean().item()
        obeyed = read / max(accuracy, read, 1e-6)
        asked = logits.masked_fill(stands_for[None] != self.keys[:, None], -torch.inf).softmax(-1)
        return obeyed * asked + (1 - obeyed) * logits.softmax(-1)


def draw_starts(split: TokenSplit, count: int, window: int, *, seed: int) -> Tensor:
    """Beginnings of dreams, drawn evenly from video.

    Args:
        split: of which.
        count: how many at most; there may be fewer.
        window: frames that a world sees at once.
        seed: of the draw.

    Returns:
        Tokens uint16 (P, C, N), C = window, or as many frames as the longest episode has.
    """
    length = min(window, int(np.diff(split.bounds).max()))
    return split.clips(np.random.default_rng(seed).permutation(split.starts(length))[:count], length)


def dream_of_keys(dream: Dream, starts: Tensor, *, seed: int) -> DreamtPlay:
    """Presses keys drawn at random, each for `HELD` steps, in `STEPS` steps of each dream.

    Args:
        dream: of a world with a decoder and an encoder; `RealActions` would steer it alike.
        starts: tokens (P, C, N).
        seed: of the keys, and of all else that happens by chance.

    Returns:
        P * STEPS transitions.
    """
    encoder = dream.heads["encoder"]
    assert isinstance(encoder, ActionEncoder)
    control, choices = RealActionControl(dream.world), encoder.choices.cpu().numpy()
    seen, pressed = [], []
    with tqdm(total=len(starts) * STEPS, desc="dreaming", unit=" steps", leave=False, disable=None) as bar:
        for rows in torch.arange(len(starts)).split(AT_ONCE):
            streams = [np.random.default_rng([seed, row]) for row in rows.tolist()]
            keys = np.stack([stream.choice(choices, STEPS // HELD).repeat(HELD) for stream in streams])
            before = dream.reset(starts[rows].long())
            for key, (after, _) in zip(keys.T, press(dream, control, before, keys, streams), strict=True):
                seen.append(dream.between(before, after).stored())
                pressed.append(torch.from_numpy(key))
                before = after
                bar.update(len(rows))
    return DreamtPlay(Transitions.join(seen), torch.cat(pressed))
