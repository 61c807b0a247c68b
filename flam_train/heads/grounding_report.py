"""What `flam-train ground` reports: how often the decoder is right, who the player is, and what dreams obey."""

from typing import Any

import numpy as np
import torch

from flam_env.heads.action_decoder import ActionDecoder, Transitions
from flam_env.heads.action_encoder import ActionEncoder
from flam_env.heads.player_finder import PlayerFinder
from flam_env.labelling.labeller import Labeller
from flam_train.heads.draws import Supervision, scored_labels
from flam_train.heads.encoder import REPORTED_BY, share_obeyed
from flam_train.heads.inverse_model import SupervisedInverse
from flam_train.heads.learning import action_scores, all_logits
from flam_train.heads.player_slot import attention_of, one_slot, share_of_episodes
from flam_train.heads.watching import watch
from flam_train.heads.without_world import scores_without_world
from flam_train.store.store import EpisodeStore
from flam_train.store.training_data import token_splits


def scores_on(
    labeller: Labeller,
    network: ActionDecoder,
    worldless: dict[str, SupervisedInverse],
    classes: np.ndarray,
    seed: int,
    store: EpisodeStore,
) -> dict[str, Any]:
    """Scores of all models on the val split of other play."""
    scored = scored_labels(store, actions=len(classes), seed=seed)
    tokens = token_splits(store, labeller.dream.tokenizer, labeller.dream.device)["val"]
    told = all_logits(network, watch(labeller, tokens, scored.at))
    scores = action_scores(told, torch.from_numpy(scored.actions), classes)
    found = {"settings": store.settings, "scored": len(scored), "decoder": scores}
    return found | scores_without_world(worldless, store, scored, classes)


def decoder_report(network: ActionDecoder, seen: Transitions, known: Supervision) -> dict[str, Any]:
    """Scores on held-out transitions, and who the player is there."""
    actions = torch.from_numpy(known.scored.actions)
    slot, attention = int(network.controlled_slot), attention_of(network, seen)
    return {
        "decoder": action_scores(all_logits(network, seen), actions, known.classes),
        "temperature": network.temperature.item(),
        "floor": (actions.bincount().max() / len(actions)).item(),
        "controlled_slot": slot,
        "controlled_share_of_episodes": share_of_episodes(attention, known.scored.episodes, slot),
        "attention": attention.mean(0).tolist(),
    }


def obedience(
    labeller: Labeller, network: ActionDecoder, encoder: ActionEncoder, finder: PlayerFinder
) -> dict[str, Any]:
    """How often dreams do what `RealActions` asks for: of the slots that hold the player, and of the controlled one."""
    controlled = one_slot(int(network.controlled_slot))
    by_all, by_one = (
        share_obeyed(labeller.dream, network, encoder, steered, REPORTED_BY) for steered in (finder.holds, controlled)
    )
    return {
        "obeyed": by_all,
        "obeyed_by_controlled_slot": by_one,
        "obeyed_by_chance": 1 / len(encoder.choices),
        "gain": encoder.gain.item(),
    }
