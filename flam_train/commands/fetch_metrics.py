"""`flam-train fetch-metrics`."""

from flam_train.commands.arguments import call
from flam_train.evaluate.perceptual.fetch import fetch_metrics


def main(arguments: list[str]) -> None:
    """Calls `fetch_metrics` and says where the weights are."""
    for path in call(fetch_metrics, arguments, "metrics"):
        print(f"verified {path}")
