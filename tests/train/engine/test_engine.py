"""Promises of the training loop. Run as a script, this file is the process that a test kills or launches."""

import json
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from flam_train.engine import EarlyStopping, FitConfig, NonFiniteLossError, Progress, fit, is_finished, learning_rate
from flam_train.engine.locks import FolderInUseError, folder_lock
from flam_train.engine.log import last_metrics
from flam_train.engine.plan import ema_decay, is_decayed
from flam_train.engine.state import read_header

LAW = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads per small product would mostly wait for each other where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def toy() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 2))


def config(**changes) -> FitConfig:
    defaults = {"steps": 60, "batch_size": 8, "learning_rate": 0.02, "log_every": 5, "checkpoint_minutes": 0.0}
    return FitConfig(**(defaults | changes))


def draw(generator, size):
    x = torch.randn(size, 3, generator=generator)
    return {"x": x, "y": x @ LAW.T}


def error(model, batch, progress):
    """Squared error with noise from the global generator, which has to come back after a kill."""
    noisy = batch["x"] + 0.01 * torch.randn_like(batch["x"])
    loss = (model(noisy).float() - batch["y"]).square().mean()
    return loss, {"share": torch.tensor(progress.share)}


def lines(out: Path, drop=("time", "frames_per_second")):
    rows = [json.loads(text) for text in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in drop} for row in rows]


def same_tensors(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def dies_at(draws: int, how: signal.Signals):
    """A batch source that sends its own process a signal at its n-th draw."""
    count = iter(range(1, 10**6))

    def draw_or_die(generator, size):
        if next(count) == draws:
            os.kill(os.getpid(), how)
        return draw(generator, size)

    return draw_or_die


def test_learns_a_linear_law(tmp_path):
    model = nn.Linear(3, 2)
    result = fit(model, error, draw, config(steps=400, decay_share=0.5, ema=0.9), tmp_path / "run")
    assert result.trained and result.step == 400 and result.metrics["loss"] < 0.01
    torch.testing.assert_close(model.weight.detach().cpu(), LAW, atol=0.03, rtol=0)
    torch.testing.assert_close(result.ema["weight"].cpu(), LAW, atol=0.03, rtol=0)


def test_same_seed_same_numbers_twice_and_another_seed_others(tmp_path):
    first, again = (fit(toy(), error, draw, config(), tmp_path / name) for name in "ab")
    other = fit(toy(), error, draw, config(seed=1), tmp_path / "c")
    assert lines(tmp_path / "a") == lines(tmp_path / "b")
    assert same_tensors(first.ema, again.ema) and not same_tensors(first.ema, other.ema)


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    killed = subprocess.run([sys.executable, __file__, str(tmp_path / "killed"), "killed"], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    step = read_header(tmp_path / "killed/resume.safetensors").step
    assert 0 < step < 60
    with (tmp_path / "killed/metrics.jsonl").open("a") as file:
        file.write('{"step": 55, "time": 1.0, "loss": 0.0}\n{"step": 5')  # undone work, and a torn line
    both = config(muon=0.5)  # AdamW and Muon
    resumed = fit(toy(), error, draw, both, tmp_path / "killed", evaluate=weight_sum, evaluate_every=20)
    whole = fit(toy(), error, draw, both, tmp_path / "whole", evaluate=weight_sum, evaluate_every=20)
    assert any(name.endswith("momentum_buffer") for name in load_file(tmp_path / "whole/resume.safetensors"))
    assert same_tensors(resumed.ema, whole.ema)
    files = [load_file(tmp_path / name / "resume.safetensors") for name in ("killed", "whole")]
    assert same_tensors(*files) and any(name.startswith("moments.") for name in files[0])
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")
    assert [row["step"] for row in lines(tmp_path / "whole") if "loss" in row] == list(range(5, 61, 5))
    assert [row["step"] for row in lines(tmp_path / "whole") if "eval/sum" in row] == [20, 40, 60]


def weight_sum(model):
    return {"sum": sum(float(weight.sum()) for weight in model.parameters())}


@pytest.mark.parametrize("number, raised", [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_signals_leave_a_checkpoint_and_the_old_handlers(tmp_path, number, raised):
    before = signal.getsignal(number)
    with pytest.raises(raised):
        fit(toy(), error, dies_at(23, number), config(checkpoint_minutes=9.0), tmp_path / "run")
    assert signal.getsignal(number) is before
    assert 20 <= read_header(tmp_path / "run/resume.safetensors").step <= 24
    resumed = fit(toy(), error, draw, config(), tmp_path / "run")
    assert same_tensors(resumed.ema, fit(toy(), error, draw, config(), tmp_path / "whole").ema)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_loss_that_is_not_finite_stops_with_the_checkpoint_intact(tmp_path, what):
    def explode(model, batch, progress):
        loss, terms = error(model, batch, progress)
        if progress.step == 37:
            root = model[0].weight.sum().mul(0).sqrt()  # finite value, infinite slope
            loss = loss + root if what == "gradient" else loss * float("nan")
        return loss, terms

    with pytest.raises(NonFiniteLossError, match="in step 37"):
        fit(toy(), explode, draw, config(), tmp_path / "run")
    saved = load_file(tmp_path / "run/resume.safetensors")
    assert read_header(tmp_path / "run/resume.safetensors").step == 35
    assert all(tensor.isfinite().all() for tensor in saved.values())


def test_folder_with_another_run_is_refused(tmp_path):
    fit(toy(), error, draw, config(steps=5), tmp_path / "run", identity={"data": {"hash": "a"}})
    before = (tmp_path / "run/resume.safetensors").read_bytes()
    with pytest.raises(
        ValueError, match=r"differs in fit.learning_rate 0.02 there, 0.5 here, identity.data.hash a the"
    ):
        changed = config(steps=9, learning_rate=0.5)
        fit(toy(), error, draw, changed, tmp_path / "run", identity={"data": {"hash": "b"}})
    with pytest.raises(ValueError, match="expected the weights of this Linear"):
        fit(nn.Linear(3, 2), error, draw, config(), tmp_path / "run", identity={"data": {"hash": "a"}})
    assert (tmp_path / "run/resume.safetensors").read_bytes() == before
    longer = config(steps=9, log_every=3, checkpoint_minutes=1.0)
    assert fit(toy(), error, draw, longer, tmp_path / "run", identity={"data": {"hash": "a"}}).step == 9


def test_folder_with_foreign_files_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl without resume.safetensors"):
        fit(toy(), error, draw, config(), tmp_path)
    save_file({"a": torch.zeros(2)}, tmp_path / "resume.safetensors")
    with pytest.raises(ValueError, match="expected a resume file of format"):
        fit(toy(), error, draw, config(), tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 700])
def test_damaged_checkpoint_is_named(tmp_path, kept):
    fit(toy(), error, draw, config(steps=5), tmp_path)
    path = tmp_path / "resume.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        fit(toy(), error, draw, config(), tmp_path)


def test_finished_run_is_not_trained_again(tmp_path, capsys):
    first = fit(toy(), error, draw, config(), tmp_path, evaluate=weight_sum)
    stamp = (tmp_path / "resume.safetensors").stat().st_mtime_ns

    def forbidden(generator, size):
        raise AssertionError("a finished run drew a batch")

    again = fit(toy(), error, forbidden, config(), tmp_path, evaluate=weight_sum)
    assert not again.trained and again.step == 60 and again.metrics == pytest.approx(first.metrics)
    assert same_tensors(again.ema, first.ema) and (tmp_path / "resume.safetensors").stat().st_mtime_ns == stamp
    assert "finished at step 60" in capsys.readouterr().out


def test_a_log_is_read_up_to_what_is_no_line(tmp_path):
    fit(toy(), error, draw, config(steps=10), tmp_path)
    whole, log = last_metrics(tmp_path, step=10), tmp_path / "metrics.jsonl"
    log.write_bytes(log.read_bytes() + b'[1]\n{"step": 10, "loss": 9.0}\n\xff')
    assert last_metrics(tmp_path, step=10) == whole and whole["loss"] < 9


def test_ema_is_the_recursion_and_leaves_the_raw_weights(tmp_path):
    path, seen = [], {}

    def watch(model, batch, progress):
        path.append(model[0].weight.detach().clone())
        return error(model, batch, progress)

    def evaluate(model):
        seen.update(weight=model[0].weight.clone(), training=model.training, grad=torch.is_grad_enabled())
        return {"zero": 0.0}

    result = fit(toy(), watch, draw, config(ema=0.9), tmp_path, evaluate=evaluate)
    raw = result.model[0].weight.detach()
    average = path[0]
    for step, weight in enumerate([*path[1:], raw], start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        assert ema_decay(config(ema=0.9), step) == decay
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(result.ema["0.weight"], average)
    assert torch.equal(seen["weight"], result.ema["0.weight"]) and not torch.equal(raw, average)
    assert not seen["training"] and not seen["grad"] and result.model.training
    assert torch.equal(load_file(tmp_path / "resume.safetensors")["model.0.weight"], raw)


def test_without_ema_the_raw_weights_are_exported(tmp_path):
    result = fit(toy(), error, draw, config(ema=0.0), tmp_path)
    assert same_tensors(result.ema, result.model.state_dict())


def test_learning_rate_has_its_closed_form():
    plan = config(steps=100, learning_rate=2.0, warmup_steps=4, decay_share=0.25)
    rates = [learning_rate(plan, Progress(step, step / 100)) for step in range(101)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0] and rates[75] == 2.0
    assert rates[80] == pytest.approx(2.0 * (1 - 0.98 * 0.2)) and rates[100] == pytest.approx(0.04)
    assert learning_rate(config(), Progress(0, 0.0)) == learning_rate(config(), Progress(59, 0.99)) == 0.02


def test_timed_run_follows_the_clock_over_a_resume(tmp_path):
    seen = []

    def watch(model, batch, progress):
        seen.append(progress)
        return error(model, batch, progress)

    plan = config(steps=0, minutes=1 / 60, decay_share=0.8)
    with pytest.raises(SystemExit):
        fit(toy(), watch, dies_at(20, signal.SIGTERM), plan, tmp_path)
    stopped = read_header(tmp_path / "resume.safetensors")
    assert 0 < stopped.seconds < 1
    seen.clear()
    result = fit(toy(), watch, draw, plan, tmp_path)
    assert seen[0] == Progress(stopped.step, pytest.approx(stopped.seconds))
    assert result.seconds >= 1 > seen[-1].share > 0.5 and result.step == seen[-1].step + 1
    assert result.metrics["learning_rate"] == learning_rate(plan, seen[-1]) < plan.learning_rate


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compile_changes_neither_saved_names_nor_numbers(tmp_path, monkeypatch, precision):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    called = []

    def watch(model, batch, progress):
        called.append(type(model).__name__)
        return error(model, batch, progress)

    plain = fit(toy(), watch, draw, config(steps=10, precision=precision), tmp_path / "plain")
    wrapped = fit(toy(), watch, draw, config(steps=10, precision=precision, compile=True), tmp_path / "wrapped")
    assert called[0] == "Sequential" and called[-1] == "OptimizedModule"
    assert same_tensors(plain.ema, wrapped.ema) and wrapped.ema.keys() == toy().state_dict().keys()
    assert same_tensors(*(load_file(tmp_path / name / "resume.safetensors") for name in ("plain", "wrapped")))


def test_bf16_reaches_the_model_and_weights_stay_fp32(tmp_path):
    kinds = set()

    def watch(model, batch, progress):
        kinds.add(model(batch["x"]).dtype)
        return error(model, batch, progress)

    result = fit(toy(), watch, draw, config(steps=2, precision="bf16"), tmp_path)
    assert kinds == {torch.bfloat16}
    assert all(tensor.dtype == torch.float32 for tensor in result.ema.values())


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, True),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "AMD EPYC"}, True),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "Intel Xeon"}, False),
        ({}, False),
    ],
)
def test_automatic_precision_is_bf16_where_the_processor_gains_by_it(tmp_path, monkeypatch, known, expected):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: known)
    kinds = set()

    def watch(model, batch, progress):
        kinds.add(model(batch["x"]).dtype)
        return error(model, batch, progress)

    fit(toy(), watch, draw, config(steps=2, precision="auto"), tmp_path)
    assert kinds == {torch.bfloat16 if expected else torch.float32}


@pytest.fixture
def processor(monkeypatch):
    """Says which instructions the processor has."""
    return lambda **known: monkeypatch.setattr("torch.cpu.get_capabilities", lambda: known)


def test_a_run_records_the_precision_that_it_really_has_and_goes_on_in_no_other(tmp_path, processor):
    processor(amx_bf16=True)
    fit(toy(), error, draw, config(steps=5), tmp_path)
    assert read_header(tmp_path / "resume.safetensors").record["fit"]["precision"] == "bf16"
    before = (tmp_path / "resume.safetensors").read_bytes()
    processor()
    with pytest.raises(ValueError, match=r"fit.precision bf16 there, fp32 here; .*: precision auto is fp32 on this"):
        fit(toy(), error, draw, config(steps=9), tmp_path)
    assert (tmp_path / "resume.safetensors").read_bytes() == before
    assert not fit(toy(), error, draw, config(steps=5), tmp_path).trained, "nothing is computed in a finished run"
    assert fit(toy(), error, draw, config(steps=9, precision="bf16"), tmp_path).step == 9
    processor(avx512_bf16=True)
    assert fit(toy(), error, draw, config(steps=12), tmp_path).step == 12


def test_log_goes_to_tensorboard_and_the_frame_rate_counts_frames(tmp_path):
    result = fit(toy(), error, draw, config(), tmp_path, frames_per_batch=8 * 17)
    times = [0.0] + [row["time"] for row in lines(tmp_path, drop=())]
    assert result.metrics["frames_per_second"] == pytest.approx(5 * 8 * 17 / (times[-1] - times[-2]), rel=0.2)
    assert result.metrics["share"] == pytest.approx(sum(range(55, 60)) / 5 / 60)
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_weight_decay_is_for_matrices_that_are_no_embedding():
    weight, bias = torch.zeros(3, 2), torch.zeros(3)
    assert is_decayed("layers.0.weight", weight) and not is_decayed("layers.0.bias", bias)
    assert not is_decayed("slot_embedding", weight) and not is_decayed("position.weight", weight)


def test_batches_are_drawn_in_one_other_thread_and_their_errors_arrive(tmp_path):
    threads = set()

    def broken(generator, size):
        threads.add(threading.current_thread())
        if len(threads) and read_header(tmp_path / "resume.safetensors").step >= 5:
            raise OSError("the disk is gone")
        return draw(generator, size)

    with pytest.raises(OSError, match="the disk is gone"):
        fit(toy(), error, broken, config(), tmp_path)
    assert len(threads) == 1 and threading.main_thread() not in threads


@pytest.mark.parametrize(
    "changes", [{"steps": 0}, {"batch_size": 0}, {"precision": "fp16"}, {"decay_share": 2.0}, {"log_every": 0}]
)
def test_config_out_of_range_is_named(changes):
    with pytest.raises(ValueError, match=f"expected {next(iter(changes))}"):
        config(**changes)


def test_models_and_terms_that_cannot_be_trained_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a model with fp32 parameters"):
        fit(toy().bfloat16(), error, draw, config(), tmp_path / "a")
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        fit(toy().requires_grad_(False), error, draw, config(), tmp_path / "b")
    for terms, message in (({"loss": torch.zeros(())}, "other than"), ({"x": torch.zeros(2)}, r"shape \(2,\)")):
        with pytest.raises(ValueError, match=message):
            fit(toy(), lambda *args, t=terms: (error(*args)[0], t), draw, config(), tmp_path / "c")


def test_two_processes_share_the_batch_and_the_lock_and_end_with_the_same_weights(tmp_path):
    out = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    with folder_lock(tmp_path / "taken"):
        both = subprocess.run([*launch, __file__, str(out), "shared"], capture_output=True, text=True)
    assert both.returncode == 0, both.stderr
    weights = [load_file(tmp_path / f"weights{rank}.safetensors") for rank in "01"]
    assert same_tensors(*weights) and not same_tensors(weights[0], toy().state_dict())
    assert [row["step"] for row in lines(out) if "loss" in row] == list(range(5, 61, 5))
    assert {row["size"] for row in lines(out) if "size" in row} == {4}
    with pytest.raises(ValueError, match="processes 2 there, 1 here"):
        fit(toy(), error, draw, config(), out)


def test_a_second_run_in_a_folder_is_refused_by_name_and_the_first_is_whole(tmp_path):
    seen = []

    def intrude(model):
        with pytest.raises(FolderInUseError, match=rf"{tmp_path}.*in use by process {os.getpid()} on") as refused:
            fit(toy(), error, draw, config(), tmp_path)
        seen.append(refused)
        return {"zero": 0.0}

    whole = fit(toy(), error, draw, config(), tmp_path, evaluate=intrude, evaluate_every=20)
    assert len(seen) == 3 and whole.step == 60
    assert [row["step"] for row in lines(tmp_path) if "loss" in row] == list(range(5, 61, 5))
    assert {path.name for path in tmp_path.iterdir()} == {"resume.safetensors", "metrics.jsonl", "tensorboard"}


@pytest.mark.parametrize("left", ["metrics.jsonl", "product"])
def test_a_refusal_makes_no_folder(tmp_path, left):
    product = tmp_path / "product"
    (tmp_path / left).write_text("mine")
    with pytest.raises(ValueError, match="choose another output folder"):
        fit(toy(), error, draw, config(), tmp_path if left == "metrics.jsonl" else tmp_path / "new", product=product)
    assert [path.name for path in tmp_path.iterdir()] == [left]


def far_from_step(best: int, seen: list):
    """An evaluation that is best at one step, and notes the weights of each look."""

    def evaluate(model):
        step = 10 * (len(seen) + 1)
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"distance": abs(step - best)}

    return evaluate


def test_a_run_that_no_longer_improves_ends_with_its_best_weights(tmp_path):
    seen: list = []
    stopping = EarlyStopping(metric="distance", patience=2)
    plan = config(log_every=7)

    def train(**changes):
        return fit(toy(), error, draw, plan, tmp_path, evaluate_every=10, stopping=stopping, **changes)

    result = train(evaluate=far_from_step(30, seen))
    assert result.step == 50 and result.kept == 30 and same_tensors(result.ema, seen[2])
    assert lines(tmp_path)[-1]["eval/distance"] == 20
    assert is_finished(tmp_path, plan)
    again = train(evaluate=weight_sum)
    assert not again.trained and again.kept == 30 and same_tensors(again.ema, seen[2])


def test_an_early_stop_survives_a_kill(tmp_path):
    stopping = EarlyStopping(metric="distance", patience=3)
    with pytest.raises(SystemExit):
        dies = dies_at(48, signal.SIGTERM)  # after the best evaluation, before the last
        run = {"evaluate_every": 10, "stopping": stopping}
        fit(toy(), error, dies, config(), tmp_path / "killed", evaluate=far_from_step(20, []), **run)
    looks = read_header(tmp_path / "killed/resume.safetensors").step // 10
    assert looks == 4
    resumed = fit(toy(), error, draw, config(), tmp_path / "killed", evaluate=far_from_step(20, [{}] * looks), **run)
    whole = fit(toy(), error, draw, config(), tmp_path / "whole", evaluate=far_from_step(20, []), **run)
    assert resumed.step == whole.step == 50 and resumed.kept == whole.kept == 20
    assert same_tensors(resumed.ema, whole.ema)
    killed, uninterrupted = (
        [row for row in lines(tmp_path / name) if "eval/distance" in row] for name in ("killed", "whole")
    )
    assert killed == uninterrupted
    with pytest.raises(ValueError, match=r"differs in stopping.patience 3 there, 4 here"):
        run["stopping"] = EarlyStopping(metric="distance", patience=4)
        fit(toy(), error, draw, config(), tmp_path / "whole", evaluate=weight_sum, **run)


def test_early_stopping_needs_an_evaluation_and_patience_that_is_a_number_of_looks(tmp_path):
    with pytest.raises(ValueError, match="expected an evaluation that tells 'distance', got none"):
        fit(toy(), error, draw, config(), tmp_path, stopping=EarlyStopping(metric="distance", patience=2))
    with pytest.raises(ValueError, match="expected patience >= 0, got -1"):
        EarlyStopping(metric="distance", patience=-1)


def train_as_script(out: Path, mode: str) -> None:
    """`killed`: dies of SIGKILL on the way; `shared`: one of several processes, which saves its weights,
    after all were refused a folder that somebody else writes into.
    """
    torch.set_num_threads(1)
    if mode == "killed":
        source = dies_at(38, signal.SIGKILL)
        fit(toy(), error, source, config(muon=0.5), out, evaluate=weight_sum, evaluate_every=20)

    def counted(model, batch, progress):
        loss, _ = error(model, batch, progress)
        return loss, {"size": torch.tensor(len(batch["x"]))}

    with pytest.raises(FolderInUseError, match="in use by process"):
        fit(toy(), counted, draw, config(), out.parent / "taken")
    result = fit(toy(), counted, draw, config(), out, evaluate=weight_sum)
    save_file(result.ema, out.parent / f"weights{os.environ['RANK']}.safetensors")


if __name__ == "__main__":
    train_as_script(Path(sys.argv[1]), sys.argv[2])
