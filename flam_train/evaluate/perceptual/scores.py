"""LPIPS and FVD of a world's rollouts, beside those of the ceiling and of the floors."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.video.frames import to_float
from flam_env.worlds.writing import replacing
from flam_train.evaluate.perceptual.backbones import BACKBONES, load_backbone, tensors_sha256
from flam_train.evaluate.perceptual.frechet import frechet_distance
from flam_train.evaluate.perceptual.i3d import SHORTEST, SIZE, I3d, as_input
from flam_train.evaluate.perceptual.lpips import SMALLEST, Lpips
from flam_train.evaluate.perceptual.precision import full_precision
from flam_train.evaluate.report import METHODS
from flam_train.evaluate.rollouts import roll_methods
from flam_train.store.clips import Clips

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("LPIPS and FVD need tqdm: pip install 'flam-env[train]'") from error

LONGEST = 16
"""Predicted frames that FVD looks at; of other lengths it is another measure."""


class Judges(NamedTuple):
    """The networks of the metrics that are asked for, with verified weights, and where what I3D saw is kept."""

    lpips: Lpips | None
    i3d: I3d | None
    seen: Path | None = None


def load_judges(metrics: Iterable[str], *, size: int, horizon: int, clips: int, seen: Path | None = None) -> Judges:
    """The networks that LPIPS and FVD need, where `metrics` names these; to be called before anything takes long.

    Args:
        metrics: "lpips" and "fvd" among others.
        size: of the frames, in pixels.
        horizon: predicted frames.
        clips: how many.
        seen: folder in which what I3D sees of videos is kept; what is there is not looked at again.

    Raises:
        FileNotFoundError: weights are missing.
        ValueError: weights are others than the recorded ones, or frames too small, or too few, or a single clip.
    """
    if "lpips" in metrics and size < SMALLEST:
        raise ValueError(f"lpips: expected frames of at least {SMALLEST} px, got {size} px; choose other --metrics")
    if "fvd" in metrics and horizon < SHORTEST:
        raise ValueError(f"fvd: expected a horizon of at least {SHORTEST} frames, got {horizon}; it is 16 by default")
    if "fvd" in metrics and clips < 2:
        raise ValueError(f"fvd: expected at least 2 clips, got {clips}; it compares sets of clips, usually 256 or more")
    return Judges(
        cast(Lpips, load_backbone(BACKBONES["lpips"])) if "lpips" in metrics else None,
        cast(I3d, load_backbone(BACKBONES["fvd"])) if "fvd" in metrics else None,
        seen,
    )


@torch.inference_mode()
def perceptual_scores(dream: Dream, clips: Clips, judges: Judges, seed: int = 0) -> dict[str, Any]:
    """LPIPS and FVD of every method of `roll_methods`, in float32 without TF32.

    Args:
        dream: of a world.
        clips: of T frames, of which those after the world's context are predicted.
        judges: the networks of what is asked for.
        seed: of sampled actions.

    Returns:
        lpips: of each frame and its true like, at the frames' own resolution; scores: means by method, and per_step.
        fvd: of all predictions and all true futures, the first 16 frames of each; `as_input` says how they are
        resized. Both with the convention, the hash of the weights, and inferred_minus_sampled: the score under inferred
        actions minus that under sampled ones, negative where inferred actions bring dreams nearer to the truth.
    """
    if judges.lpips is None and judges.i3d is None:
        return {}
    lpips, i3d = judges.lpips and judges.lpips.to(dream.device), judges.i3d and judges.i3d.to(dream.device)
    distances, seen = dict[str, list[Tensor]](), dict[str, list[Tensor]]()
    looks = clips.count * (len(METHODS) * bool(lpips) + (len(METHODS) + 1) * bool(i3d))
    with tqdm(total=looks, desc="judging", unit=" clips", leave=False, disable=None) as progress:
        for rolled in roll_methods(dream, clips, seed):
            if lpips:
                for name, shown in rolled.methods.items():
                    distances.setdefault(name, []).append(_distances(lpips, shown, rolled.true, progress))
            if i3d:
                for name, shown in {"true": rolled.true, **rolled.methods}.items():
                    seen.setdefault(name, []).append(_kept_features(i3d, shown[:, :LONGEST], progress, judges.seen))
    report = dict[str, Any]()
    if distances:
        report["lpips"] = _lpips_report({name: torch.cat(parts) for name, parts in distances.items()})
    if seen:
        frames = min(rolled.true.shape[1], LONGEST)
        report["fvd"] = _fvd_report({name: torch.cat(parts) for name, parts in seen.items()}, frames)
    return report


def _distances(lpips: Lpips, shown: Tensor, true: Tensor, progress: tqdm) -> Tensor:
    """LPIPS of each frame: both uint8 (B, T, H, W, 3) -> (B, T) on the CPU."""
    rows = []
    for one, other in zip(shown, true, strict=True):
        with full_precision():
            rows.append(lpips(to_float(one, one.device), to_float(other, other.device)).cpu())
        progress.update()
    return torch.stack(rows)


def _kept_features(i3d: I3d, videos: Tensor, progress: tqdm, folder: Path | None) -> Tensor:
    """As `_features`, from a folder if the videos were seen before, and into it if not."""
    if folder is None:
        return _features(i3d, videos, progress)
    file = Path(folder) / f"{tensors_sha256({BACKBONES['fvd'].tensors_sha256: videos.cpu()})}.npy"
    if file.is_file():
        progress.update(len(videos))
        return torch.from_numpy(np.load(file))
    features = _features(i3d, videos, progress)
    with replacing(file) as temporary, temporary.open("wb") as stream:
        np.save(stream, features.numpy())
    return features


def _features(i3d: I3d, videos: Tensor, progress: tqdm) -> Tensor:
    """What I3D sees in each: uint8 (B, T, H, W, 3) -> (B, 400) on the CPU."""
    rows = []
    for video in videos:
        with full_precision():
            rows.append(i3d(as_input(to_float(video, video.device)[None]))[0].cpu())
        progress.update()
    return torch.stack(rows)


def _lpips_report(distances: dict[str, Tensor]) -> dict[str, Any]:
    scores = {name: table.mean().item() for name, table in distances.items()}
    return {
        "convention": "LPIPS-Alex v0.1, frames at their own resolution, mean over places",
        "weights": BACKBONES["lpips"].tensors_sha256,
        "scores": scores,
        "inferred_minus_sampled": scores["prediction"] - scores["sampled"],
        "per_step": {name: table.mean(0).tolist() for name, table in distances.items()},
    }


def _fvd_report(seen: dict[str, Tensor], frames: int) -> dict[str, Any]:
    true = seen.pop("true").numpy()
    scores = {name: frechet_distance(features.numpy(), true) for name, features in seen.items()}
    return {
        "convention": f"logits of I3D (Kinetics-400), frames resized to {SIZE} px bilinearly with half-pixel centres "
        "and no smoothing, covariances over N - 1",
        "weights": BACKBONES["fvd"].tensors_sha256,
        "clips": len(true),
        "frames": frames,
        "scores": scores,
        "inferred_minus_sampled": scores["prediction"] - scores["sampled"],
    }
