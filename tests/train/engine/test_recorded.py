"""A step that is repeated with what it needs at fixed addresses is the step of a plain loop."""

import contextlib
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
from flam_train.engine.recorded import AHEAD, RecordedStep, is_recorded
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


def test_weights_and_their_average_stay_where_they_are_whatever_looks_at_them():
    model = toy()
    both = optimizers(model, FIT, CPU)
    state = RunState(model, both, average=True)
    step = TrainingStep(
        lambda batch, progress, kind: error(model, batch, progress),
        both,
        state,
        backward=torch.Tensor.backward,
        clip=nn.utils.clip_grad_norm_,
        most=1.0,
        device=CPU,
    )

    def places():
        moments = (moment for optimizer in both for of in optimizer.state.values() for moment in of.values())
        return [tensor.data_ptr() for tensor in (*model.parameters(), *state.weights, *state.average, *moments)]

    batch = draw(torch.Generator().manual_seed(0), BATCH)
    step(batch, Numbers(Progress(0, 0.0), 0.1, 0.5))
    before, raw = places(), [weight.detach().clone() for weight in model.parameters()]
    with state.averaged() as averaged:
        assert not torch.equal(next(averaged.parameters()), raw[0]) and places() == before
    state.averaged_weights()
    assert all(torch.equal(weight, kept) for weight, kept in zip(model.parameters(), raw, strict=True))
    step(batch, Numbers(Progress(1, 0.1), 0.1, 0.5))
    assert places() == before and not torch.equal(next(model.parameters()), raw[0])


class Pretended:
    """What torch offers for a GPU, as far as a recorded step uses it: a graph repeats by computing again."""

    def __init__(self, monkeypatch, step):
        self.recorded, self.waiting, self.most_waiting = RecordedStep(step, CPU), 0, 0
        self.recorded._records, self.recorded._stream = True, self
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self)
        for name in ("stream", "graph"):
            monkeypatch.setattr(torch.cuda, name, lambda *arguments, **named: contextlib.nullcontext())
        for name in ("CUDAGraph", "Event"):
            monkeypatch.setattr(torch.cuda, name, lambda: self)

    def wait_stream(self, other):
        assert other is self

    def replay(self):
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        loss, norm, terms = self.recorded._computed()
        self.recorded._row.copy_(torch.stack([loss, norm, *terms.values()]))

    def record(self):
        pass

    def synchronize(self):
        self.waiting -= 1


def test_after_three_steps_the_next_is_recorded_and_from_there_on_repeated(monkeypatch):
    calls = []

    def step(batch, numbers):
        calls.append(numbers.rate.dtype)
        return batch.sum(), 2 * batch.sum(), {"rate": numbers.rate, "share": numbers.progress.share.float()}

    pretended = Pretended(monkeypatch, step)
    taken = [
        pretended.recorded(torch.full((2,), float(count)), Numbers(Progress(count, count / 8), 1 + count, 0.9))
        for count in range(8)
    ]
    assert len(calls) == 3 + 1 + 5 and set(calls) == {torch.float32}, "what fused kernels read on a GPU"
    found = [(loss.item(), norm.item(), *(term.item() for term in terms.values())) for loss, norm, terms in taken]
    assert found == [(2 * count, 4 * count, 1 + count, count / 8) for count in range(8)]
    assert pretended.most_waiting == AHEAD


def test_a_step_that_no_graph_can_have_is_named(monkeypatch):
    taken = []

    def step(batch, numbers):
        taken.append(1)
        if len(taken) == 4:
            raise RuntimeError("operation not permitted when stream is capturing")
        return batch.sum(), batch.sum(), {}

    recorded = Pretended(monkeypatch, step).recorded
    with pytest.raises(ValueError, match=r'can be recorded.*got operation not permitted.*set graph="off"'):
        for count in range(4):
            recorded(torch.zeros(2), Numbers(Progress(count, 0.0), 1.0, 0.9))


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
