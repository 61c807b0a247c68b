"""Each baseline is a world on disk: it opens, dreams, is scored, and labels or says that it cannot."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from dots import FIT, filmed
from kinds import INFER, KINDS, SLOTS, SLOTTED
from safetensors.torch import load_file

import baselines.__main__
import flam_train.cli
from baselines.savi import SaviConfig
from baselines.train import main, train
from flam_env import Dream, Labeller, load_clips, load_world
from flam_env.models.tokenizer import Tokenizer
from flam_env.worlds.checkpoint import round_as_stored, save_network
from flam_train.evaluate.evaluate import evaluate
from flam_train.phases.pack import pack
from flam_train.phases.tokenizer import load_tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore::flam_train.phases.collapse.CollapseWarning"),
    pytest.mark.filterwarnings("ignore:.*frames a second"),
]
HURRIED = replace(FIT, steps=2, batch_size=3)
LOSSES = {
    "adaworld": "world_model_loss",
    "genie": "genie_loss",
    "world-model": "prediction_loss",
    "playslot": "playslot_loss",
    "slotformer": "slotformer_loss",
}
SPACES = {
    "adaworld": gym.spaces.Box,
    "genie": gym.spaces.Discrete(16),
    "world-model": gym.spaces.Discrete(3),
    "playslot": gym.spaces.MultiDiscrete([8] * 3),
    "slotformer": gym.spaces.Discrete(1),
}


def hurry(kind: str, data: Path, out: Path, **changes) -> Path:
    arguments = {"model": KINDS[kind].make().config, "fit_config": HURRIED, "evaluate_every": 0} | changes
    return train(kind, data, out=out, preset="tiny", **arguments)


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def checkpoint(kind, store, begin) -> Path:
    return hurry(kind, store.root, begin())


def test_it_opens_and_is_an_environment(kind, checkpoint):
    world = load_world(checkpoint)
    assert type(world.model) is type(KINDS[kind].make())
    assert world.starts.actions.shape[2:] == world.starts.bank.shape[1:] == world.action_shape
    env = gym.make("baselines:FLAM-v0", checkpoint=str(checkpoint), horizon=3, device="cpu")
    space = SPACES[kind]
    assert isinstance(env.action_space, space) if space is gym.spaces.Box else env.action_space == space
    env.reset(seed=0)
    for source in ("bank", "prior"):
        frame, *_, truncated, _ = env.step(env.unwrapped.sample_latent_action(source))
    assert frame.shape == (16, 16, 3) and not truncated
    assert env.unwrapped.slot_masks().sum(0) == pytest.approx(np.ones((16, 16)), abs=1e-5)


def test_it_dreams_the_same_twice(checkpoint):
    dream = Dream(load_world(checkpoint))
    starts, shown = dream.world.starts, []
    for _ in range(2):
        state = dream.reset(starts.tokens[:2, :2])
        for action in starts.actions[:2, 1:5].unbind(1):
            state, frame = dream.step(state, action)
        shown.append(frame)
    assert (shown[0] == shown[1]).all()


@pytest.mark.parametrize("kind", ["playslot"], indirect=True)
def test_where_nothing_vanishes_slots_rest_in_codes_as_in_vectors(checkpoint, monkeypatch):
    world = load_world(checkpoint)
    dream = Dream(replace(world, laws=replace(world.laws, permanence=True)))
    state = dream.reset(world.starts.tokens[:2, :2])
    gone = torch.tensor([[True, False, False], [False, False, False]])
    answers = iter([gone, gone & False])
    monkeypatch.setattr("flam_env.dream.dream.vanished", lambda before, after: next(answers))
    after, _ = dream.step(state, world.starts.actions[:2, 1])
    assert (after.refused == gone).all()
    actions = world.starts.actions[:2, 1].clone()
    actions[0, 0] = dream.model.rest(state.frame)[0, 0, 0]  # the others act as they would
    rested = dream.without_laws().step(state, actions)[0]
    torch.testing.assert_close(rested.slots, after.slots)


def test_it_is_scored_by_the_command_that_scores_flam(kind, checkpoint, store, tmp_path):
    metrics = ("pixels", "rate") if kind in INFER else ("pixels",)
    report = evaluate(str(checkpoint), store.root, metrics=metrics, clips=3, horizon=4, device="cpu", out=tmp_path)
    rows = report["scores"]["all"]
    assert {"prediction_psnr", "sampled_psnr", "recon_psnr", "copy_last_psnr"} <= rows.keys()
    assert (report["measures"]["nats_per_frame"] > 0) == (kind in INFER)
    if kind == "genie":
        assert report["rate"]["nats"] > 0 and report["rate"]["nats_from_no_knowledge"] == pytest.approx(np.log(16))


def test_it_labels_or_says_that_it_cannot(kind, checkpoint):
    world = load_world(checkpoint)
    if kind not in INFER:
        with pytest.raises(ValueError, match=r"infers latent actions, got a \w+ with .* not label"):
            Labeller(world)
        with pytest.raises(ValueError, match="not label"):
            world.model.infer(world.model.observe(world.starts.tokens[:1, :2]))
        return
    clip = load_clips(checkpoint)[0]
    labels = Labeller(world, "cpu").label(clip)
    assert labels.latent_actions.shape == (len(clip) - 1, *world.action_shape)


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(kind, checkpoint, store, begin, monkeypatch):
    """The codes of a book are part of it. And the same seed gives the same world."""
    module = sys.modules[KINDS[kind].make().__module__]
    real, steps = getattr(module, LOSSES[kind]), []

    def interrupted(*arguments):
        steps.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    out = begin()
    if kind in SLOTTED:
        shutil.copy(checkpoint / "slots.safetensors", out / "learned.safetensors")
    changes = {"slots": out / "learned.safetensors"} if kind in SLOTTED else {}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, LOSSES[kind], interrupted)
        hurry(kind, store.root, out, **changes)
    assert len(steps) == 1 and not (out / "config.json").exists()
    hurry(kind, store.root, out, **changes)
    whole, resumed = (load_file(place / "world_model.safetensors") for place in (checkpoint, out))
    assert all((resumed[name] == weights).all() for name, weights in whole.items())


def test_known_actions_are_those_of_the_clips_wherever_they_are_used(store, begin, tmp_path):
    out = hurry("world-model", store.root, begin())
    world = load_world(out)
    lit = world.starts.tokens != world.starts.tokens.flatten().mode().values
    assert (lit.sum(-1) == 1).all()
    went = lit.int().argmax(-1)
    assert (((went[:, 1:] - went[:, :-1] + 1) % 4) == world.starts.actions[..., 0]).all(), "what moved the dot"
    assert world.starts.bank.unique().tolist() == [0, 1, 2]
    packed = tmp_path / "dots.pack"
    pack(store.root, tokenizer=str(out), out=packed, clips=3, clip_frames=(6,), device="cpu")
    reports = [
        evaluate(str(out), data, metrics=("pixels",), clips=3, horizon=4, device="cpu", out=tmp_path / f"{i}.json")
        for i, data in enumerate((store.root, packed))
    ]
    assert reports[0]["scores"] == reports[1]["scores"]


def test_data_that_knows_no_actions_is_refused_before_training(begin, tmp_path):
    silent = filmed(tmp_path / "silent", agents=0)
    out = begin()
    with pytest.raises(ValueError, match="expected an episode whose actions are all known"):
        hurry("world-model", silent.root, out)
    assert not (out / "training").exists()


def test_the_joint_action_of_several_agents_is_one_choice(begin, tmp_path):
    two = filmed(tmp_path / "two", agents=2)
    assert load_world(hurry("world-model", two.root, begin())).model.actions.codes == 9


def test_slots_are_shared_by_who_names_them_and_not_with_another_tokenizer(store, begin):
    file = train("slots", store.root, out=begin(), preset="tiny", model=SaviConfig(**SLOTS), fit_config=HURRIED)
    learned = load_file(file)
    for kind in SLOTTED:
        out = hurry(kind, store.root, begin(), slots=file)
        weights = load_file(out / "world_model.safetensors")
        assert all((weights[f"savi.{name}"] == value).all() for name, value in learned.items())
        assert not (out / "slots.safetensors").exists()
    out = begin()
    other = Tokenizer(load_tokenizer(out).config)
    save_network(out / "tokenizer.safetensors", round_as_stored(other), source="dots")
    with pytest.raises(ValueError, match=r"expected slots of the tokenizer .* learn them with this tokenizer"):
        hurry("slotformer", store.root, out, slots=file)


def test_the_command_trains_with_a_preset_and_names_mistakes(store, begin, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "adaworld, genie, world-model, playslot, slotformer, slots" in capsys.readouterr().out
    for words, error in (
        (["dreamer", "x"], "python -m baselines.train dreamer: expected a kind of ['adaworld'"),
        (["genie", "nowhere", "--out", "nowhere"], "python -m baselines.train genie: expected"),
    ):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 2 and capsys.readouterr().err.startswith(error)
    out = begin()
    sizes = ["--model.codes", "5", "--model.group", "1", "--model.dim", "16"]
    budget = ["--preset", "tiny", "--fit-config.steps", "2", "--fit-config.batch-size", "2"]
    main(["genie", str(store.root), "--out", str(out), *budget, *sizes])
    config = load_world(out).model.config
    assert (config.codes, config.dim, config.layers, config.grid) == (5, 16, 1, 2)


@pytest.mark.parametrize("kind", ["genie"], indirect=True)
def test_its_id_is_all_that_a_fresh_interpreter_needs(checkpoint):
    code = f"import gymnasium; print(gymnasium.make('baselines:FLAM-v0', checkpoint={str(checkpoint)!r}).action_space)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "Discrete(16)"


def test_the_package_as_a_command_is_flam_train_that_knows_the_kinds():
    assert baselines.__main__.main is flam_train.cli.main
