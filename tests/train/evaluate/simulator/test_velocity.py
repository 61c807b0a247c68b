"""The velocity probe on velocities that are planted in slots, and on a dream whose slots are where entities are."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from flam_env.models.protocol import Observed
from flam_train.evaluate.simulator.velocity import (
    Held,
    held_entities,
    holding_slots,
    horizontal_velocities,
    ridge_predictions,
    velocity_scores,
)

CLIPS, EACH, DIM = 20, 40, 7


def planted(noise: float = 0.0, seed: int = 0) -> Held:
    """Velocities that are linear in slots of clips, but for noise."""
    random = torch.Generator().manual_seed(seed)
    slots = torch.randn(CLIPS * EACH, DIM, generator=random) + 3
    velocities = (slots - 3) @ torch.randn(DIM, generator=random)
    velocities = velocities + noise * torch.randn(len(slots), generator=random)
    return Held(slots, velocities, torch.arange(CLIPS).repeat_interleave(EACH))


def test_velocities_that_are_linear_in_the_slot_are_told():
    scores = velocity_scores(planted())
    assert scores["r2"] == pytest.approx(1, abs=1e-3)
    assert scores["error_px"] < 0.02 * scores["speed_px"] and scores["sign_right"] > 0.99
    assert scores["entities"] == CLIPS * EACH // 4


def test_shuffled_velocities_are_not_told():
    held = planted()
    order = torch.randperm(len(held.slots), generator=torch.Generator().manual_seed(1))
    scores = velocity_scores(held._replace(velocities=held.velocities[order]))
    assert abs(scores["r2"]) < 0.1
    assert scores["sign_right"] < 0.8


def test_noise_costs_its_share_of_the_variance():
    clean = planted()
    noise = clean.velocities.std().item()
    assert velocity_scores(planted(noise))["r2"] == pytest.approx(0.5, abs=0.1)


def test_what_holds_within_a_clip_only_is_not_told():
    """Slots that name their clip, and velocities that differ by clip: single frames that are held out would flatter."""
    held = planted()
    clips = held.clips
    velocities = torch.randn(CLIPS, generator=torch.Generator().manual_seed(2))[clips]
    named = Held(torch.eye(CLIPS)[clips], velocities, clips)
    assert velocity_scores(named)["r2"] < 0.2


def test_ridge_is_that_of_the_normal_equations_in_one_dimension():
    inputs, targets = torch.tensor([[0.0], [2.0]], dtype=torch.double), torch.tensor([1.0, 5.0], dtype=torch.double)
    told = ridge_predictions(inputs, targets, torch.tensor([[1.0], [3.0]], dtype=torch.double))
    assert told[0] == pytest.approx(3) and told[1] == pytest.approx(7, rel=0.01)


def test_velocities_are_those_of_the_frames_around():
    """Things of 2 px that begin in these columns, in frames of 12; -9 is out of sight."""
    columns = np.array([[1, 2, 5, 9, 10, 7], [5, 5, -9, 8, 8, 8]]).T
    masks = np.zeros((6, 2, 3, 12), bool)
    for mask, column in zip(masks.reshape(-1, 3, 12), columns.flatten(), strict=True):
        mask[1, max(column, 0) : max(column + 2, 0)] = True
    found = horizontal_velocities(masks)
    assert found[1:3, 0].tolist() == [2.0, 3.5] and found[4, 1] == 0.0
    found[1:3, 0] = found[4, 1] = np.nan
    assert np.isnan(found).all(), "absent, at the edge, or so before or after"


def test_the_slot_of_most_of_an_entity_holds_it():
    masks = torch.zeros(3, 2, 4)
    masks[0, :, :1], masks[2, :, 1:] = 0.9, 0.6
    entities = torch.zeros(2, 2, 4, dtype=torch.bool)
    entities[0, 0, :3], entities[1, :, 0] = True, True
    assert holding_slots(masks, entities).tolist() == [2, 0]


class RowDream:
    """Two slots, each with half of the rows of a frame, that hold how fast their half moves; 8 px, 4 cells a side."""

    SIDE, CELLS = 8, 4

    def __init__(self, speeds: Tensor):
        self.speeds, self.model = speeds, self  # (B, T, 2)

    def encode(self, frames: np.ndarray) -> Tensor:
        return torch.from_numpy(frames[:, 0, 0, :1]).long()

    def observe(self, tokens: Tensor) -> Observed:
        clip, length = int(tokens[0, 0, 0]), tokens.shape[1]
        masks = torch.zeros(1, length, 2, self.CELLS, self.CELLS)
        masks[:, :, 0, :2], masks[:, :, 1, 2:] = 1, 1
        slots = self.speeds[None, clip, :length, :, None]
        return Observed(tokens, torch.cat([slots, -slots], -1), masks.flatten(-2), slots, ())


@pytest.fixture
def rows() -> SimpleNamespace:
    """Clips whose first pixel names them; the first entity is in the lower half, and the second in the upper."""
    clips, length, side = 8, 17, RowDream.SIDE
    frames = np.zeros((clips, length, side, side, 3), np.uint8)
    frames[:, :, 0, 0, 0] = np.arange(clips)[:, None]
    columns = np.random.default_rng(0).integers(1, side - 2, (clips, length, 2))
    entities = np.zeros((clips, length, side, side), np.int64)
    for number, row in ((1, 5), (2, 1)):
        for place in np.ndindex(clips, length):
            column = columns[place][number - 1]
            entities[place][row : row + 2, column : column + 2] = number
    speeds = np.zeros(columns.shape)
    speeds[:, 1:-1] = (columns[:, 2:] - columns[:, :-2]) / 2
    return SimpleNamespace(frames=frames, entities=entities, dream=RowDream(torch.from_numpy(speeds[..., ::-1].copy())))


def test_an_entity_is_told_from_the_slot_that_holds_it(rows):
    held = held_entities(rows.dream, rows.frames, rows.entities)
    assert held.slots[:, 0].tolist() == held.velocities.tolist()
    assert held.clips.bincount().tolist() == [16] * 8
    assert velocity_scores(held)["r2"] == pytest.approx(1, abs=1e-3)


def test_entities_that_are_out_of_sight_are_left_out(rows):
    rows.entities[2][rows.entities[2] == 2] = 0
    rows.entities[:, 16] = 0
    counts = held_entities(rows.dream, rows.frames, rows.entities).clips.bincount()
    assert counts.tolist() == [14, 14, 7, 14, 14, 14, 14, 14]


def test_clips_that_end_too_early_are_refused(rows):
    with pytest.raises(ValueError, match="expected clips of 17 frames or more, got 16"):
        held_entities(rows.dream, rows.frames[:, :16], rows.entities[:, :16])
