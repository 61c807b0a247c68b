"""What a training run is at one moment, and the one file it is kept in: `resume.safetensors`.

The file holds tensors and JSON, never pickles, so a file from a stranger can be wrong but not run code.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from flam_env.worlds.writing import write_atomically
from flam_train.engine.stopping import BestSoFar

FORMAT = "flam-resume-1"


class ResumeHeader(NamedTuple):
    """Progress and description of a saved run; `best` is there if its evaluations decide when it stops."""

    step: int
    seconds: float
    record: dict[str, Any]
    best: dict[str, Any] | None = None


class RunState:
    """Model, EMA, optimiser moments, best weights, step and training seconds of one run.

    Args:
        model: the network in training, fp32, already on its device.
        optimizers: AdamW, and perhaps Muon, which share the model's trainable parameters.
        average: whether an exponential moving average of the weights is kept.
        best: where the best weights are kept, if they are.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        *,
        average: bool,
        best: BestSoFar | None = None,
    ):
        self.model = model
        self.moments = {w: o.state for o in optimizers for group in o.param_groups for w in group["params"]}
        self.fused = optimizers[0].defaults["fused"]
        named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.names = list(named)
        self.weights = [weight.data for weight in named.values()]
        self.parameters = list(named.values())
        self.average = [weight.clone() for weight in self.weights] if average else None
        self.best = best
        self.step, self.seconds = 0, 0.0

    @torch.no_grad()
    def update_average(self, decay: float | Tensor) -> None:
        """EMA <- EMA + (1 - decay) * (weights - EMA); nothing if no average is kept."""
        if self.average is not None:
            apart = torch._foreach_sub(self.weights, self.average)
            torch._foreach_mul_(apart, 1 - decay)
            torch._foreach_add_(self.average, apart)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Puts the EMA weights into the model while the context is open; the raw ones return bit for bit."""
        if self.average is None:
            yield self.model
            return
        raw = [weight.clone() for weight in self.weights]
        torch._foreach_copy_(self.weights, self.average)
        try:
            yield self.model
        finally:
            torch._foreach_copy_(self.weights, raw)

    def averaged_weights(self) -> dict[str, Tensor]:
        """A copy of the model's state dict under EMA weights (raw ones if no average is kept)."""
        with self.averaged() as model:
            return {name: value.detach().clone() for name, value in model.state_dict().items()}

    def save(self, path: Path, record: dict[str, Any]) -> None:
        """Writes the state and the run's record; where that fails, what was saved before stays.

        Raises:
            OSError: the disk is full, or the like.
        """
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self._tensors().items()}
        header = {"step": self.step, "seconds": self.seconds, "record": record}
        header |= {"best": self.best.header()} if self.best else {}
        metadata = {"format": FORMAT, "run": json.dumps(header)}
        write_atomically(path, save(tensors, metadata))

    def load(self, path: Path) -> None:
        """Restores what `save` wrote, in place.

        Raises:
            OSError: the system does not let the file be read.
            ValueError: the file is damaged, or does not fit the model.
        """
        header = read_header(path)
        with _opened(path) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        part = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        try:
            self.model.load_state_dict(part)
            self._restore_average(tensors)
            self._restore_moments(tensors)
            self._restore_best(header, tensors)
        except (RuntimeError, KeyError) as error:
            raise ValueError(
                f"{path}: expected the weights of this {type(self.model).__name__}, got others; "
                f"use the model that the run was started with, or another output folder: {error}"
            ) from error
        self.step, self.seconds = header.step, header.seconds

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"ema.{name}": value for name, value in zip(self.names, self.average, strict=True)}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            moments = self.moments[parameter].get(parameter, {})
            tensors |= {f"moments.{name}.{key}": value for key, value in moments.items()}
        if self.best is not None:
            tensors |= {f"best.{name}": value for name, value in self.best.weights.items()}
        return tensors

    def _restore_average(self, tensors: dict[str, Tensor]) -> None:
        for name, value in zip(self.names, self.average or (), strict=self.average is not None):
            value.copy_(tensors[f"ema.{name}"])

    def _restore_best(self, header: ResumeHeader, tensors: dict[str, Tensor]) -> None:
        if self.best is not None and header.best is not None:
            saved = {name.removeprefix("best."): t for name, t in tensors.items() if name.startswith("best.")}
            device = self.weights[0].device
            self.best.restore(header.best, {name: tensor.to(device) for name, tensor in saved.items()})

    def _restore_moments(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in zip(self.names, self.parameters, strict=True):
            prefix = f"moments.{name}."
            saved = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            if saved:  # else this parameter has had no gradient yet
                self.moments[parameter][parameter] = {
                    key: value.to(parameter.device if self.fused else "cpu")
                    if key == "step"
                    else torch.zeros_like(parameter).copy_(value)
                    for key, value in saved.items()
                }


def read_header(path: Path) -> ResumeHeader:
    """Reads step, training seconds and record of a saved run without its tensors.

    Raises:
        OSError: the system does not let the file be read.
        ValueError: if the file is damaged or not a resume file of this version.
    """
    with _opened(path) as file:
        metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path}: expected a resume file of format {FORMAT!r}, got {metadata.get('format')!r}; "
            "choose another output folder, or use the release of flam-env that wrote it"
        )
    return ResumeHeader(**json.loads(metadata["run"]))


def require_trainable(model: nn.Module) -> None:
    """Raises ValueError unless the model is a plain one with fp32 weights to train."""
    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    wrong = [name for name, weight in named.items() if weight.dtype != torch.float32 or "_orig_mod." in name]
    if wrong or not named:
        got = f"{wrong[0]} ({named[wrong[0]].dtype})" if wrong else "no parameter that requires a gradient"
        raise ValueError(
            f"expected a model with fp32 parameters, not compiled, got {got}; "
            "convert it with .float(), and leave torch.compile to FitConfig.compile"
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    path.open("rb").close()  # tells what the system has against it, all of which is "no such file" to safetensors
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{path}: expected a whole safetensors file, got a damaged or foreign one ({error}); "
            "restore a copy of it, or choose another output folder to start over"
        ) from error
