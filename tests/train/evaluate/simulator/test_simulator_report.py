"""The measures of a simulator in reports: one set of dreams, what cannot be scored is said before any is dreamt."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from flam_env.dream.dream import Dream
from flam_env.worlds.loading import load_world
from flam_train.evaluate.entities import find_background, find_entities
from flam_train.evaluate.evaluate import evaluate
from flam_train.evaluate.report import METHODS, format_report, read_report
from flam_train.evaluate.simulator import realism
from flam_train.evaluate.simulator import report as measure
from flam_train.evaluate.simulator.long_dreams import STRETCHES
from flam_train.evaluate.simulator.stretches import stretches_until, typical_steps
from flam_train.store.packing import Draw, write_pack
from flam_train.store.training_data import open_data

SAME = {"clips": 6, "horizon": 16, "long_dreams": 5, "device": "cpu"}

# --- which steps are scored -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps, stretches",
    [
        (200, STRETCHES),
        (40, ((1, 16), (17, 40))),
        (58, (*STRETCHES[:2], (51, 58))),
        (57, STRETCHES[:2]),
        (8, ((1, 8),)),
    ],
)
def test_stretches_end_where_dreams_do_and_hold_a_window(steps, stretches):
    assert stretches_until(steps) == stretches


def test_dreams_shorter_than_a_window_are_refused():
    with pytest.raises(ValueError, match=r"expected dreams of at least 8 steps, .* got 7"):
        stretches_until(7)


def episodes(*lengths: int) -> SimpleNamespace:
    records = {"test": [SimpleNamespace(frames=length) for length in lengths]}
    return SimpleNamespace(root="data", episodes=lambda split: records.get(split, []))


@pytest.mark.parametrize(
    "lengths, steps",
    [
        ([300] * 3 + [20] * 10, 200),  # most episodes are short, most frames are of long ones
        ([51] * 20 + [400], 40),  # room for 43, of which 40 are whole windows
        ([50, 60, 70], 48),
        ([208], 200),
        ([207], 192),
    ],
)
def test_dreams_are_as_long_as_what_most_frames_are_part_of(lengths, steps):
    assert typical_steps(episodes(*lengths), "test", context=8) == steps


def test_episodes_without_room_for_a_window_are_refused():
    with pytest.raises(ValueError, match=r"data: expected episodes of 16 frames or more in split 'test', .* got 15"):
        typical_steps(episodes(15, 15, 15, 40), "test", context=8)
    with pytest.raises(ValueError, match=r"in split 'val', .* got 0"):
        typical_steps(episodes(15), "val", context=8)


# --- a report ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pack(store, trained, tmp_path_factory) -> Path:
    """Of the squares, with clips of 18 frames."""
    path = tmp_path_factory.mktemp("packs") / "squares.pack"
    write_pack(store, load_world(trained).tokenizer, path, [Draw(split="test", count=6, length=18)])
    return path


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(realism, "NETWORKS", 2)
    monkeypatch.setattr(measure, "FIT", replace(measure.FIT, steps=2, warmup_steps=1, precision="fp32"))


@pytest.fixture
def never(monkeypatch):
    """Nobody may dream."""
    monkeypatch.setattr(Dream, "step", lambda *_: pytest.fail("dreamt before it was known that it can be scored"))


def test_a_report_tells_all_of_one_set_of_dreams_in_numbers_that_json_knows(
    quick, trained, store, tmp_path, monkeypatch
):
    sets, dreamt = [], measure.long_dreams
    monkeypatch.setattr(measure, "long_dreams", lambda *given, **named: sets.append(dreamt(*given, **named)) or sets[0])
    path = tmp_path / "report.json"
    report = evaluate(str(trained), store.root, metrics=("slots", "velocity", "horizon"), out=path, **SAME)
    assert len(sets) == 1 and sets[0].dreamt.shape[:2] == (5, 33)
    assert report == read_report(path) == json.loads(path.read_text(), parse_constant=pytest.fail)
    assert "scores" not in report and "rate" not in report
    assert report["slots"]["own_of_tiles"] <= 1 and 0 <= report["slots"]["changed_inside"] <= 1
    for part in ("realism", "off_road", "life", "dream_horizon"):
        assert report[part]["dreams"] == 5
        assert [each["steps"] for each in report[part]["stretches"]] == [[1, 16], [17, 32]]
    assert {"same", "deleted", "hold"} == set(report["realism"]["controls"])
    first, second = report["life"]["stretches"]
    assert first["real"]["entities"] == pytest.approx(2, abs=0.5), "two squares, that touch at times"
    ended = [each["steps"][1] for each in report["dream_horizon"]["stretches"] if each["holds"]]
    assert report["dream_horizon"]["last_step"] in (0, 16, 32) and report["dream_horizon"]["last_step"] in (0, *ended)
    table = format_report(report)
    assert f"| own slot | {report['slots']['own']:.4g} | " in table
    assert (
        f"| steps 17-32: entities | {second['real']['entities']:.4g} | {second['dreamt']['entities']:.4g} | " in table
    )
    auc = report["realism"]["stretches"][1]
    assert f"| steps 17-32 | {auc['auc']:.4g} | {auc['spread']:.4g} |" in table
    sign = report["off_road"]["stretches"][1]
    assert (
        f"| steps 17-32 | {sign['real']:.4g} | {sign['dreamt']:.4g} | {sign['auc']:.4g} | {auc['auc']:.4g} |" in table
    )
    assert sign["real"] < 0.2, "real video stays on the road"
    assert f"| last step | {report['dream_horizon']['last_step']} |" in table


def test_a_pack_of_short_clips_is_enough_for_long_dreams(trained, pack, tmp_path):
    asked = SAME | {"metrics": ("life",), "long_dreams": 2, "long_dream_steps": 24, "clips": 1}
    report = evaluate(str(trained), pack, out=tmp_path / "report.json", **asked)
    assert [each["steps"] for each in report["life"]["stretches"]] == [[1, 16], [17, 24]]
    assert not {"realism", "off_road", "dream_horizon"} & set(report)


def test_what_is_not_known_is_null(monkeypatch):
    found = {"own": math.nan, "identity": 0.5, "steps": [1, math.inf], "holds": False}
    monkeypatch.setattr(measure, "episode_backgrounds", lambda *_: None)
    monkeypatch.setattr(measure, "follow_entities", lambda *_: None)
    monkeypatch.setattr(measure, "entity_scores", lambda *_, **__: found)
    plan = measure.SimulatorPlan(("slots",), 5, ())
    scores = measure.simulator_scores(None, None, "test", SimpleNamespace(frames=None), plan)
    assert scores == {"slots": {"own": None, "identity": 0.5, "steps": [1, None], "holds": False}}


def test_nothing_is_planned_that_is_not_asked_for(trained, store):
    dream = Dream(load_world(trained))
    assert measure.plan_simulator(dream, store, "test", ("pixels",), 18, dreams=5) == ((), 5, ())
    assert measure.plan_simulator(dream, store, "test", ("slots",), 18, dreams=5) == (("slots",), 5, ())


@pytest.mark.parametrize("metric", ["slots", "velocity", "realism", "life", "horizon"])
def test_scipy_is_missed_before_anything_is_dreamt(metric, never, trained, store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"pip install 'flam-env\[eval\]'"):
        evaluate(str(trained), store.root, metrics=("pixels", metric), out=tmp_path / "report.json", **SAME)


@pytest.mark.parametrize(
    "metric, change, message",
    [
        ("velocity", {"horizon": 14}, "expected clips of 17 frames or more for the metric velocity, .* got 16; take"),
        ("horizon", {"long_dream_steps": 37}, "an episode of 39 frames in split 'test'.* got 38 at most; dream fewer"),
        ("realism", {"long_dream_steps": 7}, "expected dreams of at least 8 steps"),
        ("realism", {"long_dreams": 1}, "expected long_dreams >= 2"),
    ],
)
def test_what_is_too_short_is_said_before_anything_is_dreamt(metric, change, message, never, trained, store, tmp_path):
    asked = SAME | {"metrics": ("pixels", metric), "out": tmp_path / "report.json"} | change
    with pytest.raises(ValueError, match=message):
        evaluate(str(trained), store.root, **asked)
    assert not (tmp_path / "report.json").exists()


def test_dreams_of_one_level_are_refused_before_any_is_dreamt(never, trained, make_store, tmp_path):
    one = make_store(tmp_path / "one", {"test": (1, 80)})
    with pytest.raises(ValueError, match=r"at least two levels, .* got 3 of 1"):
        measure.plan_simulator(Dream(load_world(trained)), one, "test", ("realism",), 18, dreams=3, steps=30)


def test_a_pack_of_another_tokenizer_is_refused_before_anything_is_dreamt(never, pack, tiny_world):
    with pytest.raises(ValueError, match="expected the tokenizer"):
        measure.plan_simulator(Dream(tiny_world), open_data(pack), "test", ("life",), 18, dreams=3, steps=8)


def test_entities_are_followed_as_if_all_at_once():
    painted = np.random.default_rng(0).integers(0, 130, (2, 1, 24, 24, 3), dtype=np.uint8)
    frames = np.repeat(painted, 7, 1)
    for time in range(7):
        frames[0, time, 3:9, 2 * time : 2 * time + 6] = (250, 40, 40)
        frames[1, time, 12:18, 16 - 2 * time : 22 - 2 * time] = (40, 250, 40)
    found = measure.follow_entities(frames, find_background(frames))
    assert np.array_equal(found, find_entities(frames)) and found.any()


# --- its tables -------------------------------------------------------------------------------------------------


def test_a_control_that_cannot_be_had_is_no_row():
    found = {"auc": 0.5, "spread": 0.125}
    stretches = [{"steps": [1, 16]} | found]
    controls = {"same": found, "deleted": None, "hold": True}
    table = format_report({"realism": {"dreams": 3, "stretches": stretches, "controls": controls}})
    assert "| control: real or real | 0.5 | 0.125 |" in table and "deleted" not in table


def test_what_is_not_known_is_a_dash():
    slots = {"own": 0.75, "own_of_tiles": 0.5, "own_above_tiles": 0.5, "entities": 1.5}
    slots |= {"identity": None, "identity_of_tiles": 1.0, "identity_above_tiles": None}
    lines = format_report({"slots": slots}).splitlines()[2:]
    assert lines == [
        "| own slot | 0.75 | 0.5 | 0.5 |",
        "| identity (IDF1) | - | 1 | - |",
        "| entities in a frame | 1.5 |  |  |",
    ]


def test_nats_stand_beside_every_psnr_of_a_prediction():
    curves = {f"{method}_{kind}": [20.0] for method in METHODS for kind in ("psnr", "ssim")}
    scores = {"all": {name: 20.0 for name in curves}}
    rate = {"nats": 2.4, "nats_from_no_knowledge": 2.5, "by_slot": [2.4], "by_slot_from_no_knowledge": [2.5]}
    rate |= {"posterior_sampled_psnr": 19.0, "posterior_sampled_psnr_per_step": [19.0]}
    report = {"clips": 3, "scores": scores, "per_step": curves}
    assert "nats" not in format_report(report), "they are not known"
    table = format_report(report | {"rate": rate})
    assert "| prediction, inferred actions | 20.00 | 2.40 |" in table
    assert (
        "| prediction, sampled actions | 20.00 | 0 |" in table
        and "| Recon (tokenizer round trip) | 20.00 | - |" in table
    )
    assert "| step | prediction, inferred actions, 2.40 nats | prediction, sampled actions, 0 nats | Recon" in table
    assert "| PSNR, dB | actions drawn from the posteriors, 2.40 nats |" in table
