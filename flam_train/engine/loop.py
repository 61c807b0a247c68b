"""The one training loop of the project: tokenizer, world model, baselines, decoder, cloning all call `fit`.

Batches and noise of a step depend on nothing but (seed, step, process), so a run that was killed and resumed
gives the same numbers, bit for bit, as one that ran through (on a CPU; GPU kernels may reorder sums).
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from flam_train.engine.batches import Batch, BatchFeed, DrawBatch, Stream, step_seed
from flam_train.engine.folder import RESUME_NAME, alone_in, check_folder
from flam_train.engine.identity import as_json
from flam_train.engine.log import RunLog, last_metrics
from flam_train.engine.objective import Objective
from flam_train.engine.plan import (
    Evaluate,
    FitConfig,
    Loss,
    Progress,
    ema_decay,
    learning_rate,
    optimizers,
    progress_of,
)
from flam_train.engine.precision import used_precision
from flam_train.engine.recorded import RecordedStep, is_recorded
from flam_train.engine.signals import Interrupts
from flam_train.engine.state import RunState, require_trainable
from flam_train.engine.step import Numbers, TrainingStep
from flam_train.engine.stopping import BestSoFar, EarlyStopping
from flam_train.engine.window import Window

try:
    from accelerate import Accelerator
except ImportError as error:
    raise ImportError("training needs accelerate: pip install 'flam-env[train]'") from error


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What `fit` leaves.

    Attributes:
        model: the network with its raw weights, on its device.
        ema: the model's state dict under averaged weights (raw ones if ema is 0): what gets exported. With early
            stopping, those of the best evaluation.
        metrics: latest value of each metric; evaluation metrics are called "eval/...".
        step: optimiser steps done, over all resumes.
        seconds: time spent on training, over all resumes; evaluation is not counted.
        kept: the step whose weights `ema` holds.
        trained: False if the folder held the finished run and nothing was left to do.
        main: whether this is the main process, the one that should write results.
    """

    model: nn.Module
    ema: dict[str, Tensor]
    metrics: dict[str, float]
    step: int
    seconds: float
    kept: int
    trained: bool
    main: bool


def fit(
    model: nn.Module,
    loss: Loss,
    batches: DrawBatch,
    config: FitConfig,
    out: Path,
    *,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 0,
    frames_per_batch: int = 0,
    identity: Mapping[str, Any] | None = None,
    product: Path | None = None,
    stopping: EarlyStopping | None = None,
) -> FitResult:
    """Trains `model`, or goes on with the run that `out` holds. Several GPUs: start it with torchrun.

    On SIGTERM and Ctrl-C it finishes the step, writes a checkpoint and exits; a second Ctrl-C exits at once.

    Args:
        model: fp32 network; moved to the device and trained in place.
        loss: see `Loss`.
        batches: (generator, number of examples) -> batch; called from a second thread, one step ahead.
        config: how to train.
        out: folder for resume.safetensors, metrics.jsonl and tensorboard.
        evaluate: called with averaged weights, in eval mode, without gradient, in fp32, on the main process.
        evaluate_every: steps between evaluations; 0 evaluates only when the run ends.
        frames_per_batch: frames in one batch over all processes, for frames/s; 0 counts one per example.
        identity: JSON-able description of all else that makes the run what it is (model config, fingerprint
            of the data); a resume with another identity is refused.
        product: the file that the caller makes of the result; where it exists and no run is in `out`, it came from
            elsewhere and would be lost.
        stopping: lets a metric of `evaluate` end the run and choose the weights that are the result.

    Raises:
        ValueError: if `out` holds another run or a damaged file, if another process trains there, if `product` came
            from elsewhere, if the batch size does not divide, or if evaluations that do not exist are to stop the run.
        NonFiniteLossError: if the loss or gradient is NaN or infinite; the last checkpoint stays as it was.
    """
    if stopping and not evaluate:
        raise ValueError(f"expected an evaluation that tells {stopping.metric!r}, got none; give `evaluate`")
    best = BestSoFar(stopping) if stopping else None
    run = _Run(model, loss, config, Path(out), frames_per_batch or config.batch_size, best)
    record = run.record(dict(identity or {}))
    check_folder(run.out, config, record, product)  # before it is made, and again when nobody else can change it
    with alone_in(run.out, main=run.main, control=run.control):
        check_folder(run.out, config, record, product)
        run.open(record)
        return run.train(batches, evaluate, evaluate_every)


class _Run:
    """One run, from opening its folder to its result."""

    def __init__(self, model: nn.Module, loss: Loss, config: FitConfig, out: Path, frames: int, best: BestSoFar | None):
        require_trainable(model)
        self.config, self.out, self.frames, self.best = config, out, frames, best
        # Without cpu=True, accelerate overlooks torchrun's other processes on a machine without a GPU.
        self.accelerator = Accelerator(mixed_precision="no", cpu=not torch.accelerator.is_available())
        self.device, self.rank = self.accelerator.device, self.accelerator.process_index
        self.processes, self.main = self.accelerator.num_processes, self.accelerator.is_main_process
        if config.batch_size % self.processes:
            raise ValueError(
                f"expected a batch size that {self.processes} processes can share, got {config.batch_size}; "
                f"make it a multiple of {self.processes}"
            )
        # Over gloo, agreeing on time and signals never waits for the GPU; the timeout outlasts evaluations.
        shared = self.processes > 1
        self.control = dist.new_group(backend="gloo", timeout=timedelta(days=1)) if shared else None
        self.precision = used_precision(config.precision, self.device)
        objective = self.accelerator.prepare(
            Objective(model, loss, compiled=config.compile, bf16=self.precision == "bf16")
        )
        self.model, both = model, optimizers(model, config, self.device)
        self.state = RunState(model, both, average=config.ema > 0, best=best)
        step = TrainingStep(
            objective,
            both,
            self.state,
            backward=self.accelerator.backward,
            clip=self.accelerator.clip_grad_norm_,
            most=config.clip or math.inf,
            device=self.device,
        )
        recorded = is_recorded(config, self.device, self.processes)
        self.step = RecordedStep(step, self.device) if recorded else step
        self.window = Window(out / RESUME_NAME)

    def record(self, identity: dict[str, Any]) -> dict[str, Any]:
        """What decides the run; its precision is the one that is used, as "auto" is not the same everywhere."""
        used = replace(self.config, precision=self.precision)
        record = {"fit": asdict(used), "identity": identity, "processes": self.processes}
        return as_json(record | ({"stopping": asdict(self.best.stopping)} if self.best else {}))

    def open(self, record: dict[str, Any]) -> None:
        """Resumes what the folder holds, or starts a run there by writing the checkpoint of step 0."""
        self._record, path = record, self.out / RESUME_NAME
        resumed = path.exists()
        self.accelerator.wait_for_everyone()
        if resumed:
            self.state.load(path)
        elif self.main:
            self.state.save(path, record)
        self.saved_at = time.perf_counter()

    def train(self, batches: DrawBatch, evaluate: Evaluate | None, evaluate_every: int) -> FitResult:
        """Steps until the run is done, then returns its result; returns at once if it is done already."""
        progress = self._progress()
        if self._ends():
            self.accelerator.print(f"{self.out}: finished at step {progress.step}, nothing left to train")
            return self._result(last_metrics(self.out, progress.step), trained=False)
        unit = "s" if self.config.minutes else "step"
        with (
            Interrupts() as interrupts,
            RunLog(
                self.out, step=progress.step, total=self._total(), done=self._done(), unit=unit, active=self.main
            ) as log,
            BatchFeed(
                batches,
                size=self.config.batch_size // self.processes,
                seed=self.config.seed,
                process=self.rank,
                device=self.device,
                step=progress.step,
            ) as feed,
        ):
            self._loop(feed, log, interrupts, evaluate, evaluate_every)
        return self._result(log.latest, trained=True)

    def _loop(
        self, feed: BatchFeed, log: RunLog, interrupts: Interrupts, evaluate: Evaluate | None, evaluate_every: int
    ) -> None:
        self.model.train()
        self.last_tick, self.window_start = time.perf_counter(), self.state.seconds
        progress = self._progress()
        while not self._ends():
            rate = self._step(feed.take(), progress)
            stop = self._tick(interrupts.received)
            progress = self._progress()
            log.advance(self._done())
            looks = evaluate and (self._ends() or (evaluate_every and progress.step % evaluate_every == 0))
            if closes := bool(looks or self._ends() or stop or progress.step % self.config.log_every == 0):
                self._close_window(log, rate)
            if evaluate and looks:
                self._evaluate(evaluate, log)
            due = time.perf_counter() - self.saved_at >= 60 * self.config.checkpoint_minutes
            if closes and (self._ends() or stop or due):
                self._checkpoint(log)
            if stop:
                interrupts.leave(stop)

    def _step(self, batch: Batch, progress: Progress) -> float:
        """One optimiser step; notes loss and terms on the device, without waiting for it."""
        rate = learning_rate(self.config, progress)
        torch.manual_seed(step_seed(self.config.seed, progress.step, self.rank, Stream.FORWARD))
        numbers = Numbers(progress, rate, ema_decay(self.config, progress.step + 1))
        self.window.add(*self.step(batch, numbers))
        return rate

    def _tick(self, received: int) -> int:
        """Counts the step and its time; returns the signal to stop for, which the main process decides."""
        now = time.perf_counter()
        self.state.step += 1
        self.state.seconds += now - self.last_tick
        self.last_tick = now
        if self.control is None:
            return received
        shared = torch.tensor([self.state.seconds, received], dtype=torch.float64)
        dist.broadcast(shared, src=0, group=self.control)
        self.state.seconds = float(shared[0])
        return int(shared[1])

    def _close_window(self, log: RunLog, rate: float) -> None:
        """Writes the averages since the last line, checking that every loss was finite."""
        count = self.window.steps
        means = self.window.close(self.state.step, lambda table: self.accelerator.reduce(table, "mean"))
        seconds = max(self.state.seconds - self.window_start, 1e-9)
        speed = {"frames_per_second": self.frames * count / seconds, "learning_rate": rate}
        log.line(self.state.step, self.state.seconds, means | speed, group="train")
        self.window_start = self.state.seconds

    def _evaluate(self, evaluate: Evaluate, log: RunLog) -> None:
        judged = torch.zeros((), dtype=torch.float64)
        if self.main:
            torch.manual_seed(step_seed(self.config.seed, self.state.step, 0, Stream.EVALUATION))
            with self.state.averaged() as model, torch.no_grad():
                model.eval()
                metrics = {name: float(value) for name, value in evaluate(model).items()}
            self.model.train()
            log.line(self.state.step, self.state.seconds, metrics, group="eval")
            if self.best is not None:
                judged.fill_(metrics[self.best.stopping.metric])
        if self.control is not None:  # where the other processes wait for the main one
            dist.broadcast(judged, src=0, group=self.control)
        if self.best is not None:
            self.best.look(judged.item(), self.state.step, self.state.averaged_weights)
        self.last_tick = time.perf_counter()

    def _checkpoint(self, log: RunLog) -> None:
        if self.main:
            log.flush()
            self.state.save(self.out / RESUME_NAME, self._record)
        self.saved_at = time.perf_counter()

    def _ends(self) -> bool:
        return self._progress().share >= 1 or (self.best is not None and self.best.stopped)

    def _done(self) -> float:
        return self.state.seconds if self.config.minutes else self.state.step

    def _total(self) -> float:
        return 60 * self.config.minutes if self.config.minutes else self.config.steps

    def _progress(self) -> Progress:
        return progress_of(self.config, self.state.step, self.state.seconds)

    def _result(self, metrics: dict[str, float], *, trained: bool) -> FitResult:
        step, seconds = self.state.step, self.state.seconds
        best = self.best if self.best and self.best.weights else None  # none is better than NaN
        return FitResult(
            model=self.model,
            ema=best.weights if best else self.state.averaged_weights(),
            metrics=metrics,
            step=step,
            seconds=seconds,
            kept=best.step if best else step,
            trained=trained,
            main=self.main,
        )
