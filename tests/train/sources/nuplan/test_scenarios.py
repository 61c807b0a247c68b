"""Scenario types choose what comes of a log, as nuplan-devkit tells; and the devkit reads the logs of these tests."""

import sys

import numpy as np
import pytest
from nuplan_logs import SCENE, START, STEP, write_log

from flam_env.video.frames import fit_frames
from flam_train.sources.nuplan.log_film import SECOND, LogFilm
from flam_train.sources.nuplan.scenarios import SECONDS, import_scenario_query, scenario_spans
from flam_train.sources.nuplan.sensor_root import SensorRoot

pytest.importorskip("PIL")


@pytest.fixture
def devkit():
    """The module of the devkit's queries."""
    reason = "nuplan-devkit is not installed here; it is on no package index"
    return pytest.importorskip("nuplan.database.nuplan_db.nuplan_scenario_queries", reason=reason)


def test_only_the_spans_that_are_wanted_come_of_a_log(tmp_path):
    log = write_log(tmp_path, 1)
    spans = ((START + 2 * STEP, START + 6 * STEP), (START + 10 * STEP, START + 12 * STEP - 1))
    film = LogFilm(log.path, SensorRoot(log.root), "CAM_F0", 64, spans)
    frames = fit_frames(np.stack([each.frame for each in film.read()]), 64, "stretch").astype(float)
    wanted = fit_frames(log.frames[[2, 3, 4, 5, 6, 10, 11]], 64, "stretch")
    assert len(frames) == 7 and np.abs(frames - wanted).mean() < 6
    assert film.breaks() == (5,) and film.length() == 7
    assert film.content() == LogFilm(log.path, SensorRoot(log.root), "CAM_F0", 64).content()


def test_without_the_devkit_it_is_said_what_to_install(tmp_path, bring, monkeypatch):
    monkeypatch.setitem(sys.modules, "nuplan", None)
    with pytest.raises(ImportError, match=r"git clone https://github.com/motional/nuplan-devkit && pip install "):
        bring(write_log(tmp_path, 1, 4), scenario_types=("changing_lane",))
    assert not (tmp_path / "out").exists()


def test_scenarios_of_the_types_that_are_named_are_found_and_joined(tmp_path, devkit):
    tags = {0: "changing_lane", 25: "changing_lane", 30: "on_carpark", 40: "changing_lane", 45: "behind_bike"}
    log = write_log(tmp_path, 1, 7 * SCENE, tags=tags)  # the devkit leaves out the first and last two scenes
    length = SECONDS * SECOND
    assert scenario_spans(log.path, ["changing_lane"]) == ((START + 25 * STEP, START + 40 * STEP + length),)
    assert scenario_spans(log.path, ["behind_bike"]) == ((START + 45 * STEP, START + 45 * STEP + length),)
    with pytest.raises(ValueError, match=r"expected scenarios of the types stationary in .*, got none; leave it out"):
        scenario_spans(log.path, ["stationary"])


def test_scenarios_become_a_store_that_says_so(tmp_path, bring, devkit):
    logs = [write_log(tmp_path, 1, 7 * SCENE, tags={45: "behind_bike"}), write_log(tmp_path, 2, 7 * SCENE)]
    done = bring(*logs, scenario_types=("behind_bike",))
    assert [record.stored for record in done.records] == [25] and list(done.refused) == [str(logs[1].path)]
    assert done.store.settings["scenario_types"] == ["behind_bike"]
    with pytest.raises(ValueError, match="use another folder, or the same settings to resume"):
        bring(logs[0])


def test_a_damaged_log_is_refused_whoever_reads_it(tmp_path, devkit):
    log = write_log(tmp_path, 1, 4)
    log.path.write_bytes(b"no database" * 99)
    with pytest.raises(ValueError, match=r"expected the database of a log of nuPlan, got .*not a database"):
        scenario_spans(log.path, ["changing_lane"])
    log.path.unlink()
    with pytest.raises(ValueError, match="which is no file"):
        scenario_spans(log.path, ["changing_lane"])
    assert not log.path.exists()


def test_the_devkit_finds_the_same_images_and_poses(tmp_path, devkit):
    """So the databases of these tests are such as the devkit reads."""
    log = write_log(tmp_path, 1, 8)
    sweeps = [token for _, token in devkit.get_lidarpc_tokens_with_scenario_tag_from_db(str(log.path))]
    assert not sweeps and import_scenario_query() is devkit.get_scenarios_from_db
    tokens = [row["token"].hex() for row in devkit.execute_many(EVERY_OTHER, (), str(log.path))]
    images = list(devkit.get_images_from_lidar_tokens(str(log.path), tokens, ["CAM_F0"], STEP // 2, STEP // 2))
    names = [image.filename_jpg for image in sorted(images, key=lambda image: image.timestamp)]
    assert list(dict.fromkeys(names)) == log.names()
    moved = LogFilm(log.path, SensorRoot(log.root), "CAM_F0", 64).known_actions("auto").values
    states = [devkit.get_ego_state_for_lidarpc_token_from_db(str(log.path), token).rear_axle for token in tokens]
    for t in range(7):
        here, there = states[t], states[t + 1]
        way = np.array([there.x - here.x, there.y - here.y])
        ahead = np.array([np.cos(here.heading), np.sin(here.heading)])
        wanted = (way @ ahead, way @ (-ahead[1], ahead[0]), there.heading - here.heading)
        assert np.allclose(moved[t], wanted, atol=1e-5)


EVERY_OTHER = "SELECT token FROM lidar_pc WHERE (timestamp / 50000) % 2 = 0 ORDER BY timestamp"
