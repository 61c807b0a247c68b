"""How many frames a second the world model trains on, and what share of the machine's matrix rate that is.

    python benchmarks/train_speed.py

Both numbers of a share are measured in the same run. Random tokens: the arithmetic does not depend on them.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import torch
import tyro
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from flam_env.models.factored import FactoredWorldModel
from flam_train.engine.allocator import restart_with_huge_pages
from flam_train.engine.plan import optimizers
from flam_train.engine.precision import uses_bf16
from flam_train.phases.losses import world_model_loss
from flam_train.presets import SMALL

WARM, MEASURED = 4, 8
PRODUCTS = 5  # matrix products that are timed


def measure(
    *, slots: tuple[int, ...] = (4, 16), batch: int = 32, frames: int = 16, compiled: tuple[bool, ...] = (False, True)
) -> None:
    """Prints a Markdown table of training speed of the `small` world model.

    Args:
        slots: values of K.
        batch: clips of a step.
        frames: frames of a clip.
        compiled: whether through torch.compile.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = uses_bf16("auto", device)
    rate = matrix_rate(torch.bfloat16 if half else torch.float32, device, side=2048)
    name = "bf16" if half else "fp32"
    print(f"{device}, {torch.get_num_threads()} threads, {name} matrix rate {rate / 1e12:.2f} TFLOP/s")
    print("| K | mode | frames/s | MFLOP/frame | share of matrix rate |\n| --- | --- | --- | --- | --- |")
    for count in slots:
        for compile_model in compiled:
            step = training_step(count, batch, frames, device, half, compile_model)
            seconds = timed(step, device)
            work = flops(training_step(count, batch, frames, device, half, False)) / (batch * frames)
            speed = batch * frames / seconds
            mode = "compiled" if compile_model else "eager"
            print(f"| {count} | {mode} | {speed:.0f} | {work / 1e6:.0f} | {speed * work / rate:.1%} |", flush=True)


def training_step(
    slots: int, batch: int, frames: int, device: torch.device, half: bool, compiled: bool
) -> Callable[[], None]:
    """One optimiser step of the `small` preset with K slots, ready to be called."""
    torch.manual_seed(0)
    model = FactoredWorldModel(replace(SMALL.world_model, slots=slots)).to(device)
    called = torch.compile(model, dynamic=False) if compiled else model
    both = optimizers(model, SMALL.world_model_fit, device)
    tokens = torch.randint(model.quantizer.size, (batch, frames, model.config.patches), device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss, _ = world_model_loss(model, tokens, called(tokens), SMALL.loss, 0.5)
        loss.backward()
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return step


def timed(step: Callable[[], None], device: torch.device) -> float:
    """Median seconds of a step after warming up."""
    times = []
    for _ in range(WARM + MEASURED):
        begin = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return sorted(times[WARM:])[MEASURED // 2]


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
