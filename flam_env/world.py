"""A learned world on disk: a directory with two networks, real starts, settings and a card.

tokenizer.safetensors    world_model.safetensors    starts.safetensors    config.json
    clips.npz                a few real held-out clips                             card.md, report.json
"""

import io
import json
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from flam_env.checkpoint import (
    FORMAT,
    VERSION,
    fingerprint,
    load_network,
    parse_config,
    read_tensors,
    save_network,
    write_atomically,
)
from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.models.world_model import FactoredWorldModel, WorldModelConfig
from flam_env.units import ActionUnits

PRETRAINED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """How a world is meant to be run."""

    source: str
    """Where its videos came from, e.g. procgen/bigfish."""
    context: int = 2
    """Real frames that a dream starts from."""
    horizon: int = 16
    """Steps for which the card shows that dreams hold."""
    frames_per_second: int = 15
    """Speed of the videos."""


@dataclass(frozen=True)
class Starts:
    """Real clips to start dreams from, and real actions to draw.

    tokens: (S, T, N) int64, clips whose first `context` frames are a start; actions: (S, T - 1, K, A) float32, the
    clips' own inferred actions; bank: (M, K, A) float32, actions inferred elsewhere in the data. All in action units.
    """

    tokens: Tensor
    actions: Tensor
    bank: Tensor


@dataclass(frozen=True)
class World:
    """A whole learned world, loaded."""

    tokenizer: Tokenizer
    model: FactoredWorldModel
    settings: WorldSettings
    units: ActionUnits
    starts: Starts


def find_world(name: str | Path) -> Path:
    """The directory of a bundled world (by name, e.g. "bigfish") or of one's own (by path).

    Raises:
        FileNotFoundError: neither exists; the message lists the bundled worlds.
    """
    for directory in (PRETRAINED / name, Path(name)):
        if (directory / "config.json").is_file():
            return directory
    bundled = sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))
    hint = "a world is made by `flam-train tokenizer` and `flam-train world-model`"
    raise FileNotFoundError(
        f"expected a world directory with a config.json or one of {bundled}, got {str(name)!r}; {hint}"
    )


def save_world(directory: Path, world: World) -> None:
    """Writes all files of a world; config.json goes first and comes last, so an interrupted save is no world."""
    directory = Path(directory)
    (directory / "config.json").unlink(missing_ok=True)
    save_network(directory / "tokenizer.safetensors", world.tokenizer)
    save_network(directory / "world_model.safetensors", world.model, tokenizer=fingerprint(world.tokenizer))
    starts = {
        "tokens": world.starts.tokens.to(torch.uint16),
        "actions": world.starts.actions.half(),
        "bank": world.starts.bank.half(),
    }
    write_atomically(directory / "starts.safetensors", save({k: v.contiguous().cpu() for k, v in starts.items()}))
    config: dict[str, Any] = {"format": FORMAT, "version": VERSION, "model": fingerprint(world.model)}
    config |= {"settings": asdict(world.settings), "units": asdict(world.units)}
    write_atomically(directory / "config.json", json.dumps(config, indent=2).encode())


def load_world(name: str | Path) -> World:
    """Reads a world, by the name of a bundled one or by path; networks in eval mode on the CPU.

    Raises:
        FileNotFoundError: no such world, or a file of it is missing.
        ValueError: a file is damaged, of another version, or the files do not belong together.
    """
    directory = find_world(name)
    config = _read_config(directory / "config.json")
    tokenizer, _ = load_network(directory / "tokenizer.safetensors", Tokenizer, TokenizerConfig)
    model, header = load_network(directory / "world_model.safetensors", FactoredWorldModel, WorldModelConfig)
    if header.get("tokenizer") != fingerprint(tokenizer):
        raise ValueError(
            f"{directory}: expected the tokenizer {header.get('tokenizer')} that the world model was trained on, "
            f"got {fingerprint(tokenizer)}; copy both files from the same run"
        )
    if config["model"] != fingerprint(model):
        raise ValueError(
            f"{directory}: expected the world model {config['model']} that config.json and the starts were made with, "
            f"got {fingerprint(model)}; copy all files from the same run"
        )
    _, tensors = read_tensors(directory / "starts.safetensors")
    if set(tensors) != {"tokens", "actions", "bank"}:
        raise ValueError(f"{directory}: expected starts of tokens, actions, bank, got {sorted(tensors)}; export again")
    starts = Starts(tensors["tokens"].long(), tensors["actions"].float(), tensors["bank"].float())
    settings = parse_config(WorldSettings, config["settings"], directory / "config.json")
    units = parse_config(ActionUnits, config["units"], directory / "config.json")
    return World(tokenizer, model, settings, units, starts)


def save_clips(directory: Path, frames: np.ndarray) -> None:
    """Puts real held-out clips, uint8 (S, T, H, W, 3), beside a world, losslessly compressed."""
    content = io.BytesIO()
    np.savez_compressed(content, frames=frames)
    write_atomically(Path(directory) / "clips.npz", content.getvalue())


def load_clips(name: str | Path) -> np.ndarray:
    """The real held-out clips that a world shows itself on: uint8 (S, T, H, W, 3).

    Raises:
        FileNotFoundError: no such world, or it has no clips.
        ValueError: the file is damaged or holds something else.
    """
    path = find_world(name) / "clips.npz"
    if not path.is_file():
        raise FileNotFoundError(f"expected real clips at {path}, found none; `flam-train world-model` writes them")
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["frames"]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected an archive with frames, got {error!r}; copy the world again") from error


def _read_config(path: Path) -> dict:
    try:
        config = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got {error}; copy the world again") from error
    found = {key: config.get(key) for key in ("format", "version")}
    if found != {"format": FORMAT, "version": VERSION}:
        raise ValueError(f"{path}: expected format {FORMAT!r} version {VERSION!r}, got {found}; export the world again")
    known = {"format", "version", "model", "settings", "units"}
    if set(config) != known:
        raise ValueError(f"{path}: expected the keys {sorted(known)}, got {sorted(config)}; export the world again")
    return config
