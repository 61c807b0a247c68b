"""Cloning on tasks whose answer is known: an action that is to be seen in the observation."""

import json
import os
import signal

import gymnasium as gym
import numpy as np
import pytest
import torch
from einops import rearrange

pytest.importorskip("stable_baselines3")

from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from flam_train.cli import main
from flam_train.clone import load_clone
from flam_train.engine import FitConfig
from flam_train.impala_extractor import ImpalaExtractor
from flam_train.players.action_likelihood import ActionLikelihood
from flam_train.players.behaviour_cloning import BehaviourCloning, CloningConfig
from flam_train.players.demonstrations import Demonstrations, read_demonstrations
from flam_train.store.store import EpisodeStore

ACTIONS, HEIGHT, WIDTH = 5, 36, 40
IMPALA = {"features_extractor_class": ImpalaExtractor, "net_arch": []}
FEW_WIDTHS = IMPALA | {"features_extractor_kwargs": {"widths": (4, 8), "features_dim": 24}}


def pictures(actions: np.ndarray, seed: int = 0) -> np.ndarray:
    """Dark noise in which a bright bar stands where the action says, uint8 (P, HEIGHT, WIDTH, 3)."""
    frames = np.random.default_rng(seed).integers(0, 60, (len(actions), HEIGHT, WIDTH, 3), dtype=np.uint8)
    for frame, action in zip(frames, actions, strict=True):
        frame[:, 8 * action : 8 * action + 8] = 230
    return frames


class Bars(gym.Env):
    """Shows a bar for 6 steps; pays for each step whose action names it."""

    observation_space = gym.spaces.Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    action_space = gym.spaces.Discrete(ACTIONS)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.show(), {}

    def show(self):
        self.place = int(self.np_random.integers(ACTIONS))
        return pictures(np.array([self.place]), int(self.np_random.integers(1000)))[0]

    def step(self, action):
        self.steps += 1
        reward = float(action == self.place)
        return self.show(), reward, self.steps == 6, False, {}


class Spaces(gym.Env):
    """Nothing but two spaces."""

    def __init__(self, observations, actions):
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def bars_model(seed: int = 0, algorithm=PPO, **policy):
    env = VecMonitor(DummyVecEnv([Bars] * 3))
    rollout = {"batch_size": 12, "n_epochs": 1} if algorithm is PPO else {}
    return algorithm("CnnPolicy", env, n_steps=8, seed=seed, device="cpu", policy_kwargs=policy or None, **rollout)


def spaces_model(observations, actions, **policy):
    return PPO(
        "MlpPolicy", Spaces(observations, actions), n_steps=8, batch_size=8, seed=0, policy_kwargs=policy or None
    )


def bar_pairs(number: int = 240, episodes: int = 12, seed: int = 0) -> Demonstrations:
    acts = np.random.default_rng(seed).integers(0, ACTIONS, number)
    return Demonstrations(obs=pictures(acts, seed), acts=acts, episodes=np.arange(number) % episodes)


def plan(**changes) -> FitConfig:
    defaults = {"steps": 100, "batch_size": 24, "learning_rate": 2e-3, "weight_decay": 0.0, "ema": 0.9, "log_every": 10}
    return FitConfig(**(defaults | {"precision": "fp32"} | changes))


def looks(**changes) -> CloningConfig:
    return CloningConfig(**({"evaluate_every": 20} | changes))


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def same(one, other, names=None) -> bool:
    return all(torch.equal(one[name], other[name]) for name in names or one)


@pytest.mark.parametrize("features", ["nature", "impala"])
def test_a_clone_does_what_it_saw_and_goes_on_learning_from_its_zip(tmp_path, features):
    model = bars_model(**(FEW_WIDTHS if features == "impala" else {}))
    result = BehaviourCloning(model, bar_pairs(), config=looks(), fit_config=plan()).train(tmp_path / "run")
    assert result.metrics["accuracy"] > 0.98 and result.metrics["prob_true_act"] > 0.9 and result.step <= 100
    model.save(tmp_path / "clone")
    again = PPO.load(tmp_path / "clone", env=model.get_env())
    assert same(weights(again), weights(model))
    assert evaluate_policy(again, again.get_env(), n_eval_episodes=9)[0] > 5.8
    again.learn(48)
    assert again.num_timesteps == 48 and not same(weights(again), weights(model))
    assert evaluate_policy(again, again.get_env(), n_eval_episodes=9)[0] > 5


def test_a_vector_that_holds_its_action_is_cloned_into_an_mlp_policy_of_any_algorithm(tmp_path):
    random = np.random.default_rng(0)
    obs = random.normal(size=(600, 7))
    pairs = Demonstrations(obs=obs, acts=obs[:, 2:6].argmax(1), episodes=np.arange(600) // 50)
    env = Spaces(gym.spaces.Box(-9, 9, (7,)), gym.spaces.Discrete(4))
    model = A2C("MlpPolicy", env, seed=0)
    cloning = BehaviourCloning(model, pairs, config=looks(), fit_config=plan(steps=500, batch_size=64))
    assert cloning.train(tmp_path).metrics["accuracy"] > 0.95
    assert model.predict(np.eye(7)[4], deterministic=True)[0] == 2


def test_latent_actions_of_several_slots_are_cloned(tmp_path):
    obs = np.random.default_rng(0).uniform(-1, 1, (500, 6)).astype(np.float32)
    acts = rearrange(obs, "p (k a) -> p k a", k=3)
    pairs = Demonstrations(obs=obs, acts=acts, episodes=np.arange(500) // 50)
    model = spaces_model(gym.spaces.Box(-1, 1, (6,)), gym.spaces.Box(-3, 3, (3, 2)))
    before = weights(model)["log_std"]
    cloning = BehaviourCloning(
        model, pairs, config=looks(), fit_config=plan(steps=400, batch_size=64, learning_rate=1e-2)
    )
    metrics = cloning.train(tmp_path).metrics
    assert metrics["neglogp"] < 0 and "accuracy" not in metrics
    assert (weights(model)["log_std"] < before).all()
    assert np.abs(model.predict(obs[:9], deterministic=True)[0] - acts[:9]).mean() < 0.1


@pytest.mark.parametrize("space", [gym.spaces.MultiDiscrete([3, 2]), gym.spaces.MultiBinary(2)])
def test_several_choices_at_once_are_cloned(tmp_path, space):
    obs = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    pairs = Demonstrations(obs=obs, acts=(obs[:, :2] > 0).astype(np.int8), episodes=np.arange(400) // 50)
    cloning = BehaviourCloning(
        spaces_model(gym.spaces.Box(-9, 9, (3,)), space), pairs, config=looks(), fit_config=plan(steps=200)
    )
    assert cloning.train(tmp_path).metrics["accuracy"] > 0.9


def test_soft_labels_reach_the_same_optimum(tmp_path):
    hard = bar_pairs(400)
    soft = np.full((400, ACTIONS), 0.05, np.float16)
    soft[np.arange(400), hard.acts] = 0.8
    pairs = Demonstrations(obs=hard.obs, acts=soft, episodes=hard.episodes)
    model = bars_model()
    cloning = BehaviourCloning(model, pairs, config=looks(ent_weight=0.0), fit_config=plan(steps=150))
    metrics = cloning.train(tmp_path).metrics
    floor = -(0.8 * np.log(0.8) + 4 * 0.05 * np.log(0.05))  # the entropy of the labels
    assert metrics["accuracy"] > 0.98 and floor - 0.01 < metrics["neglogp"] < floor + 0.05
    shown = torch.from_numpy(rearrange(pictures(np.arange(ACTIONS), seed=9), "b h w c -> b c h w"))
    probabilities = model.policy.get_distribution(shown).distribution.probs.diagonal()
    assert ((probabilities - 0.8).abs() < 0.1).all()


@pytest.mark.parametrize("share", [True, False])
def test_the_value_head_and_the_optimiser_of_the_algorithm_stay_bit_for_bit(tmp_path, share):
    model = bars_model(share_features_extractor=share, net_arch={"pi": [11], "vf": [13]})
    before, optimizer = weights(model), model.policy.optimizer
    BehaviourCloning(model, bar_pairs(), config=looks(), fit_config=plan(steps=20, weight_decay=0.1)).train(tmp_path)
    critic = [name for name in before if "value_net" in name or (not share and name.startswith("vf_"))]
    actor = [name for name in before if name.startswith(("action_net", "pi_features")) or ".policy_net" in name]
    assert len(critic) >= 4 and len(actor) >= 4 and same(before, weights(model), critic)
    assert not any(same(before, weights(model), [name]) for name in actor)
    assert model.policy.optimizer is optimizer and not optimizer.state
    assert all(weight.requires_grad for weight in model.policy.parameters()) and not model.policy.training


def test_killed_and_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    def train(name: str, dies_at: int = 0):
        model, draws = bars_model(**FEW_WIDTHS), []
        cloning = BehaviourCloning(model, bar_pairs(), config=looks(evaluate_every=15, patience=1), fit_config=plan())
        draw = cloning._pairs

        def draw_or_die(pairs, rows):
            if len(rows) == plan().batch_size:  # and not held out
                draws.append(1)
                if len(draws) == dies_at:
                    os.kill(os.getpid(), signal.SIGTERM)
            return draw(pairs, rows)

        monkeypatch.setattr(cloning, "_pairs", draw_or_die)
        return cloning.train(tmp_path / name), model

    with pytest.raises(SystemExit):
        train("killed", dies_at=37)
    resumed, model = train("killed")
    whole, uninterrupted = train("whole")
    assert resumed == whole and same(weights(model), weights(uninterrupted))
    finished, again = train("whole")
    assert finished == whole and same(weights(again), weights(model))


def test_training_ends_when_held_out_pairs_no_longer_profit_and_keeps_the_best(tmp_path):
    noise = np.random.default_rng(1).integers(0, ACTIONS, 120)
    pairs = Demonstrations(obs=bar_pairs(120).obs, acts=noise, episodes=np.arange(120) // 10)
    cloning = BehaviourCloning(
        bars_model(), pairs, config=looks(evaluate_every=5, patience=3), fit_config=plan(steps=500)
    )
    result = cloning.train(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    scores = {row["step"]: row["eval/neglogp"] for row in rows if "eval/neglogp" in row}
    assert max(scores) == result.step + 15 < 500 and min(scores, key=scores.get) == result.step
    assert cloning.evaluate()["neglogp"] == pytest.approx(scores[result.step])


def test_the_weights_that_the_judge_likes_best_are_kept(tmp_path):
    model, seen, liking = bars_model(), [], iter([3.0, 7.0, 5.0, 6.0])

    def judge(policy) -> float:
        seen.append({name: value.clone() for name, value in policy.state_dict().items()})
        return next(liking)

    cloning = BehaviourCloning(model, bar_pairs(), config=looks(patience=0), fit_config=plan(steps=80), judge=judge)
    assert cloning.train(tmp_path).step == 40
    assert same(weights(model), seen[1]) and not same(weights(model), seen[3])
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["eval/regret"] for line in lines if "eval/regret" in line] == [-3, -7, -5, -6]


def test_held_out_pairs_come_from_held_out_episodes():
    pairs = bar_pairs(240, episodes=12)
    cloning = BehaviourCloning(bars_model(), pairs, held_out=0.25)
    learned, held_out = (set(pairs.episodes[rows]) for rows in (cloning.rows, cloning.held_out_rows))
    assert len(held_out) == 3 and len(learned) == 9 and not learned & held_out
    with pytest.raises(ValueError, match="expected a share of the episodes between 0 and 1 to hold out, got 1"):
        BehaviourCloning(bars_model(), pairs, held_out=1)


def test_the_threshold_drops_uncertain_pairs():
    acts = np.full((40, ACTIONS), 0.1, np.float32)
    acts[:, 3] = 0.6
    acts[::4] = 0.2
    pairs = Demonstrations(obs=bar_pairs(40).obs, acts=acts, episodes=np.arange(40) // 8)
    all_pairs = BehaviourCloning(bars_model(), pairs)
    certain = BehaviourCloning(bars_model(), pairs, config=looks(confidence_threshold=0.5))
    assert len(all_pairs.rows) + len(all_pairs.held_out_rows) == 40
    kept = np.concatenate([certain.rows, certain.held_out_rows])
    assert len(kept) == 30 and (kept % 4 > 0).all()
    with pytest.raises(ValueError, match=r"expected at least one pair with confidence 0\.7 or more, got at most 0\.6"):
        BehaviourCloning(bars_model(), pairs, config=looks(confidence_threshold=0.7))
    with pytest.raises(ValueError, match="expected soft labels for a confidence threshold, got int64"):
        BehaviourCloning(bars_model(), bar_pairs(), config=looks(confidence_threshold=0.7))
    vectors = Demonstrations(obs=np.zeros((40, 2)), acts=np.full((40, 3), 0.9), episodes=np.arange(40) // 8)
    model = spaces_model(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Box(-1, 1, (3,)))
    with pytest.raises(ValueError, match="expected soft labels for a confidence threshold, got float64"):
        BehaviourCloning(model, vectors, config=looks(confidence_threshold=0.7))


def test_the_loss_is_that_of_imitation():
    pairs, config = bar_pairs(60), looks(ent_weight=0.3, l2_weight=0.01)
    cloning = BehaviourCloning(bars_model(), pairs, config=config)
    network, batch = ActionLikelihood(cloning.policy), cloning._pairs(pairs, np.arange(7))
    loss, terms = cloning._loss(network, batch, None)
    _, log_prob, entropy = cloning.policy.evaluate_actions(batch["obs"], batch["acts"])
    norm = sum(weight.square().sum() for weight in cloning.policy.parameters()) / 2
    torch.testing.assert_close(loss, -log_prob.mean() - 0.3 * entropy.mean() + 0.01 * norm)
    assert terms.keys() >= {"neglogp", "entropy", "ent_loss", "prob_true_act", "l2_norm", "l2_loss"}
    torch.testing.assert_close(terms["prob_true_act"], log_prob.exp().mean())


def test_certainty_has_a_finite_slope():
    policy = bars_model().policy
    torch.nn.init.constant_(policy.action_net.bias, 0)
    policy.action_net.bias.data[2] = 300.0  # all other actions have probability 0 in single precision
    frames = torch.zeros(4, 3, HEIGHT, WIDTH, dtype=torch.uint8)
    means = ActionLikelihood(policy)(frames, torch.tensor([2, 2, 2, 1])).means()
    (means["neglogp"] - means["entropy"]).backward()
    assert means["entropy"] == 0 and policy.action_net.weight.grad.isfinite().all()


def test_channels_may_be_first_or_last():
    last = bar_pairs(60)
    first = Demonstrations(obs=rearrange(last.obs, "p h w c -> p c h w"), acts=last.acts, episodes=last.episodes)
    one, other = (BehaviourCloning(bars_model(), pairs).evaluate() for pairs in (last, first))
    assert one == pytest.approx(other, abs=1e-5)


def test_impala_has_the_size_of_the_literature():
    space = gym.spaces.Box(0, 255, (3, 64, 64), np.uint8)
    extractor = ImpalaExtractor(space)
    heads = 256 * (15 + 1) + 15 + 1
    assert sum(weight.numel() for weight in extractor.parameters()) + heads == 626_256
    assert extractor(torch.zeros(2, 3, 64, 64)).shape == (2, 256)
    with pytest.raises(
        ValueError, match=r"expected observations of shape \(channels, height, width\), got \(64, 60, 3\)"
    ):
        ImpalaExtractor(gym.spaces.Box(0, 255, (64, 60, 3), np.uint8))


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("obs", "acts", "message"),
    [
        (7, np.zeros(6, int), "expected as many observations as actions .*, got 7 and 6"),
        (0, np.zeros(0, int), "expected at least one pair"),
        (4, np.array([0, 1, 5, 2]), r"expected labels inside Discrete\(5\), got 5 in pair 2"),
        (4, np.array([0, 1, -1, 2]), "got -1 in pair 2"),
        (
            4,
            np.zeros(4),
            r"expected labels that are integers .* or probabilities .*, got float64 \(4,\)",
        ),
        (4, np.zeros((4, 5), int), r"got int64 \(4, 5\)"),
        (4, np.full((4, 6), 1 / 6), "expected probabilities over 5 actions, got 6 columns"),
        (4, np.full((4, 5), 0.25), "expected probabilities that are not negative and sum to 1, .* sum 1.25"),
        (4, np.array([[1.5, -0.5, 0, 0, 0]] * 4), "minimum -0.5 in pair 0"),
        (4, np.full((4, 5), np.nan), "sum nan"),
    ],
)
def test_labels_that_do_not_fit_are_refused(obs, acts, message):
    with pytest.raises(ValueError, match=message):
        frames = np.zeros((obs, HEIGHT, WIDTH, 3), np.uint8)
        BehaviourCloning(bars_model(), Demonstrations(obs=frames, acts=acts, episodes=np.arange(len(acts))))


@pytest.mark.parametrize("kind", ["lists", "tensors", "h5py", "memory map", "array-like"])
def test_demonstrations_are_whatever_numpy_can_make_arrays_of(tmp_path, kind):
    pairs, given = bar_pairs(30), {}
    for name in ("obs", "acts", "episodes"):
        array = getattr(pairs, name)
        if kind == "lists":
            given[name] = list(array) if name == "obs" else array.tolist()
        elif kind == "tensors":
            given[name] = torch.from_numpy(array)
        elif kind == "h5py":
            h5py = pytest.importorskip("h5py")
            given[name] = h5py.File(tmp_path / f"{name}.h5", "w").create_dataset(name, data=array)
        elif kind == "memory map":
            np.save(tmp_path / f"{name}.npy", array)
            given[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        else:
            given[name] = type("Frames", (), {"__array__": lambda self, dtype=None, copy=None, array=array: array})()
    one, other = (BehaviourCloning(bars_model(), each) for each in (pairs, Demonstrations(**given)))
    assert other.evaluate() == one.evaluate() and other._fingerprint() == one._fingerprint()


def test_labels_that_learned_are_taken_as_they_are():
    scores = torch.zeros(30, ACTIONS, requires_grad=True)
    pairs = Demonstrations(obs=bar_pairs(30).obs, acts=scores.softmax(1), episodes=bar_pairs(30).episodes)
    assert BehaviourCloning(bars_model(), pairs).evaluate()["neglogp"] == pytest.approx(np.log(ACTIONS), abs=0.1)


def test_a_memory_map_is_not_read_into_memory(tmp_path):
    np.save(tmp_path / "obs.npy", bar_pairs(30).obs)
    mapped = np.load(tmp_path / "obs.npy", mmap_mode="r")
    assert np.shares_memory(Demonstrations(obs=mapped, acts=bar_pairs(30).acts).obs, mapped)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"acts": 3}, r"expected acts as an array of numbers \(P, ...\), got int with int64 \(\)"),
        ({"acts": ["up"] * 30}, "expected acts as an array of numbers .*, got list with <U2"),
        ({"obs": [np.zeros((4, 4, 3)), np.zeros((4, 5, 3))]}, r"expected obs as an array \(P, ...\), got list: "),
        ({"obs": {"pixels": 3}}, "expected obs as an array of numbers .*, got dict with object"),
        ({"acts": torch.zeros(30, 5, dtype=torch.bfloat16)}, r"expected acts as an array \(P, ...\), got Tensor: "),
    ],
)
def test_what_is_no_array_of_numbers_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        Demonstrations(**{"obs": bar_pairs(30).obs, "acts": bar_pairs(30).acts} | given)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((4, 48, 48, 3), np.uint8, r"expected observations of shape \('P', 3, 36, 40\), .* got \(4, 48, 48, 3\)"),
        ((4, 9), np.uint8, r"got \(4, 9\)"),
        ((4, HEIGHT, WIDTH, 3), np.float32, "expected observations that are uint8, got float32"),
    ],
)
def test_observations_that_do_not_fit_are_refused(shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        BehaviourCloning(bars_model(), Demonstrations(obs=np.zeros(shape, dtype), acts=np.zeros(4, int)))


def test_pairs_of_one_or_of_unknown_episodes_cannot_be_held_out():
    pairs = bar_pairs(20, episodes=1)
    for known in (pairs, Demonstrations(obs=pairs.obs, acts=pairs.acts)):
        with pytest.raises(ValueError, match="expected at least two episodes, to hold one out"):
            BehaviourCloning(bars_model(), known)
        BehaviourCloning(bars_model(), known, bar_pairs(20, seed=1))


def test_policies_without_an_actor_are_refused():
    space = gym.spaces.Box(-1, 1, (3,))
    model = DQN("MlpPolicy", Spaces(space, gym.spaces.Discrete(4)), buffer_size=9)
    pairs = Demonstrations(obs=np.zeros((4, 3)), acts=np.zeros(4, int))
    with pytest.raises(ValueError, match="expected an algorithm with an actor-critic policy without memory, got DQN"):
        BehaviourCloning(model, pairs)


@pytest.mark.parametrize("changes", [{"ent_weight": -1}, {"confidence_threshold": 2}, {"patience": -1}])
def test_config_out_of_range_is_named(changes):
    with pytest.raises(ValueError, match=f"expected {next(iter(changes))} in range"):
        CloningConfig(**changes)


def test_other_demonstrations_do_not_resume_a_run(tmp_path):
    hurried = {"config": looks(), "fit_config": plan(steps=2)}
    BehaviourCloning(bars_model(), bar_pairs(60), **hurried).train(tmp_path)
    with pytest.raises(ValueError, match=r"differs in identity\.data\.hash"):
        BehaviourCloning(bars_model(), bar_pairs(60, seed=1), **hurried).train(tmp_path)


# --- stores and the command -------------------------------------------------------------------------------------


@pytest.fixture
def acted(tmp_path, make_episode) -> EpisodeStore:
    """Episodes of 5, 6, 7 frames by the planner and between them others by chance; an action is its frame's colour."""
    store = EpisodeStore.create(tmp_path / "acted", source="colours", size=8, settings={})
    for number, length in enumerate((5, 6, 7)):
        for agent in ("planner", "random"):
            actions = (10 * number + np.arange(length) + 100 * (agent == "random")).astype(np.int16)
            frames = np.broadcast_to(actions.astype(np.uint8)[:, None, None, None], (length, 8, 8, 3)).copy()
            episode = make_episode(frames, agent)
            object.__setattr__(episode, "actions", actions)
            store.write("train", episode)
    return store


def test_demonstrations_of_a_store_pair_frames_with_their_actions(acted):
    whole = read_demonstrations(acted, "train")
    assert whole.acts.tolist() == [*range(5), *range(10, 16), *range(20, 27)]
    assert (whole.obs[:, 3, 4, 1] == whole.acts).all() and whole.obs.dtype == np.uint8
    assert whole.episodes.tolist() == [0] * 5 + [1] * 6 + [2] * 7
    with pytest.warns(UserWarning, match="taking the first 7 of 18 pairs") as said:
        first = read_demonstrations(acted, "train", pairs=7)
    assert [each.filename for each in said] == [__file__]
    assert first.acts.tolist() == [0, 1, 2, 3, 4, 10, 11]
    spread = read_demonstrations(acted, "train", pairs=6, spread=True)
    assert spread.acts.tolist() == [0, 3, 11, 14, 21, 24] and (spread.obs[:, 0, 0, 0] == spread.acts).all()
    assert len(read_demonstrations(acted, "train", agent=None)) == 36
    with pytest.raises(ValueError, match=r"expected episodes of expert in split 'train' .* got 0 episodes"):
        read_demonstrations(acted, "train", agent="expert")


def test_actions_that_nobody_knows_or_of_several_agents_are_refused(acted, make_episode):
    for agents, known in ((0, "none, as of plain video"), (2, "those of 2 agents")):
        episode = make_episode(np.zeros((4, 8, 8, 3), np.uint8), f"by{agents}")
        object.__setattr__(episode, "actions", np.zeros((4, agents), np.int16))
        acted.write("val", episode)
        with pytest.raises(ValueError, match=f"expected the actions of one agent, got {known}"):
            read_demonstrations(acted, "val", agent=f"by{agents}")


def test_the_command_refuses_stores_of_other_sources(acted, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["clone", str(acted.root), "--out", str(tmp_path / "run")])
    assert "expected a store of bigfish, leaper, starpilot" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_command_makes_a_policy_that_plays(tmp_path, monkeypatch, capsys):
    pytest.importorskip("procgen")
    from flam_train.sources.collect import collect
    from flam_train.sources.procgen.vec_env import ProcgenVecEnv

    monkeypatch.setattr("flam_train.clone.SIMULATORS", 2)
    data, out = tmp_path / "data", tmp_path / "run"
    collect("bigfish", data, frames=300, random_share=1.0, workers=1, max_episode_frames=60)
    quick = ["--agent", "random", "--features", "nature", "--episodes-per-env", "1", "--config.evaluate-every", "3"]
    arguments = ["clone", str(data), "--out", str(out), "--preset", "tiny", "--fit-config.steps", "6", *quick]
    main(arguments)
    assert same(weights(load_clone(out / "policy.safetensors")), weights(PPO.load(out / "policy.zip")))
    scores = json.loads((out / "levels.json").read_text())
    assert scores["levels"]["episodes"] == 2 and 0 < scores["held_out"]["prob_true_act"] < 1
    env = VecMonitor(ProcgenVecEnv("bigfish", 2, native=True))
    model = PPO.load(out / "policy.zip", env=env, n_steps=16, batch_size=8)
    model.learn(32)
    env.close()
    before = (out / "training/clone/resume.safetensors").read_bytes()
    main(arguments)
    assert (out / "training/clone/resume.safetensors").read_bytes() == before
    assert json.loads((out / "levels.json").read_text()) == scores


def test_videos_that_a_world_labelled_become_a_policy_by_commands(tmp_path, monkeypatch):
    pytest.importorskip("procgen")
    imageio = pytest.importorskip("imageio.v3")
    from flam_train.sources.collect import collect

    monkeypatch.setattr("flam_train.clone.SIMULATORS", 2)
    played = collect("bigfish", tmp_path / "data", frames=100, random_share=1.0, workers=1, max_episode_frames=30)
    videos = [tmp_path / f"video{number}" for number in range(2)]
    for video, record in zip(videos, played.episodes("train"), strict=False):
        video.mkdir()
        for at, frame in enumerate(played.read(record).frames):
            imageio.imwrite(video / f"{at}.png", frame)
    labelled = tmp_path / "labelled"
    main(["label", *map(str, videos), "--world", "bigfish", "--out", str(labelled)])
    told = read_demonstrations(EpisodeStore.open(labelled), "train", agent="video", labels="pseudo")
    assert len(told) == len(told.acts) == 58 and told.acts.shape[1] == 15 and set(told.episodes) == {0, 1}
    some = read_demonstrations(EpisodeStore.open(labelled), "train", agent="video", labels="pseudo", pairs=31)
    assert np.array_equal(some.acts, told.acts[:31]) and np.array_equal(some.obs, told.obs[:31])
    quick = ["--features", "nature", "--episodes-per-env", "1", "--preset", "tiny", "--fit-config.steps", "3"]
    quick += ["--config.confidence-threshold", "0.1", "--agent", "video", "--game", "bigfish", "--labels", "pseudo"]
    main(["clone", str(labelled), "--out", str(tmp_path / "run"), *quick])
    assert json.loads((tmp_path / "run" / "levels.json").read_text())["levels"]["episodes"] == 2


def test_pseudo_labels_that_nobody_told_and_games_that_nobody_recorded_are_refused(acted, capsys, tmp_path):
    with pytest.raises(ValueError, match="expected real actions that a world told, got none; label the store"):
        read_demonstrations(acted, "train", labels="pseudo")
    with pytest.raises(SystemExit):
        main(["clone", str(acted.root), "--out", str(tmp_path / "run"), "--game", "leaper"])
    assert "expected a store of leaper, got colours" in capsys.readouterr().err
