"""How likely a policy finds actions: the one thing of it that cloning trains."""

from typing import Any, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ActionScores(NamedTuple):
    """What a policy makes of B pairs.

    Attributes:
        log_prob: of the true action, float32 (B,); its mean under the label where that is soft.
        entropy: of the policy, float32 (B,).
        correct: whether its most likely action is that of the label, bool (B,); None for Box actions.
    """

    log_prob: Tensor
    entropy: Tensor
    correct: Tensor | None

    def means(self) -> dict[str, Tensor]:
        """Scalars under the names of `imitation`, and accuracy."""
        means = {
            "neglogp": -self.log_prob.mean(),
            "prob_true_act": self.log_prob.exp().mean(),
            "entropy": self.entropy.mean(),
        }
        return means if self.correct is None else means | {"accuracy": self.correct.float().mean()}


class ActionLikelihood(nn.Module):
    """The actor of an SB3 actor-critic policy as a module that scores actions.

    Args:
        policy: an ActorCriticPolicy.
    """

    def __init__(self, policy: Any):
        super().__init__()
        self.policy = policy

    def forward(self, obs: Tensor, acts: Tensor) -> ActionScores:
        """Scores labels.

        Args:
            obs: observations (B, ...) of the policy's space, as an environment gives them.
            acts: actions (B, ...), or probabilities (B, number of actions) where the space is Discrete.
        """
        space, distribution = self.policy.action_space, self.policy.get_distribution(obs)
        if isinstance(space, gym.spaces.Discrete):
            return _score_discrete(distribution.distribution.logits.float(), acts)
        acts = acts.flatten(1)
        log_prob, entropy = distribution.log_prob(acts), distribution.entropy()
        if entropy is None:  # a squashed Gaussian has none in closed form
            entropy = -log_prob
        correct = None if isinstance(space, gym.spaces.Box) else (distribution.mode() == acts).all(dim=1)
        return ActionScores(log_prob.float(), entropy.float(), correct)


def _score_discrete(logits: Tensor, acts: Tensor) -> ActionScores:
    """Scores from logits (B, number of actions); labels are actions (B,) or probabilities (B, number of actions)."""
    true = acts.argmax(dim=1) if acts.ndim == 2 else acts
    logarithms = logits.log_softmax(dim=1)
    entropy = -(logarithms.exp() * logarithms).sum(dim=1)  # torch.special.entr has no finite slope at probability 0
    log_prob = -F.cross_entropy(logits, acts, reduction="none")
    return ActionScores(log_prob, entropy, logits.argmax(dim=1) == true)


def action_parameters(network: ActionLikelihood, obs: Tensor, acts: Tensor) -> set[nn.Parameter]:
    """The parameters that the probability of an action depends on, found by differentiating that of a few pairs."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(network(obs, acts).log_prob.sum(), weights, allow_unused=True)
    return {weight for weight, gradient in zip(weights, gradients, strict=True) if gradient is not None}
