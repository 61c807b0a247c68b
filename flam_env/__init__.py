"""Learned simulators: Factored Latent Action World Models as Gymnasium environments.

Importing this package registers `FLAM-v0` and one id for each bundled world. The names below are imported when they
are first used, so that the import itself is cheap and leaves torch alone.
"""

import importlib
from typing import TYPE_CHECKING, Any

from flam_env.registration import register_environments

if TYPE_CHECKING:
    from flam_env.action_decoder import ActionDecoder, ActionDecoderConfig
    from flam_env.action_encoder import ActionEncoder, ActionEncoderConfig
    from flam_env.dream import Dream, DreamState
    from flam_env.env import FlamEnv
    from flam_env.label_observations import LabelObservations
    from flam_env.labeller import Labeller, Labels, LabelStream
    from flam_env.vector_env import FlamVectorEnv
    from flam_env.videos import read_video
    from flam_env.world import World, load_clips, load_world, save_world
    from flam_env.wrappers import DiscreteLatentActions, RealActions, SteerSlot

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
    "action_decoder": ("ActionDecoder", "ActionDecoderConfig"),
    "action_encoder": ("ActionEncoder", "ActionEncoderConfig"),
    "dream": ("Dream", "DreamState"),
    "env": ("FlamEnv",),
    "label_observations": ("LabelObservations",),
    "labeller": ("LabelStream", "Labeller", "Labels"),
    "vector_env": ("FlamVectorEnv",),
    "videos": ("read_video",),
    "world": ("World", "load_clips", "load_world", "save_world"),
    "wrappers": ("DiscreteLatentActions", "RealActions", "SteerSlot"),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(importlib.import_module(f"flam_env.{room}"), name)
    raise AttributeError(f"module 'flam_env' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


register_environments()
