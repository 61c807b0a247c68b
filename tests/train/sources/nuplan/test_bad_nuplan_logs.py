"""Logs of nuPlan that are damaged, lack something, or lead elsewhere are refused, and leave nothing half-written."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from nuplan_logs import write_log

from flam_train.sources.nuplan.database import logged_images

pytest.importorskip("PIL")


def written(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file()]


# --- what leads out of the sensor root --------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["above", "absolute", "link", "linked folder"])
def test_an_image_outside_the_sensor_root_is_refused(tmp_path, bring, way):
    log = write_log(tmp_path, 1, 4)
    name = log.names()[2]
    secret = tmp_path / "elsewhere" / "secret.jpg"
    shutil.copytree((log.root / name).parent, secret.parent)
    shutil.copy(log.root / name, secret)
    if way == "above":
        log.change("UPDATE image SET filename_jpg = ? WHERE filename_jpg = ?", "../elsewhere/secret.jpg", name)
    elif way == "absolute":
        log.change("UPDATE image SET filename_jpg = ? WHERE filename_jpg = ?", str(secret), name)
    elif way == "link":
        (log.root / name).unlink()
        (log.root / name).symlink_to(secret)
    else:
        shutil.rmtree((log.root / name).parent)
        (log.root / name).parent.symlink_to(secret.parent)
    done = bring(log)
    assert "which leads out of it; copy what lies elsewhere into it" in done.refused[str(log.path)]
    assert done.store is None and not (tmp_path / "out").exists()


def test_links_within_the_sensor_root_and_to_it_are_followed(tmp_path, bring):
    log = write_log(tmp_path, 1, 4)
    one, other = (log.root / name for name in log.names()[:2])
    one.unlink()
    one.symlink_to(other)
    log.root.rename(tmp_path / "disk")
    log.root.symlink_to(tmp_path / "disk")
    store = bring(log).store
    (record,) = (each for split in store.splits for each in store.episodes(split))
    episode = store.read(record)
    assert np.array_equal(episode.frames[0], episode.frames[1])


# --- what is none -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda log: log.path.write_bytes(b"no database" * 99), "the database of a log of nuPlan, .*not a database"),
        (lambda log: log.path.write_bytes(log.path.read_bytes()[:9000]), "the database of a log of nuPlan, .*copy it"),
        (lambda log: log.path.write_bytes(b""), "the database of a log of nuPlan, got .*no such table: image"),
        (lambda log: log.path.unlink(), "the database of a log, got .*which is no file; name a .db of nuPlan"),
        (lambda log: log.change("DELETE FROM image"), r"images of CAM_F0 in .*none of them \(cameras CAM_B0, CAM_F0\)"),
        (lambda log: log.change("DELETE FROM camera"), r"images of CAM_F0 in .*, got none of them \(no camera\)"),
        (
            lambda log: log.change("UPDATE camera SET channel = 'CAM_R0' WHERE channel = 'CAM_F0'"),
            r"images of CAM_F0 in .*, got none of them \(cameras CAM_B0, CAM_R0\); name another log",
        ),
        (lambda log: log.change("UPDATE image SET timestamp = NULL"), "a token, microseconds and a path of each image"),
        (lambda log: log.change("UPDATE ego_pose SET x = 'west'"), "a pose of numbers for .*CAM_F0"),
        (
            lambda log: shutil.rmtree(log.root / log.path.stem),
            "images of CAM_F0 below .*none of the 4 .*; most logs have none",
        ),
        (lambda log: (log.root / log.names()[3]).write_bytes(b"no image"), "a JPEG, got .*missing images are skipped"),
    ],
)
def test_a_log_that_cannot_be_read_is_left_out_whole_and_named(tmp_path, bring, harm, message):
    good, bad = write_log(tmp_path, 1, 4), write_log(tmp_path, 2, 4)
    harm(bad)
    done = bring(good, bad)
    assert list(done.refused) == [str(bad.path)] and len(done.records) == 1
    assert not any("00002" in name for name in written(tmp_path / "out")) and not list(tmp_path.rglob("*.tmp"))
    with pytest.raises(ValueError, match=f"expected {message}"):
        bring(bad, out=tmp_path / "none", strict=True)
    assert not (tmp_path / "none").exists()


def test_a_sensor_root_that_is_none_is_named_before_the_work(tmp_path, bring):
    log = write_log(tmp_path, 1, 4)
    with pytest.raises(ValueError, match=r"expected the folder with LOG/CAMERA/TOKEN\.jpg, .*, which is no folder"):
        bring(log, sensor_root=tmp_path / "nowhere")
    (reason,) = bring(log, sensor_root=tmp_path).refused.values()
    assert f"name the folder {log.root} in it" in reason
    assert not (tmp_path / "out").exists()


def test_the_name_of_a_camera_is_no_part_of_the_query(tmp_path):
    log = write_log(tmp_path, 1, 4)
    assert len(logged_images(log.path, "CAM_B0")) == 4
    with pytest.raises(ValueError, match="got none of them"):
        logged_images(log.path, "CAM_B0' OR '1' = '1")


def test_what_lies_in_the_pickled_columns_is_never_asked_for(tmp_path, bring, monkeypatch):
    log, asked = write_log(tmp_path, 1, 4), []
    connect = sqlite3.connect

    def watched(*where, **how):
        database = connect(*where, **how)
        database.set_authorizer(lambda action, table, column, *_: asked.append((table, column)) or sqlite3.SQLITE_OK)
        return database

    monkeypatch.setattr(sqlite3, "connect", watched)
    assert bring(log).new == 1
    columns = {column for table, column in asked if table == "camera"}
    assert columns == {"token", "channel"}
