"""A training that starts from the weights of another world."""

import shutil
from dataclasses import replace

import pytest
import torch
from tiny import MODEL

from flam_env.models.factored import FactoredWorldModel
from flam_env.worlds.checkpoint import fingerprint
from flam_env.worlds.loading import load_world
from flam_train.phases.warm_start import warm_start
from flam_train.phases.world_model import world_model


def test_a_model_takes_the_weights_and_a_new_prior_keeps_its_own(tiny_checkpoint, tiny_world):
    torch.manual_seed(1)
    model = FactoredWorldModel(replace(MODEL, prior_components=2))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert warm_start(model, tiny_world.tokenizer, str(tiny_checkpoint)) == fingerprint(tiny_world.model)
    given = tiny_world.model.state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, given.get(name, before[name])), name
    assert any(name not in given for name in before)


def test_a_world_of_other_sizes_is_refused(tiny_checkpoint, tiny_world):
    with pytest.raises(ValueError, match="same sizes"):
        warm_start(FactoredWorldModel(replace(MODEL, dim=32)), tiny_world.tokenizer, str(tiny_checkpoint))


def test_a_world_of_another_tokenizer_gives_its_weights_with_a_warning(tiny_world, trained):
    given = load_world(trained).model
    model = FactoredWorldModel(given.config)
    with pytest.warns(UserWarning, match="what tokens stand for is learned anew"):
        warm_start(model, tiny_world.tokenizer, str(trained))
    assert fingerprint(model) == fingerprint(given)


def test_a_run_from_another_start_is_another_run(store, trained, trained_tokenizer, phases, tmp_path):
    out = shutil.copytree(trained_tokenizer, tmp_path / "run")
    settings = phases.hurried | {"model": load_world(trained).model.config}
    world_model(store.root, out=out, start=str(trained), **settings)
    with pytest.raises(ValueError, match="start"):
        world_model(store.root, out=out, **settings)
