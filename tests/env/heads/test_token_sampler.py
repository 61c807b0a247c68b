"""Tokens that are drawn together: what a draw depends on, and what becomes of it in dreams and environments."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from tiny import random_sampler, random_world

from flam_env import Dream, FlamEnv, FlamVectorEnv, load_world, save_world
from flam_env.dream.dream import take_rows
from flam_env.heads.token_sampler import TokenSampler, TokenSamplerConfig, sure
from flam_env.models.quantize import FSQ
from flam_env.models.target import level_logs
from flam_env.worlds.laws import Laws
from flam_env.worlds.saving import add_heads

LEVELS, GRID = (4, 3, 2), 6
PATCHES, CHANNELS = GRID**2, len(LEVELS)


@pytest.fixture(scope="module")
def sampler() -> TokenSampler:
    """One with random weights, which says something else than the model."""
    return random_sampler(LEVELS, GRID)


@pytest.fixture(scope="module")
def drawing_world(tiny_world):
    """A tiny world that draws its tokens."""
    config = tiny_world.tokenizer.config
    return replace(tiny_world, heads={"token_sampler": random_sampler(config.levels, config.grid)})


def told(rows: int, seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    """What a model might say of so many frames."""
    quantizer, generator = FSQ(LEVELS), torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(rows, PATCHES, quantizer.size, generator=generator)
    return level_logs("token", quantizer, logits)


def chances(rows: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(rows, PATCHES * CHANNELS, generator=torch.Generator().manual_seed(seed))


def frames(rows: int, seed: int = 2) -> torch.Tensor:
    return torch.randint(24, (rows, PATCHES), generator=torch.Generator().manual_seed(seed))


# --- what a model says, channel by channel ----------------------------------------------------------------------


def test_levels_of_tokens_are_as_likely_as_all_tokens_that_have_them():
    quantizer, logits = FSQ(LEVELS), torch.randn(5, 24, generator=torch.Generator().manual_seed(3))
    shares, steps = logits.softmax(-1), quantizer.steps(torch.arange(24))
    found = level_logs("token", quantizer, logits).exp()
    for channel, levels in enumerate(LEVELS):
        for level in range(max(LEVELS)):
            expected = shares[:, steps[:, channel] == level].sum(-1) if level < levels else torch.zeros(5)
            torch.testing.assert_close(found[:, channel, level], expected)


def test_a_model_of_codes_says_that_it_cannot_tell():
    with pytest.raises(ValueError, match='target="level"'):
        level_logs("code", FSQ(LEVELS), torch.zeros(1, 4, 3))


# --- a draw -----------------------------------------------------------------------------------------------------


def test_a_fresh_sampler_draws_as_the_model_says():
    fresh = TokenSampler(TokenSamplerConfig(levels=LEVELS, grid=2, dim=4, layers=1, temperature=1.0))
    logs = told(1)[:, :4].expand(20_000, -1, -1, -1)
    chance = torch.rand(20_000, fresh.chance, generator=torch.Generator().manual_seed(5))
    steps = FSQ(LEVELS).steps(fresh.draw(logs, torch.zeros(20_000, 4, dtype=torch.long), chance))
    found = torch.nn.functional.one_hot(steps, 4).double().mean(0)
    torch.testing.assert_close(found, logs[0].exp().double(), atol=0.015, rtol=0)


def test_a_low_temperature_draws_the_likeliest():
    cold = TokenSampler(TokenSamplerConfig(levels=LEVELS, grid=GRID, dim=4, layers=1, temperature=1e-4))
    logs = told(3)
    assert torch.equal(cold.draw(logs, frames(3), chances(3)), FSQ(LEVELS).join(logs.argmax(-1)))


def test_a_draw_depends_on_chance_and_on_its_own_row_alone(sampler):
    logs, now, chance = told(4), frames(4), chances(4)
    drawn = sampler.draw(logs, now, chance)
    assert torch.equal(drawn, sampler.draw(logs, now, chance))
    assert not torch.equal(drawn, sampler.draw(logs, now, chances(4, seed=9)))
    assert torch.equal(drawn[2:3], sampler.draw(logs[2:3], now[2:3], chance[2:3]))


def test_what_is_sure_is_never_drawn_otherwise(sampler):
    logs = told(3, spread=30.0)
    certain = sure(logs)
    assert certain.any() and not certain.all()
    likeliest = FSQ(LEVELS).join(logs.argmax(-1))
    for seed in range(5):
        assert torch.equal(sampler.draw(logs, frames(3), chances(3, seed))[certain], likeliest[certain])


def test_no_level_is_drawn_that_a_channel_lacks(sampler):
    for seed in range(5):
        steps = FSQ(LEVELS).steps(sampler.draw(told(8, seed, spread=0.1), frames(8), chances(8, seed)))
        assert (steps < torch.tensor(LEVELS)).all()


def test_a_channel_sees_what_is_shown_and_the_channels_before_it_and_no_more(sampler):
    logs, now = told(1), frames(1)
    after = FSQ(LEVELS).steps(frames(1, seed=7))
    shown = torch.zeros(1, PATCHES, dtype=torch.bool)
    shown[0, 8] = True
    at = sampler(logs, now, after, shown)
    for patch, channel in ((8, 0), (9, 0), (9, 2), (20, 1)):
        changed = after.clone()
        changed[0, patch, channel] = (changed[0, patch, channel] + 1) % LEVELS[channel]
        moved = (sampler(logs, now, changed, shown) - at).nan_to_num().abs().amax(-1)[0] > 1e-6
        if shown[0, patch]:
            assert moved[torch.arange(PATCHES) != patch].any()
        else:
            assert moved.nonzero().tolist() == [[patch, later] for later in range(channel + 1, CHANNELS)]


def test_patches_of_one_pass_lie_apart(sampler):
    assert sampler.config.apart == 2
    passes = sampler.passes.view(GRID, GRID)
    assert set(passes.flatten().tolist()) == set(range(4))
    assert (passes[:, 1:] != passes[:, :-1]).all() and (passes[1:] != passes[:-1]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"apart": 3}, "power of two, got 3"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"levels": (1, 4)}, "at least 2 levels"),
        ({"layers": 0}, "layers"),
    ],
)
def test_sizes_that_make_no_sampler_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TokenSamplerConfig(**{"levels": LEVELS, "grid": GRID} | wrong)


# --- dreams -----------------------------------------------------------------------------------------------------


def test_a_dream_shows_the_likeliest_unless_it_is_given_chance(drawing_world, tiny_world):
    dream, plain = Dream(drawing_world), Dream(tiny_world)
    state, actions = dream.reset(drawing_world.starts.tokens[:3, :2]), drawing_world.starts.actions[:3, 1]
    likeliest = plain.step(plain.reset(tiny_world.starts.tokens[:3, :2]), actions)[0].tokens
    chance = torch.rand(3, dream.chance, generator=torch.Generator().manual_seed(0))
    assert plain.chance == 0
    assert torch.equal(dream.step(state, actions)[0].tokens, likeliest)
    drawn = dream.step(state, actions, chance)[0].tokens
    assert not torch.equal(drawn, likeliest)
    alone = dream.step(take_rows(state, torch.tensor([1])), actions[1:2], chance[1:2])[0].tokens
    assert torch.equal(alone, drawn[1:2])


def test_the_laws_hold_for_what_is_drawn(drawing_world):
    shown = drawing_world.starts.tokens.unique()[:40]
    unseen = tuple(sorted(set(range(drawing_world.model.vocabulary)) - set(shown.tolist())))
    dream = Dream(replace(drawing_world, laws=Laws(unseen_tokens=unseen, permanence=True)))
    state = dream.reset(shown[torch.randint(40, (3, 2, dream.model.patches))])
    for step in range(3):
        before, chance = state, torch.rand(3, dream.chance, generator=torch.Generator().manual_seed(step))
        state, _ = dream.step(state, drawing_world.starts.actions[:3, 1], chance)
        assert torch.isin(state.tokens, shown).all()
        assert before.tokens.shape == state.tokens.shape


# --- environments -----------------------------------------------------------------------------------------------


def played(env: FlamEnv, seed: int, steps: int = 4) -> np.ndarray:
    observation, _ = env.reset(seed=seed)
    seen = [observation]
    for _ in range(steps):
        seen.append(env.step(env.sample_latent_action())[0])
    return np.stack(seen)


def test_an_environment_draws_from_its_seed_alone(drawing_world):
    env, other = FlamEnv(world=drawing_world), FlamEnv(world=drawing_world)
    assert np.array_equal(played(env, 3), played(other, 3))
    assert np.array_equal(played(env, 3), played(env, 3))
    state = env.reset(seed=1, options={"start": 0})[0]
    rest = np.zeros(env.action_space.shape, np.float32)
    one = env.step(rest)[0]
    again = env.reset(seed=2, options={"start": 0})[0]
    assert np.array_equal(state, again)
    assert not np.array_equal(one, env.step(rest)[0])


def test_an_environment_that_draws_nothing_shows_what_it_showed_before(drawing_world, tiny_world):
    still, plain = FlamEnv(world=drawing_world, draw_tokens=False), FlamEnv(world=tiny_world)
    assert np.array_equal(played(still, 3), played(plain, 3))
    assert not np.array_equal(played(FlamEnv(world=drawing_world), 3), played(plain, 3))


def test_drawing_without_a_sampler_is_refused(tiny_world):
    with pytest.raises(ValueError, match="flam-train token-sampler"):
        FlamEnv(world=tiny_world, draw_tokens=True)
    with pytest.raises(ValueError, match="True, False or None, got 'yes'"):
        FlamVectorEnv(2, world=tiny_world, draw_tokens="yes")


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_environments_of_a_batch_draw_what_single_ones_draw(drawing_world, mode):
    horizon, steps = 3, 7
    batch = FlamVectorEnv(2, world=drawing_world, horizon=horizon, autoreset_mode=mode)
    single = [FlamEnv(world=drawing_world, horizon=horizon) for _ in range(2)]
    first, _ = batch.reset(seed=5)
    for row, env in enumerate(single):
        assert np.array_equal(first[row], env.reset(seed=5 + row)[0])
    rest, done = np.zeros(batch.action_space.shape, np.float32), False
    for _ in range(steps):
        if done and mode == AutoresetMode.DISABLED:
            batch.reset(options={"reset_mask": np.ones(2, bool)})
            for env in single:
                env.reset()
        observed, _, _, truncated, _ = batch.step(rest)
        if done and mode == AutoresetMode.NEXT_STEP:
            expected = [env.reset()[0] for env in single]
        else:
            expected = [env.step(rest[0])[0] for env in single]
        done = truncated.all()
        if done and mode == AutoresetMode.SAME_STEP:
            expected = [env.reset()[0] for env in single]
        assert np.array_equal(observed, np.stack(expected))


def test_the_sampler_is_kept_with_its_world_and_no_other(drawing_world, tmp_path):
    save_world(tmp_path / "mine", drawing_world)
    env = gym.make("FLAM-v0", checkpoint=str(tmp_path / "mine"))
    assert np.array_equal(played(env.unwrapped, 4), played(FlamEnv(world=drawing_world), 4))
    save_world(tmp_path / "other", random_world(difference=True))
    add_heads(tmp_path / "other", {"token_sampler": drawing_world.heads["token_sampler"]})
    name = "token_sampler.safetensors"
    (tmp_path / "other" / name).write_bytes((tmp_path / "mine" / name).read_bytes())
    with pytest.raises(ValueError, match="token_sampler of the world"):
        load_world(tmp_path / "other")
