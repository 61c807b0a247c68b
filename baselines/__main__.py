"""`python -m baselines COMMAND ...`: `flam-train`, which opens the worlds of the baselines as well."""

import baselines  # noqa: F401  (registers the kinds)
from flam_train.cli import main

if __name__ == "__main__":
    main()
