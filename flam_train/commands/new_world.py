"""`flam-train new-world`."""

from flam_train.commands.arguments import call
from flam_train.new_world.card import CARD, python_line
from flam_train.new_world.steps import new_world


def main(arguments: list[str]) -> None:
    """Calls `new_world`, and says what went wrong, what to do, and how the world is opened."""
    made = call(new_world, arguments, "data")
    print(f"wrote {made.directory / CARD}, {made.directory / 'report.json'} and {made.picture}")
    for name, reason in made.unscored.items():
        print(f"not scored: {name}: {reason}")
    for name, text in made.advice.items():
        print(f"! {name}: {text}")
    print("import gymnasium as gym, flam_env")
    print(python_line(made.directory))
