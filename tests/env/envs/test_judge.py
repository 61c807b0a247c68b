"""Who tells rewards and ends."""

import numpy as np

from flam_env.envs.episodes import Episodes
from flam_env.envs.judge import FunctionJudge, Judge, Moment, Verdict


def episodes(world, judge: Judge, count: int) -> Episodes:
    """Episodes that begin at the bundled starts 0, 1, 2, ..."""
    started = Episodes(count, world, judge)
    started.begin(range(count), [np.random.default_rng(0)] * count, range(count))
    return started


def slots_that_moved(before: Moment, actions: np.ndarray, after: Moment, steps: np.ndarray) -> Verdict:
    """Judges by the slots, as a learned head would, and says much of rows that took no step."""
    moved = (after.state.slots - before.state.slots).abs().sum((1, 2)).numpy().astype(float)
    return Verdict(np.where(steps, moved, np.nan), (actions[:, 0, 0] > 0) | (steps == 0))


def test_a_judge_sees_states_and_frames_and_is_not_asked_about_rows_that_take_no_step(tiny_world):
    batch = episodes(tiny_world, slots_that_moved, 3)
    before = batch.slot_values()
    actions = np.zeros((3, 6, 5), np.float32)
    actions[1:, 0, 0] = 7
    outcome = batch.advance(actions, [], active=np.array([True, True, False]))
    moved = np.abs(batch.slot_values() - before).sum((1, 2))
    np.testing.assert_allclose(outcome.rewards, [moved[0], moved[1], 0], rtol=1e-5)
    assert outcome.terminated.tolist() == [False, True, False]


def test_functions_are_called_once_for_each_row_that_took_a_step(tiny_world):
    seen = []
    judge = FunctionJudge(lambda *given: seen.append(given) or len(seen), lambda frame, step: step == 2)
    batch = episodes(tiny_world, judge, 3)
    frames, actions = batch.frames, np.full((3, 6, 5), 4, np.float32)
    first = batch.advance(actions, [], active=np.array([True, False, True]))
    assert first.rewards.tolist() == [1, 0, 2] and first.rewards.dtype == np.float64
    for (before, action, after), row in zip(seen, (0, 2), strict=True):
        assert np.array_equal(before, frames[row]) and np.array_equal(after, batch.frames[row])
        assert (action == 3).all()
    second = batch.advance(actions, [])
    assert second.terminated.tolist() == [True, False, True] and first.terminated.tolist() == [False] * 3


def test_without_functions_nothing_is_rewarded_and_nothing_ends(tiny_world):
    outcome = episodes(tiny_world, FunctionJudge(None, None), 2).advance(np.zeros((2, 6, 5), np.float32), [])
    assert not outcome.rewards.any() and not outcome.terminated.any()
