"""One network in one file: safetensors with its resolved config in the header. Never a pickle.

The file names its own kind and format version, so that a reader can refuse what it does not know. Weights are stored
as float16 and run as float32.
"""

import hashlib
import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

FORMAT, VERSION = "flam", "1"

Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config")


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name and renames it, so that it is never seen half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a crash after the renaming could leave an empty file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_network(path: Path, network: nn.Module, **header: Any) -> None:
    """Writes the weights (float16) and the config of a network that has `.config`, a dataclass.

    Args:
        path: where to, ending in .safetensors.
        network: its class name becomes the kind of the file.
        **header: further JSON-able entries of the header, e.g. what the network was trained on.
    """
    weights = {name: _stored(tensor) for name, tensor in network.state_dict().items()}
    metadata = {"format": FORMAT, "version": VERSION, "kind": type(network).__name__}
    metadata |= {"config": json.dumps(_config_of(network)), "header": json.dumps(header)}
    write_atomically(Path(path), save(weights, metadata))


def load_network(path: Path, kind: type[Network], config: type) -> tuple[Network, dict[str, Any]]:
    """Reads a network of the given class and config class, in eval mode on the CPU, and its further header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, a pickle, of another kind or version, or does not fit the code.
    """
    metadata, weights = read_tensors(path)
    expected = {"format": FORMAT, "version": VERSION, "kind": kind.__name__}
    found = {key: metadata.get(key) for key in expected}
    if found != expected:
        raise ValueError(f"{path}: expected {expected}, got {found}; export it again with this version of flam-env")
    if missing := sorted({"config", "header"} - set(metadata)):
        raise ValueError(f"{path}: expected a config and a header, got none of {missing}; export it again")
    header = parse_json(metadata["header"], path)
    settings: Any = parse_config(config, parse_json(metadata["config"], path), path)
    try:
        network = kind(settings)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; export it again") from error
    want, have = set(network.state_dict()), set(weights)
    if want != have:
        raise ValueError(
            f"{path}: the weights do not fit the config: missing {sorted(want - have)}, "
            f"unknown {sorted(have - want)}; the file was changed or written by other code, export it again"
        )
    for name, tensor in network.state_dict().items():
        if tensor.shape != weights[name].shape:
            raise ValueError(
                f"{path}: expected {name} of shape {tuple(tensor.shape)}, got {tuple(weights[name].shape)}; "
                "export it again"
            )
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return network.eval().requires_grad_(False), header


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header entries and tensors of a safetensors file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no whole safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint file at {path}, found none")
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        found = "a pickle or zip archive" if _looks_pickled(path) else f"{path.stat().st_size} bytes that are not it"
        raise ValueError(f"{path}: expected a whole safetensors file, got {found} ({error}); copy it again") from error


def parse_json(content: str | bytes, origin: object) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is something else, or no JSON at all; the message names where it came from.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{origin}: expected JSON, got {error}; copy the world again") from error
    return _expect_object(value, origin)


def parse_config(config: type[Config], values: Any, origin: object) -> Config:
    """A frozen config dataclass from its JSON form.

    Raises:
        ValueError: a key is unknown or missing, or the dataclass refuses a value.
    """
    values = _expect_object(values, f"{origin}: {config.__name__}")
    known = {field.name for field in fields(config)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{origin}: unknown keys {unknown} in {config.__name__}; known are {sorted(known)}")
    if missing := sorted(known - set(values)):
        raise ValueError(f"{origin}: missing keys {missing} in {config.__name__}")
    try:
        return config(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except ValueError as error:
        raise ValueError(f"{origin}: {error}; copy the world or export it again") from error


def fingerprint(network: nn.Module) -> str:
    """A short hash of the stored weights and the config: equal if and only if two networks compute the same."""
    digest = hashlib.sha256(json.dumps(_config_of(network), sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + _stored(tensor).numpy().tobytes())
    return digest.hexdigest()[:16]


def _config_of(network: nn.Module) -> dict[str, Any]:
    config: Any = network.config
    return asdict(config)


def _expect_object(value: Any, origin: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{origin}: expected a JSON object, got {value!r}; copy the world again")
    return value


def _stored(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.to(torch.float16) if tensor.is_floating_point() else tensor


def _looks_pickled(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
