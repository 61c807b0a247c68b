"""A learned world on disk: a directory with two networks, real starts, settings and a card.

tokenizer.safetensors    world_model.safetensors    starts.safetensors    config.json
road.safetensors         decoder.safetensors, encoder.safetensors and other heads, all named in config.json
clips.npz                a few real held-out clips                             card.md, report.json
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn

from flam_env.heads.registry import HEADS
from flam_env.heads.token_sampler import TokenSampler  # noqa: F401  (registers its kind)
from flam_env.models.factored import FactoredWorldModel  # noqa: F401  (registers its kind)
from flam_env.models.protocol import WORLD_MODELS, WorldModel
from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.checkpoint import (
    FORMAT,
    check_finite,
    check_storable,
    fingerprint,
    load_network,
    load_registered,
    parse_config,
    parse_json,
    read_tensors,
    save_network,
)
from flam_env.worlds.laws import Laws
from flam_env.worlds.units import ActionUnits
from flam_env.worlds.world import Starts, World, WorldSettings
from flam_env.worlds.writing import write_atomically

BUNDLED = "bundled:"
"""What a name may begin with that means a bundled world, whatever folders there are."""
PRETRAINED = Path(__file__).parents[1] / "pretrained"
HOW_TO_FIT = {
    "nuplan": "flam-train import nuplan --logs DB... --sensor-root DIR --out data/nuplan; flam-train tokenizer "
    "data/nuplan --out runs/nuplan --preset nuplan; flam-train world-model data/nuplan --out runs/nuplan --preset "
    "nuplan; gym.make('FLAM-nuPlan-v0', checkpoint='runs/nuplan')"
}
"""Worlds with an id that come without weights, since their data are for those who have an account."""
VERSION = "2"
BEFORE_HEADS = "1"
"""The version of worlds that did not say which heads they have."""


def find_world(name: str | Path) -> Path:
    """The directory of a bundled world ("bigfish", or "bundled:bigfish" beyond doubt) or of one's own ("./bigfish").

    Raises:
        FileNotFoundError: neither exists; the message lists the bundled worlds.
        ValueError: what was given is no name and no path, or both at once.
    """
    if not isinstance(name, str | os.PathLike):
        raise ValueError(f"expected the name of a bundled world or a directory, got {name!r}; give a str or a Path")
    if isinstance(name, str) and name.startswith(BUNDLED):
        return _find_bundled(name.removeprefix(BUNDLED))
    own, text = Path(name), os.fspath(name)
    is_own = (own / "config.json").is_file()
    is_name = not {os.sep, os.altsep or os.sep} & set(text) and (PRETRAINED / text / "config.json").is_file()
    if isinstance(name, str) and is_own and is_name:
        raise ValueError(
            f"expected one world of that name, got {text!r}, which is a bundled world and a folder here; "
            f"give the folder as {os.path.join(os.curdir, text)!r}, or the bundled world as {BUNDLED + text!r}"
        )
    return own if is_own else _find_bundled(text)


def _find_bundled(name: str) -> Path:
    bundled = {path.parent.name: path.parent for path in PRETRAINED.glob("*/config.json")}
    if name in bundled:
        return bundled[name]
    if name in HOW_TO_FIT:
        raise FileNotFoundError(
            f"expected a world directory, got {name!r}, which comes without weights; fit it to data of your own: "
            f"{HOW_TO_FIT[name]}"
        )
    raise FileNotFoundError(
        f"expected a world directory with a config.json or one of {sorted(bundled)}, got {name!r}; a world is made by "
        "`flam-train tokenizer` and `flam-train world-model`"
    )


def is_bundled(directory: Path) -> bool:
    """Whether a directory belongs to the installed package, which nothing writes to."""
    return Path(directory).resolve().is_relative_to(PRETRAINED.resolve())


def save_world(directory: Path, world: World) -> None:
    """Writes all files of a world; config.json goes first and comes last, so an interrupted save is no world.

    Raises:
        ValueError: a network has weights that its file cannot hold (`round_as_stored`), or the directory belongs to the
            installed package.
    """
    directory = Path(directory)
    check_writable(directory)
    for network in (world.tokenizer, world.model, *world.heads.values()):
        check_storable(network, directory)
    starts = _stored_starts(world.starts)
    check_finite(starts, directory / "starts.safetensors")
    (directory / "config.json").unlink(missing_ok=True)
    save_network(directory / "tokenizer.safetensors", world.tokenizer)
    save_network(directory / "world_model.safetensors", world.model, tokenizer=fingerprint(world.tokenizer))
    write_atomically(directory / "starts.safetensors", save(starts))
    _save_heads(directory, world)
    _save_config(directory, world)


def add_heads(name: str | Path, heads: Mapping[str, nn.Module], out: Path | None = None) -> None:
    """Gives a saved world further heads, or others in place of those it has.

    Args:
        name: of the world.
        heads: by name.
        out: where the world with these heads goes, by default where it is; its other files are copied there.

    Raises:
        FileNotFoundError: there is no such world.
        ValueError: the world is damaged, a head has weights that its file cannot hold, or it would be written into the
            installed package.
    """
    directory = find_world(name)
    out = directory if out is None else Path(out)
    check_writable(out)
    _check_same_model(directory, out)
    world = load_world(directory, without=heads)
    world = replace(world, heads={**world.heads, **heads})
    if out.resolve() != directory.resolve():
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").unlink(missing_ok=True)
        for file in directory.iterdir():
            if file.suffix in (".safetensors", ".npz", ".md") or file.name == "report.json":
                shutil.copyfile(file, out / file.name)
    _save_heads(out, world)
    _save_config(out, world)


def _check_same_model(directory: Path, out: Path) -> None:
    """Raises ValueError if another world lies where a world with further heads is to go."""
    if (out / "config.json").is_file() and _read_config(out / "config.json")["model"] != (
        _read_config(directory / "config.json")["model"]
    ):
        raise ValueError(
            f"expected a folder of this world or without one, got {out}, another world; name another folder"
        )


def load_world(name: str | Path, *, without: Collection[str] = ()) -> World:
    """Reads a world; networks in eval mode on the CPU.

    Args:
        name: of a bundled world, or a path.
        without: heads that are left out, e.g. since they are to be learned anew.

    Raises:
        FileNotFoundError: no such world, or a file of it is missing.
        ValueError: a file is damaged, of another version, or the files do not belong together.
    """
    directory = find_world(name)
    config = _read_config(directory / "config.json")
    tokenizer, _ = load_network(directory / "tokenizer.safetensors", Tokenizer, TokenizerConfig)
    model, header = load_registered(directory / "world_model.safetensors", WORLD_MODELS)
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
    origin = directory / "config.json"
    settings = parse_config(WorldSettings, config["settings"], origin)
    units = None if config["units"] is None else parse_config(ActionUnits, config["units"], origin)
    laws = parse_config(Laws, config["laws"], origin)
    world = World(tokenizer, cast(WorldModel, model), settings, units, _load_starts(directory), laws)
    _check_fit(world, directory)
    if config["starts"] not in (None, _starts_fingerprint(world.starts)):
        raise ValueError(
            f"{directory}: expected the starts {config['starts']} that config.json names, got others; copy all files "
            "from the same run"
        )
    return replace(world, heads=_load_heads(directory, config["heads"], world.fingerprint(), without))


def _load_starts(directory: Path) -> Starts:
    _, tensors = read_tensors(directory / "starts.safetensors")
    if set(tensors) != {"tokens", "actions", "bank"}:
        raise ValueError(f"{directory}: expected starts of tokens, actions, bank, got {sorted(tensors)}; export again")
    actions, bank = (
        tensor.float() if tensor.is_floating_point() else tensor.long()
        for tensor in (tensors["actions"], tensors["bank"])
    )
    return Starts(tensors["tokens"].long(), actions, bank)


def _stored_starts(starts: Starts) -> dict[str, Tensor]:
    """Starts as their file holds them."""
    tensors = {"tokens": starts.tokens.to(torch.uint16), "actions": starts.actions, "bank": starts.bank}
    for name in ("actions", "bank"):
        tensors[name] = tensors[name].half() if tensors[name].is_floating_point() else tensors[name].int()
    return {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}


def _starts_fingerprint(starts: Starts) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(_stored_starts(starts).items()):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _save_heads(directory: Path, world: World) -> None:
    bound_to = world.fingerprint()
    for name, head in world.heads.items():
        save_network(directory / f"{name}.safetensors", head, world=bound_to)


def _load_heads(directory: Path, listed: Any, world: str, without: Collection[str]) -> dict[str, nn.Module]:
    """The heads that config.json lists, by name with their fingerprints."""
    if not isinstance(listed, dict) or not all(str(name).isidentifier() for name in listed):
        raise ValueError(f"{directory}: expected heads by name, got {listed!r}; copy the world again")
    heads = {}
    for name, expected in listed.items():
        if name in without:
            continue
        path = directory / f"{name}.safetensors"
        head, header = load_registered(path, HEADS)
        if header.get("world") != world:
            raise ValueError(
                f"{path}: expected a {name} of the world {world}, got one of {header.get('world')}; "
                "learn one for this world, e.g. with `flam-train decoder`"
            )
        if fingerprint(head) != expected:
            raise ValueError(
                f"{path}: expected the {name} {expected} that config.json names, got {fingerprint(head)}; copy both "
                "from the same run, or learn it again"
            )
        heads[name] = head
    return heads


def check_writable(directory: Path) -> None:
    """Raises ValueError if a directory belongs to the installed package."""
    if is_bundled(directory):
        raise ValueError(
            f"expected a directory of one's own, got {directory}, a bundled world, which stays as it is; give another "
            "one, e.g. with --out"
        )


def _save_config(directory: Path, world: World) -> None:
    config: dict[str, Any] = {"format": FORMAT, "version": VERSION, "model": fingerprint(world.model)}
    config |= {name: asdict(part) for name, part in (("settings", world.settings), ("laws", world.laws))}
    config["units"] = None if world.units is None else asdict(world.units)
    config["starts"] = _starts_fingerprint(world.starts)
    config["heads"] = {name: fingerprint(head) for name, head in world.heads.items()}
    write_atomically(directory / "config.json", json.dumps(config, indent=2).encode())


def _check_fit(world: World, directory: Path) -> None:
    """Raises ValueError unless the parts of a world that come from different files fit each other."""
    tokenizer, model, units, starts = world.tokenizer.config, world.model, world.units, world.starts
    context = world.settings.context
    clips, frames = (*starts.tokens.shape, 0, 0)[:2]
    frames = max(frames, context)
    latent_dim = getattr(model.actions, "dim", None)
    sizes = tokenizer.grid**2, world.tokenizer.quantizer.size
    facts = {
        "a world model of so many patches and tokens": (sizes, (model.patches, model.vocabulary)),
        "action units with a latent_dim of": (latent_dim, units and units.latent_dim),
        "a context within the model's window, at most": (min(model.window, context), context),
        "start tokens of shape": ((clips, frames, model.patches), tuple(starts.tokens.shape)),
        "start actions of shape": ((clips, frames - 1, *world.action_shape), tuple(starts.actions.shape)),
        "a bank of shape": ((*starts.bank.shape[:1], *world.action_shape), tuple(starts.bank.shape)),
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


def _read_config(path: Path) -> dict:
    config = parse_json(path.read_bytes(), path)
    found = {key: config.get(key) for key in ("format", "version")}
    if found == {"format": FORMAT, "version": BEFORE_HEADS}:
        config = _with_heads(config, path)
    elif found != {"format": FORMAT, "version": VERSION}:
        raise ValueError(f"{path}: expected format {FORMAT!r} version {VERSION!r}, got {found}; export the world again")
    known = {"format", "version", "model", "settings", "units", "laws", "starts", "heads"}
    if set(config) != known:
        raise ValueError(f"{path}: expected the keys {sorted(known)}, got {sorted(config)}; export the world again")
    return config


def _with_heads(config: dict, path: Path) -> dict:
    """The config of a world from before it said which heads it has: none."""
    if (decoder := path.with_name("decoder.safetensors")).exists():
        raise ValueError(
            f"{decoder}: expected a decoder of a world of version {VERSION}, got one of version {BEFORE_HEADS}; move "
            "the file away, and learn it again with `flam-train decoder`"
        )
    return {"heads": {}, "starts": None} | config
