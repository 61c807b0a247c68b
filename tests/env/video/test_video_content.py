"""A film is the same whatever it is wrapped in."""

import numpy as np
import pytest
from films import film, rewrap, write_film

from flam_env.video.content import content_hash

pytest.importorskip("av")


@pytest.mark.parametrize(
    ("codec", "first", "others"),
    [
        ("libx264", "mp4", ("mkv", "mov", "ts", "flv")),
        ("libx265", "mp4", ("mkv", "ts")),
        ("mpeg4", "avi", ("mp4", "mkv")),
        ("libvpx-vp9", "webm", ("mkv", "mp4")),
    ],
)
def test_a_film_is_the_same_in_every_container(tmp_path, codec, first, others):
    path = write_film(tmp_path / f"film.{first}", film(0, 8), codec)
    for ending in others:
        assert content_hash(rewrap(path, tmp_path / f"copy.{ending}")) == content_hash(path), ending


@pytest.mark.parametrize(("codec", "ending"), [("libx264", "mp4"), ("libx264", "ts"), ("mpeg4", "avi")])
def test_films_that_differ_in_one_frame_are_different(tmp_path, codec, ending):
    frames, other = film(0, 8), film(0, 8)
    other[5] = np.flip(other[5])
    one, two = (write_film(tmp_path / f"{i}.{ending}", each, codec) for i, each in enumerate((frames, other)))
    assert content_hash(one) != content_hash(two)
