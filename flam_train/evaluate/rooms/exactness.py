"""Which agent stands where and looks which way, read from predicted frames and compared with the truth.

Whole-frame PSNR barely sees one agent. Here each cell is compared with all that it can look like, drawn by the
simulator itself, and is taken for the nearest in mean squared error: what the tokenizer loses does no harm as long as
agents stay apart.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import one_hot

from flam_env.dream.dream import Dream
from flam_train.evaluate.rollouts import roll_methods
from flam_train.evaluate.rooms.clips import RoomClips
from flam_train.sources.multigrid import Room, cell_pictures

EMPTY, UNCLEAR = 0, -1
"""Contents of a cell, beside 1 + 4 * colour + direction for an agent."""
CLEAR = 1 / 3  # distance from a tile, of that to the tile next to it, up to which a cell shows it clearly; at half of
# that distance lie halves of agents and mixtures of two


class Looks(NamedTuple):
    """How the agents of B clips look.

    tiles: uint8 (B, 1 + 4 * colours, h, w, 3), pictures of a cell as `cell_pictures` has them; colours: int64
    (B, agents), which of these colours each agent has.
    """

    tiles: Tensor
    colours: Tensor


def find_looks(clips: RoomClips) -> Looks:
    """Draws the agents of the clips in the colours of their episodes."""
    size = clips.frames.shape[2]
    names = [Room(clips.room, seed=seed, size=size).colours for seed in clips.level_seeds]
    unique = [tuple(dict.fromkeys(colours)) for colours in names]
    tiles = [torch.from_numpy(cell_pictures(colours, size // clips.room.cells)) for colours in unique]
    colours = [[some.index(name) for name in agents] for agents, some in zip(names, unique, strict=True)]
    return Looks(torch.stack(tiles), torch.tensor(colours))


def exactness_scores(dream: Dream, clips: RoomClips, seed: int = 0) -> dict[str, float | dict[str, list[float]]]:
    """Compares rollouts with the truth, and dreams with what may be in a room.

    Returns:
        frames_right: share of the frames, predicted under inferred actions, in which every agent is in its cell and
        looks in its direction and all other cells are empty; recon_right, copy_last_right: of the tokenizer's round
        trip and of the last frame of the context; rollouts_right: share of the rollouts in which all frames are right;
        position_error: mean distance in cells, along the axes, of an agent of its own colour from where it should be,
        and that of each agent; agents_missing: share of the agents that are nowhere to be seen; dreams_whole: share of
        the frames, predicted under sampled actions, that show every agent once, and clearly, and nothing else;
        dreams_whole_without_laws: the same of a dream that refuses no action and shows any token; recon_whole: of the
        tokenizer's round trip; per_step: some of these for each step.
    """
    context, looks = dream.world.settings.context, find_looks(clips)
    table: dict[str, list[Tensor]] = {}
    for rolled, free in zip(*(roll_methods(each, clips, seed) for each in (dream, dream.without_laws())), strict=True):
        tiles, colours = (part[rolled.rows].to(dream.device) for part in looks)
        truth = clips.positions, clips.directions
        positions, directions = (part[rolled.rows, context:].to(dream.device) for part in truth)
        true = true_cells(positions, directions, colours, clips.room.cells)
        seen = {name: read_cells(rolled.methods[name], tiles) for name in ("prediction", "recon", "copy_last")}
        row = {f"{name}_right": (cells == true).all(-1).all(-1) for name, cells in seen.items()}
        row["distance"] = distances(seen["prediction"], positions, colours)
        sampled = {"sampled": rolled.methods["sampled"], "lawless": free.methods["sampled"]}
        for name, frames in (sampled | {"recon": rolled.methods["recon"]}).items():
            row[f"{name}_whole"] = shows_whole_agents(read_cells(frames, tiles, clear=True), colours)
        for name, value in row.items():
            table.setdefault(name, []).append(value.cpu().double())
    return _summary({name: torch.cat(parts) for name, parts in table.items()}, clips.room.colours != "same")


def _summary(table: dict[str, Tensor], distinct: bool) -> dict[str, float | dict[str, list[float]]]:
    """Values (B, H, ...) -> the scores of `exactness_scores`; positions only of agents with colours of their own."""
    right, whole, distance = table["prediction_right"], table["sampled_whole"], table["distance"]
    scores: dict[str, float | dict[str, list[float]]] = {
        "frames_right": right.mean().item(),
        "rollouts_right": right.amin(1).mean().item(),
        "recon_right": table["recon_right"].mean().item(),
        "copy_last_right": table["copy_last_right"].mean().item(),
        "dreams_whole": whole.mean().item(),
        "dreams_whole_without_laws": table["lawless_whole"].mean().item(),
        "recon_whole": table["recon_whole"].mean().item(),
    }
    per_step = {"frames_right": right.mean(0).tolist(), "dreams_whole": whole.mean(0).tolist()}
    if distinct:
        somewhere = ~distance.isnan()
        scores["agents_missing"] = 1 - somewhere.double().mean().item()
        if somewhere.any():
            scores["position_error"] = distance.nanmean().item()
        for agent, error in enumerate(distance.nanmean((0, 1)).tolist()):
            if somewhere[..., agent].any():
                scores[f"position_error_of_agent_{agent}"] = error
        per_step["position_error"] = distance.nanmean((0, 2)).tolist()
    return scores | {"per_step": per_step}


@torch.inference_mode()
def read_cells(frames: Tensor, tiles: Tensor, clear: bool = False) -> Tensor:
    """What is in every cell inside the walls: the tile that is nearest in mean squared error.

    Args:
        frames: uint8 (B, T, H, W, 3).
        tiles: uint8 (B, M, h, w, 3), of each clip.
        clear: whether a cell that shows its tile less than CLEAR is UNCLEAR.

    Returns:
        int64 (B, T, rows, columns), index of the tile.
    """
    height, width = tiles.shape[2:4]
    pattern = "b t (y h) (x w) c -> b t y x (h w c)"
    cells = rearrange(frames, pattern, h=height, w=width)[:, :, 1:-1, 1:-1].float() / 255
    known = rearrange(tiles, "b m h w c -> b m (h w c)").float() / 255
    distance = torch.cdist(cells.flatten(1, 3), known)
    nearest = distance.min(-1)
    found = nearest.indices
    if clear:
        apart = torch.cdist(known, known) + torch.diag(known.new_full(known.shape[1:2], torch.inf))
        found = found.masked_fill(nearest.values > CLEAR * apart.amin(-1).gather(1, found), UNCLEAR)
    return found.view(cells.shape[:-1])


def true_cells(positions: Tensor, directions: Tensor, colours: Tensor, cells: int) -> Tensor:
    """The truth as `read_cells` has it.

    Args:
        positions: int64 (B, T, agents, 2), cells (x, y).
        directions: int64 (B, T, agents).
        colours: int64 (B, agents), index of the colour.
        cells: of the room along one side, walls included.

    Returns:
        int64 (B, T, cells - 2, cells - 2), rows first.
    """
    inside = cells - 2
    x, y = (positions - 1).unbind(-1)
    contents = 1 + 4 * colours[:, None] + directions
    room = positions.new_full((*positions.shape[:2], inside**2), EMPTY)
    return room.scatter(2, y * inside + x, contents).unflatten(2, (inside, inside))


def distances(seen: Tensor, positions: Tensor, colours: Tensor) -> Tensor:
    """How far from its place each agent is seen, in cells along the axes; the mean where it is seen more than once.

    Args:
        seen: int64 (B, T, rows, columns), contents of the cells inside the walls.
        positions: int64 (B, T, agents, 2), where the agents should be, cells (x, y).
        colours: int64 (B, agents), a colour of its own for each.

    Returns:
        float32 (B, T, agents), NaN for an agent that is not seen.
    """
    rows, columns = (torch.arange(1, side + 1, device=seen.device) for side in seen.shape[2:])
    x, y = positions[..., None, None, 0], positions[..., None, None, 1]
    distance = (rows[:, None] - y).abs() + (columns - x).abs()
    shown = _colours_of(seen)[:, :, None] == colours[:, None, :, None, None]
    return (distance * shown).sum((-2, -1)) / shown.sum((-2, -1))


def shows_whole_agents(seen: Tensor, colours: Tensor) -> Tensor:
    """Whether frames show exactly the agents of the room, somewhere.

    Args:
        seen: int64 (B, T, rows, columns), contents of the cells inside the walls, as `read_cells` has clear ones.
        colours: int64 (B, agents).

    Returns:
        bool (B, T): every colour as often as there are agents of it, and no cell UNCLEAR.
    """
    count = int(max(colours.max(), _colours_of(seen).max())) + 1
    wanted = one_hot(colours, count).sum(1)
    shown = one_hot(_colours_of(seen).flatten(2) + 1, count + 1).sum(2)[..., 1:]
    return (shown == wanted[:, None]).all(-1) & (seen != UNCLEAR).all(-1).all(-1)


def _colours_of(seen: Tensor) -> Tensor:
    """Contents of cells -> index of the colour, -1 without an agent."""
    return torch.where(seen > EMPTY, (seen - 1) // 4, -1)
