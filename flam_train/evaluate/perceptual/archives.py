"""The weights in the files that a user may have: a package's source archive, its member, or safetensors."""

import hashlib
import pickletools
import tarfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from flam_env.worlds.checkpoint import read_tensors
from flam_train.evaluate.perceptual.backbones import Backbone, tensors_sha256


def weights_in(file: Path, backbones: Collection[Backbone]) -> tuple[Backbone, dict[str, Tensor]]:
    """Whose weights a file holds, and these.

    Args:
        file: a source archive or a member of it, byte for byte the recorded one, or safetensors with the same tensors.
        backbones: whose they may be.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no backbone's weights.
    """
    if not file.is_file():
        raise FileNotFoundError(f"expected weights at {file}, found no file")
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    tensors = read_tensors(file)[1] if file.suffix == ".safetensors" else None
    for backbone in backbones:
        if digest == backbone.archive_sha256:
            return backbone, tensors_of(_member(file, backbone), backbone.network())
        if digest == backbone.member_sha256:
            return backbone, tensors_of(file.read_bytes(), backbone.network())
        if tensors is not None and tensors_sha256(tensors) == backbone.tensors_sha256:
            return backbone, tensors
    known = " or ".join(
        f"{backbone.file} or {backbone.package}-{backbone.version}.tar.gz (SHA-256 {backbone.archive_sha256})"
        for backbone in backbones
    )
    raise ValueError(f"{file}: expected {known}, got another file, with SHA-256 {digest}; get it again")


def tensors_of(member: bytes, network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network from the dictionary of float32 arrays that a package keeps them in.

    The file is a pickle, which is never loaded: it is taken apart into its instructions, none is carried out, and their
    byte strings are the arrays, in the order of the network's layers; statistics come last. Kernels have their axes in
    the order (..., inputs, outputs), and scales of batch norms, all 1, are left out.

    Raises:
        ValueError: there are more or fewer arrays, or of other sizes.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    units = [name for name in shapes if name.endswith(".bn.weight")]
    learned = [name for name, _ in network.named_parameters() if name not in units]
    measured = [name for name in shapes if name.endswith((".running_mean", ".running_var"))]
    words = [word for _, word, _ in pickletools.genops(member) if isinstance(word, bytes) and len(word) >= 4]
    arrays = zip(learned + measured, words, strict=True)
    tensors = {name: _channels_first(word, shapes[name]) for name, word in arrays}
    return tensors | {name: torch.ones(shapes[name]) for name in units}


def _channels_first(word: bytes, shape: tuple[int, ...]) -> Tensor:
    array = np.frombuffer(word, "<f4").astype(np.float32)
    if len(shape) == 1:
        return torch.from_numpy(array.reshape(shape))
    outputs, inputs, *kernel = shape
    return torch.from_numpy(array.reshape(*kernel, inputs, outputs)).movedim((-1, -2), (0, 1)).contiguous()


def _member(archive: Path, backbone: Backbone) -> bytes:
    with tarfile.open(archive) as files:
        member = files.extractfile(backbone.member)
        assert member is not None, backbone.member
        return member.read()
