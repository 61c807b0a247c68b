"""Entities from pixels: rectangles whose ways are known."""

import sys

import numpy as np
import pytest

from flam_train.evaluate.entities import MEMORY, find_background, find_entities

RED, BLUE, PALE_RED = (230, 40, 40), (40, 60, 220), (250, 70, 60)
HEIGHT, WIDTH = 32, 48
BLACK = np.zeros(3, np.uint8)


def draw(*things: tuple, frames: int = 20, behind: np.ndarray = BLACK) -> tuple[np.ndarray, np.ndarray]:
    """One clip of rectangles, the later in front, each (colour, height, width, place of its corner by time or None).

    Returns:
        frames uint8 (1, T, H, W, 3) and the truth int64 (1, T, H, W): the place of the thing in the list, from 1 on.
    """
    clip = np.broadcast_to(behind, (1, frames, HEIGHT, WIDTH, 3)).copy()
    truth = np.zeros(clip.shape[:4], np.int64)
    for number, (colour, height, width, way) in enumerate(things, 1):
        for time in range(frames):
            if (place := way(time)) is not None:
                top, left = place
                there = np.s_[0, time, max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
                clip[there], truth[there] = colour, number
    return clip, truth


def numbers(entities: np.ndarray, truth: np.ndarray, thing: int) -> set[int]:
    """Which entities lie where a thing is, over all frames."""
    return set(entities[truth == thing].tolist())


def test_things_that_move_past_each_other_are_found_to_the_pixel():
    clip, truth = draw((RED, 5, 6, lambda t: (3, 2 + 2 * t)), (BLUE, 4, 7, lambda t: (20, 40 - 2 * t)))
    assert np.array_equal(find_entities(clip), truth)


@pytest.mark.parametrize("colour", [BLUE, RED])
def test_things_that_cross_keep_their_numbers_and_what_is_in_front_is_seen(colour):
    """Also two of one colour, which only their speeds tell apart."""
    clip, truth = draw((RED, 9, 8, lambda t: (10, 1 + 2 * t)), (colour, 6, 8, lambda t: (12, 39 - 2 * t)))
    entities = find_entities(clip)
    apart = [0, 1, 2, 17, 18, 19]
    assert np.array_equal(entities[:, apart], truth[:, apart])
    assert set(np.unique(entities)) == {0, 1, 2} and np.array_equal(entities > 0, truth > 0)
    assert (entities == truth)[truth > 0].mean() > (0.98 if colour == BLUE else 0.9)


def test_things_that_merge_stay_two_while_their_speeds_tell_where_they_are():
    """One passes below the other, half as fast; they touch from frame 3 on."""
    clip, truth = draw((RED, 6, 8, lambda t: (4, 2 + t)), (BLUE, 6, 8, lambda t: (10, 12 + t // 2)), frames=30)
    entities, parted = find_entities(clip), 3 + MEMORY
    assert np.array_equal(entities[:, :parted], truth[:, :parted])
    assert all(len(np.unique(frame)) == 2 for frame in entities[0, parted:])  # from then on they are one


def test_things_that_split_are_one_until_they_do():
    clip, truth = draw(
        (RED, 6, 8, lambda t: (4, 10)), (BLUE, 5, 8, lambda t: (10 + max(t - 4, 0), 10)), frames=9, behind=BLACK
    )
    entities = find_entities(clip, BLACK)
    assert set(np.unique(entities[0, :5])) == {0, 1} and set(np.unique(entities[0, 5:])) == {0, 1, 2}
    assert numbers(entities[:, 5:], truth[:, 5:], 1) == {1}  # the larger part goes on


def test_things_enter_and_leave_under_numbers_of_their_own():
    clip, truth = draw(
        (RED, 6, 8, lambda t: (4, 40 + 2 * t)),  # leaves
        (RED, 6, 8, lambda t: (4, -18 + 2 * t)),  # enters where the other was, later
        frames=24,
    )
    entities = find_entities(clip)
    seen = (truth == 1).sum((2, 3)) >= 8, (truth == 2).sum((2, 3)) >= 8
    assert numbers(entities[seen[0]], truth[seen[0]], 1) == {1}
    assert numbers(entities[seen[1]], truth[seen[1]], 2) == {2}


@pytest.mark.parametrize("hidden, expected", [(MEMORY - 1, 1), (MEMORY, 2)])
def test_a_thing_that_is_hidden_is_awaited_for_so_long_where_its_speed_takes_it(hidden, expected):
    gone = range(5, 5 + hidden)
    clip, _ = draw((RED, 6, 8, lambda t: None if t in gone else (4, 2 + t)), frames=8 + hidden)
    assert find_entities(clip).max() == expected


def test_another_thing_in_the_place_of_one_that_vanished_is_new():
    clip, truth = draw(
        (RED, 4, 4, lambda t: (8, 8) if t < 5 else None),
        (BLUE, 9, 12, lambda t: (2, 14) if t >= 5 else None),
        frames=10,
    )
    assert np.array_equal(find_entities(clip, BLACK), truth)


@pytest.mark.parametrize("scale", [1, 2])
def test_specks_are_no_entities_at_any_size(scale):
    frames = np.zeros((1, 3, 64 * scale, 64 * scale, 3), np.uint8)
    frames[:, :, : 2 * scale, : 4 * scale] = RED  # 8 pixels of 64 x 64
    frames[:, :, 40 * scale : 41 * scale, : 7 * scale] = RED  # 7
    entities = find_entities(frames, BLACK)
    assert (entities[:, :, : 2 * scale, : 4 * scale] == 1).all() and (entities > 0).sum() == 3 * 8 * scale**2


def test_what_stands_still_before_a_plain_background_is_a_thing():
    still, truth = draw((RED, 6, 8, lambda t: (4, 6)))
    assert np.array_equal(find_entities(still), truth)
    assert not find_entities(still, still[:, 0]).any()  # unless one says that it is the background


def test_a_painted_background_is_the_median_of_each_clip():
    painted = np.random.default_rng(0).integers(0, 130, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    clips = [draw((PALE_RED, 6, 8, lambda t: (4, 2 + 2 * t)), behind=behind) for behind in painted]
    frames, truth = (np.concatenate(parts) for parts in zip(*clips, strict=True))
    assert np.array_equal(find_background(frames), painted)
    assert np.array_equal(find_entities(frames), truth)


def test_clips_are_numbered_each_for_itself():
    clip, truth = draw((RED, 6, 8, lambda t: (4, 2 + 2 * t)), (BLUE, 6, 8, lambda t: (20, 2 + t)))
    assert np.array_equal(find_entities(np.concatenate([clip, clip[:, :, ::-1]]))[0], truth[0])
    assert np.unique(find_entities(np.concatenate([clip, clip]))[1]).tolist() == [0, 1, 2]


@pytest.mark.parametrize("frames", [np.zeros((3, 8, 8, 3), np.uint8), np.zeros((1, 3, 8, 8, 3))])
def test_frames_that_are_none_are_refused(frames):
    with pytest.raises(ValueError, match="expected frames uint8"):
        find_entities(frames)


def test_scipy_that_is_missing_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"pip install 'flam-env\[eval\]'"):
        find_entities(np.zeros((1, 2, 8, 8, 3), np.uint8))
