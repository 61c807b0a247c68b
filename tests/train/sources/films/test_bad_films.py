"""What is no film, in every way that we know of, is left out and named, and leaves nothing half-written."""

from pathlib import Path

import numpy as np
import pytest
from bad_films import BAD, row
from films import film

from flam_train.sources.films.importing import import_

pytest.importorskip("av")
pytest.importorskip("h5py")

PAGE = Path(__file__).parents[4] / "docs" / "any_video.md"


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.npy"
    np.save(path, film(99, 4))
    return path


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_film_is_named_with_its_reason_and_the_good_one_is_imported(kind, good, tmp_path):
    make, said = BAD[kind]
    (tmp_path / "in").mkdir()
    bad = make(tmp_path / "in")
    done = import_((bad, good), out=tmp_path / "out", cuts="none", workers=1)
    assert len(done.refused) == 1 and len(done.records) == 1
    ((name, reason),) = done.refused.items()
    assert name.startswith(str(bad))
    with pytest.raises(ValueError, match=said):
        raise ValueError(reason)
    assert any(name in line and " ".join(reason.split()) in line for line in done.report)
    assert row(kind, reason, tmp_path / "in") in PAGE.read_text().splitlines()
    kept = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert len([each for each in kept if each.startswith("train/good-")]) == 1
    assert [each for each in kept if "/" not in each] == ["preview.png", "preview.txt", "store.json"] and len(kept) == 5


def test_the_page_lists_all_of_them_and_no_others():
    listed = PAGE.read_text().partition("| what | what is said of it |")[2].partition("\n\n")[0].splitlines()[2:]
    assert [line.split(" | ")[0].removeprefix("| ") for line in listed] == list(BAD)
    assert len(BAD) >= 30
