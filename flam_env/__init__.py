"""Learned simulators: Factored Latent Action World Models as Gymnasium environments.

Importing this package registers `FLAM-v0` and one id for each bundled world. The names below are imported when they
are first used, so that the import itself is cheap and leaves torch alone.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from flam_env.registration import register_environments

if TYPE_CHECKING:
    from flam_env.dream.dream import Dream, DreamState
    from flam_env.envs.env import FlamEnv
    from flam_env.envs.vector_env import FlamVectorEnv
    from flam_env.envs.wrappers import DiscreteLatentActions, RealActions, SteerSlot
    from flam_env.heads.action_decoder import ActionDecoder, ActionDecoderConfig
    from flam_env.heads.action_encoder import ActionEncoder, ActionEncoderConfig
    from flam_env.labelling.label_observations import LabelObservations
    from flam_env.labelling.labeller import Labeller, Labels, LabelStream
    from flam_env.video.reader import read_video
    from flam_env.worlds.clips import load_clips
    from flam_env.worlds.loading import load_world
    from flam_env.worlds.saving import save_world
    from flam_env.worlds.world import World

__all__ = [
    "ActionDecoder",
    "ActionDecoderConfig",
    "ActionEncoder",
    "ActionEncoderConfig",
    "DiscreteLatentActions",
    "Dream",
    "DreamState",
    "FlamEnv",
    "FlamVectorEnv",
    "LabelObservations",
    "LabelStream",
    "Labeller",
    "Labels",
    "RealActions",
    "SteerSlot",
    "World",
    "load_clips",
    "load_world",
    "read_video",
    "save_world",
]

_ROOMS = {
    "dream.dream": ("Dream", "DreamState"),
    "envs.env": ("FlamEnv",),
    "envs.vector_env": ("FlamVectorEnv",),
    "envs.wrappers": ("DiscreteLatentActions", "RealActions", "SteerSlot"),
    "heads.action_decoder": ("ActionDecoder", "ActionDecoderConfig"),
    "heads.action_encoder": ("ActionEncoder", "ActionEncoderConfig"),
    "labelling.label_observations": ("LabelObservations",),
    "labelling.labeller": ("LabelStream", "Labeller", "Labels"),
    "video.reader": ("read_video",),
    "worlds.clips": ("load_clips",),
    "worlds.loading": ("load_world",),
    "worlds.saving": ("save_world",),
    "worlds.world": ("World",),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(importlib.import_module(f"flam_env.{room}"), name)
    raise AttributeError(f"module 'flam_env' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _take_one_thread() -> None:
    """In a forked child: torch's threads do not survive a fork, and the child would wait for them for ever."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_take_one_thread)
register_environments()
