import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from flam_env.worlds.checkpoint import fingerprint, round_as_stored, save_network
from flam_train.engine import FitConfig
from flam_train.engine.locks import folder_lock
from flam_train.engine.precision import uses_bf16
from flam_train.players.dagger import FILE, DaggerConfig, demonstrator
from flam_train.players.policy import Demonstrator, Policy, PolicyConfig, choose, load_policy
from flam_train.players.policy_scores import score_policy
from flam_train.players.variations import MIRRORS, mirrored_actions, varied
from flam_train.players.visits import VisitConfig
from flam_train.sources.collect import collect
from flam_train.sources.procgen.games import GAMES, distinct_actions
from flam_train.sources.procgen.simulators import open_simulators

pytest.importorskip("procgen")
TINY = DaggerConfig(rounds=2, visits=VisitConfig(states=8, games=4, stride=2), scored=2)
FIT = FitConfig(steps=2, batch_size=6, learning_rate=1e-3, ema=0.5, precision="fp32")


def teach(out, **changes):
    settings = {"game": "bigfish", "out": out, "episodes": 2, "dagger": TINY, "training": FIT, "last_training": FIT}
    return demonstrator(**settings | changes)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    return teach(tmp_path_factory.mktemp("taught") / "bigfish")


def tiny_file(folder, game="bigfish"):
    torch.manual_seed(1)
    save_network(folder / FILE, round_as_stored(Policy(PolicyConfig(game=game, widths=(4, 6), features=5))))
    return folder / FILE


def test_a_run_leaves_a_policy_and_its_learning_curve(taught):
    assert load_policy(taught, "bigfish").config.game == "bigfish"
    curve = [json.loads(path.read_text()) for path in sorted(taught.parent.glob("round-*/scores.json"))]
    assert [point["labelled_states"] for point in curve] == [8, 16] and all("greedy" in point for point in curve)
    assert not list(taught.parent.glob("**/*.tmp"))


def test_an_interrupted_run_resumes_to_the_same_policy(taught, tmp_path, monkeypatch):
    out = tmp_path / "bigfish"

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("flam_train.players.dagger.fit_policy", interrupted)
        teach(out)
    assert (out / "round-00" / "states.h5").exists() and not (out / "round-00" / FILE).exists()
    teach(out, dagger=replace(TINY, rounds=1))
    for _ in range(2):  # the first time one more round is asked for, the second time nothing is left to do
        assert fingerprint(load_policy(teach(out), "bigfish")) == fingerprint(load_policy(taught, "bigfish"))


def test_another_run_or_a_foreign_folder_is_refused(taught, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"got a run that differs in .*seed 0 there, 1 here.*another output folder"):
        teach(taught.parent, seed=1)
    other = {} if uses_bf16("auto", torch.device("cpu")) else {"amx_bf16": True}
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=r"differs in precision\.look_ahead \w+ there"):
        patch.setattr("torch.cpu.get_capabilities", lambda: other)
        teach(taught.parent)
    with folder_lock(taught.parent), pytest.raises(ValueError, match="expected a folder that nobody else writes into"):
        teach(taught.parent)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ValueError, match="absent or empty folder"):
        teach(tmp_path)


def test_an_unknown_game_is_refused_and_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="expected a game out of bigfish, leaper, starpilot, got 'coinrun'"):
        teach(tmp_path / "coinrun", game="coinrun")
    assert not (tmp_path / "coinrun").exists()


def test_a_collection_by_a_policy_is_the_same_again(tmp_path):
    policy, seen = tiny_file(tmp_path), []
    for name, workers in (("one", 1), ("two", 2)):
        arguments = {"frames": 60, "random_share": 0.0, "max_episode_frames": 9, "workers": workers}
        store = collect("bigfish", tmp_path / name, demonstrator=policy, **arguments)
        episodes = [store.read(record) for record in store.episodes("train")]
        assert {episode.agent for episode in episodes} == {"demonstrator"}
        seen.append([(episode.frames.tobytes(), episode.actions.tolist()) for episode in episodes])
    assert seen[0] == seen[1]


def test_a_collection_remembers_its_policy(tmp_path):
    arguments = {"frames": 10, "random_share": 0.5, "max_episode_frames": 4, "workers": 1}
    collect("bigfish", tmp_path / "store", demonstrator=tiny_file(tmp_path), **arguments)
    with pytest.raises(ValueError, match="another folder"):
        collect("bigfish", tmp_path / "store", **arguments)


def test_what_is_no_policy_of_the_game_is_refused(tmp_path):
    missing, foreign = tmp_path / "nothing.safetensors", tiny_file(tmp_path, "starpilot")
    for file, message in (
        (missing, r"expected the file of a trained policy, got .*; make one with `flam-train demonstrator bigfish"),
        (foreign, r"expected a policy of bigfish .* got one of starpilot; train another"),
    ):
        with pytest.raises(ValueError, match=message):
            collect("bigfish", tmp_path / "store", demonstrator=file)
        assert not (tmp_path / "store").exists()
    with pytest.raises(ValueError, match="games of Procgen only"):
        collect("multigrid", tmp_path / "store", demonstrator=foreign)


def test_what_hardly_matters_is_done_in_a_fixed_order(tmp_path):
    policy, preferences = load_policy(tiny_file(tmp_path), "bigfish"), torch.zeros(4, 9)
    preferences[1, 7] = 0.04  # within the tolerance: it idles as if nothing were preferred
    preferences[2, 7] = 0.06
    preferences[3, [0, 1]] = torch.tensor([0.09, 0.06])  # a straight move before a diagonal one
    policy.forward = lambda frames: preferences
    assert choose(policy, np.zeros((4, 64, 64, 3), np.uint8), None).tolist() == [4, 4, 7, 1]
    drawn = [choose(policy, np.zeros((4, 64, 64, 3), np.uint8), np.random.default_rng(seed)) for seed in range(40)]
    assert len({actions[0] for actions in drawn}) > 6


def filmed(file, seed):
    """What a demonstrator does in fifty equal frames."""
    demonstrator = Demonstrator(load_policy(file, "bigfish"))
    demonstrator.begin(np.random.default_rng(seed))
    return demonstrator.predict(np.zeros((50, 64, 64, 3), np.uint8))[0].tolist()


def test_who_was_taught_to_draw_draws_by_the_seed_when_filmed(tmp_path):
    torch.manual_seed(1)
    policy = Policy(PolicyConfig(game="bigfish", temperature=1.0, tolerance=None, widths=(4, 6), features=5))
    save_network(tmp_path / FILE, round_as_stored(policy))
    first, again, other = (filmed(tmp_path / FILE, seed) for seed in (2, 2, 3))
    assert first == again != other and len(set(first)) > 4


def test_who_prefers_actions_is_filmed_without_chance(tmp_path):
    assert len(set(filmed(tiny_file(tmp_path), 2))) == 1


def test_a_score_is_the_same_again(tmp_path):
    policy = load_policy(tiny_file(tmp_path), "bigfish")
    first, again = (
        score_policy(policy, split="test", episodes=3, seed=5, greedy=False, max_frames=60) for _ in range(2)
    )
    assert np.array_equal(first.returns, again.returns) and np.array_equal(first.lengths, again.lengths)


@pytest.mark.parametrize("game", GAMES)
def test_mirrored_actions_undo_themselves(game):
    actions = distinct_actions(game)
    for axis in MIRRORS[game]:
        image = mirrored_actions(game, axis)
        assert sorted(image) == list(range(len(actions))) and [image[i] for i in image] == list(range(len(actions)))


def test_a_mirrored_action_moves_the_fish_the_other_way():
    """From one state, an action and its image leave the fish at places that mirror each other about where it was."""
    actions = distinct_actions("bigfish")
    raw = open_simulators("bigfish", 9, first_level=0, levels=1, seed=0, render=False)
    raw.callmethod("set_state", [raw.callmethod("get_state")[0]] * 9)
    for _ in range(6):
        raw.act(actions)
    frames = raw.observe()[1]["rgb"].astype(float)
    raw.close()
    moved = np.abs(frames - frames[actions.tolist().index(4)]).sum(-1)
    for axis, dimension in (("upright", 0), ("level", 1)):
        for index, image in enumerate(mirrored_actions("bigfish", axis)):
            if index != image:
                first, other = (np.argwhere(moved[i] > 60)[:, dimension].mean() for i in (index, image))
                assert abs(first - other) > 1, (axis, index)


def test_variations_keep_frames_and_values_together():
    frames, values = torch.zeros(40, 64, 64, 3, dtype=torch.uint8), torch.zeros(40, 9)
    frames[:, :10], values[:, 5] = 200, 1.0  # what is worth most is up, where the light is
    batch = varied("bigfish", frames, values, torch.Generator().manual_seed(0))
    lit_above = batch["frames"][:, 4, 32, 0] > 0
    assert torch.equal(lit_above, batch["values"].argmax(1) == 5) and 5 < lit_above.sum() < 35
    assert batch["frames"].dtype == torch.uint8 and batch["values"][~lit_above].argmax(1).eq(3).all()
