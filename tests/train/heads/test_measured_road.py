"""What is usual in real video is measured, and dreams that are unlike it are flagged."""

from dataclasses import dataclass

import pytest
import torch
from sketches import Codes, SceneModel, SketchConfig, StillModel
from torch.nn.functional import one_hot

from flam_env import Dream, load_world
from flam_env.models.action_spaces import CodebookActions
from flam_env.models.protocol import Observed, WorldModel
from flam_env.models.target import entropy
from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.checkpoint import check_storable
from flam_env.worlds.world import WorldSettings
from flam_train.heads.road import measure_road, real_signs, running_means
from flam_train.phases.export import bare_world

PATCHES, TOKENS, FRAMES = 16, 9, 34
TOKENIZER = TokenizerConfig(image_size=16, patch_size=4, width=8, blocks=1, levels=(3, 3))


@dataclass(frozen=True)
class RingConfig:
    """Nothing is to be learned."""


class Ring(WorldModel):
    """Knows all of a ring of patches, 0 but for a few, that turns by one or two patches in every step.

    fault: "freezes", "frays", "empties" or "wavers", which is what dreams do then.
    """

    def __init__(self):
        super().__init__()
        self.config, self.actions = RingConfig(), CodebookActions(slots=1, codes=2)
        self.slots, self.slot_dim, self.patches, self.vocabulary, self.window = 1, 1, PATCHES, TOKENS, 4
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.fault = ""

    def observe(self, tokens, history=None):
        slots, masks = (torch.ones(*tokens.shape[:2], 1, 1) for _ in range(2))
        return Observed(tokens, slots, masks, tokens, ())

    def empty_history(self, batch, device):
        return ()

    def infer(self, observed):
        before, after = observed.tokens[:, :-1], observed.tokens[:, 1:]
        fits = torch.stack([(before.roll(by, -1) == after).float().mean(-1) for by in (1, 2)], -1)
        return Codes(99 * fits[:, :, None])

    def step(self, observed, actions):
        tokens = observed.tokens
        after = torch.where(actions == 0, tokens.roll(1, -1), tokens.roll(2, -1))
        if self.fault == "freezes":
            after = tokens
        broken = torch.rand(after.shape) < 0.1
        if self.fault == "frays":
            after = torch.where(broken, torch.randint(TOKENS, after.shape), after)
        if self.fault == "empties":
            after = torch.where(broken, 0, after)
        return (2 if self.fault == "wavers" else 5) * one_hot(after, TOKENS).float()

    def next_tokens(self, output):
        return output.argmax(-1)

    def doubt(self, output):
        return entropy("token", output)


def ring_clips(count: int, frames: int, seed: int) -> torch.Tensor:
    """Real video of a ring: tokens (B, T, N) of one to six things."""
    generator = torch.Generator().manual_seed(seed)
    now = torch.zeros(count, PATCHES, dtype=torch.long)
    for row in now:
        things = int(torch.randint(3, 7, (), generator=generator))
        row[torch.randperm(PATCHES, generator=generator)[:things]] = torch.randint(1, 4, (things,), generator=generator)
    clips = [now]
    for _ in range(frames - 1):
        by = torch.randint(2, (count, 1), generator=generator)
        clips.append(torch.where(by == 0, clips[-1].roll(1, -1), clips[-1].roll(2, -1)))
    return torch.stack(clips, 1)


@pytest.fixture(scope="module")
def road():
    return measure_road(Ring(), ring_clips(256, FRAMES, seed=0))


def dreamt(road, fault: str, steps: int = 48) -> torch.Tensor:
    """What is said of each step of 64 dreams, (64, steps)."""
    torch.manual_seed(0)
    world = bare_world(Tokenizer(TOKENIZER).eval(), Ring(), WorldSettings(source="ring"))
    world.heads["road"] = road
    world.model.fault = fault
    dream, said = Dream(world), []
    state = dream.reset(ring_clips(64, 2, seed=1))
    for _ in range(steps):
        state, _ = dream.step(state, torch.randint(2, (64, 1)))
        said.append(dream.off_road(state))
    return torch.stack(said, 1)


# --- what is measured -------------------------------------------------------------------------------------------


def test_what_is_said_of_real_video_is_spread_evenly(road):
    clips = ring_clips(256, FRAMES, seed=0)
    means = running_means(road, real_signs(road, Ring(), clips))[:, road.config.memory :].flatten(0, 1)
    said = road.left(means).sort().values
    assert (said - torch.linspace(0, 1, len(said))).abs().max() < 0.02
    assert (said > 0.99).float().mean() == pytest.approx(0.01, abs=0.003)
    assert means.mean(0) == pytest.approx(road.usual, abs=0.01)
    white = (means - road.usual) @ road.whitening.T
    assert torch.cov(white.T)[1:, 1:] == pytest.approx(torch.eye(2), abs=0.05)  # doubt never varies here


def test_rare_is_what_little_of_the_video_shows(road):
    clips = ring_clips(256, FRAMES, seed=0)
    shares = torch.bincount(clips.flatten(), minlength=TOKENS) / clips.numel()
    assert road.rarity[:4] == pytest.approx(-shares[:4].log(), abs=0.01)
    assert (road.rarity[4:] > road.rarity[:4].max() + 3).all() and road.rarity.isfinite().all()


def test_what_was_measured_is_what_a_file_holds(road):
    check_storable(road, "road")
    assert (road.distances.diff() >= 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_video_that_stands_still_is_on_its_road(seed):
    """As near as it was is near enough, however a file rounds that."""
    clips = ring_clips(1, 1, seed).expand(5, 20, -1)
    still = measure_road(Ring(), clips)
    means = running_means(still, real_signs(still, Ring(), clips[:1, :1].expand(1, 200, -1)))
    assert (still.left(means) <= 0.99).all()


def test_it_does_not_matter_whether_the_model_is_training():
    torch.manual_seed(0)
    model = SceneModel(SketchConfig(grid=4, levels=(3, 3)))
    clips = ring_clips(9, 20, seed=0)
    one, other = measure_road(model.train(), clips), measure_road(model.eval(), clips)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_model_without_actions_and_without_doubt_has_a_road():
    torch.manual_seed(0)
    model = StillModel(SketchConfig(grid=4, levels=(3, 3)))
    road = measure_road(model, ring_clips(9, 20, seed=0))
    assert all(tensor.isfinite().all() for tensor in road.state_dict().values())


def test_clips_that_are_too_short_are_said_to_be():
    shortest = measure_road(Ring(), ring_clips(1, 10, seed=0))
    assert all(tensor.isfinite().all() for tensor in shortest.state_dict().values())
    with pytest.raises(ValueError, match=r"expected clips of at least 10 frames to measure on, got 9; take longer"):
        measure_road(Ring(), ring_clips(3, 9, seed=0))


@torch.inference_mode()
def test_real_video_is_followed_as_if_every_step_of_it_had_been_dreamt(trained):
    """A long clip at once is what a dream goes through, one frame after the other."""
    world = load_world(trained)
    model, clips = world.model, world.starts.tokens[:3]
    at_once, frame = real_signs(world.road, model, clips), model.observe(clips[:, :1])
    for step in range(clips.shape[1] - 1):
        after = model.observe(clips[:, step + 1 : step + 2], frame.history)
        action = model.infer(frame.followed_by(after)).mode
        doubt = model.doubt(model.step(frame, action))[:, 0]
        torch.testing.assert_close(
            at_once[:, step], world.road.signs(doubt, clips[:, step], clips[:, step + 1]), atol=1e-3, rtol=1e-3
        )
        frame = after


# --- dreams that are unlike it ----------------------------------------------------------------------------------


def test_dreams_like_real_video_stay_on_the_road(road):
    said = dreamt(road, "")
    assert (said > 0.99).float().mean() < 0.03
    assert said[:, 16:].mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("fault", ["freezes", "frays", "empties", "wavers"])
def test_dreams_that_go_wrong_are_flagged_and_stay_flagged(road, fault):
    assert (dreamt(road, fault)[:, 24:] > 0.99).float().mean() > 0.95


# --- worlds that are trained ------------------------------------------------------------------------------------


def test_a_world_that_was_trained_has_a_road(trained):
    world = load_world(trained)
    assert set(world.heads) == {"road"} and world.road.config.vocabulary == world.model.vocabulary
    said = world.road.left(running_means(world.road, real_signs(world.road, world.model, world.starts.tokens)))
    assert (said > 0.99).float().mean() < 0.05 and 0.3 < said[:, 12:].mean() < 0.7
