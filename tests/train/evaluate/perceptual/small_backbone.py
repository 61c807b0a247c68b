"""A backbone of a few numbers, in all the files that a user may have."""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from flam_train.evaluate.perceptual.backbones import Backbone, tensors_sha256
from flam_train.evaluate.perceptual.i3d import Logits, Unit

MEMBER = "small_jax-7/small_jax/weights.ckpt"


def small_network() -> nn.Module:
    network = nn.Sequential()
    network.add_module("first", Unit(3, 4, kernel=2))
    network.add_module("logits", Logits(4, 5))
    return network


@torch.inference_mode()
def black_to_white(network: nn.Module) -> float:
    black = torch.zeros(1, 3, 4, 9, 9)
    return (network(black) - network(black + 1)).square().sum().item()


def small_weights() -> dict[str, Tensor]:
    """Random ones; the scale of the batch norm is 1, and its variance above 0."""
    random = torch.Generator().manual_seed(3)
    shapes = {name: value.shape for name, value in small_network().state_dict().items() if "num_batches" not in name}
    weights = {name: torch.rand(shape, generator=random) + 0.5 for name, shape in shapes.items()}
    return weights | {"first.bn.weight": torch.ones(4)}


def member(weights: dict[str, Tensor], protocol: int) -> bytes:
    """The weights as packages for jax keep them: kernels with their channels last, statistics apart."""

    def channels_last(name: str) -> np.ndarray:
        return np.ascontiguousarray(weights[name].movedim((0, 1), (-1, -2)).numpy())

    unit = {
        "Conv_0": {"kernel": channels_last("first.conv3d.weight")},
        "BatchNorm_0": {"bias": weights["first.bn.bias"].numpy()},
    }
    logits = {"kernel": channels_last("logits.conv3d.weight"), "bias": weights["logits.conv3d.bias"].numpy()}
    measured = {
        "mean": weights["first.bn.running_mean"].numpy(),
        "var": weights["first.bn.running_var"].numpy(),
    }
    parts = {"params": {"first": unit, "logits": logits}, "batch_stats": {"first": {"BatchNorm_0": measured}}}
    return pickle.dumps(parts, protocol=protocol)


def write_files(folder: Path, protocol: int = 4) -> tuple[Backbone, dict[str, Path]]:
    """The backbone, and its weights as archive, member and safetensors."""
    weights = small_weights()
    network = small_network()
    network.load_state_dict(weights)
    content = member(weights, protocol)
    files = {name: folder / file for name, file in FILES.items()}
    files["member"].write_bytes(content)
    with tarfile.open(files["archive"], "w:gz") as archive:
        entry = tarfile.TarInfo(MEMBER)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    save_file(weights, files["safetensors"])
    backbone = Backbone(
        metric="SMALL",
        file="small.safetensors",
        package="small-jax",
        version="7",
        archive_sha256=hashlib.sha256(files["archive"].read_bytes()).hexdigest(),
        member=MEMBER,
        member_sha256=hashlib.sha256(content).hexdigest(),
        tensors_sha256=tensors_sha256(weights),
        network=small_network,
        black_to_white=black_to_white,
        known=black_to_white(network.eval()),
        tolerance=1e-5,
    )
    return backbone, files


FILES = {"archive": "small_jax-7.tar.gz", "member": "weights.ckpt", "safetensors": "mine.safetensors"}
