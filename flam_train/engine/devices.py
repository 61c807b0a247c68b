"""Where a process trains."""

import os

import torch


def training_device() -> torch.device:
    """The device that `fit` trains on in this process: the GPU where there is one, under torchrun one for each process.

    What a training command computes beside training, such as tokens, belongs there too.
    """
    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if kind is None:  # the first alone would name what torch was built for, whether it is there or not
        return torch.device("cpu")
    return torch.device(kind.type, int(os.environ.get("LOCAL_RANK", torch.accelerator.current_device_index())))
