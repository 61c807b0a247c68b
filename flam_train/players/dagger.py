"""A demonstrator: a reactive policy over single frames, distilled from look-ahead in the simulator.

DAgger (Ross et al. 2011) with a teacher that grows with its student, as in rollout policy iteration (Lagoudakis and
Parr 2003). Each round plays many games with the policy of the round before, labels what it sees with the worth of each
first action if that policy plays on, and fits the next policy to the labels of the last rounds. Every round leaves its
states and its policy in a folder of its own; a run that was interrupted goes on with the first round that has none.
In the end a fresh policy is fitted to the same labels for longer: it prefers what it prefers with less noise.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from flam_env.worlds.checkpoint import round_as_stored, save_network
from flam_train.engine import FitConfig, Progress, training_device
from flam_train.engine.folder import open_run
from flam_train.engine.precision import used_precision
from flam_train.players.first_actions import FirstActions
from flam_train.players.labelled_states import read_states, write_states
from flam_train.players.planner import PRESETS
from flam_train.players.policy import Policy, PolicyConfig, load_policy
from flam_train.players.policy_fit import fit_policy
from flam_train.players.policy_scores import print_test_scores, write_val_scores
from flam_train.players.visits import VisitConfig, visit
from flam_train.sources.procgen.games import check_game
from flam_train.sources.procgen.simulators import import_simulator

FILE = "policy.safetensors"
STATES, SCORES = "states.h5", "scores.json"  # of a round


@dataclass(frozen=True, kw_only=True)
class DaggerConfig:
    """How the policy is taught.

    Attributes:
        rounds: of playing, labelling and fitting; a finished run goes on if more are asked for.
        visits: states of one round; `guided` holds in round 1, is squared in round 2 and so on.
        held: steps for which actions are held when looking ahead.
        remembered: rounds whose labels are fitted: those of weaker policies are forgotten.
        worst: losses against the best first action above this count as this much: one death is like another.
        temperature: at which the policy draws its actions while it learns, in units of reward.
        tolerance: by how much an action may be less preferred and still count as preferred, in the end.
        scored: episodes after each round, of at most 1000 frames, on levels of the val split.
    """

    rounds: int = 9
    visits: VisitConfig = field(default_factory=VisitConfig)
    held: int = 5
    remembered: int = 4
    worst: float = 3.0
    temperature: float = 0.1
    tolerance: float = 0.05
    scored: int = 32

    def __post_init__(self):
        if min(self.rounds, self.held, self.remembered, self.scored) < 1 or self.worst <= 0:
            raise ValueError(f"expected rounds, held, remembered, scored >= 1 and worst > 0, got {self}; change these")


FIT = FitConfig(steps=500, batch_size=128, learning_rate=1e-3, warmup_steps=50, decay_share=0.5, ema=0.99)
"""Of one round."""

LAST_FIT = replace(FIT, steps=3000, ema=0.995)
"""Of the policy that plays in the end."""


def demonstrator(
    game: Literal["bigfish", "leaper", "starpilot"],
    *,
    out: Path,
    seed: int = 0,
    episodes: int = 128,
    dagger: DaggerConfig = DaggerConfig(),
    training: FitConfig = FIT,
    last_training: FitConfig = LAST_FIT,
) -> Path:
    """Teaches a policy to play a game from single frames and writes `out/policy.safetensors`.

    Args:
        game: which game.
        out: folder of the run. A run that was interrupted goes on where it was.
        seed: decides everything.
        episodes: whole ones on levels of the test split, of which the report gives the mean return.
        dagger: how the policy is taught.
        training: how it is fitted in each round.
        last_training: how the policy that is written is fitted, from fresh weights, to the labels of the last rounds.

    Returns:
        The file that was written.

    Raises:
        ValueError: an argument is out of range or `out` holds another run.
        ImportError: an optional package is missing.
    """
    import_simulator()
    if episodes < 1:
        raise ValueError(f"expected episodes >= 1, got {episodes}; change it")
    run = _Run(check_game(game), Path(out), seed, dagger, training)
    with open_run(run.out, run.record):
        for number in range(dagger.rounds):
            run.round(number)
        policy = run.last_policy(last_training)
        fitted = {"rounds": dagger.rounds, "last_fit": asdict(last_training)}
        save_network(run.out / FILE, round_as_stored(policy), **run.record, **fitted)
    print_test_scores(policy, episodes=episodes, seed=seed)
    return run.out / FILE


class _Run:
    """The folder of a run and what is done in each of its rounds."""

    def __init__(self, game: str, out: Path, seed: int, dagger: DaggerConfig, training: FitConfig):
        self.game, self.out, self.seed, self.dagger, self.training = game, out, seed, dagger, training
        planner = asdict(PRESETS[game])
        taught = {key: value for key, value in asdict(dagger).items() if key != "rounds"}
        decided = {"game": game, "seed": seed, "dagger": taught, "fit": asdict(training), "planner": planner}
        decided["precision"] = {
            "fit": used_precision(training.precision, training_device()),
            "look_ahead": used_precision("auto", torch.device("cpu")),
        }
        self.record = decided

    def round(self, number: int) -> None:
        """Plays and labels, fits, scores: what of this is done already is not done again."""
        states, policy, scores = (self._file(number, name) for name in (STATES, FILE, SCORES))
        if not states.exists():
            write_states(states, *self._visit(number))
        if not policy.exists():
            save_network(policy, round_as_stored(self._fit(number)), **self.record)
        if not scores.exists():
            self._score(number, scores)

    def policy(self, number: int) -> Policy | None:
        """What a round has learned; before the first one, nothing."""
        return load_policy(self._file(number, FILE), self.game) if number >= 0 else None

    def _file(self, number: int, name: str) -> Path:
        return self.out / f"round-{number:02d}" / name

    def _fresh(self) -> Policy:
        """A policy that prefers nothing yet."""
        torch.manual_seed(self.seed)
        return Policy(
            PolicyConfig(game=self.game, temperature=self.dagger.temperature, tolerance=self.dagger.tolerance)
        )

    def _visit(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        teacher = FirstActions(self.game, self.dagger.held)
        config = replace(self.dagger.visits, guided=self.dagger.visits.guided**number)
        visited = visit(
            self.game, self.policy(number - 1), teacher, config, seed=[self.seed, number], title=f"round {number}"
        )
        teacher.close()
        return visited

    def last_policy(self, training: FitConfig) -> Policy:
        """A fresh policy after fitting the states of the last rounds for longer."""
        last = self.dagger.rounds - 1
        return self._fitted(self._fresh(), last, replace(training, seed=self.seed), self.out / f"last-{last:02d}")

    def _fit(self, number: int) -> Policy:
        """The policy of the round before after fitting the states of the last rounds."""
        training = replace(self.training, seed=self.seed * 1000 + number)
        return self._fitted(self.policy(number - 1) or self._fresh(), number, training, self._file(number, "training"))

    def _fitted(self, policy: Policy, number: int, training: FitConfig, logs: Path) -> Policy:
        remembered = range(max(0, number + 1 - self.dagger.remembered), number + 1)
        loaded = [read_states(self._file(past, STATES)) for past in remembered]
        frames = torch.from_numpy(np.concatenate([frames for frames, _ in loaded]))
        values = torch.from_numpy(np.concatenate([values for _, values in loaded]))
        identity = {"policy": asdict(policy.config), "states": len(frames)}
        return fit_policy(policy, frames, values, self._loss, training, logs, identity=identity)

    def _loss(self, policy: nn.Module, batch: Any, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        """How far preferences are from the advantages of the first actions; also the regret of the preferred one."""
        preferences, values = policy(batch["frames"]).float(), batch["values"]
        losses = values.amax(dim=1, keepdim=True) - values
        targets = -losses.clamp(max=self.dagger.worst)
        loss = smooth_l1_loss(_centred(preferences), _centred(targets))
        regret = losses.gather(1, preferences.argmax(dim=1, keepdim=True)).mean()
        return loss, {"regret": regret.detach()}

    def _score(self, number: int, path: Path) -> None:
        """Writes how well the policy of a round plays, and how many states were labelled until then."""
        policy = self.policy(number)
        assert policy is not None, "a round is scored after it was fitted"
        labelled = sum(len(read_states(self._file(past, STATES))[1]) for past in range(number + 1))
        facts = {"round": number, "labelled_states": labelled}
        write_val_scores(path, policy, facts, episodes=self.dagger.scored, seed=self.seed)


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=1, keepdim=True)
