"""`flam-train import`, and `flam-train import nuplan`."""

import sys
from pathlib import Path
from typing import Literal

from flam_train.commands.arguments import call
from flam_train.sources.films.importing import Imported, import_
from flam_train.sources.films.preview import refused_table
from flam_train.sources.nuplan.importing import import_nuplan

NUPLAN = "nuplan"


def main(arguments: list[str]) -> None:
    """Calls `import_` or `import_nuplan` and prints what came of it; the exit status is 1 if films were left out."""
    if means_nuplan(arguments):
        _tell(call(import_nuplan, arguments[1:], program=f"flam-train import {NUPLAN}", size=Literal[64, 128, 224]))
    else:
        _tell(call(import_, arguments, "path", size=Literal[64, 128, 224]))


def means_nuplan(arguments: list[str]) -> bool:
    """Whether these are logs of nuPlan: a file or folder of that name is films, unless logs are named."""
    named = any(word.partition("=")[0] == "--logs" for word in arguments)
    return arguments[:1] == [NUPLAN] and (named or not Path(NUPLAN).exists())


def _tell(done: Imported) -> None:
    if done.store is None:
        print("nothing was imported")
    else:
        print(f"{done.store.root}: {done.new} new films, {len(done.records) - done.new} were there before")
    print("\n".join(done.report or refused_table(done.refused)))
    if done.refused:
        sys.exit(1)
