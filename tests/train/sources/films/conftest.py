"""Importing in the way of these tests: small, in this process, and without looking for cuts."""

import pytest

from flam_train.sources.films.importing import Imported, import_


@pytest.fixture
def bring(tmp_path):
    """Imports paths into `tmp_path/out`."""

    def bring(*paths, **options) -> Imported:
        settings = {"out": tmp_path / "out", "cuts": "none", "workers": 1}
        return import_(tuple(paths), **settings | options)

    return bring
