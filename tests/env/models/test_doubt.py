"""How undecided a model is of the next frame, in nats a patch."""

import math

import pytest
import torch
from tiny import MODEL, random_world

from flam_env.models.target import entropy


def test_the_entropy_of_a_patch_is_that_of_its_tokens():
    sure, even = torch.tensor([90.0, 0, 0, 0]), torch.zeros(4)
    biased = torch.tensor([3.0, 1, 1, 1]).log()
    output = torch.stack([torch.stack([even, even]), torch.stack([sure, even]), torch.stack([sure, biased])])
    of_biased = 0.5 * math.log(2) + 0.5 * math.log(6)
    expected = torch.tensor([math.log(4), math.log(4) / 2, of_biased / 2])
    torch.testing.assert_close(entropy("token", output[None]), expected[None])


def test_levels_of_a_patch_add_up_and_codes_have_no_doubt():
    levels = torch.stack([torch.zeros(3), torch.tensor([0.0, 0.0, -torch.inf])])
    levels = levels.nan_to_num(neginf=-90).expand(2, 5, 7, 2, 3)
    torch.testing.assert_close(entropy("level", levels), torch.full((2, 5), math.log(3) + math.log(2)))
    assert torch.equal(entropy("code", torch.randn(2, 5, 7, 4)), torch.zeros(2, 5))


@pytest.mark.parametrize("target", ["token", "code"])
def test_a_model_doubts_every_step_whatever_it_predicts(target):
    world = random_world(target=target)
    prediction = world.model(world.starts.tokens[:3])
    doubt = world.model.doubt(prediction.output)
    assert doubt.shape == (3, 7) and doubt.dtype == torch.float32 and doubt.isfinite().all()
    assert (doubt == 0).all() if target == "code" else (doubt > 0).all()
    assert doubt.max() <= math.log(math.prod(MODEL.levels))
