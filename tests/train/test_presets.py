"""What presets promise, beside their sizes and budgets."""

from dataclasses import asdict

import pytest

from flam_train.presets import PRESETS

SIMULATOR = {"background_sink": True, "focus": True, "difference": True, "persistence": 2.5, "prior_components": 8}
CODEC = {"background_sink": False, "focus": False, "difference": False, "persistence": 0.0, "prior_components": None}


@pytest.mark.parametrize("name", ["small", "gpu"])
def test_small_and_gpu_have_what_made_simulators(name):
    preset = PRESETS[name]
    assert asdict(preset.world_model).items() >= SIMULATOR.items()
    assert (preset.loss.information_price, preset.loss.last_price) == (0.6, None)
    assert preset.world_model == PRESETS["small"].world_model


@pytest.mark.parametrize("name", ["paper", "nuplan"])
def test_the_paper_keeps_its_choice(name):
    preset = PRESETS[name]
    assert asdict(preset.world_model).items() >= CODEC.items()
    assert preset.loss.information_price / preset.world_model.patches == pytest.approx(2e-4)


def test_rooms_pay_the_unit_normal_and_have_no_persistence():
    preset = PRESETS["rooms"]
    wanted = SIMULATOR | {"persistence": 0.0, "prior_components": None}
    assert asdict(preset.world_model).items() >= wanted.items()
    assert preset.loss.information_price == 0.15
