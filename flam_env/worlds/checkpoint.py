"""One network in one file: safetensors with its resolved config in the header. Never a pickle.

The file names its own kind and format version, so that a reader can refuse what it does not know. Weights are stored
as float16 and run as float32. `round_as_stored` comes before anything is measured, so that what was measured holds for
what is read back.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from flam_env.worlds.writing import write_atomically

FORMAT, VERSION = "flam", "1"

Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config")


class Kinds:
    """Classes of networks that a file may hold, by the names of the classes. A file names its kind, never code.

    Args:
        what: they all are, in a word or two.
    """

    def __init__(self, what: str):
        self.what = what
        self._known: dict[str, tuple[type[nn.Module], type]] = {}

    def register(self, config: type) -> Callable[[type[Network]], type[Network]]:
        """Decorates a class whose only argument is a config of this frozen dataclass, so that files of it open.

        Raises:
            ValueError: another class of this name is registered.
        """

        def add(network: type[Network]) -> type[Network]:
            name = network.__name__
            found = self._known.get(name, (network, config))[0]
            if (found.__module__, found.__qualname__) != (network.__module__, network.__qualname__):
                raise ValueError(f"expected another name than {name} for a {self.what}, for {found} has it; rename it")
            self._known[name] = network, config
            return network

        return add

    def find(self, name: str | None, path: Path) -> tuple[type[nn.Module], type]:
        """The class of that name and that of its config.

        Raises:
            ValueError: there is none.
        """
        if name not in self._known:
            raise ValueError(
                f"{path}: expected a {self.what} of a kind in {sorted(self._known)}, got {name!r}; import the package "
                "that brings this kind first, or export it again with this version of flam-env"
            )
        return self._known[name]


def save_network(path: Path, network: nn.Module, **header: Any) -> None:
    """Writes the weights (float16) and the config of a network that has `.config`, a dataclass.

    Args:
        path: where to, ending in .safetensors.
        network: its class name becomes the kind of the file.
        **header: further JSON-able entries of the header, e.g. what the network was trained on.

    Raises:
        ValueError: a weight is not finite, or too large for half precision.
    """
    config, weights = stored_form(network)
    check_finite(weights, path)
    metadata = {"format": FORMAT, "version": VERSION, "kind": type(network).__name__}
    metadata |= {"config": config, "header": json.dumps(header)}
    write_atomically(Path(path), save(weights, metadata))


def stored_form(network: nn.Module) -> tuple[str, dict[str, Tensor]]:
    """The config, as JSON, and the weights of a network as they lie in a file."""
    weights = {name: _stored(tensor) for name, tensor in network.state_dict().items()}
    return json.dumps(as_written(network.config)), weights


def load_network(path: Path, kind: type[Network], config: type) -> tuple[Network, dict[str, Any]]:
    """Reads a network of the given class and config class, in eval mode on the CPU, and its further header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, a pickle, of another kind or version, has weights that are not finite, or does
            not fit the code.
    """
    only = Kinds(kind.__name__)
    only.register(config)(kind)
    network, header = load_registered(path, only)
    return network, header  # type: ignore[return-value]


def load_registered(path: Path, kinds: Kinds) -> tuple[nn.Module, dict[str, Any]]:
    """As `load_network`, of whichever of some registered kinds the file names."""
    metadata, weights = read_tensors(path)
    expected = {"format": FORMAT, "version": VERSION}
    found = {key: metadata.get(key) for key in expected}
    if found != expected:
        raise ValueError(f"{path}: expected {expected}, got {found}; export it again with this version of flam-env")
    kind, config = kinds.find(metadata.get("kind"), path)
    if missing := sorted({"config", "header"} - set(metadata)):
        raise ValueError(f"{path}: expected a config and a header, got none of {missing}; export it again")
    header = parse_json(metadata["header"], path)
    settings: Any = parse_config(config, parse_json(metadata["config"], path), path)
    return build_network(kind, settings, weights, path), header


def build_network(kind: type[Network], config: Any, weights: dict[str, Tensor], origin: object) -> Network:
    """A network with weights that were read, in eval mode on the CPU.

    Raises:
        ValueError: the config or the weights do not fit the code, or weights are not finite; the message names where
            they came from.
    """
    try:
        network = kind(config)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}; export it again") from error
    check_weights(network, weights, origin)
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    check_finite(weights, origin)
    return network.eval().requires_grad_(False)


def check_weights(network: nn.Module, weights: dict[str, Tensor], origin: object) -> None:
    """Raises a ValueError unless the weights have the names and shapes of the network's."""
    want, have = set(network.state_dict()), set(weights)
    if want != have:
        raise ValueError(
            f"{origin}: the weights do not fit the config: missing {sorted(want - have)}, "
            f"unknown {sorted(have - want)}; the file was changed or written by other code, export it again"
        )
    for name, tensor in network.state_dict().items():
        if tensor.shape != weights[name].shape:
            raise ValueError(
                f"{origin}: expected {name} of shape {tuple(tensor.shape)}, got {tuple(weights[name].shape)}; "
                "export it again"
            )


@torch.no_grad()
def round_as_stored(network: Network) -> Network:
    """Gives a network, in place, the weights that will be read back from its file."""
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
    return network


def check_storable(network: nn.Module, origin: object) -> None:
    """Raises ValueError unless a network computes the same, and finite numbers, once it is read back from its file."""
    check_finite(network.state_dict(), origin)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.equal(tensor, tensor.half().to(tensor.dtype)):
            largest = tensor.abs().max().item()
            raise ValueError(
                f"{origin}: expected weights as a file holds them, in half precision, got others in {name}, up to "
                f"{largest:.4g}; round them with round_as_stored before anything is measured"
            )


def check_finite(weights: Mapping[str, Tensor], origin: object) -> None:
    """Raises ValueError if a weight is NaN or infinite."""
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(
                f"{origin}: expected finite weights, got NaN or infinite ones in {name}; the training diverged, or "
                "weights left the range of half precision, 65504: train with a lower learning rate or more weight decay"
            )


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header entries and tensors of a safetensors file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no whole safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint file at {path}, found none")
    path.open("rb").close()  # what may not be read says so here; safetensors would say that it is not there
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

    Its `BEFORE`, where it has one, fills in for fields that older files lack; its `GONE` names those that only older
    files have, and the one value of each that still means something.

    Raises:
        ValueError: a key is unknown or missing, says what is gone, or the dataclass refuses a value.
    """
    values = getattr(config, "BEFORE", {}) | _expect_object(values, f"{origin}: {config.__name__}")
    for name, kept in getattr(config, "GONE", {}).items():
        if (found := values.pop(name, kept)) != kept:
            raise ValueError(
                f"{origin}: expected {name} {kept} in {config.__name__}, got {found}, an option that is gone; train "
                "the world again without it, or open it with the version of flam-env that wrote it"
            )
    known = {field.name for field in fields(config)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{origin}: unknown keys {unknown} in {config.__name__}; known are {sorted(known)}")
    if missing := sorted(known - set(values)):
        raise ValueError(f"{origin}: missing keys {missing} in {config.__name__}")
    try:
        return config(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except ValueError as error:
        raise ValueError(f"{origin}: {error}; copy the world or export it again") from error


def as_written(config: Any) -> dict[str, Any]:
    """A config as files, hashes and records of runs have it: without fields that say what files without them mean.

    So what was made before a field came into being stays what it was.
    """
    before = getattr(config, "BEFORE", {})
    return {name: value for name, value in asdict(config).items() if name not in before or before[name] != value}


def fingerprint(network: nn.Module) -> str:
    """A short hash of the weights and the config: equal if and only if they are, bit for bit.

    It is that of the file: weights that half precision holds are hashed in half precision.
    """
    digest = hashlib.sha256(json.dumps(as_written(network.config), sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        stored = _stored(tensor)
        exact = stored if torch.equal(stored.to(tensor.dtype), tensor.detach().cpu()) else tensor.detach().cpu()
        digest.update(name.encode() + exact.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


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
