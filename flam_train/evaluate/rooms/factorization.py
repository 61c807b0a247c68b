"""How well a world's slots follow the agents of rooms whose truth is known: all measures of it, for the report."""

from collections.abc import Sequence
from typing import Any

from flam_env.dream.dream import Dream
from flam_env.models.protocol import WorldModel
from flam_train.evaluate.rooms.action_probe import action_scores, visible_actions
from flam_train.evaluate.rooms.cell_probe import import_assignment, split_episodes
from flam_train.evaluate.rooms.clips import Seen, draw_room_clips, find_room, watch_rooms
from flam_train.evaluate.rooms.dci import consistency, dci_scores, own_slots, random_scores, shared_slots
from flam_train.evaluate.rooms.exactness import exactness_scores
from flam_train.evaluate.rooms.independence import independence_scores
from flam_train.sources.multigrid import import_multigrid
from flam_train.store.training_data import TrainingData

PROBED = ("dci", "actions")
PROBE_FRAMES = 20_000  # of whole episodes, for fitting and for scoring


def check_measures(store: TrainingData, measures: Sequence[str]) -> None:
    """Raises before any work is done: ImportError for a missing package, ValueError for a store without rooms."""
    if set(measures) & set(PROBED):
        import_assignment()
    if measures:
        find_room(store)
    if "exactness" in measures:
        import_multigrid()


def measures_of(model: WorldModel) -> set[str]:
    """What a model can be measured by: for dci it needs slots, for actions and independence one action of each."""
    if model.slots == 1:
        return {"exactness"}
    acting = model.actions.inferred and model.actions.slots == model.slots
    return {"dci", "exactness"} | ({"actions", "independence"} if acting else set())


def factorization_scores(
    dream: Dream, store: TrainingData, split: str, clips: int, length: int, measures: Sequence[str], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """The measures that are asked for, by name: `dci`, `actions`, `exactness`, `independence`.

    Args:
        dream: of a world.
        store: of rooms.
        split: which of its episodes.
        clips: how many clips, for exactness and independence; the probes see whole episodes.
        length: frames of a clip, context included.
        measures: which.
        seed: of clips, probes and sampled actions.

    Raises:
        ValueError: too few episodes or too short ones.
        ImportError: a package is missing.
    """
    scores: dict[str, dict[str, Any]] = {}
    if set(measures) & set(PROBED):
        cells = find_room(store).cells - 2
        scores |= probe_scores(watch_rooms(dream, store, split, PROBE_FRAMES, seed), cells, seed)
    if {"exactness", "independence"} & set(measures):
        drawn = draw_room_clips(store, split, clips, length, seed)
        if "exactness" in measures:
            scores["exactness"] = exactness_scores(dream, drawn, seed)
        if "independence" in measures:
            scores["independence"] = independence_scores(dream, drawn, seed)
    return {name: scores[name] for name in measures}


def probe_scores(seen: Seen, cells: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """What needs a probe: `dci`, with what masks say of slots and agents and with the Random row, and `actions`.

    Args:
        seen: episodes.
        cells: inside the walls, along one side.
        seed: of the split of the episodes and of the probes.

    Returns:
        dci: the scores of `dci_scores`, and as random_... of `random_scores`; agents_with_own_slot, their mean number,
        and all_with_own_slot, the share of frames in which they are all; owner_consistency, the share of consecutive
        frames in which every agent's cell is owned by the same slot; and the shares of `shared_slots`. actions: the
        scores of `action_scores`, left out where the world infers no actions.
    """
    split = split_episodes(len(seen.slots), seed)
    places = (seen.positions - 1).unbind(-1)
    labels = places[1] * cells + places[0]
    found, matched = dci_scores(seen.slots, labels, cells**2, split, seed)
    chance = random_scores(seen.slots, labels, cells**2, split, seed)
    own = own_slots(seen.owners)
    masks = {
        "agents_with_own_slot": own.sum(-1).double().mean().item(),
        "all_with_own_slot": own.all(-1).double().mean().item(),
        "owner_consistency": consistency(seen.owners),
    }
    random = {f"random_{name}": value for name, value in chance.items()}
    scores = {"dci": found | masks | random | shared_slots(seen.owners)}
    if seen.latent_actions is not None:
        done = visible_actions(seen.actions, seen.positions)
        scores["actions"] = action_scores(seen.latent_actions, matched, done, seen.directions[:, :-1], split)
    return scores
