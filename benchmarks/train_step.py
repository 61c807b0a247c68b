"""How many frames a second a training step of every method of the comparison takes, and how that grows.

    python benchmarks/train_step.py

All with as many trained parameters as FLAM has at the sizes of the preset `small`, without its sink, persistence and
prior there: models grow or shrink in width until they have. With `--no-equal-parameters` the widths of attention are
equal, as in the comparison. In one run on one machine, one after the other at every size. Random tokens: the arithmetic
does not depend on them. K is FLAM's number of slots; models of whole scenes have one latent action of as many
dimensions as all of FLAM's together. N counts the cells that attention runs over. PlaySlot and SlotFormer stand on
slots that are learned before, by as many steps of `slots`. On a machine that is busy with other things,
`--per-cpu-second` counts the seconds of work instead of those on the wall.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
import tyro
from torch import Tensor, nn
from train_speed import NUMBERS, Precision, plain_step, timed

import baselines
from baselines.genie import GenieLossConfig, genie_loss
from baselines.playslot import PlaySlotLossConfig, playslot_loss
from baselines.savi import Savi
from baselines.slotformer import SlotLossConfig, slotformer_loss
from baselines.train import KINDS, equal_arguments
from flam_env.models.factored import FactoredWorldModel, WorldModelConfig
from flam_train.engine.allocator import restart_with_huge_pages
from flam_train.engine.plan import Progress, optimizers
from flam_train.engine.precision import used_precision
from flam_train.phases.losses import WorldModelLossConfig, prediction_loss, token_error, world_model_loss
from flam_train.presets import SMALL, Preset

MODELS: dict[str, Callable[[Any], nn.Module]] = {
    "flam": FactoredWorldModel,
    "adaworld": baselines.AdaWorld,
    "genie": baselines.Genie,
    "world-model": baselines.ActionWorldModel,
    "slots": Savi,
    "playslot": baselines.PlaySlot,
    "slotformer": baselines.SlotFormer,
}
Size = tuple[int, int, int]
"""K, N and T."""
WARM = 2


def measure(
    *,
    slots: tuple[int, ...] = (4, 8, 16),
    side: tuple[int, ...] = (8, 12, 16),
    frames: tuple[int, ...] = (8, 16, 32),
    batch: int = 8,
    methods: tuple[str, ...] = tuple(MODELS),
    measured: int = 5,
    equal_parameters: bool = True,
    per_cpu_second: bool = False,
    precision: Precision = "auto",
) -> None:
    """Prints a Markdown table of frames per second.

    Args:
        slots: values of K; the first of each is what the others are varied at.
        side: cells along one side of a frame, whose squares are values of N.
        frames: values of T.
        batch: clips of a step.
        methods: which.
        measured: steps of which the median counts, after two to warm up.
        equal_parameters: whether models have the width that brings their parameters next to FLAM's, at the first size.
        per_cpu_second: frames per second of CPU time, of all threads.
        precision: of matrix products.
    """
    clock = time.process_time if per_cpu_second else time.perf_counter
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = (slots[0], side[0] ** 2, frames[0])
    sizes = [base, *((k, *base[1:]) for k in slots[1:])]
    sizes += [(base[0], n**2, base[2]) for n in side[1:]] + [(*base[:2], t) for t in frames[1:]]
    unit = "CPU-second" if per_cpu_second else "second"
    name = used_precision(precision, device)
    print(f"{device}, {torch.get_num_threads()} threads, {name}, {batch} clips a step; frames per {unit} at K, N, T:\n")
    titles = ["method", "width", "parameters, M", *(", ".join(map(str, size)) for size in sizes)]
    print(f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}")
    for method in methods:
        cells, width = [], equal_width(method, base) if equal_parameters else WorldModelConfig().dim
        trained = trained_parameters(MODELS[method](config_of(method, base, width)))
        for size in sizes:
            step = training_step(method, size, width, batch, device, precision)
            cells.append(f"{batch * size[2] / timed(step, device, warm=WARM, measured=measured, clock=clock):.0f}")
        print(f"| {method} | {width} | {trained / 1e6:.2f} | {' | '.join(cells)} |", flush=True)


def config_of(method: str, size: Size, width: int) -> Any:
    """The config of a method at these sizes, and at a width where that of FLAM is as it is in `small`."""
    slots, cells, frames = size
    flam = WorldModelConfig(slots=slots, grid=round(cells**0.5), group=1, window=min(8, frames))
    preset = replace(SMALL, world_model=flam, loss=WorldModelLossConfig())
    return replace(flam if method == "flam" else equal_arguments(KINDS[method], preset)["model"], dim=width)


def trained_parameters(model: nn.Module) -> int:
    """Those that are trained: not those of slots that are learned before."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def equal_width(method: str, size: Size) -> int:
    """The width, a multiple of twice the heads, at which a method has the parameters of FLAM, as nearly as it can."""
    flam = WorldModelConfig()
    wanted = trained_parameters(FactoredWorldModel(config_of("flam", size, flam.dim)))
    widths = range(flam.dim // 2, 4 * flam.dim, 2 * flam.heads)
    return min(widths, key=lambda dim: abs(trained_parameters(MODELS[method](config_of(method, size, dim))) - wanted))


def training_step(
    method: str, size: Size, width: int, batch: int, device: torch.device, precision: Precision
) -> Callable[[], None]:
    """One optimiser step of a model of these sizes, from the tokens on, ready to be called."""
    torch.manual_seed(0)
    _, cells, frames = size
    model: Any = MODELS[method](config_of(method, size, width)).to(device)
    preset = replace(SMALL, loss=WorldModelLossConfig())
    both = optimizers(model, preset.world_model_fit, device)
    tokens = torch.randint(model.quantizer.size, (batch, frames, cells), device=device)
    known = torch.randint(15, (batch, frames), device=device)
    plain = plain_step(model, objective(method, preset, known), both, device, compiled=False, precision=precision)

    def step() -> None:
        plain(tokens, NUMBERS)

    return step


def objective(method: str, preset: Preset, known: Tensor) -> Any:
    """What a method minimises: (network, tokens, progress) -> loss and terms."""
    flam = preset.loss

    def loss(network: Any, tokens: Tensor, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        if method in ("flam", "adaworld"):
            return world_model_loss(network, tokens, network(tokens), flam, progress.share)
        if method == "genie":
            return genie_loss(network, tokens, GenieLossConfig(), progress.share)
        if method == "playslot":
            return playslot_loss(network, tokens, PlaySlotLossConfig(**asdict(flam)), progress.share)
        if method == "slotformer":
            return slotformer_loss(network, tokens, SlotLossConfig())
        if method == "slots":
            return token_error(network.config.target, network.quantizer, network(tokens)[0], tokens).mean(), {}
        return prediction_loss(network, tokens, network(tokens, known=known), "even"), {}

    return loss


if __name__ == "__main__":
    restart_with_huge_pages()
    tyro.cli(measure)
