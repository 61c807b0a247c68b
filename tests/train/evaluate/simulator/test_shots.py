"""Shots in Starpilot where it is planted who fires, and in the game itself."""

from collections.abc import Callable

import numpy as np
import pytest

from flam_train.evaluate.report import format_report
from flam_train.evaluate.simulator.player import COLOURS, find_players
from flam_train.evaluate.simulator.same_keys import SameKeys
from flam_train.evaluate.simulator.shots import COLOUR, FIRE, check_fires, see_shots, shots
from flam_train.sources.procgen.games import ACTION_CLASS, distinct_actions
from flam_train.sources.procgen.simulators import Simulators

SIZE, CONTEXT, STEPS, CLIPS = 64, 2, 10, 12
SHIP, SPEED = (30, 12), 3
CLASSES = np.array(ACTION_CLASS["starpilot"])
ANOTHER_THAT_FIRES, BACKWARD = 12, 10


def film(fired: np.ndarray, *, side: int = 1, column: int = SHIP[1]) -> np.ndarray:
    """A ship that stands still, and the shots of keys bool (B, H), which fly on: uint8 (B, 1 + H, 64, 64, 3)."""
    frames = np.zeros((len(fired), fired.shape[1] + 1, SIZE, SIZE, 3), np.uint8)
    for clip, step in np.argwhere(fired):
        for age, frame in enumerate(frames[clip, step + 1 :]):
            left = column + side * (2 + SPEED * age)
            frame[SHIP[0], max(left, 0) : max(left + 2, 0)] = COLOUR
    frames[:, :, SHIP[0] - 1 : SHIP[0] + 2, column - 1 : column + 2] = COLOURS["starpilot"]
    return frames


def pressed(dreamt: Callable[[np.ndarray], np.ndarray], column: int = SHIP[1]) -> SameKeys:
    """The keys of half of the clips fire at steps 1 and 8; `dreamt` of when they do, bool (B, H), is dreamt."""
    keys = np.random.default_rng(0).choice([0, 4, BACKWARD], (CLIPS, STEPS))
    keys[: CLIPS // 2, [0, 7]] = FIRE, ANOTHER_THAT_FIRES
    fired = CLASSES[keys] == FIRE
    recon = film(fired, column=column)
    real = np.concatenate([recon[:, :1]] * (CONTEXT - 1) + [recon], 1)
    return SameKeys(real, recon, dreamt(fired), keys)


def scores(dreamt: Callable[[np.ndarray], np.ndarray]) -> list[dict]:
    found = shots(pressed(dreamt), CLASSES)
    assert found["clips"] == CLIPS
    assert [(each["step"], each["within"]) for each in found["after"]] == [(1, 1), (1, 3), (8, 1), (8, 3)]
    for each in found["after"]:
        assert each["fired"] == each["others"] == CLIPS // 2 and (each["real"], each["unasked_real"]) == (1, 0)
    return found["after"]


def test_dreams_that_show_a_shot_when_fired_score_one_and_none_that_is_unasked():
    assert all((each["shown"], each["error"], each["unasked"]) == (1, 0, 0) for each in scores(film))


def test_dreams_without_shots_score_nothing():
    assert all((each["shown"], each["unasked"]) == (0, 0) for each in scores(lambda fired: film(fired & False)))


def test_dreams_that_always_fire_do_so_unasked_too():
    assert all((each["shown"], each["unasked"]) == (1, 1) for each in scores(lambda fired: film(fired | True)))


def test_dreams_that_fire_every_third_time_score_a_third():
    every_third = pressed(lambda fired: film(fired & (np.arange(CLIPS)[:, None] % 3 == 0)))
    found = shots(every_third, CLASSES)
    for each in found["after"] + found["all_steps"]:
        assert each["shown"] == pytest.approx(1 / 3) and each["error"] == pytest.approx(np.sqrt(2 / 9 / 6))
    assert [each["fired"] for each in found["all_steps"]] == [CLIPS, CLIPS], "two keys of one clip are no two clips"


def test_a_shot_that_comes_late_comes_within_three_frames_only():
    for each in scores(lambda fired: film(np.roll(fired, 1, 1))):
        assert each["shown"] == (each["within"] == 3)


def test_a_shot_behind_the_ship_or_one_fired_long_ago_is_not_new():
    assert all(each["shown"] == 0 for each in scores(lambda fired: film(fired, side=-1)))
    early = scores(lambda fired: film(np.pad(fired[:, 1:], ((0, 0), (0, 1)))))
    assert all(each["shown"] == 0 for each in early)


def test_a_ship_that_shoots_out_of_the_frame_is_left_out():
    column = SIZE - 2
    after = shots(pressed(lambda fired: film(fired, column=column), column), CLASSES)["after"]
    for each in after:
        assert each["fired"] == 0 and each["others"] == CLIPS // 2
        assert each["shown"] is each["error"] is each["real"] is None


def test_frames_after_the_end_of_a_dream_are_not_looked_at():
    whole = pressed(film)
    short = SameKeys(whole.real[:, :-1], whole.recon[:, :-1], whole.dreamt[:, :-1], whole.keys[:, :-1])
    after = shots(short, CLASSES)["after"]
    assert [(each["step"], each["within"]) for each in after] == [(1, 1), (1, 3), (8, 1)]


def test_a_report_prints_shots_beside_what_they_are_measured_against():
    table = format_report({"shots": shots(pressed(film), CLASSES) | {"held_keys": 4}})
    assert f"| shots ({CLIPS} dreams, keys held for 4 steps) | fired | shot in dreams |" in table
    assert "| all steps, within 3 | 12 | 1 |" in table
    assert "| after 8, within 3 | 6 | 1 | 0 | 1 | 6 | 0 | 0 |" in table


def test_other_games_are_refused():
    check_fires("procgen/starpilot")
    with pytest.raises(ValueError, match=r"expected data of starpilot, .* got 'procgen/bigfish'; leave out"):
        check_fires("procgen/bigfish")


def test_in_the_game_a_shot_is_seen_in_each_frame_after_the_key_that_fires_and_after_no_other():
    pytest.importorskip("procgen")
    keys = distinct_actions("starpilot")
    game = Simulators("starpilot", len(keys), seed=1)
    film = [game.reset()] + [game.step(keys)[0] for _ in range(4)]
    game.close()
    frames = np.stack(film, 1)
    seen = see_shots(frames, find_players(frames, COLOURS["starpilot"]).places)
    assert np.array_equal(seen[:, 1:], np.repeat(keys[:, None] == FIRE, 4, 1)) and not seen[:, 0].any()
