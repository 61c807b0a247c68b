"""`flam-train latent-map`."""

from flam_train.commands.arguments import call
from flam_train.pictures.latent_map import latent_map


def main(arguments: list[str]) -> None:
    """Calls `latent_map` and prints its scores."""
    for name, score in call(latent_map, arguments, "world", "data").items():
        print(f"{name.replace('_', ' ')}: {score:.3f}")
