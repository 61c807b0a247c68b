"""Files that were written before a field of a config came into being, or went, open and are what they were."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from flam_env import load_world, save_world
from flam_env.models.factored import WorldModelConfig
from flam_env.registration import BUNDLED
from flam_env.worlds.checkpoint import (
    as_written,
    fingerprint,
    load_network,
    parse_config,
    read_tensors,
    round_as_stored,
    save_network,
)
from flam_env.worlds.finding import PRETRAINED


@dataclass(frozen=True, kw_only=True)
class Then:
    """A config as it was."""

    width: int


@dataclass(frozen=True, kw_only=True)
class Now:
    """The same config with a field more, and with one that it had in between no more."""

    BEFORE: ClassVar[dict[str, Any]] = {"looks": ()}
    GONE: ClassVar[dict[str, Any]] = {"tints": []}

    width: int
    looks: tuple[int, ...] = (1, 2)


class Layer(nn.Module):
    """A network of either config."""

    def __init__(self, config: Then | Now):
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.width, 3)


def layer(config: Then | Now) -> Layer:
    torch.manual_seed(0)
    return round_as_stored(Layer(config))


def test_a_file_without_the_field_means_what_was_before_it_and_not_the_default(tmp_path):
    save_network(tmp_path / "layer.safetensors", layer(Then(width=5)))
    network, _ = load_network(tmp_path / "layer.safetensors", Layer, Now)
    assert network.config == Now(width=5, looks=())
    assert fingerprint(network) == fingerprint(layer(Then(width=5)))


def test_a_field_counts_in_the_fingerprint_where_it_means_something_else():
    hashes = [fingerprint(layer(config)) for config in (Then(width=5), Now(width=5, looks=()), Now(width=5))]
    assert hashes[0] == hashes[1] != hashes[2]
    assert fingerprint(layer(Now(width=5, looks=(1, 3)))) not in hashes
    assert as_written(Now(width=5, looks=())) == as_written(Then(width=5)) != as_written(Now(width=5))


def test_a_file_says_a_field_where_older_code_could_not_know_it(tmp_path):
    for looks, said in (((), {}), ((4,), {"looks": [4]})):
        save_network(tmp_path / "layer.safetensors", layer(Now(width=5, looks=looks)))
        header, _ = read_tensors(tmp_path / "layer.safetensors")
        assert json.loads(header["config"]) == {"width": 5} | said
        assert load_network(tmp_path / "layer.safetensors", Layer, Now)[0].config.looks == looks


def test_a_field_that_is_gone_may_say_what_it_always_meant_and_nothing_else():
    said = {"width": 5, "looks": [4], "tints": []}
    assert parse_config(Now, said, "here") == Now(width=5, looks=(4,)) and "tints" in said
    with pytest.raises(ValueError, match=r"here: expected tints \[\] in Now, got \[3\], an option that is gone; train"):
        parse_config(Now, said | {"tints": [3]}, "here")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 5, "depth": 2}, r"unknown keys \['depth'\] in Now"),
        ({"looks": [1]}, r"missing keys \['width'\] in Now"),
        ({}, r"missing keys \['width'\] in Now"),
    ],
)
def test_keys_that_are_unknown_or_were_always_there_are_still_asked_for(values, message):
    with pytest.raises(ValueError, match=message):
        parse_config(Now, values, "here")


def rewritten(path: Path, **more: Any) -> None:
    """As older code wrote it: without keys that it did not know, and with some that it did."""
    header, _ = read_tensors(path)
    config = {key: value for key, value in json.loads(header["config"]).items() if key not in WorldModelConfig.BEFORE}
    save_file(load_file(path), path, header | {"config": json.dumps(config | more)})


def test_a_world_model_of_before_opens_without_a_prior(tiny_world, tmp_path):
    save_world(tmp_path, tiny_world)
    rewritten(tmp_path / "world_model.safetensors")
    world = load_world(tmp_path)
    assert world.model.config == tiny_world.model.config
    assert world.fingerprint() == tiny_world.fingerprint() and not world.model.learns_prior


def test_a_world_model_with_a_prior_does_not_open_without_the_key_that_says_so(tiny_prior_world, tmp_path):
    save_world(tmp_path, tiny_prior_world)
    rewritten(tmp_path / "world_model.safetensors")
    with pytest.raises(ValueError, match=r"do not fit the config: .*unknown \['learned_prior"):
        load_world(tmp_path)


def test_a_world_model_that_says_that_it_sees_no_motion_opens_and_one_that_sees_some_does_not(tiny_world, tmp_path):
    save_world(tmp_path, tiny_world)
    rewritten(tmp_path / "world_model.safetensors", motion=[])
    assert load_world(tmp_path).fingerprint() == tiny_world.fingerprint()
    rewritten(tmp_path / "world_model.safetensors", motion=[1, 4])
    with pytest.raises(ValueError, match=r"expected motion \[\] in WorldModelConfig, got \[1, 4\], an option"):
        load_world(tmp_path)


@pytest.mark.parametrize("checkpoint", sorted(set(BUNDLED.values())))
def test_bundled_worlds_keep_the_fingerprint_that_they_were_saved_with(checkpoint):
    if not (PRETRAINED / checkpoint / "config.json").is_file():
        pytest.skip(f"the world {checkpoint} is not bundled yet")
    saved = json.loads((PRETRAINED / checkpoint / "config.json").read_text())
    assert fingerprint(load_world(checkpoint).model) == saved["model"]
