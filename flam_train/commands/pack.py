"""`flam-train pack`."""

from flam_train.commands.arguments import call
from flam_train.phases.pack import pack


def main(arguments: list[str]) -> None:
    """Calls `pack`, and says how large the file is."""
    packed = call(pack, arguments, "data")
    frames = sum(packed.frames(split) for split in packed.splits)
    print(f"wrote {packed.root}: {frames} frames in {packed.root.stat().st_size / 1e6:.2f} MB")
