"""Does an action of one slot move one agent, and nobody else?"""

import torch
from einops import reduce
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_train.evaluate.rooms.clips import RoomClips, owning_slots
from flam_train.evaluate.steering import has_effect, steer_slots

HEADINGS = torch.tensor([(1, 0), (0, 1), (-1, 0), (0, -1)])
"""Step (x, y) in each direction: right, down, left, up."""


@torch.inference_mode()
def independence_scores(dream: Dream, clips: RoomClips, seed: int = 0) -> dict[str, float]:
    """Replaces the action of one slot by another real action, for every slot of every clip, one step ahead.

    Returns:
        moves_one_agent: share of the changes with a visible effect in which all changed pixels lie where one single
        agent that the slot owns is at t or may be at t + 1; with_effect: share of the changes with a visible effect;
        effects: how many these are; owned_agents: mean number of agents that a slot with an effect owns.
    """
    cells, now = clips.room.cells, dream.world.settings.context - 1
    clean = effects = tried = owned = 0
    for positions, directions, steered in zip(
        clips.positions, clips.directions, steer_slots(dream, clips, seed), strict=True
    ):
        visible = has_effect(steered.changed).cpu()
        changed = changed_cells(steered.changed.cpu(), cells)
        owners = owning_slots(steered.before.masks[:1].cpu(), positions[now : now + 1], cells)[0]
        reach = reachable_cells(positions[now], directions[now], positions[now + 1], cells)
        clean += int((moves_one_agent(changed, owners, reach) & visible).sum())
        effects += int(visible.sum())
        tried += len(visible)
        owned += int(visible[owners[owners >= 0]].sum())
    return {
        "moves_one_agent": clean / max(effects, 1),
        "with_effect": effects / tried,
        "effects": float(effects),
        "owned_agents": owned / max(effects, 1),
    }


def changed_cells(changed: Tensor, cells: int) -> Tensor:
    """Changed pixels bool (K, H, W) -> cells of the room with any, bool (K, cells, cells), rows first."""
    return reduce(changed, "k (y h) (x w) -> k y x", "any", y=cells, x=cells)


def reachable_cells(positions: Tensor, directions: Tensor, next_positions: Tensor, cells: int) -> Tensor:
    """Where each agent is now or may be one step later, whatever it does.

    That is its own cell, and the one in front of it unless another agent is there one step later.

    Args:
        positions: int64 (agents, 2), cells (x, y) now.
        directions: int64 (agents,).
        next_positions: int64 (agents, 2), cells one step later.
        cells: of the room along one side.

    Returns:
        bool (agents, cells, cells), rows first.
    """
    front = positions + HEADINGS[directions]
    taken = (front[:, None] == next_positions[None]).all(-1).fill_diagonal_(False).any(-1)
    reach = torch.zeros(len(positions), cells, cells, dtype=torch.bool)
    each = torch.arange(len(positions))
    reach[each, front[:, 1], front[:, 0]] = ~taken
    reach[each, positions[:, 1], positions[:, 0]] = True
    return reach


def moves_one_agent(changed: Tensor, owners: Tensor, reach: Tensor) -> Tensor:
    """Whether all that the change of a slot's action changes is within the reach of one agent that it owns.

    Args:
        changed: bool (K, cells, cells), for the change of each slot's action.
        owners: int64 (agents,), the slot that owns each agent, -1 for none.
        reach: bool (agents, cells, cells).

    Returns:
        bool (K,).
    """
    inside = ~(changed[:, None] & ~reach[None]).flatten(2).any(-1)
    owned = owners[None] == torch.arange(len(changed))[:, None]
    return (inside & owned).any(-1)
