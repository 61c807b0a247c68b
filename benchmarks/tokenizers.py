"""Which tokenizer lets a world model predict best: all get the same minutes, and so do the world models on them.

    python benchmarks/tokenizers.py data/bigfish --out runs/tokenizers

Whatever the patch size, the world model sees 64 cells. Resuming, and two seeds at a time: as in targets.py.
"""

from dataclasses import replace
from pathlib import Path

import tyro
from targets import FIT, MODEL, finished_runs, last_scores, print_table, run_directory
from tyro.conf import Positional

from flam_env.dream.dream import Dream
from flam_env.models.tokenizer import TokenizerConfig
from flam_env.worlds.loading import load_world
from flam_train.engine import FitConfig
from flam_train.evaluate.tokens import token_scores
from flam_train.phases.losses import WorldModelLossConfig
from flam_train.phases.tokenizer import tokenizer
from flam_train.phases.world_model import world_model
from flam_train.presets import SMALL
from flam_train.store.clips import draw_clips
from flam_train.store.store import EpisodeStore

FOUR, FIVE = (4,) * 4, (4,) * 5
VARIANTS = {
    "IMPALA, 8 px, 1024 tokens": TokenizerConfig(architecture="impala", patch_size=8, levels=FIVE),
    "patch, 8 px, 1024 tokens": TokenizerConfig(architecture="patch", patch_size=8, levels=FIVE),
    "IMPALA, 4 px, 256 tokens": TokenizerConfig(architecture="impala", patch_size=4, levels=FOUR),
    "patch, 4 px, 256 tokens": TokenizerConfig(architecture="patch", patch_size=4, levels=FOUR),
}
TOKENIZER_FIT, WORLD_MODEL_FIT = replace(SMALL.tokenizer_fit, steps=0, minutes=3), replace(FIT, minutes=3)
SHOWN = ("recon_psnr", "token_churn", "tokens_used", "rollout_psnr", "accuracy_changed", "nats_per_frame")
WATCHED_CLIPS, CLIP_FRAMES = 64, 18


def compare(
    data: Positional[Path],
    *,
    out: Path,
    tokenizer_fit: FitConfig = TOKENIZER_FIT,
    world_model_fit: FitConfig = WORLD_MODEL_FIT,
    seeds: tuple[int, ...] = (0, 1),
) -> None:
    """Trains every tokenizer, and a world model on it, for every seed; prints the table of all that `out` holds.

    Args:
        data: a store of episodes.
        out: the directory of the runs.
        tokenizer_fit: budget and optimiser of every tokenizer, its seed apart.
        world_model_fit: the same of every world model.
        seeds: of training.
    """
    for name, config in VARIANTS.items():
        for seed in seeds:
            run = run_directory(out, name, seed)
            group = MODEL.group * TokenizerConfig().patch_size // config.patch_size
            tokenizer(data, out=run, model=config, fit_config=replace(tokenizer_fit, seed=seed))
            fit = replace(world_model_fit, seed=seed)
            model, loss = replace(MODEL, group=group), WorldModelLossConfig()
            world_model(data, out=run, model=model, fit_config=fit, loss=loss)
    clips = draw_clips(EpisodeStore.open(data), "val", WATCHED_CLIPS, CLIP_FRAMES)
    runs = finished_runs(out, VARIANTS, max(seeds))
    rows = {key: last_scores(run) | token_scores(Dream(load_world(run)), clips) for key, run in runs.items()}
    print_table(rows, "tokenizer", SHOWN)


if __name__ == "__main__":
    tyro.cli(compare)
