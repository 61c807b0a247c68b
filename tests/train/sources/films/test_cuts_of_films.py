"""Films are cut where their scenes change: found, given, or not at all."""

import builtins
from pathlib import Path

import numpy as np
import pytest
from films import film, write_film, write_images

from flam_env import read_video
from flam_env.video.decoding import TimedFrame
from flam_env.video.frames import fit_frames
from flam_train.sources.films.cuts import Cuts, read_cuts
from flam_train.sources.films.episodes import read_records
from flam_train.sources.films.film import PathFilm

pytest.importorskip("av")


@pytest.fixture(scope="module")
def edited(tmp_path_factory) -> Path:
    """Three scenes of 20, 30 and 24 frames, with the noise of a codec."""
    frames = np.concatenate([film(0, 20), film(1, 30), film(2, 24)])
    return write_film(tmp_path_factory.mktemp("edited") / "edited.mp4", frames)


def scenes(store) -> list[tuple[str, int]]:
    records = [record for split in store.splits for record in store.episodes(split)]
    named = ((record.path.stem.split("-", 2)[2], record.frames) for record in records)
    return sorted(named, key=lambda scene: int(scene[0].partition("-")[0]))


def test_cuts_are_found_and_films_cut_there(edited, bring):
    pytest.importorskip("scenedetect")
    done = bring(edited, cuts="detect")
    assert scenes(done.store) == [("0-19", 20), ("20-49", 30), ("50-73", 24)]
    frames, (record,) = list(read_video(edited)), done.records
    assert record.cuts == (20, 50) and record.left_out == 0
    second = done.store.episodes(record.split)[1]
    assert second.path.stem in record.episodes
    shown = [fit_frames(frame, 64, "crop") for frame in frames[20:50]]
    assert np.array_equal(done.store.read(second).frames, np.stack(shown))
    assert any(line == "cuts (detect): 2 in 1 films" for line in done.report)


def test_what_a_camera_pans_over_is_not_cut(bring, tmp_path):
    pytest.importorskip("scenedetect")
    ground = film(3, 1, width=400)[0]
    panned = np.stack([ground[:, 6 * t : 6 * t + 64] for t in range(40)])
    np.save(tmp_path / "pan.npy", panned)
    assert not bring(tmp_path / "pan.npy", cuts="detect").records[0].cuts


def test_cuts_of_one_film_are_given_as_frames(edited, bring):
    done = bring(edited, cuts="20,50")
    assert scenes(done.store) == [("0-19", 20), ("20-49", 30), ("50-73", 24)]
    assert bring(edited, cuts="20,50").new == 0
    again = bring(edited, cuts="20,60")
    assert "cut as before, at 20,50, got 20,60; repeat these cuts" in again.refused[str(edited)]
    assert scenes(done.store) == [("0-19", 20), ("20-49", 30), ("50-73", 24)]


def test_cuts_of_many_films_are_given_in_a_table(edited, bring, tmp_path):
    others = [write_images(tmp_path / name, film(i, 12)) for i, name in enumerate(("one", "two"), start=5)]
    table = tmp_path / "cuts.csv"
    table.write_text("edited.mp4,20,50\none,6\n")
    done = bring(edited, *others, cuts=str(table))
    assert {Path(record.origin).name: record.cuts for record in done.records} == {
        "edited.mp4": (20, 50),
        "one": (6,),
        "two": (),
    }


def test_films_are_left_whole_if_that_is_said(edited, bring):
    (record,) = bring(edited, cuts="none").records
    assert record.cuts == () and record.stored == 74


def test_scenes_too_short_for_an_episode_are_left_out_and_counted(bring, tmp_path):
    np.save(tmp_path / "film.npy", film(0, 12))
    (whole,) = find(tmp_path / "film.npy")
    cuts = Cuts("given", {whole.origin: (1,)})
    assert [[frame.number for frame in scene] for scene in cuts.scenes(whole)] == [[0], list(range(1, 12))]
    done = bring(tmp_path / "film.npy", cuts="1")
    assert "expected cuts of" in done.refused[str(tmp_path / "film.npy")] and done.store is None


def find(*paths: Path) -> list[PathFilm]:
    return [PathFilm(path) for path in paths]


def test_breaks_of_a_recording_are_cut_whatever_is_said(tmp_path):
    class Broken(PathFilm):
        def breaks(self):
            return (4, 9)

    np.save(tmp_path / "film.npy", film(0, 12))
    found = [len(list(scene)) for scene in Cuts("none").scenes(Broken(tmp_path / "film.npy"))]
    assert found == [4, 5, 3]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("never", "expected --cuts detect, none, frames as 120,345, or a table of CSV, got 'never'"),
        ("50,20", "expected the frames, ascending, with which scenes of .* begin, got 50,20"),
        ("20,20", "ascending"),
    ],
)
def test_cuts_that_say_nothing_sensible_are_refused(tmp_path, said, message):
    with pytest.raises(ValueError, match=message):
        read_cuts(said, find(tmp_path / "film.mp4"))


def test_frames_are_for_one_film_only(tmp_path):
    with pytest.raises(ValueError, match="expected one film to be cut at 20, got 2; give a table with their names"):
        read_cuts("20", find(tmp_path / "a.mp4", tmp_path / "b.mp4"))


def test_a_table_of_words_is_refused(tmp_path):
    (tmp_path / "cuts.csv").write_text("film.mp4,ten\n")
    with pytest.raises(ValueError, match=r"scenes of .*film\.mp4 in .*cuts\.csv begin, got ten"):
        read_cuts(str(tmp_path / "cuts.csv"), find(tmp_path / "film.mp4"))


def test_a_missing_detector_is_named_with_its_pip_line(bring, tmp_path, monkeypatch):
    np.save(tmp_path / "film.npy", film(0, 12))
    real = builtins.__import__

    def refuse(name, *arguments, **named):
        if name in ("cv2", "scenedetect"):
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install 'flam-env\[cuts\]', or say --cuts none"):
        bring(tmp_path / "film.npy", cuts="detect")
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert bring(tmp_path / "film.npy", cuts="none").new == 1


def test_a_long_film_takes_no_more_memory_than_a_short_one(tmp_path):
    """Frames are handed on as they come: when the last of a scene is asked for, no more than a few are read ahead."""
    pytest.importorskip("scenedetect")
    read = []

    class Long(PathFilm):
        def read(self):
            frame = film(0, 1)[0]
            for i in range(200):
                read.append(i)
                yield TimedFrame(frame, i / 15, (i + 1) / 15, i)

        def rate(self):
            return 15.0

    (scene,) = (scene for scene in [next(Cuts("detect").scenes(Long(tmp_path)))])
    for number, frame in enumerate(scene):
        assert frame.number == number and len(read) <= number + 4


def test_records_of_films_are_read_back(edited, bring):
    done = bring(edited, cuts="20,50")
    assert tuple(read_records(done.store.root).values()) == done.records
