"""`flam-train import nuplan`: what a camera saw becomes a store, in order, cut at gaps, with how the car moved."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from nuplan_logs import START, STEP, Log, arc, write_log

from flam_env.video.frames import fit_frames
from flam_train.cli import main
from flam_train.commands.import_ import means_nuplan
from flam_train.engine.locks import FolderInUseError, folder_lock
from flam_train.sources.films.episodes import FilmImport
from flam_train.sources.films.importing import IMPORTING, Imported
from flam_train.sources.nuplan.log_film import LogFilm
from flam_train.sources.nuplan.sensor_root import SensorRoot
from flam_train.store.episode import Episode
from flam_train.store.store import SPLITS

pytest.importorskip("PIL")

NOISE = 6
"""Of JPEG, of 255, on average."""


def episodes(done: Imported, log: Log) -> list[Episode]:
    """What the store holds of a log, in its order."""
    (record,) = (each for each in done.records if each.origin == str(log.path))
    held = {each.path.stem: each for each in done.store.episodes(record.split)}
    return [done.store.read(held[name]) for name in record.episodes]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- frames, order, gaps ----------------------------------------------------------------------------------------


def test_the_front_camera_becomes_an_episode_in_the_order_of_time(tmp_path, bring):
    log = write_log(tmp_path, 1)
    log.change("UPDATE image SET rowid = 1000 - rowid")
    done = bring(log)
    (episode,) = episodes(done, log)
    assert (done.store.source, done.store.size) == ("nuplan", 64)
    assert done.store.settings == {
        "fit": "stretch",
        "cuts": "gaps",
        "camera": "CAM_F0",
        "scenario_types": [],
        "frames_per_second": 10.0,
        "known_actions": {"kind": "continuous", "names": ["forward", "left", "turn"]},
    }
    shown = fit_frames(log.frames, 64, "stretch").astype(float)
    apart = np.abs(episode.frames[:, None] - shown[None]).mean((2, 3, 4))
    assert apart.diagonal().max() < NOISE and (apart.argmin(1) == range(20)).all()


def test_another_camera_comes_if_it_is_named(tmp_path, bring):
    log = write_log(tmp_path, 1, 8)
    (episode,) = episodes(bring(log, camera="CAM_B0"), log)
    assert np.abs(episode.frames - (255.0 - fit_frames(log.frames, 64, "stretch"))).mean() < NOISE


def test_missing_images_are_skipped_counted_and_cut_at(tmp_path, bring):
    log = write_log(tmp_path, 1, missing=(0, 7, 8, 19))
    done = bring(log)
    first, second = episodes(done, log)
    shown = fit_frames(log.frames, 64, "stretch").astype(float)
    assert len(first.frames) == 6 and np.abs(first.frames - shown[1:7]).mean() < NOISE
    assert len(second.frames) == 10 and np.abs(second.frames - shown[9:19]).mean() < NOISE
    assert f"note: {log.path}: 4 of 20 images of CAM_F0 are missing, and were skipped" in done.report
    assert done.records[0].stored == 16


@pytest.mark.parametrize(("wait", "lengths"), [(STEP // 2, [20]), (STEP // 2 + 1, [5, 15])])
def test_more_than_150_milliseconds_are_a_gap(tmp_path, bring, wait, lengths):
    log = write_log(tmp_path, 1)
    log.change("UPDATE image SET timestamp = timestamp + ? WHERE timestamp >= ?", wait, START + 5 * STEP)
    assert [len(each.frames) for each in episodes(bring(log), log)] == lengths


def test_large_images_come_as_small_ones_do(tmp_path):
    from PIL import Image

    log = write_log(tmp_path, 1, 2)
    for name, frame in zip(log.names(), log.frames, strict=True):
        large = Image.fromarray(frame).resize((1920, 1080), Image.Resampling.NEAREST)
        large.save(log.root / name, quality=95)
    read = [each.frame for each in LogFilm(log.path, SensorRoot(log.root), "CAM_F0", 224).read()]
    assert [each.shape for each in read] == [(540, 960, 3)] * 2
    assert (
        np.abs(fit_frames(np.stack(read), 64, "stretch") - fit_frames(log.frames, 64, "stretch").astype(float)).mean()
        < NOISE
    )


# --- how the car moved ------------------------------------------------------------------------------------------


def test_how_the_car_moved_lies_with_the_frame_before(tmp_path, bring):
    """On a circle of 20 m to the left, whichever way it is headed, each step is the same to the car."""
    log = write_log(tmp_path, 1)
    (episode,) = episodes(bring(log), log)
    moved = episode.continuous_actions
    step = (20 * np.sin(0.05), 20 * (1 - np.cos(0.05)), 0.05)
    assert moved.dtype == np.float32 and moved.shape == (20, 3)
    assert np.allclose(moved[:-1], step, atol=1e-5) and np.isnan(moved[-1]).all()
    assert episode.actions.shape == (20, 0)


def test_on_a_slope_the_car_goes_forward_not_less(tmp_path, bring):
    """Nose up by 30 degrees, a metre along the road is a metre forward; a turn through pi is a small one."""
    pitch = (np.cos(-np.pi / 12), 0.0, np.sin(-np.pi / 12), 0.0)
    climb = [(0.0, 0.0, 0.0, *pitch), (np.cos(np.pi / 6), 0.0, 0.5, *pitch)]
    turn = [(0.0, 0.0, 0.0, np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)) for angle in (np.pi - 0.1, np.pi + 0.1)]
    for seed, poses, wanted in [(1, climb, (1, 0, 0)), (2, turn, (0, 0, 0.2))]:
        log = write_log(tmp_path, seed, 2, poses=poses)
        (episode,) = episodes(bring(log), log)
        assert np.allclose(episode.continuous_actions[0], wanted, atol=1e-6)


def test_what_nobody_knows_of_the_way_is_unknown(tmp_path, bring):
    poses = [list(arc(t)) for t in range(12)]
    poses[3][0], poses[6][3:], poses[11][1:3] = None, (0, 0, 0, 0), (np.inf, 1e300)
    log = write_log(tmp_path, 1, 12, missing=(8,), poses=poses)
    log.change("UPDATE image SET ego_pose_token = x'00' WHERE filename_jpg = ?", log.names()[1])
    unknown = np.concatenate([np.isnan(each.continuous_actions).any(1) for each in episodes(bring(log), log)])
    assert np.flatnonzero(unknown).tolist() == [0, 1, 2, 3, 5, 6, 7, 9, 10]


# --- split, resumed, locked -------------------------------------------------------------------------------------


def test_each_log_lies_in_one_split_and_a_copy_of_it_is_the_same(tmp_path, bring):
    logs = [write_log(tmp_path, seed, 12, missing=(5,)) for seed in range(1, 5)]
    copy = logs[0]._replace(path=Path(shutil.copy(logs[0].path, tmp_path / "another name.db")))
    done = bring(*logs, copy)
    assert done.copies == {str(copy.path): str(logs[0].path)} and len(done.records) == 4
    where = {
        log.path.stem: {s for s in SPLITS for e in done.store.episodes(s) if _of(log, e.path.stem)} for log in logs
    }
    assert all(len(splits) == 1 for splits in where.values())
    assert set().union(*where.values()) == set(SPLITS)


def _of(log: Log, name: str) -> bool:
    return name.startswith(log.path.stem.replace(".", "-").replace("_", "-"))


def test_a_log_whose_images_came_later_stays_the_same_film(tmp_path, bring):
    """So it never comes twice, into two splits."""
    logs = [write_log(tmp_path, seed, 6, missing=(4,)) for seed in (1, 2, 3)]
    bring(*logs)
    shutil.copy(logs[0].root / logs[0].names()[3], logs[0].root / logs[0].names()[4])
    again = bring(*logs)
    assert again.new == 0 and len(again.records) == 3


def test_an_import_that_was_killed_goes_on_log_by_log(tmp_path, bring, monkeypatch):
    logs = [write_log(tmp_path, seed, 6) for seed in (1, 2, 3)]
    run, seen = FilmImport.run, []

    def interrupted(self):
        if seen:
            raise KeyboardInterrupt
        seen.append(self)
        return run(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FilmImport, "run", interrupted)
        bring(*logs)
    assert bring(*logs).new == 2
    bring(*logs, out=tmp_path / "at once")
    one, other = files(tmp_path / "out"), files(tmp_path / "at once")
    assert one.keys() == other.keys() and all(one[name] == other[name] for name in one if name.endswith(".h5"))


def test_two_at_a_time_are_refused_and_other_settings_too(tmp_path, bring):
    log = write_log(tmp_path, 1, 4)
    bring(log)
    with folder_lock(tmp_path / "out", name=IMPORTING), pytest.raises(FolderInUseError, match="in use by process"):
        bring(log)
    for options in ({"camera": "CAM_B0"}, {"size": 128}, {"fit": "crop"}):
        with pytest.raises(ValueError, match="use another folder, or the same settings to resume"):
            bring(log, **options)


def test_a_log_travels_to_a_worker_process(tmp_path):
    log = write_log(tmp_path, 1, 3)
    film = LogFilm(log.path, SensorRoot(log.root), "CAM_F0", 64)
    assert film.length() == 3
    frames, others = ([each.frame for each in one.read()] for one in (film, pickle.loads(pickle.dumps(film))))
    assert np.array_equal(frames, others)


def test_databases_are_read_only(tmp_path, bring):
    log = write_log(tmp_path, 1, 4)
    before = log.path.read_bytes()
    log.path.chmod(0o444)
    assert bring(log).new == 1
    assert log.path.read_bytes() == before and not list(tmp_path.glob("*.db-*"))


# --- the command ------------------------------------------------------------------------------------------------


def test_the_command_takes_folders_of_logs_and_says_what_came_of_it(tmp_path, capsys):
    (tmp_path / "splits").mkdir()
    for seed in (1, 2, 3):
        log = write_log(tmp_path / "splits", seed, 4)
    place = ["--sensor-root", str(log.root), "--out", str(tmp_path / "out"), "--workers", "1"]
    main(["import", "nuplan", "--logs", str(tmp_path / "splits"), *place])
    out = capsys.readouterr().out
    assert out.startswith(
        f"{tmp_path}/out: 3 new films, 0 were there before\n3 films, 3 episodes, 12 frames of 224 px at 10"
    )
    with pytest.raises(SystemExit) as left:
        main(["import", "nuplan", "--logs", str(log.path), str(tmp_path / "none.db"), *place])
    assert left.value.code == 1 and f"{tmp_path}/none.db  expected the database" in capsys.readouterr().out


def test_the_command_explains_itself(capsys):
    with pytest.raises(SystemExit) as left:
        main(["import", "nuplan", "--help"])
    out = capsys.readouterr().out
    assert left.value.code == 0 and out.startswith("usage: flam-train import nuplan ")
    assert all(f"--{name}" in out for name in ("logs", "sensor-root", "out", "camera", "scenario-types", "splits"))


def test_films_in_a_folder_of_that_name_can_still_be_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert means_nuplan(["nuplan", "--out", "store"])
    (tmp_path / "nuplan").mkdir()
    assert not means_nuplan(["nuplan", "--out", "store"])
    assert means_nuplan(["nuplan", "--logs", "a.db"]) and means_nuplan(["nuplan", "--logs=a.db"])
    assert not means_nuplan(["other", "nuplan"])
