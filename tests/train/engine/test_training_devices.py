"""Whatever trains, encodes, exports or scores does so on one device, and a GPU computes what a CPU does."""

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tiny import MODEL

from flam_env.dream.dream import Dream
from flam_env.heads.action_decoder import ActionDecoder, Transitions
from flam_env.labelling.labeller import Labeller
from flam_env.models.factored import FactoredWorldModel
from flam_env.models.tokenizer import Tokenizer
from flam_env.video.frames import to_float
from flam_env.worlds.checkpoint import fingerprint
from flam_env.worlds.loading import load_world
from flam_train.engine import FitConfig, fit, training_device
from flam_train.engine.batches import BatchFeed
from flam_train.evaluate.rollouts import quick_scores, rollout_scores
from flam_train.evaluate.rooms.exactness import distances, read_cells, shows_whole_agents, true_cells
from flam_train.evaluate.steering import steering_scores
from flam_train.evaluate.wholeness import wholeness
from flam_train.heads.few_labels import LearningConfig
from flam_train.heads.ground import ground
from flam_train.heads.inverse_model import SupervisedInverse
from flam_train.heads.watching import watch
from flam_train.phases import world_model as world_model_phase
from flam_train.phases.export import finish_world
from flam_train.phases.losses import WorldModelLossConfig, world_model_loss
from flam_train.phases.scheduled_sampling import SamplingConfig, own_guesses
from flam_train.phases.tokenizer import tokenizer, tokenizer_scores
from flam_train.phases.world_model import world_model
from flam_train.sources.label import label
from flam_train.store.clips import Clips
from flam_train.store.moments import Moments
from flam_train.store.store import EpisodeStore
from flam_train.store.tokens import TokenSplit, token_cache

CLOSE = {"atol": 1e-3, "rtol": 1e-3}  # GPUs sum in another order
FIT = FitConfig(
    steps=6, batch_size=3, learning_rate=1e-3, muon=2.0, log_every=2, checkpoint_minutes=0, precision="fp32"
)

pytestmark = pytest.mark.filterwarnings("ignore::flam_train.phases.collapse.CollapseWarning")


@pytest.fixture
def trains_there(device, monkeypatch):
    """Training runs on the device, too, for as long as the test takes."""
    if device.type == "cpu":
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield device
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def seen(monkeypatch):
    """Where each network and the loss have computed: types of devices by name."""
    devices: dict[str, set[str]] = {}

    def noted(name, function):
        def call(*arguments, **named):
            devices.setdefault(name, set()).update(a.device.type for a in arguments if isinstance(a, torch.Tensor))
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(Tokenizer, "encode", noted("encode", Tokenizer.encode))
    monkeypatch.setattr(FactoredWorldModel, "observe", noted("observe", FactoredWorldModel.observe))
    monkeypatch.setattr(ActionDecoder, "forward", noted("decode", ActionDecoder.forward))
    monkeypatch.setattr(SupervisedInverse, "forward", noted("supervised", SupervisedInverse.forward))
    monkeypatch.setattr(world_model_phase, "world_model_loss", noted("loss", world_model_loss))
    return devices


def objective(network, tokens, progress):
    assert tokens.dtype == torch.int64
    return world_model_loss(network, tokens, network(tokens), WorldModelLossConfig(free_share=0.0), progress.share)


def batches(generator, count):
    """Random clips as the token cache has them."""
    return torch.randint(100, (count, 7, MODEL.patches), generator=generator).to(torch.uint16)


def model() -> FactoredWorldModel:
    torch.manual_seed(0)
    return FactoredWorldModel(MODEL)


# --- training ---------------------------------------------------------------------------------------------------------


def test_both_phases_run_on_one_device_from_the_first_token_to_the_export(store, phases, trains_there, seen, tmp_path):
    hurried = phases.tokenizer | {"fit_config": replace(phases.hurried["fit_config"], seed=5)}
    tokenizer(store.root, out=tmp_path, **hurried)
    world_model(store.root, out=tmp_path, **phases.hurried)
    assert seen == {name: {trains_there.type} for name in ("encode", "observe", "loss")}
    world = load_world(tmp_path)
    assert world.starts.bank.isfinite().all() and world.starts.tokens.dtype == torch.int64
    assert len(world.starts.tokens) > 4 and training_device().type == trains_there.type


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(trains_there, tmp_path):
    draws = []

    def interrupting(generator, count):
        draws.append(1)
        if len(draws) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return batches(generator, count)

    with pytest.raises(SystemExit):
        fit(model(), objective, interrupting, FIT, tmp_path / "resumed")
    assert 0 < len(draws) < FIT.steps
    ends = [fit(model(), objective, batches, FIT, tmp_path / name) for name in ("resumed", "whole")]
    assert {weight.device.type for end in ends for weight in end.model.parameters()} == {trains_there.type}
    files = [load_file(tmp_path / name / "resume.safetensors") for name in ("resumed", "whole")]
    assert any(name.endswith("momentum_buffer") for name in files[0])
    exact = {"atol": 0, "rtol": 0} if trains_there.type == "cpu" else CLOSE  # some sums of a GPU have no fixed order
    torch.testing.assert_close(files[0], files[1], **exact)
    assert not torch.equal(ends[0].ema["factorizer.slot_embedding"].cpu(), model().factorizer.slot_embedding)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_loss_falls_in_either_precision_and_weights_stay_fp32(trains_there, tmp_path, precision):
    kinds, still = set(), batches(torch.Generator().manual_seed(1), 3)

    def noted(network, tokens, progress):
        kinds.add(network.factorizer.project(network.observe(tokens).features).dtype)
        return objective(network, tokens, progress)

    config = replace(FIT, steps=10, muon=0.0, learning_rate=1e-2, log_every=1, precision=precision)
    fit(model(), noted, lambda generator, count: still, config, tmp_path)
    assert kinds == {torch.bfloat16 if precision == "bf16" else torch.float32}
    saved = load_file(tmp_path / "resume.safetensors")
    weights = {name: value for name, value in saved.items() if name.startswith("model.")}
    assert {value.dtype for value in weights.values()} == {torch.float32}
    losses = [json.loads(line)["prediction"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 10 and np.isfinite(losses).all() and losses[-1] < 0.95 * losses[0]


def test_bfloat16_agrees_with_float32_within_three_percent(tiny_world, device):
    network, tokens = Dream(tiny_world, device).model, tiny_world.starts.tokens.to(device)
    exact = network(tokens).output
    with torch.autocast(device.type, torch.bfloat16):
        rough = network(tokens).output
    assert (rough - exact).square().mean().sqrt() < 0.03 * exact.std()


@pytest.mark.parametrize("named", [False, True])
def test_batches_arrive_on_the_device_and_tokens_as_int64(device, named):
    def draw(generator, count):
        tokens = batches(generator, count)
        return {"tokens": tokens, "seen": tokens.float()} if named else tokens

    with BatchFeed(draw, size=2, seed=3, process=0, device=device, step=0) as feed:
        first, second = feed.take(), feed.take()
    tokens = [batch["tokens"] if named else batch for batch in (first, second)]
    assert {(each.dtype, each.device.type, each.shape) for each in tokens} == {
        (torch.int64, device.type, (2, 7, MODEL.patches))
    }
    assert not torch.equal(*tokens) and 0 <= tokens[0].min() <= tokens[0].max() < 100
    if named:
        assert first["seen"].dtype == torch.float32 and torch.equal(first["seen"], tokens[0].float())


@pytest.mark.parametrize("target", ["code", "token", "level"])
def test_training_steps_make_nothing_on_another_device_and_wait_for_no_number(target):
    """Tensors without content, "meta", can be neither read nor mixed with those of a CPU."""
    config = replace(MODEL, levels=(3, 3, 3), layers=1, target=target, background_sink=True, focus=True)
    network = FactoredWorldModel(config).to("meta")
    tokens = torch.zeros(3, 5, config.patches, dtype=torch.long, device="meta")
    for guesses in (None, own_guesses(network, tokens, SamplingConfig())):
        loss, terms = world_model_loss(network, tokens, network(tokens, guesses), WorldModelLossConfig(), 0.5)
        loss.backward()
    assert {value.device.type for value in (loss, *terms.values())} == {"meta"}
    assert {weight.grad.device.type for weight in network.parameters() if weight.grad is not None} == {"meta"}


@pytest.mark.gpu
def test_training_steps_never_wait_for_the_gpu():
    network, tokens = model().cuda(), batches(torch.Generator().manual_seed(0), 3).long().cuda()

    def step():
        for guesses in (None, own_guesses(network, tokens, SamplingConfig())):
            world_model_loss(network, tokens, network(tokens, guesses), WorldModelLossConfig(), 0.5)[0].backward()

    step()  # libraries wait when they are used for the first time
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


# --- tokens, export, labels -------------------------------------------------------------------------------------------


def test_tokens_are_encoded_where_it_was_asked_for_and_the_tokenizer_stays(store, phases, device, seen):
    torch.manual_seed(11)
    network = Tokenizer(phases.tokenizer["model"]).train()
    found = token_cache(store, network, device)["val"].tokens
    shutil.rmtree(store.root / "tokens" / fingerprint(network))
    assert seen["encode"] == {device.type}
    assert network.training and {weight.device.type for weight in network.parameters()} == {"cpu"}
    frames = np.concatenate([store.read_frames(record, 0, record.frames) for record in store.episodes("val")])
    with torch.no_grad():
        expected = network.eval().encode(to_float(frames)).numpy()
    assert (found == expected).mean() > 0.999


def test_what_is_exported_was_seen_where_the_model_is(tiny_world, device, seen):
    tokens = tiny_world.starts.tokens.flatten(0, 1).numpy().astype(np.uint16)
    splits = dict.fromkeys(("train", "val"), TokenSplit(tokens, np.array([0, 40, 88]), ("", ""), ("a", "b")))
    there = replace(tiny_world, model=Dream(tiny_world, device).model)
    world, expected = finish_world(there, splits), finish_world(tiny_world, splits)
    assert seen["observe"] == {device.type, "cpu"}
    assert (world.units.kept, world.laws) == (expected.units.kept, expected.laws)
    assert torch.equal(world.starts.tokens, expected.starts.tokens)
    for name in ("actions", "bank"):
        torch.testing.assert_close(getattr(world.starts, name), getattr(expected.starts, name), **CLOSE)
    torch.testing.assert_close(world.road.usual, expected.road.usual, atol=0.01, rtol=0)  # half precision


def test_a_store_is_watched_there(tiny_world, device):
    tokens = tiny_world.starts.tokens.flatten(0, 1).numpy().astype(np.uint16)
    names = tuple(map(str, range(11)))
    split = TokenSplit(tokens, np.arange(0, 89, 8), ("",) * 11, names)
    episodes, frames = np.array([4, 0, 0, 10, 4]), np.array([1, 0, 6, 0, 2])
    at = Moments(split="train", names=names, episodes=episodes, frames=frames)
    found = watch(Labeller(tiny_world, device), split, at)
    assert {part.device.type for part in found} == {"cpu"}
    expected = watch(Labeller(tiny_world, "cpu"), split, at)
    torch.testing.assert_close(found.latent_actions, expected.latent_actions, **CLOSE)
    for part in ("slots", "tokens", "masks"):  # some in half precision
        torch.testing.assert_close(getattr(found, part), getattr(expected, part), atol=5e-3, rtol=5e-3)


@pytest.mark.filterwarnings("ignore:the world sees frames of 48 x 48")
def test_a_store_is_labelled_there(make_store, tiny_checkpoint, tiny_world, device, seen, tmp_path):
    store = make_store(tmp_path / "store", {"val": (2, 37)})
    labelled = label((store.root,), world=str(tiny_checkpoint), out=tmp_path / "labelled", device=str(device))
    assert seen["encode"] == seen["observe"] == {device.type}
    episode = labelled.read(labelled.episodes("val")[1])
    tokens = Dream(tiny_world, device).encode(episode.frames).cpu()[None]  # one near the border of two may be either
    expected = Labeller(tiny_world, "cpu").follow(None, tokens)[1].latent_actions[0].numpy()
    np.testing.assert_allclose(episode.labels.latent_actions, expected, **CLOSE)


def test_a_decoder_learns_and_is_judged_on_one_device(tiny_checkpoint, make_episode, trains_there, seen, tmp_path):
    store = EpisodeStore.create(tmp_path / "store", source="noise", size=48, settings={})
    random = np.random.default_rng(6)
    for split in ("train", "train", "train", "val"):
        frames, actions = random.integers(0, 256, (19, 48, 48, 3), np.uint8), random.integers(0, 3, 19).astype(np.int16)
        store.write(split, replace(make_episode(frames), actions=actions))
    settings = {"learning": LearningConfig(held_out=0.4, evaluate_every=2, patience=0), "fit_config": FIT}
    settings |= {"labels": 30, "actions": 3, "device": str(trains_there)}
    ground(str(tiny_checkpoint), store.root, out=tmp_path / "out", **settings)
    assert seen == {name: {trains_there.type} for name in ("encode", "observe", "decode", "supervised")}
    heads = load_world(tmp_path / "out").heads
    tokens, masks = torch.zeros(2, 2, MODEL.patches).long(), torch.zeros(2, 2, 6, MODEL.cell_grid**2)
    seen_there = Transitions(torch.zeros(2, 2, 6, 16), torch.zeros(2, 6, 5), tokens, masks)
    torch.testing.assert_close(heads["decoder"].probabilities(seen_there).sum(-1), torch.ones(2))
    assert set(heads) == {"decoder", "encoder", "player_finder"}


# --- scores -----------------------------------------------------------------------------------------------------------


def test_scores_are_computed_there_and_are_those_of_a_cpu(tiny_world, device, seen):
    clips = Clips(np.random.default_rng(3).integers(0, 256, (3, 5, 48, 48, 3), np.uint8), ("",) * 3)
    found, known = (scores_of(Dream(tiny_world, each), clips) for each in (device, "cpu"))
    assert seen["encode"] == seen["observe"] == {device.type, "cpu"}
    assert found.keys() == known.keys() and all(np.isfinite(value) for value in found.values())
    for name, value in known.items():
        if name.startswith(
            ("recon", "copy_last", "tokenizer")
        ):  # predictions part where two tokens are nearly as likely
            assert found[name] == pytest.approx(value, abs=0.01)


def scores_of(dream: Dream, clips: Clips) -> dict[str, float]:
    """All scores for which no truth need be known, those of long dreams for a few frames."""
    frames = torch.from_numpy(clips.frames[0])
    found = {name: value.mean() for name, value in rollout_scores(dream, clips).items()}
    found |= steering_scores(dream, clips) | quick_looks(dream, clips)
    found |= {f"tokenizer_{name}": value for name, value in tokenizer_scores(dream.tokenizer, frames).items()}
    whole = wholeness(frames.to(dream.device), dream.frame(dream.reset(dream.encode(clips.frames[:, 1])[:, None])))
    return found | {"nearest_psnr": whole.nearest_psnr.nanmean().item(), "filled": whole.filled.mean().item()}


def quick_looks(dream: Dream, clips: Clips) -> dict[str, float]:
    """What a training sees of a world whose model is on its device."""
    looks = quick_scores(replace(dream.world, model=dream.model), clips)
    return {f"look_{name}": value for name, value in looks.items()}


def test_cells_of_rooms_are_read_there(device):
    random = torch.Generator().manual_seed(2)
    tiles = torch.randint(256, (2, 9, 4, 4, 3), generator=random).to(torch.uint8)
    positions = torch.tensor([[[1, 2], [3, 3]], [[2, 2], [1, 3]]])[:, None]
    directions, colours = torch.tensor([[0, 3], [1, 2]])[:, None], torch.tensor([[0, 1], [0, 1]])
    true = true_cells(*(part.to(device) for part in (positions, directions, colours)), 5)
    frames = torch.zeros(2, 1, 20, 20, 3, dtype=torch.uint8)
    for clip, row, column in np.ndindex(2, 3, 3):
        place = frames[clip, 0, 4 * row + 4 :, 4 * column + 4 :]
        place[:4, :4] = tiles[clip, true[clip, 0, row, column].cpu()]
    seen = read_cells(frames.to(device), tiles.to(device), clear=True)
    assert seen.device.type == device.type and torch.equal(seen, true)
    assert (distances(seen, positions.to(device), colours.to(device)) == 0).all()
    assert shows_whole_agents(seen, colours.to(device)).all()
