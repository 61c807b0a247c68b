"""Names of bundled worlds and folders of one's own."""

from pathlib import Path

import gymnasium as gym
import pytest

from flam_env import load_world, save_world
from flam_env.worlds.finding import PRETRAINED, find_world


@pytest.fixture
def own(tiny_world, tmp_path, monkeypatch) -> Path:
    """A folder of one's own that is called as a bundled world, seen from where one stands."""
    save_world(tmp_path / "bigfish", tiny_world)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "bigfish"


def test_a_name_that_is_both_is_refused(own):
    with pytest.raises(ValueError, match=r"got 'bigfish', which is a bundled world and a folder here; .*\./bigfish"):
        find_world("bigfish")


def test_an_id_means_the_bundled_world_whatever_folders_there_are(own):
    assert find_world("bundled:bigfish") == PRETRAINED / "bigfish"
    assert gym.make("flam_env:FLAM-Bigfish-v0").unwrapped.world.settings.source == "procgen/bigfish"


@pytest.mark.parametrize("path", ["./bigfish", "bigfish/", Path("bigfish")])
def test_a_path_is_the_folder(own, tiny_world, path):
    assert load_world(path).settings == tiny_world.settings


def test_elsewhere_the_name_is_the_bundled_world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_world("bigfish") == PRETRAINED / "bigfish"
    for missing in ("./bigfish", "bigfish/"):
        with pytest.raises(FileNotFoundError, match=r"expected a world directory with a config\.json or one"):
            find_world(missing)


def test_a_world_without_weights_says_how_to_fit_it_and_takes_ones_own(tiny_checkpoint, tiny_world):
    for make in (gym.make, gym.make_vec):
        with pytest.raises(
            FileNotFoundError, match=r"got 'nuplan', which comes without weights; .*import nuplan --logs"
        ):
            make("FLAM-nuPlan-v0")
    assert gym.make("FLAM-nuPlan-v0", checkpoint=tiny_checkpoint).unwrapped.world.settings == tiny_world.settings
