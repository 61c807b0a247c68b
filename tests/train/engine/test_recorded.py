"""A step that is repeated with what it needs at fixed addresses is the step of a plain loop."""

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import MODEL
from torch import nn

from flam_env.models.factored import FactoredWorldModel
from flam_train.engine import FitConfig, fit
from flam_train.engine.batches import Stream, step_seed
from flam_train.engine.muon import Muon
from flam_train.engine.plan import Progress, optimizers
from flam_train.engine.recorded import RecordedStep, is_recorded
from flam_train.engine.state import RunState
from flam_train.engine.step import Numbers, TrainingStep
from flam_train.phases.losses import WorldModelLossConfig, world_model_loss

STEPS, BATCH = 12, 6
FIT = FitConfig(
    steps=STEPS,
    batch_size=BATCH,
    learning_rate=0.02,
    warmup_steps=3,
    decay_share=0.5,
    weight_decay=0.1,
    muon=2.0,
    clip=0.5,
    ema=0.9,
    log_every=4,
    checkpoint_minutes=0,
    precision="fp32",
)
CPU = torch.device("cpu")
WORLD = FitConfig(steps=9, batch_size=3, learning_rate=1e-3, muon=2.0, log_every=1, precision="fp32", graph="auto")
PRICES = WorldModelLossConfig(information_price=0.3, last_price=0.6, free_share=0.1, ramp_share=0.5)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def toy() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Linear(16, 16, bias=False), nn.Linear(16, 2))


def draw(generator, size):
    x = torch.randn(size, 3, generator=generator)
    return {"x": x, "y": x[:, :2] - x[:, 1:]}


def error(model, batch, progress):
    """Squared error under noise, which weighs more and more."""
    noisy = batch["x"] + 0.1 * torch.randn_like(batch["x"])
    loss = ((1 + progress.share) * (model(noisy).float() - batch["y"]).square()).mean()
    return loss, {"error": loss.detach(), "far": torch.as_tensor(progress.share)}


def lines(out: Path) -> list[dict]:
    rows = [json.loads(text) for text in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in row if name not in ("time", "frames_per_second")} for row in rows]


def same_files(one: Path, other: Path) -> bool:
    files = [load_file(out / "resume.safetensors") for out in (one, other)]
    return files[0].keys() == files[1].keys() and all(torch.equal(files[0][name], files[1][name]) for name in files[0])


def plain_loop() -> tuple[nn.Module, list[torch.Tensor]]:
    """What `fit` promises of a run with FIT, written down once more: the weights and their average."""
    model = toy()
    hidden = [weight for weight in model.parameters() if weight.ndim == 2]
    rest = [weight for weight in model.parameters() if weight.ndim != 2]
    adamw = torch.optim.AdamW(rest, lr=1.0, weight_decay=0.0, fused=True)
    both = adamw, Muon(hidden, lr=1.0, weight_decay=0.1)
    average = [weight.detach().clone() for weight in model.parameters()]
    for step in range(STEPS):
        share = step / STEPS
        rate = 0.02 * min(1.0, (step + 1) / 3)
        if share > 0.5:
            rate = rate * (1 - 0.98 * (share - 0.5) / 0.5)
        for optimizer, factor in zip(both, (1.0, 2.0), strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
        batch = draw(torch.Generator().manual_seed(step_seed(0, step, 0, Stream.BATCH)), BATCH)
        torch.manual_seed(step_seed(0, step, 0, Stream.FORWARD))
        error(model, batch, Progress(step, share))[0].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad()
        decay = min(0.9, (2 + step) / (11 + step))
        average = [a + (w.detach() - a) * (1 - decay) for a, w in zip(average, model.parameters(), strict=True)]
    return model, average


# --- on a CPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", ["off", "auto", "on"])
def test_a_run_is_that_of_a_plain_loop_bit_for_bit(tmp_path, monkeypatch, graph):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    result = fit(toy(), error, draw, replace(FIT, graph=graph), tmp_path)
    model, average = plain_loop()
    for name, weight in model.named_parameters():
        assert torch.equal(result.model.state_dict()[name], weight), name
    for (name, _), weight in zip(model.named_parameters(), average, strict=True):
        torch.testing.assert_close(result.ema[name], weight, atol=0, rtol=0)


def test_numbers_that_are_written_give_the_same_log_and_the_same_state(tmp_path):
    for graph in ("off", "on"):
        fit(toy(), error, draw, replace(FIT, graph=graph), tmp_path / graph)
    assert same_files(tmp_path / "off", tmp_path / "on")
    assert lines(tmp_path / "off") == lines(tmp_path / "on")
    assert [row["far"] for row in lines(tmp_path / "on")] == pytest.approx([1.5 / 12, 5.5 / 12, 9.5 / 12])


def test_a_run_goes_on_with_the_other_kind_of_step(tmp_path):
    draws = []

    def interrupting(generator, size):
        draws.append(1)
        if len(draws) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(generator, size)

    with pytest.raises(SystemExit):
        fit(toy(), error, interrupting, replace(FIT, graph="on"), tmp_path / "resumed")
    fit(toy(), error, draw, FIT, tmp_path / "resumed")
    fit(toy(), error, draw, replace(FIT, graph="on"), tmp_path / "whole")
    assert same_files(tmp_path / "resumed", tmp_path / "whole")


def test_numbers_and_batches_stay_where_they_are_and_the_terms_do_not():
    seen, places = [], []

    def step(batch, numbers):
        places.append(batch["x"].data_ptr())
        seen.append((batch["x"].item(), numbers.progress.step, numbers.progress.share, numbers.rate, numbers.decay))
        return numbers.rate, numbers.decay, {"share": numbers.progress.share}

    recorded = RecordedStep(step, CPU)
    taken = [
        recorded({"x": torch.full((1,), float(count))}, Numbers(Progress(count, count / 8), 1 / 3, 0.7))
        for count in range(3)
    ]
    assert len(set(places)) == 1 and [x for x, *_ in seen] == [0.0, 1.0, 2.0]
    assert [tuple(value.item() for value in numbers) for _, *numbers in seen] == [
        (count, count / 8, 1 / 3, 0.7) for count in range(3)
    ]
    assert [terms["share"].item() for *_, terms in taken] == [0.0, 0.125, 0.25], "earlier terms are not written over"


@pytest.mark.parametrize("other", [torch.zeros(4, 1), torch.zeros(3, 1, dtype=torch.float64)])
def test_batches_of_changing_kinds_are_refused(other):
    recorded = RecordedStep(lambda batch, numbers: (batch.sum(), batch.sum(), {}), CPU)
    numbers = Numbers(Progress(0, 0.0), 0.1, 0.9)
    recorded(torch.zeros(3, 1), numbers)
    with pytest.raises(ValueError, match=r'same shapes and types in every step, .*3, 1.*set graph="off"'):
        recorded(other, numbers)


def test_steps_are_recorded_where_one_process_trains_on_a_gpu():
    gpu = torch.device("cuda")
    asked = {graph: replace(FIT, graph=graph) for graph in ("auto", "on", "off")}
    assert is_recorded(asked["auto"], gpu, 1) and not is_recorded(asked["auto"], gpu, 2)
    assert not is_recorded(asked["auto"], CPU, 1) and is_recorded(asked["on"], CPU, 1)
    assert not is_recorded(asked["off"], gpu, 1)
    with pytest.raises(ValueError, match='expected one process for graph="on", got 2'):
        is_recorded(asked["on"], gpu, 2)


# --- on a GPU ---------------------------------------------------------------------------------------------------------


def world_objective(network, tokens, progress):
    loss, terms = world_model_loss(network, tokens, network(tokens), PRICES, progress.share)
    return loss, terms | {"noise": torch.rand((), device=tokens.device)}


def clips(generator, count):
    return torch.randint(100, (count, 7, MODEL.patches), generator=generator).to(torch.uint16)


def world() -> FactoredWorldModel:
    torch.manual_seed(0)
    return FactoredWorldModel(replace(MODEL, prior_components=3))


def nats(model):
    return {"weights": sum(weight.double().sum().item() for weight in model.parameters())}


@pytest.mark.gpu
@pytest.mark.parametrize("compile_model", [False, True])
def test_a_recorded_run_is_that_of_steps_one_by_one(tmp_path, compile_model):
    config = replace(WORLD, compile=compile_model)
    for graph in ("off", "auto"):
        watched = {"evaluate": nats, "evaluate_every": 4}
        fit(world(), world_objective, clips, replace(config, graph=graph), tmp_path / graph, **watched)
    one, other = (lines(tmp_path / graph) for graph in ("off", "auto"))
    assert len(one) == len(other) and len({row["noise"] for row in other if "noise" in row}) == 9
    for before, after in zip(one, other, strict=True):
        assert before == pytest.approx(after, rel=0.02, abs=0.02)
        if not compile_model and "noise" in before:
            assert before["noise"] == after["noise"]
    files = [load_file(tmp_path / graph / "resume.safetensors") for graph in ("off", "auto")]
    torch.testing.assert_close(files[0], files[1], atol=5e-3, rtol=5e-3)


@pytest.mark.gpu
def test_a_repeated_step_never_waits_for_the_gpu():
    model, device = world().cuda(), torch.device("cuda")
    both = optimizers(model, WORLD, device)

    def objective(batch, progress, kind):
        return world_objective(model, batch, progress)

    step = TrainingStep(
        objective,
        both,
        RunState(model, both, average=True),
        backward=torch.Tensor.backward,
        clip=nn.utils.clip_grad_norm_,
        most=math.inf,
        device=device,
    )
    recorded = RecordedStep(step, device)
    tokens = clips(torch.Generator().manual_seed(0), 3).long().cuda()
    for count in range(5):
        recorded(tokens, Numbers(Progress(count, count / 9), 1e-3, 0.9))
    torch.cuda.set_sync_debug_mode("error")
    try:
        taken = [recorded(tokens, Numbers(Progress(count, count / 9), 1e-3, 0.9)) for count in range(5, 9)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len({loss.item() for loss, *_ in taken}) == 4
