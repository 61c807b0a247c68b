"""Sizes and budgets that belong together. `paper` is Table 5; the code paths are the same for all.

Budgets are steps, so that a seed means the same training on every machine; those of `gpu` are minutes.
"""

from dataclasses import dataclass, replace
from typing import Any

from flam_env.models.factored import WorldModelConfig
from flam_env.models.tokenizer import TokenizerConfig
from flam_train.engine import FitConfig
from flam_train.phases.losses import WorldModelLossConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """All that the training phases need to know."""

    tokenizer: TokenizerConfig
    tokenizer_fit: FitConfig
    world_model: WorldModelConfig
    world_model_fit: FitConfig
    loss: WorldModelLossConfig
    scheduled_sampling_fit: FitConfig
    clone_fit: FitConfig
    decoder_fit: FitConfig
    token_sampler_fit: FitConfig


BOUND: dict[str, Any] = {"background_sink": True, "focus": True, "difference": True, "persistence": 2.5}
"""Fields of `WorldModelConfig`: what makes slots hold whole things that move about, and keep them."""
PRIOR_COMPONENTS = 8
"""Gaussians of a prior that is learned."""

SMALL = Preset(
    tokenizer=TokenizerConfig(),
    tokenizer_fit=FitConfig(
        steps=4000, batch_size=128, learning_rate=2e-3, warmup_steps=100, decay_share=0.5, weight_decay=0.0, clip=0.02
    ),
    world_model=WorldModelConfig(**BOUND, prior_components=PRIOR_COMPONENTS),
    world_model_fit=FitConfig(
        steps=7000,
        batch_size=16,
        learning_rate=8e-4,
        muon=2.5,
        warmup_steps=50,
        decay_share=0.4,
        log_every=100,
    ),
    loss=WorldModelLossConfig(information_price=0.6),
    scheduled_sampling_fit=FitConfig(
        steps=9500,
        batch_size=8,
        learning_rate=4e-4,
        muon=2.5,
        warmup_steps=20,
        decay_share=0.6,
        ema=0.99,
        log_every=20,
    ),
    clone_fit=FitConfig(steps=10_000, batch_size=64, learning_rate=5e-4, warmup_steps=100, weight_decay=0.0, ema=0.995),
    decoder_fit=FitConfig(
        steps=3000, batch_size=128, learning_rate=2e-3, warmup_steps=50, decay_share=0.5, weight_decay=0.1, ema=0.99
    ),
    token_sampler_fit=FitConfig(
        steps=1500, batch_size=4, learning_rate=3e-3, warmup_steps=50, decay_share=0.5, ema=0.99, log_every=20
    ),
)
"""64 px, 256 patches in 64 cells, dim 128: what two cores train in about 80 minutes.

Slots that keep what they hold, a prior that is learned and a dear nat make a simulator of it: a latent action says what
is decided and little else, and dreams hold. The trials are in docs/simulators.md.

The steps are about those of the bundled world of Bigfish: 10 minutes of the tokenizer, 44 of the world model and 25 of
scheduled sampling.
"""

TINY = Preset(
    tokenizer=TokenizerConfig(width=32, blocks=1),
    tokenizer_fit=FitConfig(steps=400, batch_size=64, learning_rate=4e-3, warmup_steps=20, decay_share=0.4, ema=0.98),
    world_model=WorldModelConfig(slots=6, latent_dim=6, dim=48, layers=1, iterations=1),
    world_model_fit=FitConfig(
        steps=300, batch_size=16, learning_rate=2e-3, muon=2.5, warmup_steps=20, decay_share=0.4, ema=0.98
    ),
    loss=WorldModelLossConfig(),
    scheduled_sampling_fit=FitConfig(steps=100, batch_size=16, learning_rate=1e-3, decay_share=0.7, ema=0.95),
    clone_fit=FitConfig(steps=300, batch_size=48, learning_rate=1e-3, weight_decay=0.0, ema=0.98),
    decoder_fit=FitConfig(steps=200, batch_size=48, learning_rate=2e-3, weight_decay=0.1, ema=0.98),
    token_sampler_fit=FitConfig(steps=150, batch_size=4, learning_rate=3e-3, decay_share=0.5, ema=0.95),
)
"""What the tests and `make train-tiny` train."""

PAPER = Preset(
    tokenizer=TokenizerConfig(image_size=224, patch_size=8, architecture="impala", width=128, levels=(4,) * 5),
    tokenizer_fit=FitConfig(steps=100_000, batch_size=64, learning_rate=1e-4, warmup_steps=1000),
    world_model=WorldModelConfig(
        grid=28,
        group=1,
        levels=(4,) * 5,
        latent_dim=32,
        dim=256,
        heads=8,
        feed_forward=4,
        iterations=3,
        target="code",
        cell_context=False,
    ),
    world_model_fit=FitConfig(steps=100_000, batch_size=32, learning_rate=1e-4, warmup_steps=1000),
    loss=WorldModelLossConfig(information_price=2e-4 * 28**2, free_share=0.0, ramp_share=0.0),
    scheduled_sampling_fit=FitConfig(steps=10_000, batch_size=32, learning_rate=1e-4, decay_share=0.7),
    clone_fit=replace(SMALL.clone_fit, steps=100_000, batch_size=128),
    decoder_fit=SMALL.decoder_fit,
    token_sampler_fit=SMALL.token_sampler_fit,
)
"""Table 5 for Procgen: 224 px, 784 patches, L2 on codes with beta 2e-4."""

NUPLAN = replace(
    PAPER,
    tokenizer=TokenizerConfig(image_size=224, patch_size=16, architecture="magvit", width=128, levels=(4,) * 7),
    world_model=replace(PAPER.world_model, grid=14, levels=(4,) * 7, layers=3),
    loss=replace(PAPER.loss, information_price=2e-4 * 14**2),
)
"""Table 5 for nuPlan: 224 px, 196 patches of 16,384 tokens, K = 16, three layers, L2 on codes with beta 2e-4."""

NUPLAN_SMALL = replace(
    SMALL,
    tokenizer=TokenizerConfig(architecture="magvit", width=32, blocks=1, levels=(4,) * 7),
    tokenizer_fit=replace(SMALL.tokenizer_fit, steps=1000, batch_size=32, warmup_steps=50),
    world_model=replace(SMALL.world_model, levels=(4,) * 7, slots=8, latent_dim=8, dim=96, persistence=0.0),
    world_model_fit=replace(SMALL.world_model_fit, steps=3000, batch_size=8),
    loss=replace(SMALL.loss, last_price=0.3),
)
"""Driving at 64 px: 256 patches of 16,384 tokens in 64 cells, K = 8, dim 96, an own prior of the latent actions, which
become cheaper in the course of the run; what one core trains in half an hour."""

ROOMS = Preset(
    tokenizer=replace(SMALL.tokenizer, patch_size=8),
    tokenizer_fit=replace(SMALL.tokenizer_fit, steps=1500),
    world_model=WorldModelConfig(
        grid=8,
        group=1,
        slots=4,
        cell_context=False,
        sharpness=1.0,
        background_sink=True,
        focus=True,
        difference=True,
    ),
    world_model_fit=replace(SMALL.world_model_fit, steps=2000),
    loss=WorldModelLossConfig(free_share=0.1),
    scheduled_sampling_fit=SMALL.scheduled_sampling_fit,
    clone_fit=SMALL.clone_fit,
    decoder_fit=SMALL.decoder_fit,
    token_sampler_fit=SMALL.token_sampler_fit,
)
"""MultiGrid rooms of 8 x 8 cells, one token per cell: what makes one slot follow one agent (paper, Table 5: K = 4)."""

GPU = replace(
    SMALL,
    world_model_fit=replace(
        SMALL.world_model_fit,
        steps=0,
        minutes=8.0,
        batch_size=128,
        learning_rate=1.2e-3,
        warmup_steps=200,
        graph="auto",
    ),
    scheduled_sampling_fit=replace(
        SMALL.scheduled_sampling_fit,
        steps=0,
        minutes=2.0,
        batch_size=64,
        learning_rate=6e-4,
        warmup_steps=50,
        graph="auto",
    ),
)
"""The model of `small` where a GPU is there for minutes (docs/gpu.md): large batches, and a budget of time instead of
steps, so that a seed gives other numbers each time."""

PRESETS = {"small": SMALL, "tiny": TINY, "paper": PAPER, "rooms": ROOMS, "gpu": GPU} | {
    "nuplan": NUPLAN,
    "nuplan-small": NUPLAN_SMALL,
}
