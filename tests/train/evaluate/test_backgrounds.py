"""What stands still for the length of a clip is no background if it moves in the rest of its episode."""

import numpy as np
import pytest

from flam_train.evaluate.backgrounds import episode_backgrounds
from flam_train.store.clips import draw_clips
from flam_train.store.packing import Draw, write_pack

SIZE, LENGTH, STAYS = 48, 6, 10


@pytest.fixture(scope="module")
def painted() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 130, (3, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def parking(painted, make_store, make_episode, tmp_path_factory):
    """A store of episodes in which a square moves on every ten frames, before a painted background."""
    store = make_store(tmp_path_factory.mktemp("stores") / "parking", {}, size=SIZE)
    for number, behind in enumerate(painted):
        frames = np.repeat(behind[None], 4 * STAYS, 0)
        for time in range(4 * STAYS):
            left = 10 * (time // STAYS)
            frames[time, 8:16, left : left + 8] = 250
        store.write("test", make_episode(frames, level_seed=number), name=f"parking-{number}")
    return store


def episodes_of(clips) -> list[int]:
    """Which painted background each clip has, told by its lower half."""
    return [int(clip[0, 20, 20, 0]) for clip in clips.frames]


def test_the_background_of_a_clip_is_that_of_its_episode(parking, painted):
    clips = draw_clips(parking, "test", 9, LENGTH, seed=3)
    number = {int(behind[20, 20, 0]): which for which, behind in enumerate(painted)}
    expected = painted[[number[pixel] for pixel in episodes_of(clips)]]
    assert len(number) == len(painted) and len(set(episodes_of(clips))) > 1
    assert np.array_equal(episode_backgrounds(parking, "test", clips, seed=3), expected)


def test_a_pack_knows_the_background_of_its_clips_only(parking, tiny_world, tmp_path):
    draws = [Draw(split="test", count=9, length=LENGTH)]
    pack = write_pack(parking, tiny_world.tokenizer, tmp_path / "parking.pack", draws)
    clips = draw_clips(pack, "test", 9, LENGTH, seed=0)
    still = (np.ptp(clips.frames, 1) == 0).all(-1)
    seen, shown = episode_backgrounds(pack, "test", clips, seed=0)[still], clips.frames[:, 0][still]
    assert np.array_equal(seen, shown) and (shown == 250).all(-1).any(), "squares that stand still for a clip"
