"""The phase that makes dreams last, on the world of two squares."""

import shutil
from dataclasses import replace

import pytest
import torch

from flam_env.dream.dream import Dream
from flam_env.models.factored import FactoredWorldModel, WorldModelConfig
from flam_env.worlds.checkpoint import fingerprint
from flam_env.worlds.loading import load_world
from flam_train.engine import FitConfig
from flam_train.evaluate.rollouts import rollout_scores
from flam_train.phases.scheduled_sampling import SamplingConfig, own_guesses, scheduled_sampling
from flam_train.store.clips import draw_clips

FIT = FitConfig(steps=40, batch_size=8, learning_rate=1e-3, decay_share=0.5, ema=0.9, precision="fp32")


def world_and_clips() -> tuple[FactoredWorldModel, torch.Tensor]:
    """A model whose actions are certain, and clips (2, 6, 16)."""
    torch.manual_seed(0)
    model = FactoredWorldModel(
        WorldModelConfig(grid=4, group=2, levels=(3, 3), slots=3, latent_dim=5, dim=16, heads=2, layers=1)
    ).eval()
    torch.nn.init.constant_(model.inverse_dynamics.log_variance.bias, -30)
    torch.nn.init.zeros_(model.inverse_dynamics.log_variance.weight)
    return model, torch.randint(9, (2, 6, 16))


@pytest.fixture(scope="module")
def steadied(store, trained, tmp_path_factory):
    return scheduled_sampling(
        str(trained), store.root, out=tmp_path_factory.mktemp("steadied"), fit_config=FIT, evaluate_every=0
    )


def test_own_guesses_replace_the_asked_share_of_frames_and_never_the_first():
    model, tokens = world_and_clips()
    guesses = model.next_tokens(model(tokens).output)
    assert (own_guesses(model, tokens, SamplingConfig(guessed=0.0, strange=0.5)) == tokens).all()
    everything = own_guesses(model, tokens, SamplingConfig(guessed=1.0, strange=0.0))
    assert (everything[:, 0] == tokens[:, 0]).all()
    assert (everything[:, 1:] == guesses).float().mean() > 0.99
    clips = tokens.repeat(50, 1, 1)
    replaced = (own_guesses(model, clips, SamplingConfig(guessed=0.3, strange=0.0)) != clips).any(-1)[:, 1:]
    assert replaced.float().mean().item() == pytest.approx(0.3, abs=0.1)


def test_the_asked_share_of_guesses_is_drawn_from_what_the_model_holds_possible():
    model, tokens = world_and_clips()
    clips = tokens.repeat(200, 1, 1)
    likeliest = own_guesses(model, clips, SamplingConfig(guessed=1.0, strange=0.0))
    some, every = (
        own_guesses(model, clips, SamplingConfig(guessed=1.0, drawn=share, strange=0.0)) for share in (0.4, 1.0)
    )
    differs = (some != likeliest).any(-1)[:, 1:].float().mean() / (every != likeliest).any(-1)[:, 1:].float().mean()
    assert differs.item() == pytest.approx(0.4, abs=0.08)
    output = model(tokens[:1]).output
    shares = model.level_logs(output)[0, 0].exp()
    drawn = model.quantizer.steps(every[::2, 1])
    found = torch.nn.functional.one_hot(drawn, 3).float().mean(0)
    torch.testing.assert_close(found, shares, atol=0.15, rtol=0)


def test_strange_actions_tear_the_guesses(store, trained):
    dream = Dream(load_world(trained))
    frames = draw_clips(store, "test", 12, 18).frames
    tokens = dream.encode(frames.reshape(-1, *frames.shape[2:])).unflatten(0, (12, 18))
    own, torn = (own_guesses(dream.model, tokens, SamplingConfig(guessed=1.0, strange=share)) for share in (0.0, 1.0))
    assert (torn != tokens).float().mean() > 2 * (own != tokens).float().mean()


def test_the_road_is_that_of_the_new_model(trained, steadied):
    before, after = load_world(trained), load_world(steadied)
    assert set(after.heads) == {"road"} and torch.equal(after.road.rarity, before.road.rarity)
    assert not torch.equal(after.road.usual, before.road.usual), "its doubt is another"


def test_slots_and_actions_keep_their_meaning_and_the_forward_model_learns(store, trained, steadied):
    before, after = load_world(trained).model, load_world(steadied).model
    learned = ("forward_dynamics", "aggregator")
    changed = {name for name, old in before.state_dict().items() if (after.state_dict()[name] != old).any()}
    assert {name.split(".")[0] for name in changed} == set(learned)
    assert changed == {name for name in before.state_dict() if name.startswith(learned)}
    assert load_world(steadied).units == load_world(trained).units


def test_a_steadied_world_still_predicts(store, trained, steadied):
    scores = rollout_scores(Dream(load_world(steadied)), draw_clips(store, "test", 12, 18))
    assert scores["prediction_psnr"].mean() > scores["copy_last_psnr"].mean() + 3
    assert scores["prediction_psnr"].mean() > scores["sampled_psnr"].mean() + 2


def test_a_finished_run_is_called_again_with_the_horizon_and_context_that_it_holds(store, trained, steadied, tmp_path):
    out = shutil.copytree(steadied, tmp_path / "copy")
    scheduled_sampling(str(trained), store.root, out=out, fit_config=FIT, horizon=7, context=5)
    assert load_world(out).settings == replace(load_world(steadied).settings, horizon=7, context=5)
    assert fingerprint(load_world(out).model) == fingerprint(load_world(steadied).model)

    with pytest.raises(ValueError, match=r"context.*7"):
        scheduled_sampling(str(trained), store.root, out=out, fit_config=FIT, context=8)


def test_a_store_of_another_pace_is_warned_of(fast, trained, tmp_path):
    with (
        pytest.warns(UserWarning, match="has 30 frames a second and the videos of this world had 11"),
        pytest.raises(ValueError, match="expected an episode of"),
    ):
        scheduled_sampling(str(trained), fast.root, out=tmp_path / "out", fit_config=FIT)


def test_another_world_or_another_sampling_in_the_same_folder_is_refused(store, trained, steadied):
    with pytest.raises(ValueError, match="choose another output folder"):
        scheduled_sampling(str(steadied), store.root, out=steadied, fit_config=FIT)
    with pytest.raises(ValueError, match=r"expected .*guessed 0.7 there, 0.2 here"):
        scheduled_sampling(str(trained), store.root, out=steadied, fit_config=FIT, sampling=SamplingConfig(guessed=0.2))
    with pytest.raises(ValueError, match="choose another output folder"):
        scheduled_sampling(str(trained), store.root, out=trained, fit_config=replace(FIT, steps=3))
