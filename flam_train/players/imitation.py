"""What a policy is given before it learns by playing: an eye for the game, by doing what the planner did.

As a player the imitator is worth little, for a plan cannot be seen in a frame; but it knows what to look at.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from flam_train.data.store import EpisodeStore
from flam_train.engine import FitConfig, Progress
from flam_train.players.demonstrations import read_demonstrations
from flam_train.players.policy import Policy
from flam_train.players.policy_fit import fit_policy
from flam_train.sources.procgen.games import ACTION_CLASS, distinct_actions

IMITATION = FitConfig(steps=3000, batch_size=128, learning_rate=1e-3, warmup_steps=50, decay_share=0.5, ema=0.995)


def imitate(policy: Policy, store: EpisodeStore, config: FitConfig, out: Path) -> Policy:
    """Fits a policy to what the planner did in the train split of a store.

    Args:
        policy: of the game that was recorded; changed in place.
        store: of the simulator's native pictures, which the policy sees.
        config: budget and optimiser.
        out: folder of the run, which is resumed.

    Raises:
        ValueError: the planner did not play there, or `out` holds another run.
    """
    game, pairs = policy.config.game, read_demonstrations(store, "train")
    chosen = np.array(ACTION_CLASS[game])[pairs.acts]
    actions = torch.from_numpy(np.searchsorted(distinct_actions(game), chosen))
    frames, values = torch.from_numpy(pairs.obs), one_hot(actions, len(distinct_actions(game))).float()
    return fit_policy(policy, frames, values, _unlikelihood, config, out, identity={"demonstrations": store.identity()})


def _unlikelihood(policy: nn.Module, batch: Any, _: Progress) -> tuple[Tensor, dict[str, Tensor]]:
    preferences, targets = policy(batch["frames"]).float(), batch["values"]
    right = (preferences.argmax(1) == targets.argmax(1)).float().mean()
    return cross_entropy(preferences, targets), {"accuracy": right.detach()}
