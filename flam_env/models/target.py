"""What a model predicts of the next frame's tokens: their codes, the tokens, or the level of each channel."""

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from flam_env.models.protocol import WorldModel
from flam_env.models.quantize import FSQ

Target = Literal["code", "token", "level"]

# Added to the logit of what a patch is now: at the start, nothing moves.
STAY_LOGIT = 4.0


def target_size(target: Target, quantizer: FSQ) -> int:
    """How many numbers a network gives for each patch.

    Raises:
        ValueError: the channels of a code have not equally many levels, which "level" needs.
    """
    levels = quantizer.levels.tolist()
    if target == "level" and len(set(levels)) > 1:
        raise ValueError(f'expected equally many levels for target="level", got levels={tuple(levels)}')
    return {"code": len(levels), "token": quantizer.size, "level": sum(levels)}[target]


def predicted(target: Target, quantizer: FSQ, numbers: Tensor, tokens: Tensor) -> Tensor:
    """What a network says of the tokens that follow: a change of what is there.

    Args:
        target: what is predicted.
        quantizer: of the tokens.
        numbers: (..., N, target_size) float32, of the network.
        tokens: (..., N), of the current frame.

    Returns:
        Codes (..., N, L), logits (..., N, tokens) or logits (..., N, L, levels).
    """
    if target == "code":
        return quantizer.codes(tokens) + numbers
    now = tokens.long()
    if target == "level":
        numbers = rearrange(numbers, "... (l levels) -> ... l levels", l=len(quantizer.levels))
        now = quantizer.steps(now)
    return numbers.scatter_add(-1, now[..., None], torch.full_like(numbers[..., :1], STAY_LOGIT))


def likeliest(target: Target, quantizer: FSQ, output: Tensor) -> Tensor:
    """The most likely tokens (..., N) int64 of what `predicted` returns."""
    if target == "code":
        return quantizer.tokens(output)
    best = output.argmax(-1)
    return quantizer.join(best) if target == "level" else best


def level_logs(target: Target, quantizer: FSQ, output: Tensor) -> Tensor:
    """Logarithms of the probabilities of the level of each channel in what `predicted` returns.

    Returns:
        float32 (..., N, L, levels), each channel for itself; minus infinity for levels that a channel lacks.

    Raises:
        ValueError: codes, which have no probabilities.
    """
    if target == "code":
        raise ValueError(
            'expected a model that tells how likely each level is, got one of target="code"; train one with '
            'target="level"'
        )
    logs = output.float().log_softmax(-1)
    if target == "level":
        return logs
    each = quantizer.step_table.T[:, None] == torch.arange(quantizer.most_levels, device=logs.device)[:, None]
    return logs[..., None, None, :].masked_fill(~each, float("-inf")).logsumexp(-1)


def entropy(target: Target, output: Tensor) -> Tensor:
    """Mean entropy of a patch, in nats, of what `predicted` returns (..., N, ...) -> float32 (...); 0 for codes."""
    if target == "code":
        return output.new_zeros(output.shape[:-2])
    logs = output.float().log_softmax(-1)
    each = -(logs.exp() * logs).sum(-1)
    return (each.sum(-1) if target == "level" else each).mean(-1)


class TargetedWorldModel(WorldModel):
    """A world model whose `step` returns what `predicted` does, of the `target` in its config."""

    def next_tokens(self, output: Tensor) -> Tensor:
        """The most likely tokens (B, T, N) of what `step` returns."""
        return likeliest(self.config.target, self.quantizer, output)

    def level_logs(self, output: Tensor) -> Tensor:
        """How likely the level of each channel is; as `WorldModel.level_logs`."""
        return level_logs(self.config.target, self.quantizer, output)
