"""What a world's own sign that a dream has left the road is worth: what it says of dreams and of real video."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from flam_train.evaluate.simulator.long_dreams import STRETCHES, OffRoad, Steps
from flam_train.evaluate.simulator.realism import auc, cut_windows

LEFT = 0.99  # above it a step is flagged


class Flagged(NamedTuple):
    """What the sign says in a stretch.

    real, dreamt: share of the steps that are flagged; auc: of dreamt windows among real ones, by the sign's mean.
    """

    real: float
    dreamt: float
    auc: float


def flagged(said: OffRoad, stretches: Sequence[Steps] = STRETCHES) -> list[Flagged]:
    """How often real and dreamt steps are flagged, and how well the sign tells their windows, stretch by stretch.

    Windows are those that the networks of `realism` look at.

    Raises:
        ValueError: as for `cut_windows`.
    """
    found = []
    for steps in stretches:
        of_real, of_dreamt = (float((side[:, steps[0] : steps[1] + 1] > LEFT).mean()) for side in said)
        windows = torch.stack([cut_windows(side, steps).mean(-1).flatten() for side in said])
        dreamt = np.repeat([False, True], windows.shape[1])
        found.append(Flagged(of_real, of_dreamt, auc(windows.flatten().numpy(), dreamt)))
    return found
