"""`flam-train recipe`."""

from flam_train.commands.arguments import call
from flam_train.studies.recipe.recipe import recipe


def main(arguments: list[str]) -> None:
    """Calls `recipe` and prints its table."""
    print(call(recipe, arguments, "packs").read_text())
