"""The models that FLAM is compared with (paper, 5), as worlds: importing this package lets such worlds open.

`gym.make("baselines:FLAM-v0", checkpoint=...)` opens one, `python -m baselines.train KIND DATA --out DIR` makes one,
and `python -m baselines COMMAND ...` is `flam-train` for worlds of these kinds. Copy-last-frame and Recon need no
model: every report of `evaluate` has them as rows.
"""

import flam_env  # noqa: F401  (registers the environments)
from baselines.action_world_model import ActionWorldModel, ActionWorldModelConfig
from baselines.adaworld import AdaWorld, AdaWorldConfig
from baselines.genie import Genie, GenieConfig
from baselines.playslot import PlaySlot, PlaySlotConfig
from baselines.slotformer import SlotFormer, SlotFormerConfig

__all__ = [
    "ActionWorldModel",
    "ActionWorldModelConfig",
    "AdaWorld",
    "AdaWorldConfig",
    "Genie",
    "GenieConfig",
    "PlaySlot",
    "PlaySlotConfig",
    "SlotFormer",
    "SlotFormerConfig",
]
