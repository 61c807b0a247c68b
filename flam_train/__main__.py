"""`flam-train` and `python -m flam_train`."""

import sys


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line, or says what it needs where only the base dependencies are installed."""
    try:
        from flam_train.cli import main as command_line
    except ImportError as error:
        print(f"flam-train: {error}", file=sys.stderr)
        sys.exit(2)
    command_line(arguments)


if __name__ == "__main__":
    main()
