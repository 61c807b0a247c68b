"""Training that goes on from the weights of another world: at another price, with a prior added, in another game."""

import torch

from flam_env.models.protocol import WorldModel
from flam_env.models.tokenizer import Tokenizer
from flam_env.warn import warn_user
from flam_env.worlds.checkpoint import fingerprint
from flam_env.worlds.loading import load_world

ADDED = ("learned_prior",)  # parts that the other world may lack; they start as they are


@torch.no_grad()
def warm_start(model: WorldModel, tokenizer: Tokenizer, name: str) -> str:
    """Gives a model the weights of a world, in place, and returns the fingerprint of what they were taken from.

    Args:
        model: of the same sizes; parts that only it has (a learned prior) keep their values.
        tokenizer: whose tokens the model is to be trained on.
        name: of a bundled world or a directory.

    Raises:
        FileNotFoundError: no such world.
        ValueError: a world of a model of another kind or size.

    Warns:
        UserWarning: a world of another tokenizer, as that of another game: what tokens stand for is learned anew, and
            what the world knows of how things keep together and move is what it starts from.
    """
    world = load_world(name)
    given, own = world.model.state_dict(), model.state_dict()
    lacking = {part for part in own.keys() - given.keys() if part.split(".")[0] not in ADDED}
    other = {part for part in own.keys() & given.keys() if own[part].shape != given[part].shape}
    if odd := sorted(lacking | other | (given.keys() - own.keys())):
        raise ValueError(
            f"expected {name} to have a model of the same sizes to start from, got other {', '.join(odd[:3])}"
            f"{' and more' if len(odd) > 3 else ''}; give the sizes of its config, or train from nothing"
        )
    if (theirs := fingerprint(world.tokenizer)) != (ours := fingerprint(tokenizer)):
        warn_user(
            f"{name} is a world of the tokenizer {theirs}, and the data is read with {ours}: what tokens stand for is "
            "learned anew; if that is not wanted, copy its tokenizer.safetensors into the run's directory first"
        )
    model.load_state_dict(own | given)
    return fingerprint(world.model)
