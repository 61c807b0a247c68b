"""What is taken home of a world: one file that is small enough."""

import tarfile
from pathlib import Path

from flam_env.worlds.writing import replacing
from flam_train.engine.log import METRICS_NAME

MOST_BYTES = 12_000_000


def archive(world: Path, to: Path, *, logs: Path | None = None) -> None:
    """Writes a world's files, its report and the logs of its training into one file .tar.gz, in a folder of its name.

    Args:
        world: its directory; checkpoints of its training are left out.
        to: the file.
        logs: another directory whose training logs belong to it.

    Raises:
        ValueError: the file would be larger than `MOST_BYTES`; nothing is left of it.
    """
    members = {path.name: path for path in sorted(world.iterdir()) if path.is_file() and path.name[0] != "."}
    for folder in filter(None, (logs, world)):
        members |= {str(path.relative_to(folder)): path for path in sorted(folder.glob(f"training/*/{METRICS_NAME}"))}
    with replacing(to) as temporary:
        with tarfile.open(temporary, "w:gz") as file:
            for name, path in members.items():
                file.add(path, f"{world.name}/{name}")
        if (size := temporary.stat().st_size) > MOST_BYTES:
            raise ValueError(
                f"{to}: expected an archive of at most {MOST_BYTES / 1e6:.0f} MB, got {size / 1e6:.1f} MB; take a "
                f"smaller model, or fetch {world} itself"
            )
