"""`flam-train label`."""

from typing import Annotated

from tyro.conf import arg

from flam_train.commands.arguments import call
from flam_train.sources.label import label


def main(arguments: list[str]) -> None:
    """Calls `label`; `--starts` is what `--cuts` was called."""
    call(label, arguments, "video", cuts=Annotated[tuple[int, ...], arg(aliases=("--starts",))])
