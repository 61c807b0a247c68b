"""The one training loop of the project, and what it is told."""

from flam_train.engine.batches import Batch, DrawBatch
from flam_train.engine.devices import training_device
from flam_train.engine.fit import FitResult, fit, is_finished
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
