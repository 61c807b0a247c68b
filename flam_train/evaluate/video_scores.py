"""The measures of any video: predicted pixels, windows of long dreams, the rate of latent actions."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from flam_env.dream.dream import Dream
from flam_train.evaluate.rollouts import rollout_scores
from flam_train.evaluate.simulator.rate import rate_scores
from flam_train.evaluate.steering import steering_scores
from flam_train.evaluate.tokens import token_scores
from flam_train.evaluate.wholeness import dream_scores
from flam_train.store.clips import Clips

FEW_CLIPS = 64  # for steering and for long dreams

OfAnyVideo = Literal["pixels", "dreams", "rate"]


def video_scores(dream: Dream, clips: Clips, metrics: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """The parts of a report that are asked for.

    Args:
        dream: of the world.
        clips: of the context and the frames that are predicted.
        metrics: what is asked for; those of others than any video are left out.
        seed: of sampled actions.

    Returns:
        For pixels scores, per_step and measures; dreams, as `dream_scores`; rate, as `rate_scores`.
    """
    every = slice(None, None, max(clips.count // FEW_CLIPS, 1))
    few, report = Clips(clips.frames[every], clips.agents[every]), dict[str, Any]()
    if "pixels" in metrics:
        report |= _pixel_scores(dream, clips, few, seed)
    if "dreams" in metrics:
        report["dreams"] = dream_scores(dream, few, seed)
    if "rate" in metrics:
        report["rate"] = rate_scores(dream, clips, seed)
    return report


def _pixel_scores(dream: Dream, clips: Clips, few: Clips, seed: int) -> dict:
    table = rollout_scores(dream, clips, seed)
    pixels = {name: value for name, value in table.items() if name.endswith(("_psnr", "_ssim"))}
    agents = np.array(clips.agents)
    rows = {"all": agents == agents} | {kind: agents == kind for kind in sorted(set(clips.agents))}
    measures = {
        "gap_to_recon_db": table["recon_psnr"].mean() - table["prediction_psnr"].mean(),
        "gain_over_copy_last_db": table["prediction_psnr"].mean() - table["copy_last_psnr"].mean(),
        "inferred_minus_sampled_db": table["prediction_psnr"].mean() - table["sampled_psnr"].mean(),
        "nats_per_frame": table["nats"].mean(),
        "nats_lost_by_units": table["nats_lost"].mean(),
        "labels_inside_box": table["inside_box"].mean(),
    }
    if dream.world.units is not None:
        measures["action_dimensions"] = dream.world.units.dim
    if dream.model.actions.slots > 1:
        measures |= {f"steering_{name}": value for name, value in steering_scores(dream, few, seed).items()}
    measures |= token_scores(dream, clips)
    return {
        "scores": {kind: {n: float(v[chosen].mean()) for n, v in pixels.items()} for kind, chosen in rows.items()},
        "per_step": {name: value.mean(0).tolist() for name, value in pixels.items()},
        "measures": {name: float(value) for name, value in measures.items()},
    }
