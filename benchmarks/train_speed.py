"""How many frames a second the world model trains on, and what share of the machine's matrix rate that is.

    python benchmarks/train_speed.py

Both numbers of a share are measured in the same run. Random tokens: the arithmetic does not depend on them.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from flam_env.models.factored import FactoredWorldModel
from flam_train.engine.allocator import restart_with_huge_pages
from flam_train.engine.objective import Objective
from flam_train.engine.plan import Loss, Progress, optimizers
from flam_train.engine.precision import used_precision, uses_bf16
from flam_train.engine.recorded import SETTLING, RecordedStep
from flam_train.engine.state import RunState
from flam_train.engine.step import Numbers, TrainingStep
from flam_train.phases.losses import world_model_loss
from flam_train.presets import SMALL
from flam_train.store.tokens import ClipReader

WARM, MEASURED = SETTLING + 2, 8
STORED = 20_000  # frames of tokens that clips are read from
NUMBERS = Numbers(Progress(1000, 0.5), 8e-4, 0.999)
Precision = Literal["auto", "fp32", "bf16"]
PRODUCTS = 5  # matrix products that are timed


def measure(
    *,
    slots: tuple[int, ...] = (4, 16),
    batch: int = 32,
    frames: int = 16,
    compiled: tuple[bool, ...] = (False, True),
    recorded: tuple[bool, ...] = (False, True),
    precision: Precision = "auto",
) -> None:
    """Prints a Markdown table of training speed of the `small` world model.

    Args:
        slots: values of K.
        batch: clips of a step.
        frames: frames of a clip.
        compiled: whether through torch.compile.
        recorded: whether as one CUDA graph; without a CUDA GPU nothing is.
        precision: of matrix products.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = used_precision(precision, device)
    rate = matrix_rate(torch.bfloat16 if name == "bf16" else torch.float32, device, side=2048)
    print(f"{device}, {torch.get_num_threads()} threads, {name} matrix rate {rate / 1e12:.2f} TFLOP/s")
    print("| K | mode | frames/s | MFLOP/frame | share of matrix rate |\n| --- | --- | --- | --- | --- |")
    modes = [(c, r) for c in compiled for r in recorded if not r or device.type == "cuda"]
    for count in slots:
        work = flops(training_step(count, batch, frames, device)) / (batch * frames)
        for compile_model, record in modes:
            step = training_step(
                count, batch, frames, device, compiled=compile_model, recorded=record, precision=precision
            )
            speed = batch * frames / timed(step, device)
            mode = " ".join(["compiled" if compile_model else "eager"] + ["in one graph"] * record)
            print(f"| {count} | {mode} | {speed:.0f} | {work / 1e6:.0f} | {speed * work / rate:.1%} |", flush=True)


def training_step(
    slots: int,
    batch: int,
    frames: int,
    device: torch.device,
    *,
    compiled: bool = False,
    recorded: bool = False,
    precision: Precision = "auto",
) -> Callable[[], None]:
    """One optimiser step of the `small` preset with K slots, from the tokens on, ready to be called."""
    torch.manual_seed(0)
    model = FactoredWorldModel(replace(SMALL.world_model, slots=slots)).to(device)
    both = optimizers(model, SMALL.world_model_fit, device)
    stored = np.random.default_rng(0).integers(0, model.quantizer.size, (STORED, model.config.patches), np.uint16)
    clips = ClipReader(stored, frames, device)

    def loss(network: nn.Module, starts: Tensor, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        tokens = clips(starts)
        return world_model_loss(model, tokens, network(tokens), SMALL.loss, progress.share)

    plain = plain_step(model, loss, both, device, compiled=compiled, precision=precision)
    taken = RecordedStep(plain, device) if recorded else plain
    starts = torch.randint(STORED - frames, (batch,), device=device)

    def step() -> None:
        taken(starts, NUMBERS)

    return step


def plain_step(
    model: nn.Module, loss: Loss, both: Any, device: torch.device, *, compiled: bool, precision: Precision
) -> TrainingStep:
    """One optimiser step as the training loop takes it, to be called with a batch and `NUMBERS`."""
    return TrainingStep(
        Objective(model, loss, compiled=compiled, bf16=uses_bf16(precision, device)),
        both,
        RunState(model, both, average=True),
        backward=Tensor.backward,
        clip=nn.utils.clip_grad_norm_,
        most=1.0,
        device=device,
    )


def timed(
    step: Callable[[], None],
    device: torch.device,
    *,
    warm: int = WARM,
    measured: int = MEASURED,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median seconds of a step after warming up, by a clock."""
    times = []
    for _ in range(warm + measured):
        begin = clock()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - begin)
    return sorted(times[warm:])[measured // 2]


def flops(step: Callable[[], None]) -> int:
    """Floating-point operations of the matrix products of one call."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def matrix_rate(dtype: torch.dtype, device: torch.device, side: int) -> float:
    """Floating-point operations per second of a product of square matrices."""
    factors = {name: torch.randn(side, side, device=device).to(dtype) for name in ("left", "right")}
    timer = Timer("left @ right", globals=factors, num_threads=torch.get_num_threads())
    return 2 * side**3 / timer.timeit(PRODUCTS).mean


if __name__ == "__main__":
    restart_with_huge_pages()
    tyro.cli(measure)
