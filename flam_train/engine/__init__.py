"""The one training loop of the project, what it is told, and what decides whether two runs are the same.

The names below are imported when they are first used: whoever only compares records need not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flam_train.engine.batches import Batch, DrawBatch
    from flam_train.engine.devices import training_device
    from flam_train.engine.folder import is_finished
    from flam_train.engine.loop import FitResult, fit
    from flam_train.engine.plan import FitConfig, Loss, Progress, learning_rate
    from flam_train.engine.stopping import EarlyStopping
    from flam_train.engine.window import NonFiniteLossError

__all__ = [
    "Batch",
    "DrawBatch",
    "EarlyStopping",
    "FitConfig",
    "FitResult",
    "Loss",
    "NonFiniteLossError",
    "Progress",
    "fit",
    "is_finished",
    "learning_rate",
    "training_device",
]

_MODULES = {
    "batches": ("Batch", "DrawBatch"),
    "devices": ("training_device",),
    "folder": ("is_finished",),
    "loop": ("FitResult", "fit"),
    "plan": ("FitConfig", "Loss", "Progress", "learning_rate"),
    "stopping": ("EarlyStopping",),
    "window": ("NonFiniteLossError",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"flam_train.engine.{module}"), name)
    raise AttributeError(f"module 'flam_train.engine' has no attribute {name!r}")
