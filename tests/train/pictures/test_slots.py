"""Pictures of slots: each pixel as bright as its mask, and only one slot steered in each row."""

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from flam_env.dream.dream import Dream, pixel_masks
from flam_env.worlds.units import BOUND
from flam_train.evaluate.rollouts import infer_actions, roll, sampled_actions
from flam_train.pictures.sheets import LABEL_HEIGHT
from flam_train.pictures.slots import DIMMED, mask_rows, slots, steering_rows
from flam_train.store.store import EpisodeStore

SIZE, SLOTS, CONTEXT = 48, 6, 2  # of the world with random weights
HORIZON = 5


@pytest.fixture(scope="module")
def noise(make_episode, tmp_path_factory) -> EpisodeStore:
    """A store of three videos in which a few patches change with every frame."""
    store = EpisodeStore.create(tmp_path_factory.mktemp("stores") / "noise", source="noise", size=SIZE, settings={})
    for index, length in enumerate((9, 12, 8)):
        store.write("test", make_episode(video(length, index), level_seed=index))
    return store


def video(length: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    frames = np.empty((length, SIZE, SIZE, 3), np.uint8)
    frames[:] = random.integers(0, 256, (SIZE, SIZE, 3))
    for t in range(length):
        frames[t:, 3 * t : 3 * t + 8] = random.integers(0, 256, (8, SIZE, 3))
    return frames


@pytest.fixture
def dream(tiny_world) -> Dream:
    return Dream(tiny_world)


def test_both_pictures_have_a_row_for_each_slot_of_each_clip(tiny_checkpoint, noise, tmp_path):
    slots(str(tiny_checkpoint), noise.root, out=tmp_path / "new", clips=3, horizon=HORIZON)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["masks.png", "steering.png"]
    for name, rows, columns in (("masks", 1 + SLOTS, 4), ("steering", 2 + SLOTS, 3)):
        height, width = 3 * rows * (2 * SIZE + 2 + LABEL_HEIGHT), columns * (2 * SIZE + 2)
        assert imageio.imread(tmp_path / "new" / f"{name}.png").shape == (height, width, 3)


def test_pictures_of_slots_are_the_same_for_the_same_seed_only(tiny_checkpoint, noise, tmp_path):
    for folder, seed in (("one", 4), ("same", 4), ("other", 5)):
        slots(str(tiny_checkpoint), noise.root, out=tmp_path / folder, clips=1, horizon=HORIZON, seed=seed)
    masks, steering = (
        [(tmp_path / folder / name).read_bytes() for folder in ("one", "same", "other")]
        for name in ("masks.png", "steering.png")
    )
    assert masks[0] == masks[1]
    assert steering[0] == steering[1] != steering[2]


def test_a_frame_is_as_bright_as_the_mask_of_the_slot(dream):
    frames = video(7)
    rows = list(mask_rows(dream, frames).values())
    assert len(rows) == 1 + SLOTS and np.array_equal(rows[0], frames)
    masks = pixel_masks(dream.model.observe(dream.encode(frames)[None]).masks[0], SIZE)
    for slot, row in enumerate(rows[1:]):
        light = DIMMED + (1 - DIMMED) * masks[:, slot, :, :, None].numpy()
        assert row.dtype == np.uint8 and np.abs(row - frames * light).max() < 1.01


def test_each_row_of_steering_changes_the_actions_of_one_slot(dream):
    frames = video(CONTEXT + HORIZON)
    rows = list(steering_rows(dream, frames, torch.Generator().manual_seed(3)).values())
    assert len(rows) == 2 + SLOTS and all(row.shape == (HORIZON, SIZE, SIZE, 3) for row in rows)
    assert np.array_equal(rows[0], frames[CONTEXT:])
    tokens = dream.encode(frames)[None]
    actions = infer_actions(dream, tokens)[0][:, CONTEXT - 1 :].clamp(-BOUND, BOUND)
    drawn = sampled_actions(dream.world, 1, HORIZON, torch.Generator().manual_seed(3))
    assert np.array_equal(rows[1], roll(dream, tokens[:, :CONTEXT], actions)[0])
    for slot, row in enumerate(rows[2:]):
        steered = actions.clone()
        steered[:, :, slot] = drawn[:, :, slot]
        assert np.array_equal(row, roll(dream, tokens[:, :CONTEXT], steered)[0])
    assert any(not np.array_equal(row, rows[1]) for row in rows[2:]), "the test shows nothing if no slot moves anything"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"clips": 0}, "expected clips >= 1 and horizon >= 1, got 0 and 5"),
        ({"horizon": 0}, "expected clips >= 1 and horizon >= 1, got 3 and 0"),
        ({"horizon": 11}, "noise: expected an episode of 13 frames in split 'test', found none"),
        ({"split": "val"}, "in split 'val', found none"),
    ],
)
def test_counts_that_cannot_be_are_refused(tiny_checkpoint, noise, tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        slots(str(tiny_checkpoint), noise.root, out=tmp_path / "new", **{"clips": 3, "horizon": HORIZON} | wrong)
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_are_refused(tiny_checkpoint, make_store, tmp_path):
    squares = make_store(tmp_path / "squares", {"test": (2, 9)})
    with pytest.raises(ValueError, match=r"got shape \(7, 32, 32, 3\); resize the frames to 48 x 48"):
        slots(str(tiny_checkpoint), squares.root, out=tmp_path / "new", horizon=HORIZON)
    assert not (tmp_path / "new").exists()


def test_a_disk_that_is_full_leaves_no_picture_of_slots(tiny_checkpoint, noise, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        slots(str(tiny_checkpoint), noise.root, out=tmp_path, clips=1, horizon=HORIZON)
    assert list(tmp_path.iterdir()) == []
