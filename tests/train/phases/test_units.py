"""Which latent dimensions a world keeps, and in what units."""

import pytest
import torch

from flam_env.models.dynamics import LatentActions
from flam_env.worlds.units import UnitConversion
from flam_train.phases.export import LOST_NATS, kept_dimensions, measured_units

SLOTS, DIM = 16, 7


def deciding(slot: int = 3, dimensions: tuple[int, ...] = (1, 4, 5)) -> LatentActions:
    """A posterior of 10,000 frames in which one slot of 16 decides, by three dimensions, and little else is said."""
    random = torch.Generator().manual_seed(0)
    mean = 1e-3 * torch.randn(100, 100, SLOTS, DIM, generator=random)
    log_variance = torch.zeros(100, 100, SLOTS, DIM)
    for dimension in dimensions:
        mean[..., slot, dimension] = torch.randn(100, 100, generator=random)
        log_variance[..., slot, dimension] = -1.5
    return LatentActions(mean, log_variance)


def test_dimensions_by_which_one_slot_decides_are_kept():
    units = measured_units(deciding())
    assert units.kept == (1, 4, 5)
    assert deciding().kl.flatten(0, -2).mean(0).max() < 0.1, "on the average over slots hardly anything is said"


def test_at_most_one_percent_of_the_information_is_lost():
    nats = torch.rand(SLOTS, DIM, generator=torch.Generator().manual_seed(1)) * torch.logspace(0, -5, DIM)
    kept = kept_dimensions(nats)
    assert 1 - nats[:, list(kept)].sum() / nats.sum() <= LOST_NATS
    weakest = min(kept, key=lambda dimension: nats[:, dimension].amax())
    fewer = [dimension for dimension in kept if dimension != weakest]
    assert 1 - nats[:, fewer].sum() / nats.sum() > LOST_NATS, "one fewer would lose more"


def test_a_collapsed_world_keeps_everything():
    assert kept_dimensions(torch.zeros(SLOTS, DIM)) == tuple(range(DIM))


def test_the_box_holds_what_the_deciding_slot_does():
    posterior = deciding()
    inside = UnitConversion(measured_units(posterior)).from_model(posterior.mean)[..., 3, :].abs() <= 3
    assert inside.float().mean() >= 0.999


def test_units_and_back():
    units = measured_units(deciding())
    convert = UnitConversion(units)
    actions = torch.randn(4, SLOTS, 3)
    latent = convert.to_model(actions)
    assert latent.shape == (4, SLOTS, DIM) and not latent[..., [0, 2, 3, 6]].any()
    torch.testing.assert_close(convert.from_model(latent), actions)
    torch.testing.assert_close(latent[..., 4], actions[..., 1] * units.scale[1])


def test_codes_are_the_same_inside_and_outside():
    codes = torch.randint(9, (4, 2))
    assert torch.equal(UnitConversion(None).to_model(codes), codes)
    assert torch.equal(UnitConversion(None).from_model(codes), codes)


@pytest.mark.parametrize("slot", [0, 15])
def test_which_slot_decides_does_not_matter(slot):
    assert measured_units(deciding(slot)).kept == (1, 4, 5)
