"""What a tokenizer does to video: how many tokens it uses, and how often still patches change theirs."""

from collections.abc import Callable

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.models.tokenizer import Tokenizer
from flam_env.video.frames import to_float
from flam_train.store.clips import Clips


def token_scores(dream: Dream, clips: Clips) -> dict[str, float]:
    """As `tokens_of_video`, of the tokenizer of a world."""
    return _scores(dream.encode, dream.tokenizer, clips)


@torch.inference_mode()
def tokens_of_video(tokenizer: Tokenizer, clips: Clips) -> dict[str, float]:
    """Churn, change and use of tokens on clips.

    Returns:
        token_churn: share of the patches whose pixels stand still that change their token; tokens_changed: share of
        all patches that do; tokens_used: different tokens seen.
    """
    device = next(tokenizer.parameters()).device
    return _scores(lambda frames: tokenizer.encode(to_float(frames, device)), tokenizer, clips)


def _scores(encode: Callable[[np.ndarray], Tensor], tokenizer: Tokenizer, clips: Clips) -> dict[str, float]:
    """The same, where frames uint8 (T, H, W, 3) are encoded to tokens (T, N)."""
    patch = tokenizer.config.patch_size
    still_changed = still_count = changed_count = count = 0
    used = np.zeros(tokenizer.quantizer.size, bool)
    for frames in clips.frames:
        tokens = encode(frames)
        changed = (tokens[1:] != tokens[:-1]).cpu()
        moved = torch.from_numpy((frames[1:] != frames[:-1]).any(-1))
        still = ~rearrange(reduce(moved, "t (h p) (w q) -> t h w", "any", p=patch, q=patch), "t h w -> t (h w)")
        still_changed += int((changed & still).sum())
        still_count += int(still.sum())
        changed_count += int(changed.sum())
        count += changed.numel()
        used[tokens.unique().cpu().numpy()] = True
    return {
        "token_churn": still_changed / max(still_count, 1),
        "tokens_changed": changed_count / count,
        "tokens_used": float(used.sum()),
    }
