"""A world with random weights, in which no two sizes are equal."""

from dataclasses import replace
from typing import Any

import torch

from flam_env.heads.road import Road, RoadConfig
from flam_env.heads.token_sampler import TokenSampler, TokenSamplerConfig
from flam_env.models.factored import FactoredWorldModel, WorldModelConfig
from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.checkpoint import round_as_stored
from flam_env.worlds.units import ActionUnits, UnitConversion
from flam_env.worlds.world import Starts, World, WorldSettings

STARTS, CLIP_FRAMES, BANK = 11, 8, 37
TOKENIZER = TokenizerConfig(image_size=48, patch_size=4, width=20, blocks=1, levels=(4, 3, 2, 3, 2))
MODEL = WorldModelConfig(
    grid=TOKENIZER.grid,
    group=2,
    levels=TOKENIZER.levels,
    slots=6,
    latent_dim=7,
    dim=16,
    heads=2,
    layers=2,
    window=9,
    target="token",
)
SETTINGS = WorldSettings(source="random weights", context=2, horizon=13, frames_per_second=10)


@torch.no_grad()
def random_world(**options: Any) -> World:
    """A world in which things move: random weights, with heads large enough to overcome the pull to stand still.

    Options are those of the model that do not change its sizes.
    """
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    tokenizer, model = Tokenizer(TOKENIZER).eval(), FactoredWorldModel(replace(MODEL, **options)).eval()
    model.aggregator.head.weight.normal_(std=1.5)
    model.inverse_dynamics.mean.weight.normal_(std=1.5)
    if model.learned_prior is not None:
        model.learned_prior.head.weight.normal_(std=0.5)
    round_as_stored(tokenizer), round_as_stored(model)
    clips = _random_clips(STARTS, CLIP_FRAMES)
    latent_actions, more = _infer(model, clips), _infer(model, _random_clips(BANK, 2))[:, 0]
    torch.set_rng_state(generator_state)
    units = _units(latent_actions)
    convert = UnitConversion(units).from_model
    return World(tokenizer, model, SETTINGS, units, Starts(clips, convert(latent_actions), convert(more)))


def random_road() -> Road:
    """A road for such a world, on which some of its dreams stay and others do not."""
    generator = torch.Generator().manual_seed(3)
    road = Road(RoadConfig(vocabulary=Tokenizer(TOKENIZER).quantizer.size, quantiles=101, memory=4))
    road.rarity.copy_(4 + torch.randn(len(road.rarity), generator=generator))
    road.usual.copy_(torch.tensor([0.0, -1.5, 4.0]))
    road.whitening.copy_(torch.tensor([[1.5, 0, 0], [-0.5, 2.0, 0], [0.25, 0.5, 3.0]]))
    road.distances.copy_(torch.linspace(0.25, 4.0, 101))
    return round_as_stored(road).eval()


@torch.no_grad()
def random_sampler(levels: tuple[int, ...], grid: int) -> TokenSampler:
    """A token sampler that says something else than the model."""
    generator = torch.Generator().manual_seed(6)
    config = TokenSamplerConfig(levels=levels, grid=grid, dim=8, layers=2, width=6, temperature=0.8)
    sampler = TokenSampler(config)
    for weight in sampler.parameters():
        weight.copy_(torch.randn(weight.shape, generator=generator) / max(1, weight[0].numel()) ** 0.5)
    return round_as_stored(sampler).eval()


def _random_clips(count: int, frames: int) -> torch.Tensor:
    """Token clips (S, T, N) in which one patch in ten changes with every frame."""
    clips = torch.randint(Tokenizer(TOKENIZER).quantizer.size, (count, frames, MODEL.patches))
    for t in range(1, frames):
        still = torch.rand(count, MODEL.patches) > 0.1
        clips[:, t][still] = clips[:, t - 1][still]
    return clips


def _units(latent_actions: torch.Tensor) -> ActionUnits:
    kept = (0, 1, 3, 4, 6)
    scale = latent_actions.abs().amax((0, 1, 2))[list(kept)] / 2
    return ActionUnits(latent_dim=MODEL.latent_dim, kept=kept, scale=tuple(scale.tolist()))


def _infer(model: FactoredWorldModel, clips: torch.Tensor) -> torch.Tensor:
    return model.infer(model.observe(clips)).mean
