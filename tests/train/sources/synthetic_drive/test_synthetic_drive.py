"""The made-up drive: the same for the same seed, seen from a car whose motion is known, among cars that act."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from flam_train.cli import main
from flam_train.sources.collect import collect
from flam_train.sources.synthetic_drive.ego import START, moments
from flam_train.sources.synthetic_drive.painting import paint_box, paint_ellipse
from flam_train.sources.synthetic_drive.recording import record_drive
from flam_train.sources.synthetic_drive.road import HALF_WIDTH, LANES, Road
from flam_train.sources.synthetic_drive.traffic import LENGTH, STEP, Car, decide, drive
from flam_train.sources.synthetic_drive.view import View

FRAMES = 120


def road_of(seed: int = 0) -> Road:
    return Road(400.0, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def drives():
    return [moments(road_of(seed), FRAMES, np.random.default_rng(seed)) for seed in range(6)]


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_a_drive_is_the_same_again_and_another_with_another_seed():
    first, again, other = (record_drive(seed=[3, seed], size=32, frames=12) for seed in (1, 1, 2))
    assert np.array_equal(first.frames, again.frames) and first.level_seed == again.level_seed
    assert np.array_equal(first.continuous_actions, again.continuous_actions, equal_nan=True)
    assert first.level_seed != other.level_seed and (first.frames != other.frames).mean() > 0.3


def test_pictures_of_all_sizes_show_one_drive():
    small, large = (record_drive(seed=[5], size=size, frames=3) for size in (64, 224))
    assert np.array_equal(small.continuous_actions, large.continuous_actions, equal_nan=True)
    middles = ((np.arange(64) + 0.5) * 3.5).astype(int)
    picked = large.frames[:, middles][:, :, middles].astype(float)
    assert np.abs(picked - small.frames).mean() < 8


# --- who drives -------------------------------------------------------------------------------------------------------


def test_the_car_with_the_camera_stays_on_the_road(drives):
    road = road_of(0)
    x, y = (np.array([getattr(moment, name) for moment in drives[0]]) for name in ("x", "y"))
    apart = np.hypot(road.x[:, None] - x, road.y[:, None] - y).min(0)
    assert apart.max() < HALF_WIDTH and drives[0][-1].s > START + 20


def test_its_motion_is_smooth_and_both_faster_and_slower_left_and_right():
    actions = np.stack([record_drive(seed=[seed], size=32, frames=FRAMES).continuous_actions[:-1] for seed in range(4)])
    forward, _, turn = np.moveaxis(actions, -1, 0) / STEP
    acceleration, jerk = np.diff(forward, axis=1) / STEP, np.diff(turn, axis=1) / STEP
    assert forward.min() >= 0 and forward.max() < 20
    assert acceleration.min() < -0.5 < 0.5 < acceleration.max() and np.abs(acceleration).max() < 6
    assert turn.min() < -0.05 < 0.05 < turn.max() and np.abs(jerk).max() < 2


def test_actions_are_how_the_car_moved_and_unknown_at_the_end():
    episode = record_drive(seed=[4], size=32, frames=30)
    road, driven = _drive_of([4], 30)
    moved = episode.continuous_actions
    assert moved.dtype == np.float32 and moved.shape == (30, 3) and np.isnan(moved[-1]).all()
    for t, (now, after) in enumerate(pairwise(driven)):
        way = np.array([after.x - now.x, after.y - now.y])
        ahead = np.array([np.cos(now.heading), np.sin(now.heading)])
        wanted = (way @ ahead, way @ (-ahead[1], ahead[0]), after.heading - now.heading)
        assert np.allclose(moved[t], wanted, atol=1e-5)
    assert len(road.s) > 100


def _drive_of(seed: list[int], frames: int):
    """The road and the drive that `record_drive` shows."""
    scenery, wills, _ = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(3))
    road = Road(220 + frames * 0.1 * 1.3 * 16, scenery)
    return road, moments(road, frames, wills)


def test_two_to_five_cars_have_wills_of_their_own(drives):
    counts = {len(drive[0].cars) for drive in drives}
    assert counts <= {2, 3, 4, 5} and len(counts) > 1
    braked = changed = 0
    for driven in drives:
        for before, after in pairwise(driven):
            pairs = list(zip(before.cars, after.cars, strict=True))
            braked += any(one.acceleration > -2 > other.acceleration for one, other in pairs)
            changed += any(one.lane != other.lane and one.paint == other.paint for one, other in pairs)
    assert braked > 5 and changed > 5


def test_cars_do_not_drive_through_each_other(drives):
    for driven in drives:
        for moment in driven[::5]:
            for i, one in enumerate(moment.cars):
                for other in moment.cars[:i]:
                    near = abs(one.d - other.d) < 1.6 and -18 < one.s - moment.s < 60
                    assert not (near and abs(one.s - other.s) < 0.6 * LENGTH)


def test_cars_come_into_sight_from_far_ahead_or_from_behind(drives):
    came = 0
    for driven in drives:
        for before, after in pairwise(driven):
            for one, other in zip(before.cars, after.cars, strict=True):
                if abs(other.s - one.s) > 5:
                    came += 1
                    assert other.s - after.s > 60 or other.s < after.s
    assert came > 3


def test_a_car_behind_a_slow_one_brakes_and_one_alone_reaches_its_speed():
    random = np.random.default_rng(0)
    car = Car(s=0.0, d=0.0, speed=12.0, wanted=12.0, lane=1)
    slow = replace(car, s=12.0, speed=3.0)
    assert decide(car, [slow], random).acceleration < -2
    alone = replace(car, speed=2.0)
    for _ in range(120):
        alone = drive(replace(decide(alone, [], random), wanted=12.0, braking=0, lane=1))
    assert 8 < alone.speed < 12.5 and alone.d == 0


def test_a_lane_is_changed_little_by_little():
    car = Car(s=0.0, d=LANES[1], speed=8.0, wanted=8.0, lane=2)
    aside = []
    for _ in range(60):
        car = drive(car)
        aside.append(car.d)
    assert np.diff([0.0, *aside]).max() < 0.2 and aside[-1] == LANES[2]


# --- what is seen -----------------------------------------------------------------------------------------------------


def test_markings_flow_towards_the_camera_and_hills_do_not():
    road, driven = _drive_of([1], 2)
    view, now = View(road, 64, np.random.default_rng(0)), driven[0]._replace(cars=[], pitch=0.0)
    heading = np.interp(now.s + 0.5, road.s, road.heading)
    x, y = road.places(np.array([now.s, now.s + 0.5]), np.zeros(2))
    first, second = (
        view.frame(now._replace(s=s, x=x[i], y=y[i], heading=heading)).astype(int)
        for i, s in enumerate((now.s, now.s + 0.5))
    )
    changed = np.abs(second - first).max(-1) > 8
    assert changed[40:].sum() > 10, "dashes"
    assert changed[:14].mean() < 0.02, "sky"


def test_the_picture_turns_with_the_car_and_pitches_with_its_acceleration():
    road, driven = _drive_of([1], 1)
    view, now = View(road, 64, np.random.default_rng(0)), driven[0]._replace(cars=[])
    straight = view.frame(now).astype(int)
    left = view.frame(now._replace(heading=now.heading + 5 / view.focal)).astype(int)
    assert np.abs(left[10:26, 10:] - straight[10:26, 5:-5]).mean() < np.abs(left - straight)[10:26, 10:].mean() / 2
    up = view.frame(now._replace(pitch=now.pitch + 3 / view.focal)).astype(int)
    assert np.abs(up[20:35] - straight[17:32]).mean() < np.abs(up - straight)[20:35].mean() / 2


def test_a_nearer_car_is_larger_and_one_that_brakes_shines():
    road, driven = _drive_of([1], 1)
    view, now = View(road, 64, np.random.default_rng(0)), driven[0]._replace(cars=[])
    plain = view.frame(now).astype(int)

    def with_car(ahead: float, acceleration: float = 0.0) -> np.ndarray:
        car = Car(s=now.s + ahead, d=0.0, speed=8.0, wanted=8.0, lane=1, acceleration=acceleration, paint=0.6)
        return view.frame(now._replace(cars=[car])).astype(int)

    near, far = ((np.abs(with_car(ahead) - plain).max(-1) > 8).sum() for ahead in (10.0, 20.0))
    assert near > 2.5 * far > 0
    assert (with_car(10.0, -3.0)[..., 0] - with_car(10.0)[..., 0]).max() > 40


def test_what_moves_less_than_a_pixel_is_seen():
    boxes = []
    for x in (2.0, 2.25):
        picture = np.zeros((8, 8, 3), np.float32)
        paint_box(picture, x, x + 2, 1, 3, (100.0, 0.0, 0.0))
        boxes.append(picture[..., 0])
    assert boxes[0].sum() == pytest.approx(400) == boxes[1].sum()
    assert boxes[1][1].tolist() == [0, 0, 75, 100, 25, 0, 0, 0]


def test_shapes_outside_the_picture_change_nothing():
    picture = np.zeros((8, 8, 3), np.float32)
    paint_box(picture, -9, -2, 0, 8, (9.0, 9.0, 9.0))
    paint_ellipse(picture, 20, 4, 3, 3, (9.0, 9.0, 9.0))
    assert not picture.any()
    paint_ellipse(picture, 0, 4, 6, 4, (9.0, 9.0, 9.0))
    assert picture[4, 0, 0] == 9 and not picture[:, 4:].any()


# --- the source -------------------------------------------------------------------------------------------------------


def test_a_collection_is_split_says_what_it_is_and_resumes(tmp_path):
    store = collect("synthetic-drive", tmp_path / "store", frames=60, size=32, workers=1, max_episode_frames=6, seed=2)
    assert store.source == "synthetic-drive" and store.size == 32
    assert store.settings["frames_per_second"] == 10
    assert store.settings["known_actions"] == {"kind": "continuous", "names": ["forward", "left", "turn"]}
    assert [store.frames(split) for split in store.splits] == [48, 6, 6]
    episodes = [store.read(record) for split in store.splits for record in store.episodes(split)]
    assert len({episode.level_seed for episode in episodes}) == 10
    assert all(episode.continuous_actions.shape == (6, 3) and episode.actions.shape == (6, 0) for episode in episodes)
    again = collect("synthetic-drive", tmp_path / "store", frames=72, size=32, workers=1, max_episode_frames=6, seed=2)
    assert again.frames("train") == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 16}, "expected a size of 32 to 448 pixels for a drive, got 16"),
        ({"random_share": 0.5}, "--random-share for games of Procgen only, got 0.5 for synthetic-drive"),
        ({"held_keys": 4}, "--held-keys for games of Procgen only, got 4 for synthetic-drive"),
        ({"native": True}, "--demonstrator and --native for games of Procgen only"),
    ],
)
def test_options_of_other_sources_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        collect("synthetic-drive", tmp_path / "store", frames=20, workers=1, **options)
    assert not (tmp_path / "store").exists()


def test_options_of_a_room_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["collect", "synthetic-drive", "--frames", "20", "--agents", "3", "--out", str(tmp_path / "store")])
    assert "for multigrid only" in capsys.readouterr().err


def test_a_drive_needs_no_package_of_its_own():
    code = (
        "import sys; from flam_train.sources.synthetic_drive.recording import record_drive; "
        "record_drive(seed=[0], size=32, frames=2); print('torch' in sys.modules, 'PIL' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
