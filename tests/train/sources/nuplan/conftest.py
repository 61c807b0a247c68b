"""Importing in the way of these tests: small, and in this process."""

import pytest

from flam_train.sources.films.importing import Imported
from flam_train.sources.nuplan.importing import import_nuplan


@pytest.fixture
def bring(tmp_path):
    """Imports logs into `tmp_path/out`; the images lie below `tmp_path/sensor_blobs`."""

    def bring(*logs, **options) -> Imported:
        settings = {"sensor_root": tmp_path / "sensor_blobs", "out": tmp_path / "out", "size": 64, "workers": 1}
        return import_nuplan(logs=tuple(log.path for log in logs), **settings | options)

    return bring
