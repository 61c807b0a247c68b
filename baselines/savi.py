"""Slots by reconstruction (SAVi, Kipf et al. 2022, arXiv:2111.12594): what PlaySlot and SlotFormer learn and freeze.

What differs from its authors' version, and from those that PlaySlot and SlotFormer trained, and why:

- It reconstructs the tokens of the tokenizer that FLAM has, not pixels: the first phase of both, on equal features.
- Its cells, slot attention and look back in time are FLAM's own. With the authors' way from frame to frame
  (`recurrence`, FLAM's ablation "w/o factorizer temporal attention") gradients through 16 frames explode at these
  rates, and after 600 updates of 8 clips of MultiGrid no frame comes back whole; with temporal attention and FLAM's
  `focus` all do (docs/comparison.md).
- Slots start from embeddings of their own, as SlotFormer's do, not from draws of one distribution.
- The decoder is a perceptron over a slot and a place where theirs is a convolutional spatial broadcast over pixels;
  mixed, as theirs, by a softmax over slots. Nothing of the current frame reaches it but the slots, where FLAM's
  aggregator sees the frame. Nothing pulls it to what is there now.
- There is no background sink: what no slot holds could not be reconstructed. Nor is there FLAM's `persistence`: each
  agent of MultiGrid has a slot of its own without, and where no sink takes the floor, agents change slots more often
  with it (docs/comparison.md).
- Slots are of one length, as the decoder sees them: what predicts them would hardly notice actions in longer ones.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from flam_env.models.cells import CellFeatures, smooth_positions
from flam_env.models.factored import WorldModelConfig
from flam_env.models.factorizer import Factorizer, SlotHistory, Slots
from flam_env.models.layers import check_attention
from flam_env.models.quantize import FSQ, check_levels
from flam_env.models.recurrent_factorizer import RecurrentFactorizer
from flam_env.models.target import Target, likeliest, target_size
from flam_env.validation import check_fields
from flam_env.worlds.checkpoint import as_written, fingerprint, load_network, round_as_stored, save_network
from flam_train.engine import FitConfig, Progress, fit, training_device
from flam_train.phases.losses import token_error
from flam_train.phases.tokenizer import choose_tokenizer
from flam_train.phases.world_model import CLIP_FRAMES, bare, clip_batches
from flam_train.presets import SMALL
from flam_train.store.training_data import open_data, token_splits

FILE = "slots.safetensors"
WATCHED = 64  # held-out clips that are looked at


@dataclass(frozen=True, kw_only=True)
class SaviConfig:
    """Sizes of slots by reconstruction; what is called as in `WorldModelConfig` is the same.

    Raises:
        ValueError: a field of another type, a size below 1, or one that does not fit the others.
    """

    grid: int = 16
    group: int = 2
    levels: tuple[int, ...] = (4, 4, 4, 4)
    slots: int = 16
    dim: int = 128
    heads: int = 4
    feed_forward: int = 2
    iterations: int = 2
    window: int = 8
    target: Target = "level"
    cell_context: bool = True
    sharpness: float = 1.5
    focus: bool = False
    recurrence: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        check_levels(self.levels)
        check_attention(self.window, self.dim, self.heads)

    @property
    def cells(self) -> int:
        """Cells along one side of a frame."""
        return self.grid // self.group


def savi_sizes(flam: WorldModelConfig) -> dict[str, Any]:
    """The fields of a `SaviConfig` that make slots equal to those of FLAM of these sizes in all that they share."""
    names = SaviConfig.__dataclass_fields__.keys() - {"recurrence"}
    return {name: getattr(flam, name) for name in sorted(names)}


class SlotDecoder(nn.Module):
    """Each slot says what is in every cell, and how sure it is; a softmax over slots mixes them (spatial broadcast)."""

    def __init__(self, *, dim: int, cells: int, outputs: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.slot = nn.Linear(dim, dim)
        self.position_embedding = nn.Parameter(0.5 * smooth_positions(cells, dim))
        self.hidden = nn.Sequential(nn.GELU(), nn.Linear(dim, dim), nn.GELU())
        self.head = nn.Linear(dim, outputs + 1)

    def forward(self, slots: Tensor) -> Tensor:
        """Slots (B, K, S) -> (B, cells, outputs), float32."""
        each = self.slot(self.norm(slots))[:, :, None] + self.position_embedding
        said = self.head(self.hidden(each)).float()
        return (said[..., :-1] * said[..., -1:].softmax(1)).sum(1)


class Savi(nn.Module):
    """Slots of the frames of clips, and the frames from the slots."""

    def __init__(self, config: SaviConfig):
        super().__init__()
        self.config = config
        self.quantizer = FSQ(config.levels)
        sizes = {"dim": config.dim, "heads": config.heads, "feed_forward": config.feed_forward}
        shared: dict[str, Any] = {"slots": config.slots, "iterations": config.iterations} | sizes
        shared |= {"sharpness": config.sharpness, "background_sink": False, "focus": config.focus}
        self.features = CellFeatures(
            self.quantizer, grid=config.grid, group=config.group, dim=config.dim, context=config.cell_context
        )
        self.factorizer: Factorizer | RecurrentFactorizer = (
            RecurrentFactorizer(**shared)
            if config.recurrence
            else Factorizer(**shared, window=config.window, patches=config.cells**2)
        )
        outputs = target_size(config.target, self.quantizer) * config.group**2
        self.decoder = SlotDecoder(dim=config.dim, cells=config.cells, outputs=outputs)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Slots]:
        """Tokens (B, T, N) of clips -> what their slots say of them, as `decode` gives it, and the slots."""
        slots = self.observe(tokens)
        return self.decode(slots.values), slots

    def observe(self, tokens: Tensor, history: SlotHistory | None = None) -> Slots:
        """Tokens (B, T, N) and the history before them -> slots of each frame, of mean 0 and variance 1.

        The decoder sees no more of a slot. Left as they come, slots have a deviation of 15 in the end, in which what
        predicts them, a residual stream, hardly notices what is added for an action.
        """
        features = self.features(rearrange(tokens, "b t n -> (b t) n"))
        found = self.factorizer(rearrange(features, "(b t) n d -> b t n d", b=len(tokens)), history)
        return found._replace(values=layer_norm(found.values.float(), found.values.shape[-1:]))

    def decode(self, slots: Tensor) -> Tensor:
        """Slots (B, T, K, S) -> codes (B, T, N, L), or logits (B, T, N, tokens) or (B, T, N, L, levels); float32."""
        numbers = self.features.to_patches(self.decoder(rearrange(slots, "b t k s -> (b t) k s")))
        numbers = rearrange(numbers, "(b t) n o -> b t n o", b=len(slots))
        if self.config.target == "level":
            return rearrange(numbers, "b t n (l levels) -> b t n l levels", l=len(self.config.levels))
        return numbers


def slots(
    data: Path,
    *,
    out: Path,
    model: SaviConfig = SaviConfig(),
    fit_config: FitConfig = SMALL.world_model_fit,
    evaluate_every: int = 1000,
) -> Path:
    """Learns slots by reconstruction, on a store or a pack, and writes `out/slots.safetensors`.

    Args:
        data: a store of episodes, or a pack.
        out: the directory of a world to be; logs go to `out/training/slots`. A run that was interrupted goes on where
            it was.
        model: sizes; `grid` and `levels` are the tokenizer's, whatever is given.
        fit_config: budget and optimiser.
        evaluate_every: steps between looks at held-out clips.

    Returns:
        The file that was written.

    Raises:
        FileNotFoundError: there is no tokenizer yet.
        ValueError: no such data, frames of another size, or `out` holds another run.
    """
    store = open_data(data)
    tokenizer = choose_tokenizer(store, out)
    model = replace(model, grid=tokenizer.config.grid, levels=tokenizer.config.levels)
    splits = token_splits(store, tokenizer, training_device())
    held_out = clip_batches(splits["val"])(torch.Generator().manual_seed(0), WATCHED)
    torch.manual_seed(fit_config.seed)
    network = Savi(model)

    def objective(called: nn.Module, tokens: Tensor, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        error = token_error(model.target, bare(called).quantizer, called(tokens)[0], tokens).mean()
        return error, {"reconstruction": error.detach()}

    result = fit(
        network,
        objective,
        clip_batches(splits["train"]),
        fit_config,
        Path(out) / "training" / "slots",
        evaluate=lambda averaged: reconstruction_scores(averaged, held_out),
        evaluate_every=evaluate_every,
        frames_per_batch=fit_config.batch_size * CLIP_FRAMES,
        identity={"model": as_written(model), "tokenizer": fingerprint(tokenizer)} | store.identity(),
        product=Path(out) / FILE,
    )
    network.load_state_dict(result.ema)
    if result.main:
        save_network(Path(out) / FILE, round_as_stored(network.cpu()), tokenizer=fingerprint(tokenizer))
    return Path(out) / FILE


def load_slots(path: Path, tokenizer: nn.Module) -> Savi:
    """Slots that were learned, from their file or the directory that holds it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, something else, or of another tokenizer.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    network, header = load_network(file, Savi, SaviConfig)
    if header.get("tokenizer") != fingerprint(tokenizer):
        raise ValueError(
            f"{file}: expected slots of the tokenizer {fingerprint(tokenizer)}, got those of "
            f"{header.get('tokenizer')}; learn them with this tokenizer: `python -m baselines.train slots`"
        )
    return network


@torch.no_grad()
def reconstruction_scores(network: Savi, clips: Any) -> dict[str, float]:
    """Shares of the patches and of the frames of clips (B, T, N) that come back from slots, and slots that own any."""
    tokens = clips.to(next(network.parameters()).device).long()
    output, found = network(tokens)
    right = likeliest(network.config.target, network.quantizer, output) == tokens
    owned = found.masks.mean((0, 1, 3))
    return {
        "accuracy": right.float().mean().item(),
        "frames_exact": right.all(-1).float().mean().item(),
        "slots_with_patches": (owned > 0.2 / owned.numel()).sum().item(),
    }
