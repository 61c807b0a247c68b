"""The same keys in the real game and in dreams: what follows in both from the same starts.

Dreams are steered as `RealActions` steers them: the slot of the player takes the latent action that stands for the key,
and the others are moved by what moves them by default.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.envs.controls import RealActionControl
from flam_env.envs.pressing import press
from flam_env.video.frames import to_uint8
from flam_train.evaluate.rollouts import encoded_clips
from flam_train.store.clips import Clips

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("dreams of real keys need tqdm: pip install 'flam-env[train]'") from error

AFTER = (1, 8, 32)  # steps that are scored


class SameKeys(NamedTuple):
    """B clips of C frames of context and H steps, and what is dreamt from their starts under the same keys.

    real: uint8 (B, C + H, h, w, 3), as recorded. recon, dreamt: uint8 (B, 1 + H, h, w, 3), what really followed, as the
    tokenizer draws it, and the dreams; frame 0, the last of the context, is the same in both, and frame t is that of
    step t. keys: int64 (B, H), key t leads from frame t to frame t + 1.
    """

    real: np.ndarray
    recon: np.ndarray
    dreamt: np.ndarray
    keys: np.ndarray

    @property
    def scored(self) -> list[int]:
        """The steps out of 1, 8 and 32 that there are."""
        return [step for step in AFTER if step <= self.keys.shape[1]]


def same_keys(dream: Dream, clips: Clips, seed: int = 0) -> SameKeys:
    """Dreams what the keys of clips lead to.

    Args:
        dream: of a world with an action decoder.
        clips: with known keys; those after the context are pressed in the dreams.
        seed: of the latent actions of the other slots, and of all else that happens by chance.

    Raises:
        ValueError: the world has no action decoder, or knows fewer keys than are pressed.
    """
    control, context = RealActionControl(dream.world), dream.world.settings.context
    assert clips.known is not None, "clips without keys"
    keys = clips.known[:, context - 1 : -1].numpy()
    if keys.max() >= (count := int(control.action_space.n)):
        raise ValueError(f"expected keys below {count}, as many as the decoder knows, got {keys.max()}; learn it anew")
    recon, dreamt, first = [], [], 0
    with tqdm(total=keys.size, desc="pressing keys", unit=" steps", leave=False, disable=None) as bar:
        for _, tokens in encoded_clips(dream, clips):
            rows = range(first, first + len(tokens))
            recon.append(_decode(dream, tokens[:, context - 1 :]))
            generators = [np.random.default_rng([seed, row]) for row in rows]
            frames = [recon[-1][:, 0]]
            begun = dream.reset(tokens[:, :context])
            for _, frame in press(dream, control, begun, keys[rows.start : rows.stop], generators):
                frames.append(frame.cpu())
                bar.update(len(frame))
            dreamt.append(torch.stack(frames, 1))
            first = rows.stop
    return SameKeys(clips.frames, torch.cat(recon).numpy(), torch.cat(dreamt).numpy(), keys)


@torch.inference_mode()
def _decode(dream: Dream, tokens: Tensor) -> Tensor:
    """Tokens (B, T, N) -> frames uint8 (B, T, h, w, 3) on the CPU, one step at a time."""
    return torch.stack([to_uint8(dream.tokenizer.decode(each)).cpu() for each in tokens.unbind(1)], 1)
