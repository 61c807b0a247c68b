"""`flam-train` and `python -m flam_train`."""

from flam_train.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
