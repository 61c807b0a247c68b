"""`flam-train import`."""

import sys
from typing import Literal

from flam_train.commands.arguments import call
from flam_train.sources.films.importing import import_
from flam_train.sources.films.preview import refused_table


def main(arguments: list[str]) -> None:
    """Calls `import_` and prints what came of it; the exit status is 1 if films were left out."""
    done = call(import_, arguments, "path", size=Literal[64, 128, 224])
    if done.store is None:
        print("nothing was imported")
    else:
        print(f"{done.store.root}: {done.new} new films, {len(done.records) - done.new} were there before")
    print("\n".join(done.report or refused_table(done.refused)))
    if done.refused:
        sys.exit(1)
