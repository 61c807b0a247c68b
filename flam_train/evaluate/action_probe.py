"""Do latent actions tell what the agents really did? A linear probe of the true action from the matched slot's mean."""

import torch
from einops import repeat
from torch import Tensor
from torch.nn.functional import cross_entropy

from flam_train.data.multigrid import FORWARD, STILL
from flam_train.evaluate.cell_probe import Split

ACTIONS = 4
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


def action_scores(latent_actions: Tensor, slots: Tensor, actions: Tensor, split: Split) -> dict[str, float]:
    """Fits the probe on the training episodes and scores it on the others; one probe serves all slots.

    Args:
        latent_actions: (E, T - 1, K, A), means.
        slots: int64 (E, T, agents), the slot of each agent at each frame, -1 for none: then the agent is left out.
        actions: int64 (E, T - 1, agents), as `visible_actions` has them.
        split: of the episodes.

    Returns:
        accuracy: on held-out episodes; floor: share there of the commonest action; agents_left_out: share of the
        agents that have no slot.
    """
    of_agents, known = actions_of_agents(latent_actions, slots)
    inputs, labels = ([x[part][known[part]] for part in split] for x in (of_agents, actions))
    mean, spread = inputs[0].mean(0), inputs[0].std(0).clamp(min=1e-6)
    train, held_out = ((x - mean) / spread for x in inputs)
    weight = _fit_softmax(train, labels[0])
    right = (held_out @ weight[:-1] + weight[-1]).argmax(-1) == labels[1]
    return {
        "accuracy": right.double().mean().item(),
        "floor": (labels[1].bincount(minlength=ACTIONS).max() / len(labels[1])).item(),
        "agents_left_out": 1 - known.double().mean().item(),
    }


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
