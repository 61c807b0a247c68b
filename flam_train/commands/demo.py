"""`flam-train demo`."""

from flam_train.commands.arguments import call
from flam_train.pictures.demo import demo


def main(arguments: list[str]) -> None:
    """Calls `demo` and prints what it wrote and how close the dreams come."""
    done = call(demo, arguments, "world")
    print(f"wrote {done.video} and {done.picture}")
    print("PSNR over the held-out clips of the world, in dB:")
    for name, score in done.psnr.items():
        print(f"  {name:<12}{score:6.2f}")
