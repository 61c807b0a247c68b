"""What was done at each frame, told by a table beside a film, stays with its frame."""

from pathlib import Path

import numpy as np
import pytest
from films import film, write_film, write_images

from flam_train.heads.known_actions import all_labels
from flam_train.sources.films.known_actions import read_beside
from flam_train.store.episode import Episode
from flam_train.store.store import EpisodeStore

pytest.importorskip("av")

FRAMES = 10


@pytest.fixture
def clips(tmp_path) -> list[Path]:
    return [write_film(tmp_path / f"clip{i}.mkv", film(i, FRAMES)) for i in range(3)]


def tell(clip: Path, rows, name: str = "csv", head: str = "") -> Path:
    path = clip.with_name(f"{clip.stem}.actions.{name}")
    if name == "npy":
        np.save(path, rows)
    else:
        lines = [",".join(map(str, row if isinstance(row, tuple) else (row,))) for row in rows]
        path.write_text("".join(f"{line}\n" for line in ([head] if head else []) + lines))
    return path


def episode(store: EpisodeStore, title: str) -> Episode:
    records = [record for split in store.splits for record in store.episodes(split)]
    (record,) = (each for each in records if each.path.stem.startswith(f"{title}-"))
    return store.read(record)


@pytest.mark.parametrize("name", ["csv", "npy"])
@pytest.mark.parametrize("rows", [FRAMES, FRAMES - 1])
def test_choices_lie_with_their_frames(clips, bring, name, rows):
    for i, clip in enumerate(clips):
        tell(clip, (np.arange(rows) + i) % 5, name)
    done = bring(*clips)
    assert done.store.settings["known_actions"] == {"kind": "discrete", "names": ["action 0"]}
    for i in range(3):
        found = episode(done.store, f"clip{i}").actions
        assert found.dtype == np.int16 and found[:rows].tolist() == [(t + i) % 5 for t in range(rows)]
        assert (found[rows:] == -1).all()
    assert len(all_labels(done.store, "train", actions=5)) == FRAMES - 1


@pytest.mark.parametrize("name", ["csv", "npy"])
def test_real_numbers_lie_with_their_frames(clips, bring, name):
    told = np.random.default_rng(0).normal(size=(FRAMES, 2)).round(3)
    tell(clips[0], list(map(tuple, told)) if name == "csv" else told, name, "steer,gas" if name == "csv" else "")
    tell(clips[1], [(1, ""), *[(2, 3)] * 9] if name == "csv" else np.full((10, 2), 2.0), name, "steer,gas" * 0)
    done = bring(*clips[:1], clips[2])
    names = ["steer", "gas"] if name == "csv" else ["action 0", "action 1"]
    assert done.store.settings["known_actions"] == {"kind": "continuous", "names": names}
    found = episode(done.store, "clip0")
    assert np.array_equal(found.continuous_actions, told.astype(np.float32)) and found.actions.shape == (FRAMES, 0)
    assert episode(done.store, "clip2").continuous_actions is None


def test_an_empty_cell_is_an_action_that_nobody_knows(clips, bring, tmp_path):
    tell(clips[0], [0, "", 2, "", *[1] * 6])
    assert episode(bring(clips[0]).store, "clip0").actions.tolist() == [0, -1, 2, -1, *[1] * 6]
    tell(clips[1], [(0.5, ""), *[(1, 2)] * 9])
    found = episode(bring(clips[1], out=tmp_path / "other").store, "clip1").continuous_actions
    assert np.isnan(found).sum() == 1 and np.isnan(found[0, 1])


def test_actions_follow_their_frames_through_cuts_and_rates(clips, bring):
    tell(clips[0], range(FRAMES))
    done = bring(clips[0], fps=7.5, cuts="5")
    first, second = (done.store.read(record).actions.tolist() for record in done.store.episodes("train"))
    assert (first, second) == ([0, 2, 4], [5, 7, 9])


def test_a_table_may_begin_later_or_earlier_than_the_film(clips, bring, tmp_path):
    tell(clips[0], range(FRAMES - 3))
    found = episode(bring(clips[0], action_offset=3).store, "clip0").actions
    assert found.tolist() == [-1, -1, -1, *range(7)]
    tell(clips[0], range(FRAMES + 2))
    found = episode(bring(clips[0], action_offset=-2, out=tmp_path / "earlier").store, "clip0").actions
    assert found.tolist() == list(range(2, 12))


def test_a_column_of_frames_says_where_rows_belong(clips, bring):
    tell(clips[0], [(2, 7), (3, 8), (8, 9)], head="frame,button")
    found = episode(bring(clips[0]).store, "clip0").actions
    assert found.tolist() == [-1, -1, 7, 8, -1, -1, -1, -1, 9, -1]


def test_a_folder_of_images_may_hold_its_table(bring, tmp_path):
    folder = write_images(tmp_path / "frames", film(0, 4))
    (folder / "actions.csv").write_text("3\n2\n1\n0\n")
    assert episode(bring(folder).store, "frames").actions.tolist() == [3, 2, 1, 0]


def test_what_tables_hold_can_be_said(clips, bring, tmp_path):
    tell(clips[0], range(FRAMES))
    done = bring(clips[0], actions="continuous")
    assert episode(done.store, "clip0").continuous_actions[:, 0].tolist() == list(range(FRAMES))
    done = bring(clips[0], actions="none", out=tmp_path / "none")
    assert episode(done.store, "clip0").actions.shape == (FRAMES, 0) and "known_actions" not in done.store.settings


def test_films_of_one_store_have_one_kind_of_actions(clips, bring):
    tell(clips[0], range(FRAMES))
    tell(clips[1], [(0.5, 1.0)] * FRAMES)
    done = bring(*clips)
    assert list(done.refused) == [str(clips[1])]
    assert "expected known actions as the other films have" in done.refused[str(clips[1])]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (range(FRAMES - 2), "for each of the 10 frames of the film, got 8 for frames 0 to 7; write one for each"),
        (range(FRAMES + 1), "for each of the 10 frames of the film, got 11 for frames 0 to 10"),
        ([0, 1, "jump", *range(7)], r"expected 1 numbers in line 3 of .*clip0\.actions\.csv, got 'jump'"),
        ([0, (1, 2), *range(8)], r"expected 1 numbers in line 2 of .*, got 2 cells"),
        ([0, "inf", *range(8)], "expected finite numbers in .*, got an infinite one in row 1"),
        ([], "expected rows of actions in .*, got none"),
    ],
)
def test_a_table_that_does_not_fit_leaves_the_film_out_and_says_why(clips, bring, rows, message):
    tell(clips[0], rows)
    done = bring(*clips)
    assert list(done.refused) == [str(clips[0])] and len(done.records) == 2
    with pytest.raises(ValueError, match=message):
        raise ValueError(done.refused[str(clips[0])])


def test_tables_that_contradict_each_other_are_refused(clips):
    tell(clips[0], range(3))
    tell(clips[0], np.arange(3), "npy")
    with pytest.raises(ValueError, match=r"expected one table of actions for .*, got .*csv and .*npy; leave one"):
        read_beside(clips[0], "auto")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.array(["a", "b"]), r"expected numbers \(T,\) or \(T, D\) in .*, got <U1"),
        (np.zeros((3, 2, 2)), r"expected numbers \(T,\) or \(T, D\) in .*, got float64 \(3, 2, 2\)"),
        (np.array([0.5, 1]), "expected one column of whole numbers from -1 to 32767 in .*; say --actions continuous"),
    ],
)
def test_an_array_that_is_no_table_of_choices_is_refused(clips, table, message):
    tell(clips[0], table, "npy")
    with pytest.raises(ValueError, match=message):
        read_beside(clips[0], "discrete")
