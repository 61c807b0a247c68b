"""What is proposed for a world follows from its video, and is said; what a person asks for takes its place."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from films import sprites

from flam_env.models.tokenizer import TokenizerConfig
from flam_train.new_world.plan import Budget
from flam_train.new_world.proposals import propose
from flam_train.new_world.watching import Seen, moving_regions, watch
from flam_train.presets import PRESETS
from flam_train.store.packs import Pack
from flam_train.store.store import EpisodeStore

pytest.importorskip("scipy")

SEEN = Seen(regions=5, moving=0.05, torn=0.0, short=0.0)
PLAIN = {"preset": "small", "minutes": 0.0, "seed": 0, "given": {}}


def data(size: int = 64) -> SimpleNamespace:
    return SimpleNamespace(size=size, root="data", identity=lambda: {"source": "video", "frames": 100})


def store_of(root, *episodes: np.ndarray) -> EpisodeStore:
    """A store whose train split is these videos."""
    from flam_train.sources.films.stretches import unknown_facts

    store = EpisodeStore.create(root, source="video", size=episodes[0].shape[1], settings={})
    for frames in episodes:
        store.write("train", replace(unknown_facts(len(frames)), frames=frames))
    return store


# --- what there is to see -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4])
def test_things_that_move_at_once_are_counted(count, tmp_path):
    seen = watch(store_of(tmp_path / "data", *(sprites(seed, count=count) for seed in range(4))))
    assert seen.regions == count and 0 < seen.moving < 0.2 and seen.torn == seen.short == 0


def test_what_stands_still_is_not_counted():
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    frames[:, 2:8, 2:8] = 250  # stands still
    for t, frame in enumerate(frames):
        frame[20:26, 3 + 2 * t : 9 + 2 * t] = 250
    regions = moving_regions(frames, np.zeros((32, 32, 3), np.uint8))
    assert regions.shape == (3, 32, 32) and (regions == (frames[1:, ..., 0] > 0) * (np.arange(32) > 10)[:, None]).all()


def test_the_noise_of_a_codec_does_not_move(tmp_path):
    noise = np.random.default_rng(0).integers(100, 115, (40, 32, 32, 3)).astype(np.uint8)
    assert watch(store_of(tmp_path / "data", noise)) == Seen(regions=0, moving=0.0, torn=0.0, short=0.0)


def test_cuts_and_short_scenes_are_measured(tmp_path):
    still = np.zeros((45, 32, 32, 3), np.uint8)
    still[np.arange(45) // 5 % 2 == 1] = 200  # another picture every five frames
    seen = watch(store_of(tmp_path / "data", still, still[:15]))
    assert seen.torn == pytest.approx(0.2, abs=0.05)
    assert seen.short == 0.25


# --- what follows from it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regions, slots", [(0, 4), (1, 4), (3, 5), (9, 11), (14, 16), (40, 16)])
def test_there_is_a_slot_for_each_thing_and_two_to_spare(regions, slots):
    plan = propose(data(), replace(SEEN, regions=regions), **PLAIN)
    assert plan.choices.slots == plan.choices.world_model_config.slots == slots
    assert f"at most {regions} things move at once" in plan.why["slots"]


@pytest.mark.parametrize("size, patch", [(64, 4), (128, 8), (224, 14)])
def test_sixteen_patches_lie_along_a_side(size, patch):
    choices = propose(data(size), SEEN, **PLAIN).choices
    assert (choices.image_size, choices.patch_size, choices.tokenizer_config.grid) == (size, patch, 16)


def test_the_price_falls_by_half():
    choices = propose(data(), SEEN, **PLAIN).choices
    assert (choices.loss.information_price, choices.loss.last_price) == (0.6, 0.3)


@pytest.mark.parametrize(
    "budget, share",
    [
        (Budget(steps=10_000), 0.05),  # that of the preset
        (Budget(steps=1000), 0.15),
        (Budget(steps=300), 0.4),
        (Budget(steps=3), 0.4),
        (Budget(minutes=100.0), 0.05),
        (Budget(minutes=8.0), 0.25),
        (Budget(minutes=1.0), 0.4),
    ],
)
def test_a_short_run_is_not_charged_before_it_can_learn(budget, share):
    choices = propose(data(), SEEN, **PLAIN | {"given": {"world_model": budget}}).choices
    assert choices.loss.free_share == choices.free_share == share


def test_a_model_whose_errors_are_not_in_nats_keeps_the_price_of_its_preset():
    choices = propose(data(224), SEEN, **PLAIN | {"preset": "paper"}).choices
    assert choices.patch_size == 8 and replace(choices.loss, free_share=0.0) == PRESETS["paper"].loss


def test_slots_bind_and_a_prior_is_learned():
    model = propose(data(), SEEN, **PLAIN).choices.world_model_config
    assert model.background_sink and model.focus and model.difference and model.prior_components == 8
    assert model.persistence == 0


def test_phases_have_the_steps_of_the_preset_or_share_the_minutes():
    small, timed = (propose(data(), SEEN, **PLAIN | {"minutes": minutes}) for minutes in (0.0, 20.0))
    assert small.choices.world_model == Budget(steps=PRESETS["small"].world_model_fit.steps)
    phases = ("tokenizer", "world_model", "scheduled_sampling", "token_sampler")
    assert [getattr(timed.choices, phase).minutes for phase in phases] == [2.4, 10.0, 4.6, 1.4]
    assert timed.why["world_model"] == "50% of 20 minutes" and timed.choices.clips < small.choices.clips
    fit = timed.choices.world_model.of(PRESETS["small"].world_model_fit, seed=3)
    assert (fit.steps, fit.minutes, fit.seed) == (0, 10.0, 3)


def test_a_model_that_does_not_say_how_likely_tokens_are_gets_no_sampler():
    plan = propose(data(224), SEEN, **PLAIN | {"preset": "paper"})
    assert plan.choices.token_sampler is None and "how likely" in plan.why["token_sampler"]


def test_what_is_asked_for_takes_the_place_of_a_proposal():
    given = {"slots": 9, "price": 1.5, "scheduled_sampling": Budget(steps=7), "patch_size": 8}
    plan = propose(data(), SEEN, **PLAIN | {"given": given, "minutes": 20.0})
    assert {name: getattr(plan.choices, name) for name in given} == given
    assert all((why == "as you ask") == (name in given) for name, why in plan.why.items())


def test_every_choice_but_preset_and_seed_has_a_reason():
    plan = propose(data(), SEEN, **PLAIN)
    assert set(plan.why) == {field for field in vars(plan.choices)} - {"preset", "seed"}
    assert len(list(plan.lines())) == len(plan.why) and all(plan.why.values())


def test_patches_that_make_no_cells_are_refused():
    with pytest.raises(ValueError, match="expected patches of which 2 x 2 are a cell, got 1 along a side"):
        propose(data(), SEEN, **PLAIN | {"given": {"patch_size": 64}})


def test_a_pack_keeps_the_patches_of_its_tokenizer():
    packed = Pack.__new__(Pack)
    packed.size, packed.root, packed.tokenizer = 64, "x.pack", SimpleNamespace(config=TokenizerConfig(patch_size=8))
    packed.identity = lambda: {}
    assert propose(packed, SEEN, **PLAIN).choices.patch_size == 8
    with pytest.raises(ValueError, match=r"expected patches of 8 px, those of the tokenizer of x\.pack, got 4 px"):
        propose(packed, SEEN, **PLAIN | {"given": {"patch_size": 4}})
