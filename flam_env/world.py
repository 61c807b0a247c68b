"""A learned world on disk: a directory with two networks, real starts, settings and a card.

tokenizer.safetensors    world_model.safetensors    starts.safetensors    config.json
    clips.npz                a few real held-out clips                             card.md, report.json
    decoder.safetensors      what real actions latent ones stand for, if that was learned from labels
"""

import hashlib
import io
import json
import os
import zipfile
import zlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from flam_env.action_decoder import ActionDecoder, load_decoder, save_decoder
from flam_env.checkpoint import (
    FORMAT,
    VERSION,
    fingerprint,
    load_network,
    parse_config,
    parse_json,
    read_tensors,
    save_network,
    write_atomically,
)
from flam_env.laws import Laws
from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.models.world_model import FactoredWorldModel, WorldModelConfig
from flam_env.units import ActionUnits
from flam_env.validation import check_fields

PRETRAINED = Path(__file__).parent / "pretrained"
DECODER = "decoder.safetensors"


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """How a world is meant to be run.

    Raises:
        ValueError: a field of another type, or a number below 1.
    """

    source: str
    """Where its videos came from, e.g. procgen/bigfish."""
    context: int = 2
    """Real frames that a dream starts from."""
    horizon: int = 16
    """Steps for which the card shows that dreams hold."""
    frames_per_second: int = 15
    """Speed of the videos."""

    def __post_init__(self) -> None:
        check_fields(self)


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
    laws: Laws = field(default_factory=Laws)
    decoder: ActionDecoder | None = None

    @property
    def controlled_slot(self) -> int | None:
        """The slot that the player mostly is, None where nobody knows: the decoder tells."""
        return None if self.decoder is None else int(self.decoder.controlled_slot)

    def fingerprint(self) -> str:
        """A short hash of all that decides its latent actions: equal if and only if two worlds label alike."""
        parts = [fingerprint(self.tokenizer), fingerprint(self.model), json.dumps(asdict(self.units), sort_keys=True)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def find_world(name: str | Path) -> Path:
    """The directory of a bundled world (by name, e.g. "bigfish") or of one's own (by path).

    Raises:
        FileNotFoundError: neither exists; the message lists the bundled worlds.
        ValueError: what was given is no name and no path.
    """
    if not isinstance(name, str | os.PathLike):
        raise ValueError(f"expected the name of a bundled world or a directory, got {name!r}; give a str or a Path")
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
    for name in ("config.json", DECODER):  # the decoder may be another world's
        (directory / name).unlink(missing_ok=True)
    save_network(directory / "tokenizer.safetensors", world.tokenizer)
    save_network(directory / "world_model.safetensors", world.model, tokenizer=fingerprint(world.tokenizer))
    starts = {
        "tokens": world.starts.tokens.to(torch.uint16),
        "actions": world.starts.actions.half(),
        "bank": world.starts.bank.half(),
    }
    write_atomically(directory / "starts.safetensors", save({k: v.contiguous().cpu() for k, v in starts.items()}))
    config: dict[str, Any] = {"format": FORMAT, "version": VERSION, "model": fingerprint(world.model)}
    config |= {"settings": asdict(world.settings), "units": asdict(world.units), "laws": asdict(world.laws)}
    write_atomically(directory / "config.json", json.dumps(config, indent=2).encode())
    if world.decoder is not None:
        save_decoder(directory / DECODER, world.decoder, world.fingerprint())


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
    laws = parse_config(Laws, config["laws"], directory / "config.json")
    world = World(tokenizer, model, settings, units, starts, laws)
    _check_fit(world, directory)
    if not (directory / DECODER).is_file():
        return world
    return replace(world, decoder=load_decoder(directory / DECODER, world.fingerprint()))


def _check_fit(world: World, directory: Path) -> None:
    """Raises ValueError unless the parts of a world that come from different files fit each other."""
    tokenizer, model, units, starts = world.tokenizer.config, world.model.config, world.units, world.starts
    context = world.settings.context
    clips, frames = (*starts.tokens.shape, 0, 0)[:2]
    frames = max(frames, context)
    facts = {
        "a world model of grid and levels": ((tokenizer.grid, tokenizer.levels), (model.grid, model.levels)),
        "action units with a latent_dim of": (model.latent_dim, units.latent_dim),
        "a context within the model's window, at most": (min(model.window, context), context),
        "start tokens of shape": ((clips, frames, model.patches), tuple(starts.tokens.shape)),
        "start actions of shape": ((clips, frames - 1, model.slots, units.dim), tuple(starts.actions.shape)),
        "a bank of shape": ((*starts.bank.shape[:1], model.slots, units.dim), tuple(starts.bank.shape)),
    }
    for name, (expected, found) in facts.items():
        if expected != found:
            raise ValueError(f"{directory}: expected {name} {expected}, got {found}; copy all files from the same run")
    size = world.tokenizer.quantizer.size
    if ((starts.tokens < 0) | (starts.tokens >= size)).any():
        raise ValueError(f"{directory}: expected start tokens in [0, {size - 1}], got others; export the world again")
    unseen = world.laws.unseen_tokens
    if unseen and (list(unseen) != sorted(set(unseen)) or not 0 <= unseen[0] <= unseen[-1] < size):
        raise ValueError(
            f"{directory}: expected unseen_tokens in ascending order in [0, {size - 1}], got {unseen}; "
            "export the world again"
        )
    if not (starts.actions.isfinite().all() and starts.bank.isfinite().all()):
        raise ValueError(f"{directory}: expected finite start actions and bank, got others; export the world again")


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
        with np.load(path, allow_pickle=False) as file:  # a TypeError where it is one array without an archive
            frames = file["frames"]
    except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected an archive with frames, got {error!r}; copy the world again") from error
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3:
        found = f"{frames.dtype} of shape {frames.shape}"
        raise ValueError(f"{path}: expected frames uint8 (S, T, H, W, 3), got {found}; copy the world again")
    return frames


def _read_config(path: Path) -> dict:
    config = parse_json(path.read_bytes(), path)
    found = {key: config.get(key) for key in ("format", "version")}
    if found != {"format": FORMAT, "version": VERSION}:
        raise ValueError(f"{path}: expected format {FORMAT!r} version {VERSION!r}, got {found}; export the world again")
    known = {"format", "version", "model", "settings", "units", "laws"}
    if set(config) != known:
        raise ValueError(f"{path}: expected the keys {sorted(known)}, got {sorted(config)}; export the world again")
    return config
