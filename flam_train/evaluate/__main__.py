"""`python -m flam_train.evaluate`."""

from flam_train.cli import run_command
from flam_train.evaluate.evaluate import evaluate

run_command(evaluate)
