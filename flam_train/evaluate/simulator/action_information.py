"""What a latent action says of the action that was really taken, beyond what the state says already.

Two probes of one make tell the real action from the player's slot: one sees the latent action as well. The difference
of their cross-entropies on episodes that neither learned from estimates, in nats, how much the latent action says.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from flam_env.dream.dream import Dream
from flam_env.labelling.labeller import Labeller
from flam_env.models.action_spaces import CodebookActions
from flam_train.engine import FitConfig
from flam_train.evaluate.simulator.rate import player_slot
from flam_train.heads.few_labels import LearningConfig, hold_out
from flam_train.heads.known_actions import LabelledTransitions, action_classes, all_labels
from flam_train.heads.learning import action_scores, all_logits, calibrated_temperature, learn_actions
from flam_train.heads.watching import watch
from flam_train.store.tokens import TokenSplit
from flam_train.store.training_data import TrainingData, token_splits

LEARNED, SCORED = 20_000, 5_000  # transitions, about: whole episodes are taken
RATED_CLIPS, RATED_FRAMES = 64, 32  # at most, which tell the slot with most nats
LEARNING = LearningConfig(held_out=0.2, evaluate_every=100, patience=5)
FIT = FitConfig(
    steps=2000, batch_size=256, learning_rate=2e-3, warmup_steps=50, weight_decay=0.1, ema=0.99, precision="fp32"
)


class ActionProbe(nn.Module):
    """Tells one of C real actions from a state (B, S) and a latent action (B, A); A may be 0."""

    def __init__(self, inputs: int, actions: int, width: int = 128, dropout: float = 0.2):
        super().__init__()
        hidden = (nn.Linear(inputs, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width), nn.GELU())
        self.read = nn.Sequential(*hidden, nn.Linear(width, actions))

    def forward(self, states: Tensor, latent_actions: Tensor) -> Tensor:
        """Logits (B, C)."""
        return self.read(torch.cat([states, latent_actions], -1))


class Known(NamedTuple):
    """Transitions of known actions: states float32 (P, S), latent actions float32 (P, A), and their labels."""

    states: Tensor
    latent_actions: Tensor
    labels: LabelledTransitions


def action_information(
    learned: Known, scored: Known, actions: int, *, seed: int = 0, fit: FitConfig = FIT
) -> dict[str, float]:
    """What latent actions say of real ones given the state.

    Args:
        learned: transitions of at least two episodes, to learn from.
        scored: those of others.
        actions: C, number of real actions.
        seed: of the probes.
        fit: budget of each.

    Returns:
        nats: information between latent and real action given the state; action_entropy: of the real actions alone;
        state_cross_entropy, state_accuracy: of the probe on the state; cross_entropy, accuracy: of that on both.

    Raises:
        ValueError: all that is learned is of one episode.
    """
    learned, scored = _standardised(learned, scored)
    both = _probe_scores(learned, scored, actions, seed, fit)
    learned, scored = (known._replace(latent_actions=known.latent_actions[:, :0]) for known in (learned, scored))
    alone = _probe_scores(learned, scored, actions, seed, fit)
    share = torch.from_numpy(scored.labels.actions).bincount(minlength=actions) / len(scored.labels)
    return {
        "nats": alone["cross_entropy"] - both["cross_entropy"],
        "action_entropy": -torch.xlogy(share, share).sum().item(),
        "state_cross_entropy": alone["cross_entropy"],
        "state_accuracy": alone["accuracy"],
        "cross_entropy": both["cross_entropy"],
        "accuracy": both["accuracy"],
    }


def information_scores(dream: Dream, data: TrainingData, split: str, seed: int = 0) -> dict[str, float]:
    """What the latent action of the player's slot says of the real one, given that slot; actions of one effect are one.

    The probes learn from the train split.

    Args:
        dream: of a world.
        data: with the actions of one agent.
        split: which is scored.
        seed: of the choice of episodes and of the probes.

    Returns:
        As `action_information`, and `player_slot`.

    Raises:
        ValueError: the model infers no actions, nobody knows real ones, or there are no two episodes to learn from.
    """
    classes = action_classes(data)
    tokens, labeller = token_splits(data, dream.tokenizer, dream.device), Labeller(dream.world, str(dream.device))
    player = player_slot(dream, _some_clips(tokens[split]).to(dream.device))
    learned, scored = (
        _watched(
            labeller, tokens[part], _some_episodes(all_labels(data, part, actions=len(classes)), count, seed), player
        )
        for part, count in (("train", LEARNED), (split, SCORED))
    )
    learned, scored = (
        known._replace(labels=replace(known.labels, actions=classes[known.labels.actions]))
        for known in (learned, scored)
    )
    return {"player_slot": player} | action_information(learned, scored, len(classes), seed=seed, fit=FIT)


def _some_clips(tokens: TokenSplit) -> Tensor:
    """Clips (B, T, N) from all over a split."""
    length = min(RATED_FRAMES, int(np.diff(tokens.bounds).max()))
    starts = tokens.starts(length)
    starts = starts[:: -(-len(starts) // RATED_CLIPS)]
    return torch.from_numpy(tokens.tokens[starts[:, None] + np.arange(length)].astype(np.int64))


def _some_episodes(labels: LabelledTransitions, count: int, seed: int) -> LabelledTransitions:
    """The labels of episodes in random order, until there are so many."""
    return labels.take(labels.at.some_episodes(count, seed))


def _watched(labeller: Labeller, tokens: TokenSplit, labels: LabelledTransitions, slot: int) -> Known:
    """Transitions as one slot of a world sees them."""
    seen = watch(labeller, tokens, labels.at)
    actions, latent = labeller.world.model.actions, seen.latent_actions[:, slot]
    if isinstance(actions, CodebookActions):
        latent = one_hot(latent.long(), actions.codes).float()
    return Known(seen.slots[:, 0, slot].float(), latent, labels)


def _standardised(learned: Known, scored: Known) -> tuple[Known, Known]:
    """Both with the mean and the spread of what is learned from taken out."""

    def standardise(known: Known) -> Known:
        inputs = zip(known[:2], learned[:2], strict=True)
        states, latent_actions = ((x - like.mean(0)) / like.std(0).clamp(min=1e-6) for x, like in inputs)
        return Known(states, latent_actions, known.labels)

    return standardise(learned), standardise(scored)


def _probe_scores(learned: Known, scored: Known, actions: int, seed: int, fit: FitConfig) -> dict[str, float]:
    """Fits a calibrated probe and scores it, as `flam_train.heads.learning.action_scores`."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = ActionProbe(learned.states.shape[1] + learned.latent_actions.shape[1], actions)
    with TemporaryDirectory() as out:
        learn_actions(
            network,
            learned[:2],
            learned.labels,
            config=LEARNING,
            fit_config=replace(fit, seed=seed),
            out=Path(out),
            identity={},
        )
    rows = hold_out(learned.labels, LEARNING.held_out, seed)[1]
    held_out = torch.from_numpy(learned.labels.actions[rows])
    temperature = calibrated_temperature(
        all_logits(network, (learned.states[rows], learned.latent_actions[rows])), held_out
    )
    logits = all_logits(network, scored[:2]) / temperature
    return action_scores(logits, torch.from_numpy(scored.labels.actions), np.arange(actions))
