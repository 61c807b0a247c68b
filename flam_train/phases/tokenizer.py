"""Phase one: learns the tokenizer (paper 4.1, equation 1)."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.video.frames import to_float
from flam_env.worlds.checkpoint import as_written, load_network, round_as_stored, save_network
from flam_env.worlds.finding import PRETRAINED, find_world
from flam_train.engine import FitConfig, Progress, fit, is_finished
from flam_train.evaluate.pixels import frame_psnr
from flam_train.phases.losses import reconstruction_loss
from flam_train.presets import SMALL
from flam_train.store.frame_pool import frame_pool
from flam_train.store.packs import Pack
from flam_train.store.store import EpisodeStore
from flam_train.store.training_data import TrainingData

FILE = "tokenizer.safetensors"


def tokenizer(
    data: Path,
    *,
    out: Path,
    model: TokenizerConfig = SMALL.tokenizer,
    fit_config: FitConfig = SMALL.tokenizer_fit,
) -> Path:
    """Trains a tokenizer on the frames of a store and writes `out/tokenizer.safetensors`.

    Args:
        data: a store of episodes; its train split is learned, its val split scored.
        out: the directory of the world; training logs go to `out/training/tokenizer`. A run that was interrupted
            goes on where it was.
        model: sizes.
        fit_config: budget and optimiser.

    Returns:
        The file that was written.

    Raises:
        ValueError: no such store, frames of another size, or `out` holds another run, or a world model that learned on
            the tokenizer as it is.
    """
    store, log = EpisodeStore.open(data), Path(out) / "training" / "tokenizer"
    if (Path(out) / "training" / "world_model").exists() and not is_finished(log, fit_config):
        raise ValueError(
            f"{out}: expected a directory without a world model, got one that learned on the tokenizer as it is; "
            "train another tokenizer in another output folder"
        )
    if store.size != model.image_size:
        raise ValueError(
            f"{data}: expected frames of {model.image_size} px, got {store.size} px; set --model.image-size"
        )
    frames, held_out = frame_pool(store, "train"), frame_pool(store, "val", 2**25)

    def batches(generator: torch.Generator, count: int) -> Tensor:
        return frames[torch.randint(len(frames), (count,), generator=generator)]

    def loss(network: nn.Module, batch: Tensor, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        images = to_float(batch, batch.device).contiguous(memory_format=torch.channels_last)
        value = reconstruction_loss(images, network(images))
        return value, {"mse": value.detach()}

    torch.manual_seed(fit_config.seed)
    network = Tokenizer(model)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    result = fit(
        network,
        loss,
        batches,
        fit_config,
        log,
        evaluate=lambda averaged: tokenizer_scores(averaged, held_out),
        evaluate_every=500,
        identity={"model": as_written(model)} | store.identity(),
        product=Path(out) / FILE,
    )
    network.load_state_dict(result.ema)
    if result.main:
        save_network(Path(out) / FILE, round_as_stored(network.cpu()), source=store.source)
    return Path(out) / FILE


def load_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer that a run directory holds.

    Raises:
        FileNotFoundError: it has none yet.
        ValueError: the file is damaged or something else.
    """
    if not (Path(directory) / FILE).is_file():
        raise FileNotFoundError(
            f"expected a tokenizer at {Path(directory) / FILE}, found none; `flam-train tokenizer` makes it"
        )
    network, _ = load_network(Path(directory) / FILE, Tokenizer, TokenizerConfig)
    return network


def find_tokenizer(name: str | Path) -> Tokenizer:
    """The tokenizer of a world, bundled (by name) or of one's own (by path), or of a run that is no world yet.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged or something else, or the name is that of a bundled world and of a folder here.
    """
    own = Path(name)
    if not (own / FILE).is_file() or (own / "config.json").is_file():
        return load_tokenizer(find_world(name))
    if name == own.name and (PRETRAINED / own).is_dir():
        raise ValueError(
            f"expected one tokenizer of that name, got {name!r}, which is a bundled world and a folder here; give the "
            f"folder as {os.path.join(os.curdir, own)!r}"
        )
    return load_tokenizer(own)


def choose_tokenizer(data: TrainingData, directory: Path) -> Tokenizer:
    """The tokenizer of a run that learns on this data: what its directory holds, or else what the data, a pack, brings.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged or something else.
    """
    if isinstance(data, Pack) and not (Path(directory) / FILE).is_file():
        return data.tokenizer
    return load_tokenizer(directory)


@torch.no_grad()
def tokenizer_scores(network: Tokenizer, frames: Tensor) -> dict[str, float]:
    """Recon (mean over frames of the PSNR of the uint8 round trip, dB) and the number of tokens in use.

    Args:
        network: the tokenizer.
        frames: uint8 (F, H, W, 3).
    """
    device = next(network.parameters()).device
    scores, used = [], torch.zeros(network.quantizer.size, dtype=torch.bool, device=device)
    for chunk in frames.split(256):
        images = to_float(chunk, device)
        tokens = network.encode(images)
        used[tokens] = True
        scores.append(frame_psnr(network.decode(tokens), images))
    return {"recon_psnr": torch.cat(scores).mean().item(), "tokens_used": float(used.sum())}
