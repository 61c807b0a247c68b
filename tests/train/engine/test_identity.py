"""Whether two runs are the same: which keys are told apart, and what a refusal says."""

import re

import pytest

from flam_train.engine.identity import as_json, differences, require_same

THERE = {"seed": 3, "fit": {"steps": 60, "betas": [0.9, 0.99]}, "room": {"tied": [2]}, "world": None}


def test_a_record_is_the_same_after_json_has_had_it():
    here = {"seed": 3, "fit": {"steps": 60, "betas": (0.9, 0.99)}, "room": {"tied": (2,)}}
    assert as_json(here)["fit"] == THERE["fit"] and differences(THERE, here) == []


def test_every_key_that_differs_is_told_with_both_values():
    here = {"seed": 4, "fit": {"steps": 90, "betas": (0.9, 0.95)}, "room": {}, "world": "a"}
    told = [str(difference) for difference in differences(THERE, here)]
    assert told == [
        "fit.betas [0.9, 0.99] there, [0.9, 0.95] here",
        "fit.steps 60 there, 90 here",
        "room.tied [2] there, absent here",
        "seed 3 there, 4 here",
        "world None there, a here",
    ]


def test_a_key_that_says_nothing_is_as_good_as_none():
    for nothing in (None, [], ()):
        assert differences(THERE | {"looks": nothing}, THERE) == differences(THERE, THERE | {"looks": nothing}) == []
    for something in (0, False, "", [0]):
        assert [found.key for found in differences(THERE | {"looks": something}, THERE)] == ["looks"]


def test_what_may_differ_does_not_count():
    assert differences(THERE, THERE | {"seed": 4}, may_differ={"seed"}) == []
    assert [found.key for found in differences(THERE, {"seed": 4}, may_differ={"seed"}, shared_only=True)] == []
    assert [found.key for found in differences(THERE, {"seed": 4, "new": 1}, shared_only=True)] == ["seed"]


def test_a_refusal_names_the_place_the_keys_what_may_differ_and_what_to_do():
    here = THERE | {"seed": 4}
    said = (
        "runs/x: expected a store with the same settings, got a store that differs in seed 3 there, 4 here; "
        "use another folder (only fit.betas, fit.steps may differ)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        free = {"fit.steps", "fit.betas"}
        require_same(THERE, here, where="runs/x", kind="a store", advice="use another folder", may_differ=free)
    require_same(THERE, here, where="runs/x", may_differ={"seed"})
