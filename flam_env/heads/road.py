"""Whether a dream still looks like the videos that its world was learned from: a sign that it has left the road.

Three numbers of a step, each as a running mean over about the last eight steps of a dream: how undecided the model is
of what comes next, how much changes, and how rare what is shown is. Real video has more doubt where more moves; a dream
that frays, freezes or empties breaks such rules long before a single number looks odd.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flam_env.heads.registry import HEADS
from flam_env.validation import check_fields

SIGNS = 3
LEAST_DOUBT, LEAST_CHANGE = 1e-4, 1e-3  # where their logarithms end


@dataclass(frozen=True, kw_only=True)
class RoadConfig:
    """Sizes of a road; errors as `check_fields`."""

    vocabulary: int
    """Number of different tokens."""
    quantiles: int = 1001
    """How finely the distances of real video are known."""
    memory: int = 8
    """Steps over which the running means reach."""

    def __post_init__(self) -> None:
        check_fields(self)


@HEADS.register(RoadConfig)
class Road(nn.Module):
    """What is usual in real video. It has no weights to train: all of it is measured.

    Attributes:
        rarity: (tokens,), minus the logarithm of each token's share of real video.
        usual: (3,), the mean of the signs.
        whitening: (3, 3), the lower triangle that takes their covariance to the identity.
        distances: (quantiles,), ascending, of the distances of real video from what is usual.
    """

    rarity: Tensor
    usual: Tensor
    whitening: Tensor
    distances: Tensor

    def __init__(self, config: RoadConfig):
        super().__init__()
        self.config = config
        self.register_buffer("rarity", torch.zeros(config.vocabulary))
        self.register_buffer("usual", torch.zeros(SIGNS))
        self.register_buffer("whitening", torch.eye(SIGNS))
        self.register_buffer("distances", torch.linspace(0, 1, config.quantiles))

    def signs(self, doubt: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Those of one step.

        Args:
            doubt: (...), of the model, in nats a patch (`WorldModel.doubt`).
            before: tokens (..., N) of the frame before.
            after: tokens (..., N) of the frame that follows.

        Returns:
            float32 (..., 3).
        """
        changed = (before != after).float().mean(-1)
        return torch.stack(
            [(doubt + LEAST_DOUBT).log(), (changed + LEAST_CHANGE).log(), self.rarity[after].mean(-1)], -1
        )

    def follow(self, means: Tensor, signs: Tensor) -> Tensor:
        """Running means (..., 3) one step later. A dream begins with what is usual."""
        return means + (signs - means) / self.config.memory

    def left(self, means: Tensor) -> Tensor:
        """How far off the road running means (..., 3) are: the share of real video that is nearer to it, 0 to 1 (...).

        Real video is anywhere in between, and above .99 for one frame in a hundred.
        """
        nearer = torch.searchsorted(self.distances, self.distance(means))
        return nearer.float() / self.config.quantiles

    def distance(self, means: Tensor) -> Tensor:
        """How unusual running means (..., 3) are: Mahalanobis' distance (...)."""
        return ((means - self.usual) @ self.whitening.T).norm(dim=-1)
