"""The starts of a world as a file holds them: starts.safetensors."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from flam_env.worlds.checkpoint import read_tensors
from flam_env.worlds.world import Starts


def load_starts(directory: Path) -> Starts:
    """The starts of the world in a directory.

    Raises:
        FileNotFoundError: their file is missing.
        ValueError: it is damaged, or holds something else.
    """
    _, tensors = read_tensors(directory / "starts.safetensors")
    if set(tensors) != {"tokens", "actions", "bank"}:
        raise ValueError(f"{directory}: expected starts of tokens, actions, bank, got {sorted(tensors)}; export again")
    actions, bank = (
        tensor.float() if tensor.is_floating_point() else tensor.long()
        for tensor in (tensors["actions"], tensors["bank"])
    )
    return Starts(tensors["tokens"].long(), actions, bank)


def stored_starts(starts: Starts) -> dict[str, Tensor]:
    """Starts as their file holds them."""
    tensors = {"tokens": starts.tokens.to(torch.uint16), "actions": starts.actions, "bank": starts.bank}
    for name in ("actions", "bank"):
        tensors[name] = tensors[name].half() if tensors[name].is_floating_point() else tensors[name].int()
    return {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}


def starts_fingerprint(starts: Starts) -> str:
    """A short hash: equal if and only if the files are, bit for bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(stored_starts(starts).items()):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()[:16]
