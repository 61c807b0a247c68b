"""`flam-train latent-map`: do latent actions fall into clusters, one for each thing that agents do?"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from flam_env.dream.dream import Dream
from flam_env.worlds.loading import load_world
from flam_env.worlds.writing import write_atomically
from flam_train.evaluate.rooms.action_probe import action_scores, actions_of_agents, visible_actions
from flam_train.evaluate.rooms.cell_probe import Split, split_episodes
from flam_train.evaluate.rooms.clips import find_room, watch_rooms
from flam_train.evaluate.rooms.dci import own_slots
from flam_train.evaluate.rooms.factorization import PROBE_FRAMES
from flam_train.pictures.figures import import_viz, new_figure, png_of
from flam_train.sources.multigrid import FORWARD, LEFT, RIGHT, STILL
from flam_train.store.training_data import open_data

LOOKS = {
    STILL: ("still or blocked", "dimgrey"),
    LEFT: ("turn left", "tab:blue"),
    RIGHT: ("turn right", "tab:orange"),
    FORWARD: ("forward", "tab:green"),
}
"""Name and colour of each action."""

NEIGHBOURS = 15  # of a point, in UMAP, which needs more points than these


def latent_map(
    world: str,
    data: Path,
    *,
    out: Path = Path("latent-map.png"),
    split: Literal["val", "test"] = "test",
    points: int = 4000,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, float]:
    """Draws the latent actions of the agents of rooms, coloured by what the agents did (paper, Figure 5).

    The latent action of an agent is the mean for the slot whose mask owns the agent's cell before the step, in action
    units. Agents that have no slot of their own, because it owns another agent's cell as well or because none owns
    theirs, are left out. A world that keeps more than two latent dimensions is projected with UMAP; two are drawn as
    they are, and one as a histogram for each action.

    The title says how often a linear probe tells the action of agents in episodes that it was not fitted on, a
    blocked move counted as still, beside the share of the commonest action there.

    Args:
        world: name of a bundled world or directory of one's own.
        data: a store of rooms, or a pack of one.
        out: the picture, a PNG.
        split: which of its episodes.
        points: how many steps of agents are drawn, at random, at most.
        seed: of episodes, of the probe's share of them, and of points.
        device: cpu, cuda or auto.

    Returns:
        The scores of `action_scores`.

    Raises:
        FileNotFoundError: no such world.
        ValueError: the store holds no rooms or too few, too few agents have a slot of their own, or the world infers
            no action of each slot.
        ImportError: umap-learn or matplotlib is missing.
    """
    if points <= NEIGHBOURS:
        raise ValueError(f"expected points > {NEIGHBOURS}, got {points}")
    dream, store = Dream(load_world(world), device), open_data(data)
    for module in ("matplotlib.figure", "umap")[: 1 + (dream.world.action_shape[-1] > 2)]:
        import_viz(module)
    find_room(store)
    seen = watch_rooms(dream, store, split, PROBE_FRAMES, seed)
    slots = seen.owners.where(own_slots(seen.owners), -1)
    latent_actions, done = seen.latent_actions, visible_actions(seen.actions, seen.positions)
    if latent_actions is None or latent_actions.shape[2] != seen.slots.shape[2]:
        raise ValueError(f"expected a world that infers an action of each slot, got one with {dream.model.actions}")
    of_agents, known = actions_of_agents(latent_actions, slots)
    parts = split_episodes(len(slots), seed)
    _check_enough(known, parts)
    scores = action_scores(latent_actions, slots, done, seen.directions[:, :-1], parts)
    chosen = torch.randperm(int(known.sum()), generator=torch.Generator().manual_seed(seed))[:points]
    places, kind = project(of_agents[known][chosen].numpy())
    title = (
        f"{kind}\nlinear probe: {scores['accuracy']:.1%} right, one for each heading "
        f"{scores['accuracy_heading_known']:.1%}\ncommonest action {scores['floor']:.1%}; "
        f"{scores['agents_left_out']:.1%} of agents left out"
    )
    write_atomically(Path(out), draw_map(places, done[known][chosen].numpy(), title))
    return scores


def project(latent_actions: np.ndarray) -> tuple[np.ndarray, str]:
    """Latent actions (P, A) -> places (P, min(A, 2)), the same for the same input, and what they are, in words."""
    dimensions = latent_actions.shape[1]
    if dimensions == 1:
        return latent_actions, "latent actions of agents, the one dimension that the world keeps"
    if dimensions == 2:
        return latent_actions, "latent actions of agents, the two dimensions that the world keeps"
    mapper = import_viz("umap").UMAP(n_components=2, n_neighbors=NEIGHBOURS, random_state=0, n_jobs=1)
    return mapper.fit_transform(latent_actions), f"UMAP of the latent actions of agents, of {dimensions} dimensions"


def draw_map(places: np.ndarray, actions: np.ndarray, title: str) -> bytes:
    """A PNG of 700 x 600 pixels: a point at each place (P, 2), or histograms of places (P, 1), coloured by action (P,).

    Raises:
        ImportError: matplotlib is missing.
    """
    figure = new_figure(7, 6)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    names, colours = zip(*(LOOKS[action] for action in sorted(LOOKS)), strict=True)
    if places.shape[1] == 1:
        by_action = [places[actions == action, 0] for action in sorted(LOOKS)]
        axes.hist(by_action, bins=60, histtype="step", linewidth=1.5, color=colours, label=names)
        axes.set(xlabel="latent action", ylabel="steps of agents")
    else:
        axes.scatter(*places.T, s=6, linewidths=0, alpha=0.7, c=np.array(colours)[actions])
        for name, colour in zip(names, colours, strict=True):
            axes.scatter([], [], color=colour, label=name)
    axes.legend()
    return png_of(figure)


def _check_enough(known: Tensor, parts: Split) -> None:
    counts = [int(known[part].sum()) for part in parts]
    if min(counts) <= NEIGHBOURS:
        raise ValueError(
            f"expected more than {NEIGHBOURS} steps of agents that have a slot of their own, to fit a probe on and "
            f"again to score it on, got {counts[0]} and {counts[1]}; collect more episodes, or train the world until "
            "its slots hold one agent each"
        )
