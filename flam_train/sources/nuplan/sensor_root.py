"""The folder below which the images of logs lie; nothing outside it is ever opened, whatever a database says."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

BLOBS = "sensor_blobs"
"""What nuPlan calls that folder."""


@dataclass(frozen=True)
class SensorRoot:
    """Finds images by the names that databases give them, `LOG/CAM_F0/TOKEN.jpg`."""

    path: Path
    _within: dict[Path, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def check(self) -> None:
        """Raises a ValueError unless it is a folder."""
        if not self.path.is_dir():
            raise ValueError(
                f"expected the folder with LOG/CAMERA/TOKEN.jpg, nuPlan's {BLOBS}, got {self.path}, which is no "
                "folder; name it by --sensor-root"
            )

    def advice(self) -> str:
        """What to do where no image of a log is there."""
        if (self.path / BLOBS).is_dir():
            return f"name the folder {self.path / BLOBS} in it"
        return "most logs have none; leave this one out, or get the sensor blobs that hold it"

    def find(self, name: str) -> Path | None:
        """The file of a name, None where there is none.

        Raises:
            ValueError: it lies outside, or a link leads there.
        """
        parts = PurePosixPath(name)
        if parts.is_absolute() or Path(name).is_absolute() or ".." in parts.parts or "\0" in name:
            self._refuse(name)
        file = self.path / name
        if file.parent not in self._within:
            self._within[file.parent] = self._holds(file.parent)
        if not self._within[file.parent]:
            self._refuse(name)
        try:
            mode = file.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(mode):
            if not self._holds(file):
                self._refuse(name)
            return file if file.is_file() else None
        return file if stat.S_ISREG(mode) else None

    def _holds(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.path))

    def _refuse(self, name: str) -> None:
        raise ValueError(
            f"expected images below {self.path}, got {name!r}, which leads out of it; copy what lies elsewhere into it"
        )
