"""Weights of networks that others define, in full precision: safetensors with a config in the header."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn

from flam_env.worlds.checkpoint import FORMAT, VERSION, check_finite, parse_config, parse_json, read_tensors
from flam_env.worlds.writing import write_atomically

Config = TypeVar("Config")


def write_weights(path: Path, config: Any, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors by name, as they are, under a config, a dataclass whose name becomes the kind of the file.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    metadata = {"format": FORMAT, "version": VERSION, "kind": type(config).__name__}
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    check_finite(stored, path)
    write_atomically(Path(path), save(stored, metadata | {"config": json.dumps(asdict(config))}))


def read_weights(path: Path, config: type[Config]) -> tuple[Config, dict[str, Tensor]]:
    """What `write_weights` wrote under a config of this class.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, a pickle, or of another kind or version.
    """
    metadata, tensors = read_tensors(path)
    expected = {"format": FORMAT, "version": VERSION, "kind": config.__name__}
    found = {key: metadata.get(key) for key in expected}
    if found != expected or "config" not in metadata:
        raise ValueError(f"{path}: expected a file of {expected} with a config, got {found}; name or make another one")
    return parse_config(config, parse_json(metadata["config"], path), path), tensors


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The parameters of a network by name; one that has several names has the first."""
    assert not list(network.buffers()), "nothing but parameters is kept"
    return dict(network.named_parameters())


@torch.no_grad()
def restore_weights(network: nn.Module, tensors: Mapping[str, Tensor], origin: object) -> None:
    """Gives a network what `weights_of` has told.

    Raises:
        ValueError: these are weights of another network, or not finite.
    """
    weights = weights_of(network)
    want, have = ({name: tuple(tensor.shape) for name, tensor in each.items()} for each in (weights, tensors))
    if want != have:
        differing = sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))
        raise ValueError(f"{origin}: expected weights of another network, got others in {differing}; make it again")
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{origin}: expected finite weights, got NaN or infinite ones in {name}; make it again")
        weights[name].copy_(tensor)
