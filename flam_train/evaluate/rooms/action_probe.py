"""Do latent actions tell what the agents really did? A linear probe of the true action from the matched slot's mean."""

import torch
from einops import repeat
from torch import Tensor
from torch.nn.functional import cross_entropy

from flam_train.evaluate.rooms.cell_probe import Split
from flam_train.sources.multigrid import FORWARD, STILL

ACTIONS, HEADINGS = 4, 4
RIDGE = 1e-5  # weight of the squared weights, so that classes that a plane divides have a solution
ITERATIONS = 200


def visible_actions(actions: Tensor, positions: Tensor) -> Tensor:
    """What agents did as frames show it: a forward move that was blocked is none.

    Args:
        actions: int64 (..., T, agents), taken at each frame.
        positions: (..., T, agents, 2), cells at each frame.

    Returns:
        int64 (..., T - 1, agents) of the transitions.
    """
    stayed = (positions[..., 1:, :, :] == positions[..., :-1, :, :]).all(-1)
    taken = actions[..., :-1, :]
    return taken.masked_fill((taken == FORWARD) & stayed, STILL)


def actions_of_agents(latent_actions: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """The latent actions of the slots that agents have at the start of each transition.

    Args:
        latent_actions: (E, T - 1, K, A).
        slots: int64 (E, T, agents), the slot of each agent at each frame, -1 for none.

    Returns:
        latent actions (E, T - 1, agents, A), and bool (E, T - 1, agents): whether the agent has a slot at all.
    """
    slots = slots[:, :-1]
    index = repeat(slots.clamp(min=0), "e t n -> e t n a", a=latent_actions.shape[-1])
    return latent_actions.gather(2, index), slots >= 0


def action_scores(
    latent_actions: Tensor, slots: Tensor, actions: Tensor, headings: Tensor, split: Split
) -> dict[str, float]:
    """Fits the probe on the training episodes and scores it on the others; one probe serves all slots.

    That left of one heading is called what left of another is follows from no pixel: a world that calls them
    differently predicts as well. So a second measure has a probe for each heading.

    Args:
        latent_actions: (E, T - 1, K, A), means.
        slots: int64 (E, T, agents), the slot of each agent at each frame, -1 for none: then the agent is left out.
        actions: int64 (E, T - 1, agents), as `visible_actions` has them.
        headings: int64 (E, T - 1, agents) in [0, 4), where agents look before they act.
        split: of the episodes.

    Returns:
        accuracy: on held-out episodes; accuracy_heading_known: the same of four probes, one for each heading; floor:
        share there of the commonest action; agents_left_out: share of the agents that have no slot.
    """
    of_agents, known = actions_of_agents(latent_actions, slots)
    inputs, labels, looks = ([x[part][known[part]] for part in split] for x in (of_agents, actions, headings))
    mean, spread = inputs[0].mean(0), inputs[0].std(0).clamp(min=1e-6)
    inputs = [(x - mean) / spread for x in inputs]
    right = _told(inputs, labels)
    by_heading = [
        _told(*([x[look == heading] for x, look in zip(both, looks, strict=True)] for both in (inputs, labels)))
        for heading in range(HEADINGS)
    ]
    return {
        "accuracy": right.double().mean().item(),
        "accuracy_heading_known": torch.cat(by_heading).double().mean().item(),
        "floor": (labels[1].bincount(minlength=ACTIONS).max() / len(labels[1])).item(),
        "agents_left_out": 1 - known.double().mean().item(),
    }


def _told(inputs: list[Tensor], labels: list[Tensor]) -> Tensor:
    """Whether a probe that is fitted on the first inputs (F, A) and labels (F,) is right on the second, bool (G,)."""
    weight = _fit_softmax(inputs[0], labels[0])
    return (inputs[1] @ weight[:-1] + weight[-1]).argmax(-1) == labels[1]


def _fit_softmax(inputs: Tensor, labels: Tensor) -> Tensor:
    """Logistic regression of labels (F,) on inputs (F, A) -> weights and, in the last row, biases (A + 1, ACTIONS)."""
    weight = torch.zeros(inputs.shape[1] + 1, ACTIONS, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = cross_entropy(inputs @ weight[:-1] + weight[-1], labels) + RIDGE * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach()
