"""`flam-train import`: films become a store, whole or not at all, each in one split, again and again the same."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from films import film, rewrap, write_film, write_images

from flam_env import read_video
from flam_env.video.frames import fit_frames
from flam_train.cli import main
from flam_train.engine.locks import FolderInUseError, folder_lock
from flam_train.sources.films.episodes import FilmImport
from flam_train.sources.films.importing import IMPORTING
from flam_train.store.store import SPLITS, EpisodeStore

pytest.importorskip("av")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def episodes(store: EpisodeStore) -> dict[str, list[str]]:
    return {split: [record.path.stem.rpartition("-")[0] for record in store.episodes(split)] for split in SPLITS}


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> list[Path]:
    """Five films of one rate, the first longer than the others."""
    folder = tmp_path_factory.mktemp("films")
    return [write_film(folder / f"film {i}.mp4", film(i, 40 if i == 0 else 20)) for i in range(5)]


def test_films_become_episodes_with_the_frames_that_a_player_shows(films, bring):
    done = bring(*films)
    assert done.new == 5 and not done.refused and len(done.records) == 5
    assert (done.store.source, done.store.size) == ("video", 64)
    assert done.store.settings == {"fit": "crop", "cuts": "none", "frames_per_second": 15}
    for record in done.records:
        (held,) = (each for each in done.store.episodes(record.split) if each.path.stem in record.episodes)
        episode = done.store.read(held)
        shown = [fit_frames(frame, 64, "crop") for frame in read_video(record.origin)]
        assert np.array_equal(episode.frames, np.stack(shown))
        assert episode.actions.shape == (len(shown), 0) and episode.continuous_actions is None
        assert (episode.agent, episode.level_seed, episode.terminated) == ("video", -1, False)


def test_the_command_says_what_came_of_it(films, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    paths = [*map(str, films[:3]), str(tmp_path / "text.mp4")]
    with pytest.raises(SystemExit) as left:
        main(["import", *paths, "--out", str(tmp_path / "out"), "--cuts", "none", "--workers", "1"])
    out = capsys.readouterr().out
    assert left.value.code == 1
    assert out.startswith(f"{tmp_path}/out: 3 new films, 0 were there before\n3 films, 3 episodes, 80 frames of 64 px")
    assert "left out, 1:\n" in out and f"{tmp_path}/text.mp4  expected a video that PyAV can read" in out
    main(["import", *paths[:3], "--out", str(tmp_path / "out"), "--cuts", "none", "--workers", "1"])
    assert "0 new films, 3 were there before" in capsys.readouterr().out


# --- splits -----------------------------------------------------------------------------------------------------


def test_every_film_lies_in_one_split_and_every_split_has_one(films, bring):
    found = episodes(bring(*films).store)
    assert sorted(chain(*found.values())) == [f"film-{i}" for i in range(5)]
    assert "film-0" in found["train"] and all(found.values())


def test_the_order_of_films_decides_nothing(films, bring, tmp_path):
    bring(*films)
    bring(*reversed(films), out=tmp_path / "other")
    one, other = files(tmp_path / "out"), files(tmp_path / "other")
    kept = [name for name in one if name.endswith(".h5")]
    assert kept and all(one[name] == other[name] for name in kept) and one.keys() == other.keys()


def test_films_stay_where_they_are_when_others_come(films, bring):
    before = episodes(bring(*films[:3]).store)
    after = episodes(bring(*films).store)
    assert all(set(before[split]) <= set(after[split]) for split in SPLITS)
    assert sorted(chain(*after.values())) == [f"film-{i}" for i in range(5)]


def test_a_person_can_say_which_film_goes_where(films, bring, tmp_path):
    table = tmp_path / "splits.csv"
    table.write_text(f"film 0.mp4,test\n{films[1]},val\nfilm 2,val\n")
    found = episodes(bring(*films, splits=table).store)
    assert {"film-0"} <= set(found["test"]) and {"film-1", "film-2"} <= set(found["val"])
    table.write_text("film 0.mp4,train\n")
    refused = bring(*films, splits=table).refused
    assert list(refused) == [str(films[0])]
    assert "for the split train, got it in test of the store; keep it there" in refused[str(films[0])]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("film 9.mp4,val", "expected the name of one film in each row of .*, got 'film 9.mp4' of 0"),
        ("film 0.mp4,dev", "expected a film and one of train, val, test in each row of .*, got film 0.mp4,dev"),
        ("film 0.mp4,val\nfilm 0.mp4,test", "expected one split for .*film 0.mp4 in .*, got val and test"),
        (None, "expected a table of CSV with the name of a film and its split in each row, got .*splits.csv"),
    ],
)
def test_a_table_of_splits_that_says_nothing_sensible_is_refused(films, bring, tmp_path, rows, message):
    table = tmp_path / "splits.csv"
    if rows is not None:
        table.write_text(rows)
    with pytest.raises(ValueError, match=message):
        bring(*films, splits=table)
    assert not (tmp_path / "out").exists()


# --- copies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["mkv", "mov", "ts"])
def test_a_copy_in_another_container_is_the_same_film(films, bring, tmp_path, ending):
    copy = rewrap(films[0], tmp_path / f"another name.{ending}")
    done = bring(*films[:3], copy)
    assert len(done.records) == 3 and not done.refused
    assert done.copies == {str(copy): str(films[0])}
    assert any(line == f"copy: {copy} is {films[0]}" for line in done.report)
    again = bring(copy)
    assert again.new == 0 and len(again.records) == 3


def test_a_film_is_not_put_into_two_splits_under_two_names(films, bring, tmp_path):
    copy = rewrap(films[0], tmp_path / "copy.mkv")
    table = tmp_path / "splits.csv"
    table.write_text("film 0.mp4,train\ncopy.mkv,val\n")
    done = bring(*films[:3], copy, splits=table)
    assert list(done.refused) == [str(copy)]
    assert "expected one split for one film, got train for" in done.refused[str(copy)]
    assert "film-0" in episodes(done.store)["train"] and len(done.records) == 3


# --- resumed, locked, whole -------------------------------------------------------------------------------------


def test_an_import_that_was_killed_goes_on_where_it_was(films, bring, tmp_path, monkeypatch):
    run, seen = FilmImport.run, []

    def interrupted(self):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(self)
        return run(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FilmImport, "run", interrupted)
        bring(*films)
    assert len([name for name in files(tmp_path / "out") if name.endswith(".h5")]) == 2
    assert bring(*films).new == 3
    bring(*films, out=tmp_path / "at once")
    assert {n: c for n, c in files(tmp_path / "out").items() if n.endswith((".h5", ".json", ".txt"))} == {
        n: c for n, c in files(tmp_path / "at once").items() if n.endswith((".h5", ".json", ".txt"))
    }


def test_a_film_that_breaks_off_leaves_nothing_of_it(bring, tmp_path):
    whole = [write_film(tmp_path / f"{i}.mkv", film(i)) for i in range(3)]
    broken = write_images(tmp_path / "broken", film(7))
    (broken / "15.png").write_bytes(b"no image")
    done = bring(*whole, broken, cuts=_table(tmp_path / "cuts.csv", "broken,5,10"))
    assert list(done.refused) == [str(broken)] and "15.png, which cannot be read" in done.refused[str(broken)]
    assert not any("broken" in name for name in files(tmp_path / "out")) and not list(tmp_path.rglob("*.tmp"))


def _table(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_where_no_film_is_whole_there_is_no_store(bring, tmp_path):
    broken = write_images(tmp_path / "broken", film(7))
    (broken / "15.png").write_bytes(b"no image")
    done = bring(broken)
    assert done.store is None and list(done.refused) == [str(broken)]
    assert not (tmp_path / "out").exists()


def test_strict_ends_with_the_first_film_that_cannot_be_read(films, bring, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"expected a video that PyAV can read, got .*text\.mp4"):
        bring(*films, tmp_path / "text.mp4", strict=True)
    assert not (tmp_path / "out").exists()
    broken = write_images(tmp_path / "broken", film(7))
    (broken / "15.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"15\.png, which cannot be read"):
        bring(broken, strict=True)
    assert not (tmp_path / "out").exists()


def test_splits_are_those_of_the_films_that_are_whole(films, bring, tmp_path):
    broken = write_images(tmp_path / "broken", film(7, 60))
    (broken / "55.png").write_bytes(b"no image")
    mixed = episodes(bring(*films[1:4], broken).store)
    assert mixed == episodes(bring(*films[1:4], out=tmp_path / "whole").store) and all(mixed.values())
    for record in bring(*films[1:4], broken).records:
        assert record.episodes[0].rpartition("-")[0] in mixed[record.split]


def test_films_that_a_killed_process_did_not_move_are_moved(films, bring):
    done = bring(*films[1:4])
    record = next(record for record in done.records if record.split == "train")
    path = done.store.root / "train" / f"{record.episodes[0]}.h5"
    path.rename(done.store.root / "val" / path.name)
    bring(*films[1:4])
    assert path.is_file() and not (done.store.root / "val" / path.name).exists()


def test_a_second_import_at_the_same_time_is_refused_by_name(films, bring, tmp_path):
    bring(*films[:3])
    with (
        folder_lock(tmp_path / "out", name=IMPORTING),
        pytest.raises(FolderInUseError, match="which is in use by process"),
    ):
        bring(*films)


def test_other_settings_need_another_folder(films, bring):
    bring(*films[:3])
    for options in ({"size": 128}, {"fit": "pad"}, {"fps": 5.0}):
        with pytest.raises(ValueError, match="use another folder, or the same settings to resume"):
            bring(*films, **options)


def test_a_folder_of_something_else_is_left_alone(films, bring, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"expected an episode store with a store\.json, got .*out without one"):
        bring(*films)
    assert files(tmp_path / "out") == {"thesis.txt": b"precious"}


@pytest.mark.parametrize("options", [{"size": 65}, {"workers": -1}, {"fps": 0}, {"cuts": "sometimes"}])
def test_arguments_out_of_range_are_refused_before_the_work(films, bring, tmp_path, options):
    with pytest.raises(ValueError, match="expected "):
        bring(*films, **options)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_ends_the_import_and_leaves_nothing_half_written(films, bring, tmp_path, full_disk):
    with full_disk(40_000), pytest.raises(OSError, match="make room and run it again"):
        bring(*films)
    assert not list((tmp_path / "out").rglob("*.h5")) and not list((tmp_path / "out").rglob("*.tmp"))
    assert bring(*films).new == 5


def test_processes_side_by_side_make_what_one_makes(films, bring, tmp_path):
    bring(*films)
    done = bring(*films, out=tmp_path / "two", workers=2)
    assert done.new == 5
    one, two = files(tmp_path / "out"), files(tmp_path / "two")
    assert one.keys() == two.keys() and all(one[name] == two[name] for name in one if name.endswith(".h5"))
    header = json.loads(one["store.json"])
    assert header["settings"]["frames_per_second"] == 15
