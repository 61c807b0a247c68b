"""One stage of learning by playing: PPO of Stable-Baselines3 for so many steps, from weights and moments on."""

from dataclasses import dataclass, replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from flam_train.engine.precision import uses_bf16
from flam_train.players.policy import Policy, PolicyConfig
from flam_train.players.weights import read_weights, restore_weights, weights_of, write_weights
from flam_train.sources.procgen.games import distinct_actions
from flam_train.sources.procgen.vec_env import ProcgenVecEnv

try:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.vec_env import VecEnvWrapper, VecMonitor, VecNormalize
    from tqdm import tqdm
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "learning by playing needs Stable-Baselines3 and tqdm: pip install 'flam-env[train,rl,procgen]'",
        name=error.name,
    ) from error

FILE = "stage.safetensors"
POLICY, MOMENTS, RETURNS = "policy.", "moments.", "returns."  # of the names in it


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """How much is played in a stage and how it is learned from.

    Attributes:
        rollouts: each is learned from once.
        games: played side by side, on levels of the train split.
        rollout: steps of each game in a rollout.
        batch_size: pairs per optimiser step.
        learning_rate: of Adam in the first stage; each further one multiplies it by `decay`.
        decay: of the learning rate from stage to stage.
        discount: of a reward one step later.
        trace: lambda of generalised advantage estimation (Schulman et al. 2016).
        entropy_price: what a nat of entropy is worth beside advantages of variance 1.
        scored: episodes after the stage, of at most 1000 frames, on levels of the val split.
    """

    rollouts: int = 32
    games: int = 64
    rollout: int = 128
    batch_size: int = 1024
    learning_rate: float = 5e-4
    decay: float = 0.85
    discount: float = 0.99
    trace: float = 0.95
    entropy_price: float = 0.01
    scored: int = 64

    def __post_init__(self):
        shares = (self.decay, self.discount, self.trace)
        if min(self.rollouts, self.games, self.rollout, self.scored, self.batch_size - 1) < 1 or not (
            self.learning_rate > 0 <= self.entropy_price and all(0 <= share <= 1 for share in shares)
        ):
            raise ValueError(
                "expected rollouts, games, rollout, scored >= 1, batch_size >= 2, learning_rate > 0, entropy_price >= "
                f"0 and decay, discount, trace in [0, 1], got {self}; change these"
            )

    @property
    def steps(self) -> int:
        """Of all games together."""
        return self.rollouts * self.games * self.rollout


STAGE = StageConfig()


class Stage:
    """A stage of a run.

    Args:
        game: name of the game.
        config: how much is played and how it is learned from.
        number: of the stage; decides the learning rate.
        seed: decides the games, the actions and the order of learning.
    """

    def __init__(self, game: str, config: StageConfig, number: int, *, seed: int):
        self._game, self._config, self._number, self._seed = game, config, number, seed

    def play(self, before: Policy | Path, out: Path) -> None:
        """Goes on from an imitator, or from the folder of the stage before, and leaves a folder of the same kind."""
        env = VecMonitor(_DistinctActions(ProcgenVecEnv(self._game, self._config.games, native=True, seed=self._seed)))
        normalised = VecNormalize(env, norm_obs=False, gamma=self._config.discount)
        model = self._goes_on(before, normalised) if isinstance(before, Path) else self._beginner(before, normalised)
        model.set_random_seed(self._seed)
        model.policy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        steps = self._config.steps
        with tqdm(total=steps, desc=f"stage {self._number}", unit=" steps", unit_scale=True) as progress:
            model.learn(steps, callback=_Watcher(progress))
        env.close()
        write_weights(out / FILE, _features_of(model).config, _state_of(model, normalised))

    def _goes_on(self, stage: Path, env: VecNormalize) -> PPO:
        """What the stage before left behind."""
        config, tensors = read_weights(stage / FILE, PolicyConfig)
        model = self._model(config, env)
        restore_weights(model.policy, _part(tensors, POLICY), stage / FILE)
        optimizer = model.policy.optimizer
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(tensors, MOMENTS).items():
            number, _, moment = name.partition(".")
            moments.setdefault(int(number), {})[moment] = tensor
        optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
        returns = {name: tensor.numpy() for name, tensor in _part(tensors, RETURNS).items()}
        env.ret_rms.mean, env.ret_rms.var, env.ret_rms.count = returns["mean"], returns["var"], returns["count"].item()
        return model

    def _beginner(self, imitator: Policy, env: VecNormalize) -> PPO:
        """What plays as an imitator does, and knows nothing of returns."""
        model = self._model(imitator.config, env)
        _features_of(model).encoder.load_state_dict(imitator.encoder.state_dict())
        model.policy.action_net.load_state_dict(imitator.head.state_dict())
        return model

    def _model(self, policy: PolicyConfig, env: VecNormalize) -> PPO:
        """What has learned nothing."""
        config = self._config
        return PPO(
            "CnnPolicy",
            env,
            learning_rate=config.learning_rate * config.decay**self._number,
            n_steps=config.rollout,
            batch_size=config.batch_size,
            n_epochs=1,
            gamma=config.discount,
            gae_lambda=config.trace,
            ent_coef=config.entropy_price,
            policy_kwargs={
                "features_extractor_class": _Features,
                "features_extractor_kwargs": {"config": policy},
                "net_arch": [],
            },
            stats_window_size=200,
            seed=self._seed,
        )


def demonstrator_of(stage: Path, temperature: float = 1.0) -> Policy:
    """The policy that a stage has learned, which draws its actions; its preferences are the logits.

    Args:
        stage: folder of the stage.
        temperature: at which it draws.

    Raises:
        FileNotFoundError: the folder holds no stage.
        ValueError: its file is damaged or something else.
    """
    config, tensors = read_weights(stage / FILE, PolicyConfig)
    policy = Policy(replace(config, temperature=temperature, tolerance=None))
    learned = _part(tensors, POLICY)
    weights = {f"encoder.{name}": tensor for name, tensor in _part(learned, "features_extractor.encoder.").items()}
    weights |= {f"head.{name}": tensor for name, tensor in _part(learned, "action_net.").items()}
    restore_weights(policy, weights, stage / FILE)
    return policy.eval()


def _state_of(model: PPO, env: VecNormalize) -> dict[str, Tensor]:
    """Weights, moments of the optimiser and how returns are normalised, by name."""
    moments = model.policy.optimizer.state_dict()["state"]
    state = {POLICY + name: weight for name, weight in weights_of(model.policy).items()}
    state |= {f"{MOMENTS}{number}.{name}": moment for number, each in moments.items() for name, moment in each.items()}
    returns = {name: getattr(env.ret_rms, name) for name in ("mean", "var", "count")}
    return state | {RETURNS + name: torch.tensor(number, dtype=torch.float64) for name, number in returns.items()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _features_of(model: PPO) -> "_Features":
    features = model.policy.features_extractor
    assert isinstance(features, _Features), "a stage builds its own policies"
    return features


class _Features(BaseFeaturesExtractor):
    """The encoder of a policy over frames, in half precision where the processor is quick at it."""

    def __init__(self, observation_space: gym.Space, config: PolicyConfig):
        super().__init__(observation_space, config.features)
        self.config = config
        self.encoder = Policy(config).encoder

    def forward(self, observations: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [0, 1] -> (B, features)."""
        device = observations.device
        with torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16("auto", device)):
            return self.encoder(observations.contiguous(memory_format=torch.channels_last)).float()


class _DistinctActions(VecEnvWrapper):
    """Offers only actions that do different things: what does the same is not worth telling apart."""

    def __init__(self, venv: ProcgenVecEnv):
        self._actions = distinct_actions(venv.game)
        super().__init__(venv, action_space=gym.spaces.Discrete(len(self._actions)))

    def reset(self) -> np.ndarray:
        return self.venv.reset()  # type: ignore[return-value]

    def step_async(self, actions: np.ndarray) -> None:
        self.venv.step_async(self._actions[actions])

    def step_wait(self):
        return self.venv.step_wait()


class _Watcher(BaseCallback):
    """Shows progress and the mean return of the last episodes."""

    def __init__(self, progress: tqdm):
        super().__init__()
        self._progress = progress

    def _on_step(self) -> bool:
        self._progress.update(self.training_env.num_envs)
        return True

    def _on_rollout_end(self) -> None:
        if ended := self.model.ep_info_buffer:
            self._progress.set_postfix({"return": f"{np.mean([episode['r'] for episode in ended]):.2f}"})
