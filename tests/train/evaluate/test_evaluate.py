"""Measures against a second library and against cases with a known answer."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from flam_env.models.action_spaces import ContinuousActions
from flam_env.models.dynamics import LatentActions
from flam_env.video.frames import to_float, to_uint8
from flam_env.worlds.units import ActionUnits, UnitConversion
from flam_train.evaluate.evaluate import evaluate
from flam_train.evaluate.pixels import frame_psnr, frame_ssim
from flam_train.evaluate.report import EVALUATION, METHODS, added_to, format_report, read_report
from flam_train.evaluate.rollouts import rollout_scores
from flam_train.evaluate.steering import changed_inside_share, steering_scores
from flam_train.evaluate.tokens import token_scores
from flam_train.evaluate.wholeness import wholeness
from flam_train.store.clips import Clips, draw_clips

# --- pixel measures ---------------------------------------------------------------------------------------------


def random_images(count: int, height: int = 26, width: int = 31) -> tuple[Tensor, Tensor]:
    """Pairs of smooth images and noisy copies, float64 (B, 3, H, W) in [0, 1], noisier from pair to pair."""
    random = np.random.default_rng(5)
    rows, columns = np.mgrid[:height, :width] / 10
    waves = [np.sin(rows * a + columns * b) for a, b in random.uniform(-2, 2, (count * 3, 2))]
    true = (np.array(waves).reshape(count, 3, height, width) + 1) / 2
    noise = random.normal(size=true.shape) * np.linspace(0.01, 0.4, count)[:, None, None, None]
    return torch.from_numpy((true + noise).clip(0, 1)), torch.from_numpy(true)


def test_psnr_is_that_of_scikit_image():
    predicted, true = random_images(4)
    expected = [
        peak_signal_noise_ratio(t.numpy(), p.numpy(), data_range=1) for p, t in zip(predicted, true, strict=True)
    ]
    assert frame_psnr(predicted, true).tolist() == pytest.approx(expected, abs=1e-9)


def test_ssim_is_that_of_scikit_image_without_the_border():
    predicted, true = random_images(4)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [
        structural_similarity(t.numpy(), p.numpy(), channel_axis=0, **options)
        for p, t in zip(predicted, true, strict=True)
    ]
    assert frame_ssim(predicted, true).tolist() == pytest.approx(expected, abs=1e-9)
    assert frame_ssim(predicted.float(), true.float()).tolist() == pytest.approx(expected, abs=1e-4)


def test_pixel_measures_at_their_ends():
    black, white = torch.zeros(2, 3, 14, 17), torch.ones(2, 3, 14, 17)
    assert frame_psnr(black, white).tolist() == [0.0, 0.0]
    assert frame_psnr(white, white).tolist() == [100.0, 100.0]
    assert frame_ssim(black, white).tolist() == pytest.approx([9.999e-5] * 2, rel=1e-3)
    assert frame_ssim(white, white).tolist() == pytest.approx([1.0, 1.0])


# --- clips ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted(make_episode, make_store, tmp_path_factory):
    """A store in which the first pixel of a frame tells its episode and its time; agents take turns."""
    store = make_store(tmp_path_factory.mktemp("stores") / "counted", {}, size=6)
    for index, length in enumerate((7, 3, 12, 5, 21)):
        frames = np.zeros((length, 6, 6, 3), np.uint8)
        frames[:, 0, 0, 0], frames[:, 0, 0, 1] = index, np.arange(length)
        store.write("test", make_episode(frames, ("planner", "random")[index % 2]), name=f"episode-{index}")
    return store


def test_clips_lie_within_an_episode_and_name_their_agent(counted):
    clips = draw_clips(counted, "test", 100, 5)
    episode, time = clips.frames[:, :, 0, 0, 0].astype(int), clips.frames[:, :, 0, 0, 1].astype(int)
    assert clips.frames.shape == (clips.count, 5, 6, 6, 3) and 5 < clips.count < 100
    assert set(episode[:, 0]) == {0, 2, 3, 4}  # episode 1 is too short
    assert (episode == episode[:, :1]).all() and (np.diff(time, axis=1) == 1).all()
    assert clips.agents == tuple(("planner", "random")[i % 2] for i in episode[:, 0])
    places = list(zip(episode[:, 0], time[:, 0], strict=True))
    assert len(set(places)) == len(places)


def test_clips_are_the_same_for_the_same_seed_only(counted):
    one, same, other = (draw_clips(counted, "test", 6, 5, seed) for seed in (3, 3, 4))
    assert one.count == other.count == 6
    assert np.array_equal(one.frames, same.frames) and one.agents == same.agents
    assert not np.array_equal(one.frames, other.frames)


def test_clips_that_no_episode_holds_are_refused(counted):
    assert draw_clips(counted, "test", 100, 21).count == 1
    with pytest.raises(ValueError, match="expected an episode of 22 frames in split 'test', found none"):
        draw_clips(counted, "test", 100, 22)


# --- rollouts of worlds with a known answer ---------------------------------------------------------------------


class PixelDream:
    """A dream whose tokens are the pixels, and whose one slot acts by naming the change of each pixel.

    Args:
        oracle: whether it does what the action says, or keeps the frame.
        coarse: Recon is black instead of exact.
    """

    HEIGHT, WIDTH = 13, 11
    learns_prior = False

    def __init__(self, *, oracle: bool, coarse: bool = False):
        size = self.HEIGHT * self.WIDTH * 3
        units = ActionUnits(latent_dim=size, kept=tuple(range(size)), scale=(100.0,) * size)
        settings = SimpleNamespace(context=2)
        starts = SimpleNamespace(bank=torch.zeros(4, 1, size))
        self.oracle, self.coarse, self.device = oracle, coarse, torch.device("cpu")
        self.world = SimpleNamespace(settings=settings, units=units, starts=starts)
        self.actions = ContinuousActions(slots=1, dim=size)
        self.model = self.tokenizer = self
        self.units = UnitConversion(self.world.units)

    def encode(self, frames: np.ndarray) -> Tensor:
        return torch.from_numpy(frames).flatten(1).long()

    def decode(self, tokens: Tensor) -> Tensor:
        frames = tokens.view(len(tokens), self.HEIGHT, self.WIDTH, 3).byte()
        return to_float(frames) * (0 if self.coarse else 1)

    def observe(self, tokens: Tensor) -> SimpleNamespace:
        return SimpleNamespace(slots=tokens)

    def infer(self, observed: SimpleNamespace) -> LatentActions:
        tokens = observed.slots
        mean = (tokens[:, 1:] - tokens[:, :-1]).float()[:, :, None]
        return LatentActions(mean, torch.zeros_like(mean))

    def reset(self, context: Tensor) -> SimpleNamespace:
        return SimpleNamespace(tokens=context[:, -1])

    def step(self, state: SimpleNamespace, actions: Tensor, chance=None) -> tuple[SimpleNamespace, Tensor]:
        tokens = state.tokens
        if self.oracle:
            tokens = (tokens + self.units.to_model(actions)[:, 0].round().long()).clamp(0, 255)
        return SimpleNamespace(tokens=tokens), to_uint8(self.decode(tokens))


def drifting(clips: int, length: int) -> Clips:
    """Noise in which each frame differs from the one before by up to 90 of 255 in every channel."""
    random = np.random.default_rng(1)
    shape = clips, length, PixelDream.HEIGHT, PixelDream.WIDTH, 3
    steps = random.integers(-90, 91, shape)
    frames = np.clip(128 + np.cumsum(steps, 1), 0, 255).astype(np.uint8)
    return Clips(frames, ("planner",) * clips)


def test_a_dream_that_knows_the_answer_is_exact():
    scores = rollout_scores(PixelDream(oracle=True), drifting(3, 7))
    assert scores["prediction_psnr"].shape == (3, 5)
    assert (scores["prediction_psnr"] == 100).all() and (scores["recon_psnr"] == 100).all()
    assert scores["prediction_ssim"] == pytest.approx(np.ones((3, 5)), abs=1e-6)
    # Sampled actions are all zero here, so that dream stands still.
    assert np.array_equal(scores["sampled_psnr"], scores["copy_last_psnr"])
    assert (scores["inside_box"] == 1).all() and scores["nats"].shape == (3, 6)


def test_a_dream_that_stands_still_scores_as_copy_last():
    clips = drifting(4, 6)
    scores = rollout_scores(PixelDream(oracle=False), clips)
    for measure in ("psnr", "ssim"):
        assert np.array_equal(scores[f"prediction_{measure}"], scores[f"copy_last_{measure}"])
    last, future = clips.frames[:, 1:2] / 255, clips.frames[:, 2:] / 255
    expected = -10 * np.log10(np.square(last - future).mean((2, 3, 4)))
    assert scores["copy_last_psnr"] == pytest.approx(expected, abs=1e-3)


def test_what_the_tokenizer_loses_is_lost_by_the_prediction_and_not_by_copy_last():
    clips = drifting(3, 5)
    exact, coarse = (rollout_scores(PixelDream(oracle=True, coarse=coarse), clips) for coarse in (False, True))
    assert np.array_equal(coarse["prediction_psnr"], coarse["recon_psnr"])
    assert (coarse["recon_psnr"] < 20).all()
    assert np.array_equal(coarse["copy_last_psnr"], exact["copy_last_psnr"])


def test_actions_outside_the_box_are_clipped_as_the_environment_would():
    clips = drifting(2, 4)
    clips.frames[:, :3], clips.frames[:, 3] = 0, 255
    dream = PixelDream(oracle=True)
    dream.units.scale.fill_(50.0)
    scores = rollout_scores(dream, clips)
    # From black, 3 * 50 = 150 of the 255 that lead to white: not exact, but nearer than black.
    assert scores["prediction_psnr"][:, 1] == pytest.approx([-20 * np.log10(105 / 255)] * 2, abs=0.01)
    assert scores["inside_box"].mean() == 0.5


def test_scores_do_not_depend_on_the_batch(monkeypatch):
    whole = rollout_scores(PixelDream(oracle=False), drifting(5, 4))
    monkeypatch.setattr("flam_train.evaluate.rollouts.BATCH", 2)
    parts = rollout_scores(PixelDream(oracle=False), drifting(5, 4))
    for name in whole:
        assert parts[name] == pytest.approx(whole[name], rel=1e-6)


# --- steering ---------------------------------------------------------------------------------------------------


class MaskedDream:
    """A dream of three slots on a grid of 8 x 8 cells; slots 0 and 1 own one cell each, slot 2 owns all others.

    Args:
        effect: in pixels, the side of the square that an action paints in a cell, from its corner.
        shift: cells between the place of a slot and what its action paints, to the right.
        moves: whether a slot that acts also owns, from then on, the cell that it painted.
        background: share of slot 2 in its cells; the rest is a sink's.
    """

    SIZE, CELLS = 32, 8
    PLACES = (1, 1), (6, 3), (3, 5)

    def __init__(self, effect: int = 3, shift: int = 0, moves: bool = False, background: float = 0.5):
        units = ActionUnits(latent_dim=2, kept=(0, 1), scale=(1.0, 1.0))
        self.world = SimpleNamespace(
            settings=SimpleNamespace(context=2), units=units, starts=SimpleNamespace(bank=torch.ones(5, 3, 2))
        )
        self.effect, self.shift, self.moves, self.background = effect, shift, moves, background
        self.model = self.tokenizer = self
        self.units = UnitConversion(self.world.units)
        self.config = SimpleNamespace(image_size=self.SIZE)
        self.actions = ContinuousActions(slots=3, dim=2)

    def encode(self, frames: np.ndarray) -> Tensor:
        return torch.zeros(len(frames), 1).long()

    def observe(self, tokens: Tensor) -> SimpleNamespace:
        return SimpleNamespace(slots=tokens)

    def infer(self, observed: SimpleNamespace) -> LatentActions:
        tokens = observed.slots
        mean = torch.zeros(tokens.shape[0], tokens.shape[1] - 1, 3, 2)
        return LatentActions(mean, torch.zeros_like(mean))

    def reset(self, context: Tensor) -> SimpleNamespace:
        return self._state(torch.zeros(len(context), 3, 2))

    def step(self, state: SimpleNamespace, actions: Tensor, chance=None) -> tuple[SimpleNamespace, Tensor]:
        frames = torch.zeros(len(actions), self.SIZE, self.SIZE, 3, dtype=torch.uint8)
        for frame, action in zip(frames, actions, strict=True):
            for slot in action[:, 0].nonzero()[:, 0].tolist():
                y, x = (4 * cell for cell in self._place(slot, acted=True))
                frame[y : y + self.effect, x : x + self.effect] = 255
        return self._state(actions if self.moves else torch.zeros_like(actions)), frames

    def _place(self, slot: int, acted: bool) -> tuple[int, int]:
        row, column = self.PLACES[slot]
        return row, column + self.shift * acted

    def _state(self, actions: Tensor) -> SimpleNamespace:
        masks = torch.zeros(len(actions), 3, self.CELLS, self.CELLS)
        masks[:, 2] = self.background
        for mask, action in zip(masks, actions, strict=True):
            for slot in (0, 1):
                mask[slot, *self._place(slot, bool(action[slot, 0]))] = 1
        return SimpleNamespace(masks=masks.flatten(2))


@pytest.fixture
def blank_clips() -> Clips:
    return Clips(np.zeros((7, 3, 32, 32, 3), np.uint8), ("planner",) * 7)


@pytest.mark.parametrize("shift", [0, 1])
def test_effects_in_the_mask_or_in_the_next_cell_only_are_dense_there(blank_clips, shift):
    scores = steering_scores(MaskedDream(shift=shift), blank_clips)
    assert scores["density_ratio"] > 1e6
    assert (scores["steerable_slots"], scores["changes"]) == (3, 21)


def test_effects_everywhere_are_as_dense_inside_as_outside(blank_clips):
    dream = MaskedDream()
    dream.step = lambda state, actions: (state, actions[:, :, :1, None].sum(1, keepdim=True).expand(-1, 32, 32, 3) * 16)
    scores = steering_scores(dream, blank_clips)
    assert scores["density_ratio"] == pytest.approx(1)
    assert scores["steerable_slots"] == 3


def test_effects_beyond_the_dilated_mask_count_as_outside(blank_clips):
    scores = steering_scores(MaskedDream(shift=2), blank_clips)
    # Dilated, slots 0 and 1 own 9 cells of 16 px and slot 2 owns the frame; 9 px change by each, those of 0 and 1
    # outside.
    assert scores["density_ratio"] == pytest.approx((9 / (2 * 144 + 1024)) / (18 / (2 * (1024 - 144))))


def test_a_slot_that_moves_owns_where_it_was_and_where_it_is(blank_clips):
    assert steering_scores(MaskedDream(shift=2, moves=True), blank_clips)["density_ratio"] > 1e6


def test_cells_of_the_sink_belong_to_no_slot(blank_clips):
    scores = steering_scores(MaskedDream(background=0.4), blank_clips)
    # Slot 2 owns nothing now, and its 9 px count as outside; those of slots 0 and 1 lie in their own.
    assert scores["density_ratio"] == pytest.approx((18 / (2 * 144)) / (9 / (2 * (1024 - 144) + 1024)))


@pytest.mark.parametrize("effect, steerable", [(0, 0), (2, 0), (3, 3)])
def test_actions_without_a_visible_effect_steer_nothing(blank_clips, effect, steerable):
    scores = steering_scores(MaskedDream(effect=effect), blank_clips)
    assert scores["steerable_slots"] == steerable
    assert (scores["density_ratio"] == 0) == (effect == 0)


@pytest.mark.parametrize(
    "settings, share",
    [
        ({}, 1),
        ({"shift": 1}, 1 / 3),  # slots 0 and 1 paint the next cell, which is of slot 2, as is what slot 2 paints
        ({"shift": 1, "moves": True}, 1),
        ({"background": 0.4}, 2 / 3),  # what slot 2 paints is the sink's
    ],
)
def test_changed_pixels_lie_in_the_mask_that_is_not_dilated(blank_clips, settings, share):
    assert changed_inside_share(MaskedDream(**settings), blank_clips) == pytest.approx(share)


def test_where_a_slot_would_have_gone_is_its_own(blank_clips):
    dream = MaskedDream(shift=1, moves=True)
    step = dream.step
    dream.step = lambda state, actions: step(state, 1 - actions)  # who acts stays
    assert changed_inside_share(dream, blank_clips) == 1


def test_where_nothing_changes_no_share_is_inside(blank_clips):
    assert np.isnan(changed_inside_share(MaskedDream(effect=0), blank_clips))


# --- tokens -----------------------------------------------------------------------------------------------------


def token_dream(tokens: dict[int, np.ndarray] | None = None) -> SimpleNamespace:
    """A dream of 2-px patches whose tokens are given for each clip, or the sum of the pixels of a patch."""
    config, quantizer = SimpleNamespace(patch_size=2), SimpleNamespace(size=40_000)

    def encode(frames: np.ndarray) -> Tensor:
        if tokens is not None:
            return torch.from_numpy(tokens[int(frames[0, 0, 0, 0])])
        patches = frames.reshape(len(frames), 2, 2, 3, 2, 3).astype(int).sum((2, 4, 5))
        return torch.from_numpy(patches.reshape(len(frames), 6))

    return SimpleNamespace(tokenizer=SimpleNamespace(config=config, quantizer=quantizer), encode=encode)


def test_tokens_that_follow_pixels_do_not_churn():
    frames = np.random.default_rng(2).integers(0, 2, (3, 9, 4, 6, 3)).astype(np.uint8)
    frames[:, :, :2] = frames[:, :1, :2]  # the upper three patches stand still
    scores = token_scores(token_dream(), Clips(frames, ("planner",) * 3))
    assert scores["token_churn"] == 0
    assert 0 < scores["tokens_changed"] <= 0.5


def test_churn_of_a_case_counted_by_hand():
    frames = np.zeros((2, 3, 4, 6, 3), np.uint8)
    frames[1, :, 0, 0, 0] = 1  # tells the clips apart
    frames[0, 1, 0, 2, 1] = 9  # patch 1 changes in both transitions of clip 0
    frames[1, 2, 3, 5, 2] = 9  # patch 5 changes in the second transition of clip 1
    tokens = {
        # moved and changed: patch 1 once; still and changed: patch 0 once, patch 4 twice
        0: np.array([[7, 7, 7, 7, 3, 7], [8, 5, 7, 7, 2, 7], [8, 5, 7, 7, 3, 7]]),
        # moved and not changed: patch 5; still and changed: none
        1: np.array([[7, 7, 7, 7, 7, 7]] * 3),
    }
    scores = token_scores(token_dream(tokens), Clips(frames, ("planner", "random")))
    assert scores["token_churn"] == 3 / 21  # of 24 patches in transitions, 3 move
    assert scores["tokens_changed"] == 4 / 24
    assert scores["tokens_used"] == 5


# --- wholeness of long dreams -----------------------------------------------------------------------------------


def blocks(count: int, height: int = 64, width: int = 48) -> Tensor:
    """Frames uint8 (count, height, width, 3) of blocks of 4 x 4 pixels, each in a colour of its own."""
    colours = torch.randint(200, (count, height // 4, width // 4, 3), generator=torch.Generator().manual_seed(3))
    return colours.repeat_interleave(4, 1).repeat_interleave(4, 2).byte()


def test_frames_that_are_real_are_whole():
    real = blocks(7)
    whole = wholeness(real[2:5], real)
    assert (whole.nearest_psnr > 60).all()
    assert whole.filled.tolist() == [1.0] * 3


def test_a_frame_that_is_everywhere_as_far_from_the_only_real_one_has_that_psnr():
    real = blocks(1)
    assert wholeness(real + 30, real).nearest_psnr.item() == pytest.approx(-20 * np.log10(30 / 255), abs=0.1)


def test_frames_put_together_from_two_are_less_whole():
    real = blocks(8)
    torn = real[:3].clone()
    torn[:, :, 20:] = real[3:6, :, 20:]
    assert (wholeness(torn, real).nearest_psnr < wholeness(real[:3], real).nearest_psnr - 10).all()


def test_what_fades_fills_fewer_windows_and_nothing_at_all_is_neither_whole_nor_torn():
    frames = blocks(3)
    frames[0] = 0
    frames[1, 32:] = 0
    whole = wholeness(frames, frames[1:])
    assert whole.nearest_psnr[0].isnan() and (whole.nearest_psnr[1:] > 60).all()
    assert whole.filled[0] == 0 < whole.filled[1] < whole.filled[2]


# --- the report -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(store, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("reports") / "report.json"
    return evaluate(str(trained), store.root, clips=11, horizon=13, seed=2, out=path), path


def test_the_report_is_written_as_it_is_returned(report):
    returned, path = report
    assert read_report(path) == returned == json.loads(path.read_text())
    assert (returned["clips"], returned["horizon"], returned["context"], returned["size"]) == (11, 13, 2, 32)


def test_the_rows_of_kinds_and_steps_have_the_mean_of_all(report):
    returned, _ = report
    assert list(returned["scores"]) == ["all", "planner", "random"]
    for method in METHODS:
        for measure in (f"{method}_psnr", f"{method}_ssim"):
            total, planner, chance = (returned["scores"][kind][measure] for kind in ("all", "planner", "random"))
            assert len(returned["per_step"][measure]) == 13
            assert np.mean(returned["per_step"][measure]) == pytest.approx(total, rel=1e-5)
            if abs(planner - chance) > 1e-3:
                share = (total - chance) / (planner - chance)
                assert share * 11 == pytest.approx(round(share * 11), abs=0.02) and 0 < share < 1


def test_the_measures_of_a_report_follow_from_its_scores(report):
    returned, _ = report
    scores, measures = returned["scores"]["all"], returned["measures"]
    assert measures["gap_to_recon_db"] == pytest.approx(scores["recon_psnr"] - scores["prediction_psnr"], abs=1e-4)
    gain = scores["prediction_psnr"] - scores["copy_last_psnr"]
    assert measures["gain_over_copy_last_db"] == pytest.approx(gain, abs=1e-4) and gain > 3
    assert measures["nats_per_frame"] > 1 and measures["action_dimensions"] <= 5
    assert 0.99 <= measures["labels_inside_box"] <= 1
    assert measures["token_churn"] == 0  # a patch tokenizer sees nothing but the patch


def test_a_report_prints_every_number_it_has(report):
    returned, _ = report
    table = format_report(returned)
    for method, title in METHODS.items():
        numbers = " | ".join(f"{returned['scores'][kind][f'{method}_psnr']:.2f}" for kind in returned["scores"])
        assert f"| {title} | {numbers} |" in table
    assert "| 13 | " in table and "| 14 | " not in table
    dreams = returned["dreams"]
    assert f"| real | {dreams['real_nearest_psnr']:.2f} | " in table
    for step, nearest in zip(dreams["step"], dreams["nearest_psnr"], strict=True):
        assert f"| {step} | {'-' if nearest is None else f'{nearest:.2f}'} | " in table
    assert dreams["step"][-1] == 100
    assert all(name.replace("_", " ") in table for name in returned["measures"])


def test_dreams_that_show_nothing_look_like_nothing_and_reports_are_strict_json(report):
    returned, path = report
    emptied = returned | {"dreams": returned["dreams"] | {"nearest_psnr": [None] * 9, "filled": [0.0] * 9}}
    assert "| 100 | - | 0.0% |" in format_report(emptied)
    for nearest, filled in zip(returned["dreams"]["nearest_psnr"], returned["dreams"]["filled"], strict=True):
        assert (nearest is None) == (filled == 0)
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == returned


def test_the_same_seed_gives_the_same_report(report, store, trained, tmp_path):
    returned, _ = report
    again = evaluate(str(trained), store.root, clips=11, horizon=13, seed=2, out=tmp_path / "again.json")
    other = evaluate(str(trained), store.root, clips=11, horizon=13, seed=3, out=tmp_path / "other.json")
    assert again == returned and other["scores"] != returned["scores"]


def test_a_store_of_another_pace_is_warned_of(fast, trained, tmp_path):
    with (
        pytest.warns(UserWarning, match="has 30 frames a second and the videos of this world had 11"),
        pytest.raises(ValueError, match="expected an episode of"),
    ):
        evaluate(str(trained), fast.root, out=tmp_path / "report.json")


def test_a_longer_context_is_asked_of_the_same_world(report, store, trained, tmp_path):
    longer = evaluate(
        str(trained),
        store.root,
        metrics=("pixels", "rate"),
        context=6,
        clips=11,
        horizon=4,
        out=tmp_path / "longer.json",
    )
    assert longer["context"] == 6 and longer["world"] == report[0]["world"]
    assert len(longer["per_step"]["prediction_psnr"]) == len(longer["rate"]["posterior_sampled_psnr_per_step"]) == 4
    for wrong in (0, 8):
        with pytest.raises(ValueError, match=f"expected a context of 1 to 7 frames, .* remembers, got {wrong}"):
            evaluate(str(trained), store.root, context=wrong, out=tmp_path / "wrong.json")
    assert not (tmp_path / "wrong.json").exists()


def test_the_rate_of_a_report_is_of_the_nats_it_tells(report):
    returned, _ = report
    rate, measures = returned["rate"], returned["measures"]
    assert rate["nats"] == pytest.approx(sum(rate["by_slot"]), rel=1e-5) and len(rate["by_slot"]) == 3
    assert rate["nats"] == pytest.approx(rate["nats_from_no_knowledge"], rel=1e-5), "this world has no prior of its own"
    assert rate["nats"] == pytest.approx(measures["nats_per_frame"], rel=0.2)
    table = format_report(returned)
    assert (
        f"| all slots | {rate['nats']:.2f} |" in table
        and f"| all steps | {rate['posterior_sampled_psnr']:.2f} |" in table
    )


def test_evaluating_other_sizes_or_nothing_is_refused(make_store, store, trained, tmp_path):
    smaller = make_store(tmp_path / "smaller", {"test": (1, 21)}, size=24)
    with pytest.raises(ValueError, match="expected frames of 32 px, the world's size, got 24 px"):
        evaluate(str(trained), smaller.root, out=tmp_path / "report.json")
    with pytest.raises(ValueError, match="expected an episode of 39 frames"):
        evaluate(str(trained), store.root, horizon=37, out=tmp_path / "report.json")
    for wrong in ({"clips": 0}, {"horizon": 0}):
        with pytest.raises(ValueError, match="expected clips >= 1 and horizon >= 1, got "):
            evaluate(str(trained), store.root, out=tmp_path / "report.json", **wrong)
    assert not (tmp_path / "report.json").exists()


def test_single_metrics_are_added_to_the_report_that_is_there(report, store, trained, tmp_path):
    same = {"clips": 11, "horizon": 13, "seed": 2, "out": tmp_path / "report.json"}
    alone = evaluate(str(trained), store.root, metrics=("pixels",), **same)
    assert "dreams" not in alone and "rate" not in alone
    whole = evaluate(str(trained), store.root, metrics=("dreams", "rate"), **same)
    assert whole == report[0] == read_report(tmp_path / "report.json")


def test_single_metrics_are_not_added_to_the_report_of_another_evaluation(report, store, trained, tmp_path):
    path = shutil.copy(report[1], tmp_path)
    for change in ({"seed": 3}, {"clips": 10}, {"split": "val"}, {"context": 3}):
        asked = {"clips": 11, "horizon": 13, "seed": 2, "out": Path(path)} | change
        with pytest.raises(ValueError, match=rf"got a report that differs in .*{next(iter(change))} .*with --out"):
            evaluate(str(trained), store.root, metrics=("pixels",), **asked)
    assert read_report(Path(path)) == report[0]
    evaluate(str(trained), store.root, clips=2, horizon=3, out=Path(path))
    assert read_report(Path(path))["clips"] == 2, "scoring everything makes a new report"


def test_groups_of_factorization_come_together(tmp_path):
    facts = {part: 1 for part in EVALUATION}
    before = facts | {"factorization": {"dci": {"disentanglement": 0.9}, "actions": {"accuracy": 0.1}}}
    (tmp_path / "report.json").write_text(json.dumps(before))
    both = added_to(tmp_path / "report.json", facts | {"factorization": {"actions": {"accuracy": 0.5}}})
    assert both["factorization"] == {"dci": {"disentanglement": 0.9}, "actions": {"accuracy": 0.5}}


def test_a_report_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a report at .*flam-train evaluate"):
        read_report(tmp_path / "report.json")
