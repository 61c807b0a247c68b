"""Writes a world to its directory, and further heads to a world that lies there."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from flam_env.worlds.checkpoint import FORMAT, check_finite, check_storable, fingerprint, save_network
from flam_env.worlds.finding import check_writable, find_world
from flam_env.worlds.loading import VERSION, load_world, read_config
from flam_env.worlds.stored_starts import starts_fingerprint, stored_starts
from flam_env.worlds.world import World
from flam_env.worlds.writing import write_atomically


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
    starts = stored_starts(world.starts)
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
    if (out / "config.json").is_file() and read_config(out / "config.json")["model"] != (
        read_config(directory / "config.json")["model"]
    ):
        raise ValueError(
            f"expected a folder of this world or without one, got {out}, another world; name another folder"
        )


def _save_heads(directory: Path, world: World) -> None:
    bound_to = world.fingerprint()
    for name, head in world.heads.items():
        save_network(directory / f"{name}.safetensors", head, world=bound_to)


def _save_config(directory: Path, world: World) -> None:
    config: dict[str, Any] = {"format": FORMAT, "version": VERSION, "model": fingerprint(world.model)}
    config |= {name: asdict(part) for name, part in (("settings", world.settings), ("laws", world.laws))}
    config["units"] = None if world.units is None else asdict(world.units)
    config["starts"] = starts_fingerprint(world.starts)
    config["heads"] = {name: fingerprint(head) for name, head in world.heads.items()}
    write_atomically(directory / "config.json", json.dumps(config, indent=2).encode())
