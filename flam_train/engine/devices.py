"""Where a process trains."""

import torch

try:
    from accelerate import PartialState
except ImportError as error:
    raise ImportError("training needs accelerate: pip install 'flam-env[train]'") from error


def training_device() -> torch.device:
    """The device that `fit` trains on in this process: a GPU where there is one, one for each process of torchrun."""
    # Without cpu=True, accelerate overlooks torchrun's other processes on a machine without a GPU.
    return PartialState(cpu=not torch.accelerator.is_available()).device
