"""Behaviour cloning: the policy of a Stable-Baselines3 algorithm learns to do what demonstrations do."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from gymnasium.spaces import Discrete, MultiDiscrete
from torch import Tensor, nn

from flam_train.engine import EarlyStopping, FitConfig, Progress
from flam_train.engine.examples import fit_examples, mean_scores, split_episodes
from flam_train.players.action_likelihood import ActionLikelihood, action_parameters
from flam_train.players.demonstrations import Demonstrations, confident_rows
from flam_train.players.spaces import check_actions, check_observations, is_channel_last, is_soft
from flam_train.presets import SMALL

try:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.policies import ActorCriticPolicy
except ModuleNotFoundError as error:
    if error.name != "stable_baselines3":
        raise
    raise ModuleNotFoundError(
        "cloning needs Stable-Baselines3: pip install 'flam-env[train,rl]'", name=error.name
    ) from error

SCORED_AT_ONCE = 512  # held-out pairs


@dataclass(frozen=True, kw_only=True)
class CloningConfig:
    """What is asked of a clone, with the names of `imitation`."""

    ent_weight: float = 1e-3
    """weight of the policy's entropy, which is to be large"""
    l2_weight: float = 0.0
    """weight of half the sum of squares of the parameters in training"""
    confidence_threshold: float = 0.0
    """soft labels whose most likely action is less probable than this are dropped"""
    evaluate_every: int = 250
    """steps between looks at held-out pairs"""
    patience: int = 10
    """looks without a better policy after which training ends; 0 uses the whole budget"""

    def __post_init__(self):
        bounds = {
            "ent_weight": self.ent_weight >= 0,
            "l2_weight": self.l2_weight >= 0,
            "confidence_threshold": 0 <= self.confidence_threshold <= 1,
            "evaluate_every": self.evaluate_every > 0,
            "patience": self.patience >= 0,
        }
        wrong = [name for name, holds in bounds.items() if not holds]
        if wrong:
            raise ValueError(f"expected {wrong[0]} in range, got {self}; see CloningConfig for what each means")


CLONING = CloningConfig()


@dataclass(frozen=True, kw_only=True)
class CloningResult:
    """What `BehaviourCloning.train` leaves, besides the policy.

    Attributes:
        metrics: of the policy on held-out pairs, see `BehaviourCloning.evaluate`.
        step: the optimiser step whose weights the policy has.
        main: whether this is the main process, the one that should write results.
    """

    metrics: dict[str, float]
    step: int
    main: bool


class BehaviourCloning:
    """Trains the policy of an SB3 actor-critic algorithm in place, on pairs of observation and action.

        model = PPO("CnnPolicy", env)
        BehaviourCloning(model, Demonstrations(obs=frames, acts=actions, episodes=numbers)).train("runs/clone")
        model.save("clone.zip")     # PPO.load opens it, evaluate_policy scores it, .learn() goes on with it

    The policy may be CnnPolicy, MlpPolicy or one's own with any features extractor, over Box observations and
    Discrete, MultiDiscrete, MultiBinary or Box actions. Only parameters that the probability of an action depends on
    are changed; the value head and the optimiser of the algorithm stay as they are.

    Args:
        model: PPO, A2C or another algorithm with an actor-critic policy without memory.
        demonstrations: what to do.
        held_out: what the clone is judged by: other demonstrations, or the share of the episodes that is held out.
        config: what is asked of the clone.
        fit_config: budget and optimiser. The averaged weights are what is judged and kept.
        judge: says how good a policy is, the higher the better: e.g. its mean return on levels of its own. The weights
            that it likes best are kept; without it, those under which held-out actions are most likely.

    Raises:
        ValueError: the policy is of another kind or for other observations, labels are no actions of its space or no
            probabilities, or no pair is left to learn from or to hold out.
    """

    def __init__(
        self,
        model: BaseAlgorithm,
        demonstrations: Demonstrations,
        held_out: Demonstrations | float = 0.1,
        *,
        config: CloningConfig = CLONING,
        fit_config: FitConfig = SMALL.clone_fit,
        judge: Callable[[ActorCriticPolicy], float] | None = None,
    ):
        policy = model.policy
        if not isinstance(policy, ActorCriticPolicy) or hasattr(policy, "lstm_actor"):
            raise ValueError(
                f"expected an algorithm with an actor-critic policy without memory, got {type(model).__name__} with "
                f"{type(policy).__name__}; use PPO or A2C"
            )
        self.model, self.policy, self.config, self.fit_config = model, policy, config, fit_config
        self.judge = judge
        self.demonstrations = demonstrations
        self.held_out = held_out if isinstance(held_out, Demonstrations) else demonstrations
        for pairs in (self.demonstrations, self.held_out):
            check_observations(pairs.obs, policy.observation_space)
            check_actions(pairs.acts, policy.action_space)
        self.rows, self.held_out_rows = self._choose_rows(held_out)

    def _choose_rows(self, held_out: Demonstrations | float) -> tuple[np.ndarray, np.ndarray]:
        """The pairs to learn from and those to hold out, without copying any."""
        threshold, acts = self.config.confidence_threshold, self.demonstrations.acts
        if threshold and not self._is_soft(self.demonstrations):
            raise ValueError(
                f"expected soft labels for a confidence threshold, got {acts.dtype} {acts.shape}; give probabilities "
                "of a Discrete space, or 0"
            )
        rows = confident_rows(self.demonstrations, threshold)
        if isinstance(held_out, Demonstrations):
            return rows, confident_rows(held_out, threshold if self._is_soft(held_out) else 0.0)
        episodes = self.demonstrations.episodes
        episodes = np.empty(0) if episodes is None else episodes
        learned, kept = split_episodes(episodes, held_out, self.fit_config.seed)
        rows, held_out_rows = np.intersect1d(rows, learned), np.intersect1d(rows, kept)
        if not (len(rows) and len(held_out_rows)):
            raise ValueError(
                f"expected confident pairs to learn from and to hold out, got {len(rows)} and {len(held_out_rows)}; "
                "lower the confidence threshold or give more episodes"
            )
        return rows, held_out_rows

    def _is_soft(self, pairs: Demonstrations) -> bool:
        return is_soft(pairs.acts, self.policy.action_space)

    def train(self, out: Path | str, *, product: Path | None = None) -> CloningResult:
        """Trains the policy, or goes on with the run that `out` holds, and leaves it with its best weights.

        Args:
            out: folder of the run: resume.safetensors, metrics.jsonl and tensorboard.
            product: the file that the caller makes of the policy, as for `fit`.

        Raises:
            ValueError: `out` holds another run.
            NonFiniteLossError: the loss became NaN or infinite.
        """
        network = ActionLikelihood(self.policy)
        with self._only_actions_learn(network):
            result = fit_examples(
                network,
                self._loss,
                lambda rows: self._pairs(self.demonstrations, rows),
                self.rows,
                self.fit_config,
                Path(out),
                evaluate=self._look,
                evaluate_every=self.config.evaluate_every,
                identity={"cloning": asdict(self.config), "data": self._fingerprint()},
                product=product,
                stopping=EarlyStopping(metric="regret" if self.judge else "neglogp", patience=self.config.patience),
            )
        self.policy.to(self.model.device)
        return CloningResult(metrics=self.evaluate(), step=result.kept, main=result.main)

    def evaluate(self) -> dict[str, float]:
        """Scores the policy on the held-out pairs.

        Returns:
            neglogp (mean negative log-probability of the true action, or cross-entropy with soft labels),
            prob_true_act, entropy, and for all but Box actions accuracy (the share of pairs whose most likely action
            is the true one).
        """
        self.policy.set_training_mode(False)
        with torch.no_grad():
            return self._score(ActionLikelihood(self.policy))

    def _look(self, network: ActionLikelihood) -> dict[str, float]:
        """What a run sees of its policy while it trains; `regret`, the lower the better, is what the judge says."""
        scores = self._score(network)
        return scores | {"regret": -self.judge(network.policy)} if self.judge else scores

    def _score(self, network: ActionLikelihood) -> dict[str, float]:
        return mean_scores(
            network,
            lambda model, batch: model(batch["obs"], batch["acts"]).means(),
            lambda rows: self._pairs(self.held_out, rows),
            self.held_out_rows,
            at_once=SCORED_AT_ONCE,
        )

    def _loss(self, network: nn.Module, batch: dict[str, Tensor], _: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        means = network(batch["obs"], batch["acts"]).means()
        trained = [weight for weight in self.policy.parameters() if weight.requires_grad]
        l2_norm = torch.stack([weight.square().sum() for weight in trained]).sum() / 2
        ent_loss, l2_loss = -self.config.ent_weight * means["entropy"], self.config.l2_weight * l2_norm
        terms = means | {"ent_loss": ent_loss, "l2_norm": l2_norm, "l2_loss": l2_loss}
        return means["neglogp"] + ent_loss + l2_loss, terms

    def _pairs(self, pairs: Demonstrations, rows: np.ndarray) -> dict[str, Tensor]:
        """Observations as the policy wants them, images with channels first, and labels; on the CPU."""
        space, acts = self.policy.observation_space, pairs.acts[rows]
        obs = torch.from_numpy(pairs.obs[rows].astype(space.dtype, copy=False))
        if is_channel_last(pairs.obs, space):
            obs = rearrange(obs, "b h w c -> b c h w")
        chosen = isinstance(self.policy.action_space, Discrete | MultiDiscrete) and acts.dtype.kind in "iu"
        return {"obs": obs, "acts": torch.from_numpy(acts.astype(np.int64 if chosen else np.float32))}

    @contextmanager
    def _only_actions_learn(self, network: ActionLikelihood) -> Iterator[None]:
        """Freezes what an action's probability does not depend on."""
        self.policy.set_training_mode(False)
        pair = self._pairs(self.demonstrations, self.rows[:1])
        needed = action_parameters(network, *(pair[name].to(self.policy.device) for name in ("obs", "acts")))
        frozen = [weight for weight in self.policy.parameters() if weight.requires_grad and weight not in needed]
        for weight in frozen:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight in frozen:
                weight.requires_grad_(True)

    def _fingerprint(self) -> dict[str, Any]:
        """What tells these pairs from others: which are used, all labels, and a few of the observations."""
        digest = hashlib.blake2b(self.rows.tobytes() + self.held_out_rows.tobytes(), digest_size=16)
        for pairs in (self.demonstrations, self.held_out):
            digest.update(pairs.acts.tobytes() + pairs.obs[:: len(pairs) // 64 + 1].tobytes())
        return {"pairs": len(self.rows), "held_out": len(self.held_out_rows), "hash": digest.hexdigest()}
