"""How a reactive policy is fitted: to what a teacher tells it of each action, or to what the planner did.

As a player who imitates the planner is worth little, for a plan cannot be seen in a frame; but it knows what to look
at, which is what a policy is given before it learns by playing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from flam_train.engine import FitConfig, Progress
from flam_train.engine.examples import fit_examples
from flam_train.players.demonstrations import read_demonstrations
from flam_train.players.policy import Policy
from flam_train.players.variations import varied
from flam_train.sources.procgen.games import ACTION_CLASS, distinct_actions
from flam_train.store.store import EpisodeStore

IMITATION = FitConfig(steps=3000, batch_size=128, learning_rate=1e-3, warmup_steps=50, decay_share=0.5, ema=0.995)


def fit_policy(
    policy: Policy,
    frames: Tensor,
    values: Tensor,
    loss: Callable[[nn.Module, Any, Progress], tuple[Tensor, dict[str, Tensor]]],
    config: FitConfig,
    out: Path,
    *,
    identity: dict[str, Any],
) -> Policy:
    """Fits a policy to values of the distinct actions in some frames and in variations of them.

    Args:
        policy: changed in place, and left on the CPU with its averaged weights.
        frames: uint8 (S, 64, 64, 3).
        values: float32 (S, A).
        loss: of the policy and a batch of both, as for `fit`.
        config: budget and optimiser.
        out: folder of the run, which is resumed.
        identity: as for `fit`.
    """
    data = {"frames": frames, "values": values}
    policy = policy.requires_grad_().train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fit_examples(
        policy,
        loss,
        lambda rows: {name: examples[rows] for name, examples in data.items()},
        np.arange(len(frames)),
        config,
        out,
        vary=lambda batch, generator: varied(policy.config.game, batch["frames"], batch["values"], generator),
        identity=identity,
    )
    return policy.cpu().eval()


def imitate(policy: Policy, store: EpisodeStore, config: FitConfig, out: Path, *, pairs: int = 200_000) -> Policy:
    """Fits a policy to what the planner did in the train split of a store.

    Args:
        policy: of the game that was recorded; changed in place.
        store: of the simulator's native pictures, which the policy sees.
        config: budget and optimiser.
        out: folder of the run, which is resumed.
        pairs: of frame and action to imitate at most, the first of the store; 200 000 take 2.5 GB of memory.

    Raises:
        ValueError: the planner did not play there, or `out` holds another run.
    """
    game, shown = policy.config.game, read_demonstrations(store, "train", pairs=pairs)
    chosen = np.array(ACTION_CLASS[game])[shown.acts]
    actions = torch.from_numpy(np.searchsorted(distinct_actions(game), chosen))
    frames, values = torch.from_numpy(shown.obs), one_hot(actions, len(distinct_actions(game))).float()
    identity = {"demonstrations": store.identity(), "pairs": len(shown)}
    return fit_policy(policy, frames, values, _unlikelihood, config, out, identity=identity)


def _unlikelihood(policy: nn.Module, batch: Any, _: Progress) -> tuple[Tensor, dict[str, Tensor]]:
    preferences, targets = policy(batch["frames"]).float(), batch["values"]
    right = (preferences.argmax(1) == targets.argmax(1)).float().mean()
    return cross_entropy(preferences, targets), {"accuracy": right.detach()}
