"""Which tokenizer draws pictures of 224 px best: the paper's for real video, its one for games, and patches.

    flam-train collect synthetic-drive --size 224 --frames 2000 --max-episode-frames 50 --out data/drive-224
    flam-train collect bigfish --size 224 --frames 2000 --random-share 1 --out data/bigfish-224
    python benchmarks/driving_tokenizers.py data/drive-224 data/bigfish-224 --out runs/driving-tokenizers

All have 14 x 14 tokens of 16,384, and on each store the same seconds of one core to train, whatever else the machine
does: as many steps as these hold, by the processor time of a step. A run that was finished is not trained again, one
that was interrupted goes on.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor
from tyro.conf import Positional

from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_train.engine import FitConfig
from flam_train.evaluate.tokens import tokens_of_video
from flam_train.phases.losses import reconstruction_loss
from flam_train.phases.tokenizer import load_tokenizer, tokenizer, tokenizer_scores
from flam_train.presets import SMALL
from flam_train.store.clips import draw_clips
from flam_train.store.store import EpisodeStore

SIZE = TokenizerConfig(image_size=224, patch_size=16, width=64, levels=(4,) * 7)
VARIANTS = {
    "MAGVIT-v2 style": replace(SIZE, architecture="magvit", blocks=1),
    "IMPALA": replace(SIZE, architecture="impala"),
    "patch": replace(SIZE, architecture="patch"),
}
FIT = replace(SMALL.tokenizer_fit, batch_size=4, warmup_steps=10, ema=0.98, log_every=10, precision="bf16")
CLIPS, CLIP_FRAMES, TIMED = 8, 8, 3


def compare(
    stores: Positional[tuple[Path, ...]],
    *,
    out: Path,
    seconds: float = 240.0,
    fit_config: FitConfig = FIT,
) -> None:
    """Trains every tokenizer on every store and prints the table.

    Args:
        stores: of frames of 224 px.
        out: the directory of the runs.
        seconds: of processor time for each training.
        fit_config: batches and optimiser; the steps follow from the seconds.
    """
    torch.set_num_threads(1)
    print(
        "| data | tokenizer | Recon, dB | churn | tokens used | encode, frames/s | decode, frames/s | steps | weights |"
    )
    print("|" + " --- |" * 9)
    for data in stores:
        for name, config in VARIANTS.items():
            run = out / f"{data.name}-{config.architecture}"
            steps = _steps(run, config, fit_config, seconds)
            tokenizer(data, out=run, model=config, fit_config=replace(fit_config, steps=steps))
            store = EpisodeStore.open(data)
            row = [store.source, name, *_scores(load_tokenizer(run), store), str(steps)]
            weights = sum(weight.numel() for weight in Tokenizer(config).parameters())
            print("| " + " | ".join([*row, f"{weights / 1e6:.2f} M"]) + " |", flush=True)


def _steps(run: Path, config: TokenizerConfig, fit_config: FitConfig, seconds: float) -> int:
    """How many steps the seconds hold; measured once for a run, so that it can go on."""
    file = run / "steps.json"
    if not file.exists():
        network, frames = Tokenizer(config), torch.rand(fit_config.batch_size, 3, config.image_size, config.image_size)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters())

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16):
                loss = reconstruction_loss(frames, network(frames))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        run.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(max(round(seconds / _processor_time(step)), 1)))
    return json.loads(file.read_text())


def _scores(network: Tokenizer, store: EpisodeStore) -> list[str]:
    """Recon, churn and tokens in use on held-out clips, and frames a second, encoded and decoded one at a time."""
    clips = draw_clips(store, "val", CLIPS, CLIP_FRAMES)
    recon = tokenizer_scores(network, torch.from_numpy(np.concatenate(list(clips.frames))))
    video = tokens_of_video(network, clips)
    frame = torch.rand(1, 3, store.size, store.size)
    with torch.inference_mode():
        tokens: Tensor = network.encode(frame)
        speeds = [
            1 / _processor_time(lambda: network.encode(frame)),
            1 / _processor_time(lambda: network.decode(tokens)),
        ]
    shown = [f"{recon['recon_psnr']:.2f}", f"{video['token_churn']:.3f}", f"{video['tokens_used']:.0f}"]
    return shown + [f"{speed:.1f}" for speed in speeds]


def _processor_time(work: Callable[[], object]) -> float:
    """Seconds of processor time that work takes, at best."""
    taken = []
    for _ in range(TIMED):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return min(taken)


if __name__ == "__main__":
    tyro.cli(compare)
