import random
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from flam_train.sources import collect as collecting
from flam_train.sources import recorders
from flam_train.sources.collect import Schedule, collect, quotas
from flam_train.sources.procgen.games import SPLIT_LEVELS
from flam_train.store.store import EpisodeStore

pytest.importorskip("procgen")
FRAMES, LONGEST = 900, 45


def contents(root):
    """Everything in a store: file -> arrays and attributes."""
    found = {}
    for path in sorted(root.glob("**/*.h5")):
        with h5py.File(path) as file:
            arrays = {key: file[key][:].tobytes() for key in file}
            found[str(path.relative_to(root))] = (arrays, dict(file.attrs))
    return found


def collect_random(out, **changes):
    arguments = {"frames": FRAMES, "random_share": 1.0, "workers": 2, "max_episode_frames": LONGEST}
    return collect("bigfish", out, **{**arguments, **changes})


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    return collect_random(tmp_path_factory.mktemp("collected") / "store")


def test_a_collection_holds_what_was_asked_for(collected):
    for (split, agent), wanted in quotas(FRAMES, 1.0).items():
        episodes = [record for record in collected.episodes(split) if record.agent == agent]
        frames = sum(record.frames for record in episodes)
        assert wanted <= frames < wanted + LONGEST or wanted == frames == 0
        first, levels = SPLIT_LEVELS[split]
        assert all(first <= record.level_seed < first + levels for record in episodes)


def test_a_killed_collection_resumes_to_the_same_content(collected, tmp_path):
    out = tmp_path / "store"
    command = [sys.executable, "-m", "flam_train", "collect", "bigfish", "--out", str(out), "--workers", "1"]
    command += ["--frames", str(FRAMES), "--random-share", "1.0", "--max-episode-frames", str(LONGEST)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob("train/*.h5"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    survived = contents(out)
    assert 2 <= len(survived) < len(contents(collected.root))
    collect_random(out)
    assert contents(out) == contents(collected.root)
    assert not list(out.glob("**/.flam-*"))


def test_a_collection_can_be_extended_and_finished_ones_cost_nothing(tmp_path):
    small = collect_random(tmp_path / "store", frames=100, workers=1)
    before = contents(small.root)
    started = time.monotonic()
    collect_random(tmp_path / "store", frames=200, workers=1)
    after = contents(small.root)
    assert before.items() <= after.items() and len(after) > len(before)
    started = time.monotonic()
    collect_random(tmp_path / "store", frames=100, workers=1)
    assert time.monotonic() - started < 1 and contents(small.root) == after


def test_native_pictures_show_the_same_moments(tmp_path):
    averaged, native = (
        collect_random(tmp_path / str(native), frames=60, workers=1, native=native) for native in (False, True)
    )
    for one, other in zip(averaged.episodes("train"), native.episodes("train"), strict=True):
        seen, shown = averaged.read(one), native.read(other)
        assert np.array_equal(seen.actions, shown.actions) and np.array_equal(seen.rewards, shown.rewards)
        apart = np.abs(seen.frames.astype(float) - shown.frames)
        assert 0 < apart.mean() < 1, "they are sampled otherwise"
    with pytest.raises(ValueError, match="another folder"):
        collect_random(averaged.root, native=True)


def test_the_planner_takes_its_share(tmp_path):
    store = collect("bigfish", tmp_path / "store", frames=40, random_share=0.5, workers=1, max_episode_frames=5)
    agents = [record.agent for record in store.episodes("train")]
    assert agents.count("planner") == agents.count("random") == 4  # ceil(16 / 5) episodes of each
    assert np.all(store.read(store.episodes("val")[0]).frames.shape == (5, 64, 64, 3))


def test_keys_are_held_and_each_is_drawn_as_often_as_any_of_another_effect(monkeypatch):
    monkeypatch.setattr(recorders, "record_episode", lambda game, split, player, **_: player)
    recorder = recorders.ProcgenRecorder(game="leaper", size=64, longest=23, random_share=1.0, held_keys=3)
    player = recorder.record("train", "random", [0])
    player.begin(np.random.default_rng(0))
    played = [player.act(None) for _ in range(3 * 1000)]
    assert played[::3] == played[1::3] == played[2::3]
    keys, counts = np.unique(played[::3], return_counts=True)
    assert keys.tolist() == [1, 3, 4, 5, 7] and abs(counts / 1000 - 0.2).max() < 0.05


def test_settings_tell_that_keys_are_held_and_all_play_is_theirs_by_default(tmp_path, monkeypatch):
    wanted = []
    monkeypatch.setattr(collecting, "work_off", lambda job, schedule, workers: wanted.append(schedule.wanted))
    store = collect("bigfish", tmp_path / "store", frames=100, held_keys=4)
    assert store.settings["held_keys"] == 4
    assert wanted[0]["train", "random"] == 80 and wanted[0]["train", "planner"] == 0
    with pytest.raises(ValueError, match="another folder"):
        collect("bigfish", store.root, frames=100, random_share=1.0)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_set_of_episodes_does_not_depend_on_who_finishes_first(workers):
    lengths = {
        (split, agent): [random.Random(f"{split}{agent}{i}").randint(1, 50) for i in range(400)]
        for split, agent in quotas(1000, 0.3)
    }
    schedule = Schedule(wanted=quotas(1000, 0.3), longest=50, done={stream: {} for stream in lengths})
    order, running = random.Random(workers), []
    while True:
        while len(running) < workers and (task := schedule.start()):
            running.append(task)
        if not running:
            break
        stream, index = running.pop(order.randrange(len(running)))
        schedule.finish(stream, index, lengths[stream][index])
    for stream, wanted in schedule.wanted.items():
        total = np.cumsum(lengths[stream])
        assert sorted(schedule.done[stream]) == list(range(int(np.searchsorted(total, wanted)) + 1))


def test_quotas_add_up():
    for frames in (10, 1234, 120_000):
        wanted = quotas(frames, 0.3)
        assert sum(wanted.values()) == frames
    assert wanted["train", "planner"] == 67_200 and wanted["test", "random"] == 3_600


def test_bad_arguments_are_refused_and_leave_no_folder(tmp_path):
    out = tmp_path / "store"
    for arguments, message in (
        ({"game": "coinrun"}, "bigfish, leaper, starpilot"),
        ({"size": 65}, "64, 128, 224"),
        ({"frames": 0}, "frames >= 10"),
        ({"random_share": 1.5}, "random_share <= 1"),
        ({"workers": -1}, "workers >= 0"),
        ({"held_keys": 0}, "held_keys to be an integer of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            collect(**{"game": "bigfish", "out": out, **arguments})
        assert not out.exists()


def test_another_seed_into_the_same_folder_is_refused(collected):
    with pytest.raises(ValueError, match="another folder"):
        collect_random(collected.root, seed=1)


def test_a_failing_worker_stops_the_collection_and_says_why(collected, tmp_path):
    (tmp_path / "store").mkdir()
    store = EpisodeStore.create(tmp_path / "store", source="procgen/bigfish", size=64, settings=collected.settings)
    (store.root / "train").write_text("a file where a folder belongs")
    with pytest.raises(FileExistsError):
        collect_random(store.root, frames=100, workers=1)
    assert not list(store.root.glob("**/.flam-*"))
