"""Reads a world from its directory, and refuses one whose files do not belong together."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from flam_env.heads.registry import HEADS
from flam_env.heads.token_sampler import TokenSampler  # noqa: F401  (registers its kind)
from flam_env.models.factored import FactoredWorldModel  # noqa: F401  (registers its kind)
from flam_env.models.protocol import WORLD_MODELS, WorldModel
from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.checkpoint import (
    FORMAT,
    fingerprint,
    load_network,
    load_registered,
    parse_config,
    parse_json,
)
from flam_env.worlds.finding import find_world
from flam_env.worlds.laws import Laws
from flam_env.worlds.stored_starts import load_starts, starts_fingerprint
from flam_env.worlds.units import ActionUnits
from flam_env.worlds.world import World, WorldSettings

VERSION = "2"
BEFORE_HEADS = "1"
"""The version of worlds that did not say which heads they have."""


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
    config = read_config(directory / "config.json")
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
    world = World(tokenizer, cast(WorldModel, model), settings, units, load_starts(directory), laws)
    _check_fit(world, directory)
    if config["starts"] not in (None, starts_fingerprint(world.starts)):
        raise ValueError(
            f"{directory}: expected the starts {config['starts']} that config.json names, got others; copy all files "
            "from the same run"
        )
    return replace(world, heads=_load_heads(directory, config["heads"], world.fingerprint(), without))


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
                "learn one for this world, e.g. with `flam-train ground`"
            )
        if fingerprint(head) != expected:
            raise ValueError(
                f"{path}: expected the {name} {expected} that config.json names, got {fingerprint(head)}; copy both "
                "from the same run, or learn it again"
            )
        heads[name] = head
    return heads


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


def read_config(path: Path) -> dict:
    """The content of a config.json, with what worlds of before lack.

    Raises:
        ValueError: it is no JSON, of another version, or has other keys.
    """
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
            "the file away, and learn it again with `flam-train ground`"
        )
    return {"heads": {}, "starts": None} | config
