"""The one training loop of the project, and what it is told."""

from flam_train.engine.batches import Batch
from flam_train.engine.fit import FitResult, fit
from flam_train.engine.plan import FitConfig, Progress, learning_rate
from flam_train.engine.window import NonFiniteLossError

__all__ = ["Batch", "FitConfig", "FitResult", "NonFiniteLossError", "Progress", "fit", "learning_rate"]
