"""What LPIPS and FVD are asked about, how their answers are told, and that nothing is told without their weights."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.backends import cudnn, mkldnn

from flam_train.evaluate import evaluate as evaluation
from flam_train.evaluate.evaluate import evaluate
from flam_train.evaluate.perceptual import scores
from flam_train.evaluate.perceptual.backbones import BACKBONES, tensors_sha256
from flam_train.evaluate.perceptual.lpips import Lpips
from flam_train.evaluate.perceptual.precision import full_precision
from flam_train.evaluate.perceptual.scores import Judges, load_judges, perceptual_scores
from flam_train.evaluate.report import METHODS, format_report
from flam_train.store.store import EpisodeStore

CLIPS, STEPS, HEIGHT, WIDTH = 3, 17, 4, 6


class MeanColour(nn.Module):
    """In the place of a network: the mean colour of videos, or the difference of pictures' mean colours."""

    def __init__(self):
        super().__init__()
        self.shapes, self.precise = set(), set()

    def forward(self, shown: Tensor, true: Tensor | None = None) -> Tensor:
        self.shapes.add(tuple(shown.shape))
        self.precise.add(cudnn.conv.fp32_precision == "ieee" and not torch.is_autocast_enabled("cpu"))
        if true is None:
            return shown.mean((2, 3, 4))
        return (shown.mean((1, 2, 3)) - true.mean((1, 2, 3))).abs()


@pytest.fixture
def rolled(monkeypatch):
    """Rollouts in two batches: grey clips, each step brighter; predictions are exact, copies are of step 0."""
    brightness = torch.arange(CLIPS)[:, None] * 20 + torch.arange(STEPS) * 5
    true = brightness[..., None, None, None].expand(-1, -1, HEIGHT, WIDTH, 3).byte()
    methods = {"prediction": true, "sampled": true + 30, "recon": true + 10, "copy_last": true[:, :1].expand_as(true)}
    batches = [
        SimpleNamespace(true=true[rows], methods={name: frames[rows] for name, frames in methods.items()})
        for rows in (slice(0, 2), slice(2, None))
    ]
    monkeypatch.setattr(scores, "roll_methods", lambda dream, clips, seed: iter(batches))
    return SimpleNamespace(dream=SimpleNamespace(device="cpu"), clips=SimpleNamespace(count=CLIPS))


def test_distances_are_told_by_step_and_as_their_mean(rolled):
    judge = MeanColour()
    lpips = perceptual_scores(rolled.dream, rolled.clips, Judges(judge, None))["lpips"]
    assert judge.shapes == {(STEPS, 3, HEIGHT, WIDTH)} and judge.precise == {True}
    assert lpips["scores"]["prediction"] == 0 and lpips["per_step"]["prediction"] == [0] * STEPS
    assert lpips["per_step"]["sampled"] == pytest.approx([30 / 255] * STEPS, rel=1e-4)
    assert lpips["inferred_minus_sampled"] == pytest.approx(-30 / 255, rel=1e-4)
    assert lpips["per_step"]["copy_last"] == pytest.approx([5 * step / 255 for step in range(STEPS)], abs=1e-6)
    assert lpips["scores"]["copy_last"] == pytest.approx(np.mean(lpips["per_step"]["copy_last"]))
    assert set(lpips["scores"]) == set(lpips["per_step"]) == set(METHODS)


def test_fvd_is_that_of_the_first_16_frames_of_all_clips(rolled):
    judge = MeanColour()
    fvd = perceptual_scores(rolled.dream, rolled.clips, Judges(None, judge))["fvd"]
    assert judge.shapes == {(1, 3, 16, 224, 224)} and judge.precise == {True}
    assert (fvd["clips"], fvd["frames"]) == (CLIPS, 16)
    assert fvd["scores"]["prediction"] == pytest.approx(0, abs=1e-6)
    assert fvd["scores"]["sampled"] == pytest.approx(3 * (2 * 30 / 255) ** 2, rel=1e-3)  # means shift, spreads stay
    assert fvd["scores"]["copy_last"] == pytest.approx(3 * (2 * 5 * 7.5 / 255) ** 2, rel=1e-3)
    assert fvd["inferred_minus_sampled"] == pytest.approx(-fvd["scores"]["sampled"], rel=1e-3)


def test_what_the_network_of_fvd_saw_is_kept_and_not_looked_at_again(rolled, tmp_path):
    first, again = MeanColour(), MeanColour()
    reports = [
        perceptual_scores(rolled.dream, rolled.clips, Judges(None, judge, tmp_path / "seen"))["fvd"]
        for judge in (first, again)
    ]
    assert reports[0] == reports[1]
    assert first.shapes and not again.shapes
    assert len(list((tmp_path / "seen").iterdir())) == 2 * 4  # batches, and videos: predictions are the true ones


def test_a_report_prints_both_under_names_that_say_what_they_are(rolled):
    report = {"clips": CLIPS} | perceptual_scores(rolled.dream, rolled.clips, Judges(MeanColour(), MeanColour()))
    table = format_report(report)
    assert f"| LPIPS-Alex v0.1, frames at their own resolution, mean over places ({CLIPS} clips) |" in table
    assert (
        f"| FVD ({CLIPS} clips of 16 frames): logits of I3D (Kinetics-400), frames resized to 224 px bilinearly"
        in table
    )
    for method, title in METHODS.items():
        assert f"| {title} | {report['lpips']['scores'][method]:.4f} |" in table
        assert f"| {title} | {report['fvd']['scores'][method]:.2f} |" in table
    last = " | ".join(f"{report['lpips']['per_step'][method][-1]:.4f}" for method in METHODS)
    assert f"| {STEPS} | {last} |" in table
    assert report["lpips"]["weights"] == BACKBONES["lpips"].tensors_sha256
    assert report["fvd"]["weights"] == BACKBONES["fvd"].tensors_sha256


def test_what_is_not_asked_for_is_absent():
    assert load_judges(("pixels", "rate"), size=8, horizon=1, clips=1) == Judges(None, None)
    assert perceptual_scores(None, None, Judges(None, None)) == {}


@pytest.mark.parametrize("before", [False, True])
def test_precision_is_full_inside_and_as_before_after(before, monkeypatch):
    monkeypatch.setattr(cudnn, "allow_tf32", before)
    settings = cudnn.conv.fp32_precision, mkldnn.conv.fp32_precision
    assert (settings[0] == "tf32") == before
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(OSError, match="in the middle"), full_precision():
            assert cudnn.conv.fp32_precision == mkldnn.conv.fp32_precision == "ieee"
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
            raise OSError("in the middle")
        assert torch.is_autocast_enabled("cpu")
    assert (cudnn.conv.fp32_precision, mkldnn.conv.fp32_precision) == settings and cudnn.allow_tf32 is before


@pytest.mark.parametrize(
    "given, message",
    [
        ({"metrics": ("lpips",), "size": 30}, "lpips: expected frames of at least 31 px, got 30 px"),
        ({"metrics": ("fvd",), "horizon": 8}, "fvd: expected a horizon of at least 9 frames, got 8"),
        ({"metrics": ("fvd",), "clips": 1}, "fvd: expected at least 2 clips, got 1"),
    ],
)
def test_what_the_networks_cannot_look_at_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        load_judges(**{"size": 64, "horizon": 16, "clips": 256} | given)


@pytest.fixture
def noise(make_episode, tmp_path) -> EpisodeStore:
    """Episodes of noise of 48 px, the size of the tiny world."""
    store, random = (
        EpisodeStore.create(tmp_path / "noise", source="noise", size=48, settings={}),
        np.random.default_rng(8),
    )
    for level in range(3):
        store.write("test", make_episode(random.integers(0, 256, (8, 48, 48, 3)).astype(np.uint8), level_seed=level))
    return store


@pytest.mark.parametrize("metric", BACKBONES)
def test_missing_weights_are_missed_before_anything_is_rolled(metric, noise, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("FLAM_METRICS", str(tmp_path))
    monkeypatch.setattr(evaluation, "load_world", None)
    with pytest.raises(FileNotFoundError, match=f"{metric.upper()} needs the weights .*`flam-train fetch-metrics`"):
        evaluate(str(tiny_checkpoint), noise.root, metrics=(metric,), out=tmp_path / "report.json")
    assert not (tmp_path / "report.json").exists()


def test_lpips_is_added_to_the_report_of_a_world(noise, tiny_checkpoint, tmp_path, monkeypatch):
    weights = {name: torch.rand(value.shape) / value[0].numel() for name, value in Lpips().state_dict().items()}
    save_file(weights, tmp_path / BACKBONES["lpips"].file)
    stand_in = replace(BACKBONES["lpips"], tensors_sha256=tensors_sha256(weights))
    monkeypatch.setitem(BACKBONES, "lpips", stand_in)
    monkeypatch.setenv("FLAM_METRICS", str(tmp_path))
    path, options = tmp_path / "report.json", {"clips": 2, "horizon": 6}
    before = evaluate(str(tiny_checkpoint), noise.root, metrics=("rate",), out=path, **options)
    report = evaluate(str(tiny_checkpoint), noise.root, metrics=("lpips",), out=path, **options)
    assert report["rate"] == before["rate"] and "lpips" not in before and "fvd" not in report
    assert report["lpips"]["weights"] == stand_in.tensors_sha256
    copied = report["lpips"]["per_step"]["copy_last"]
    assert len(copied) == 6 and all(value > 0 for value in copied)
