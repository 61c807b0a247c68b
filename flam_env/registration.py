"""Registers the environments with Gymnasium; entry points are strings, so that nothing heavy is imported."""

import gymnasium as gym

BUNDLED = {"Bigfish": "bigfish", "MultiGrid": "multigrid", "Starpilot": "starpilot"}
"""Worlds that come with the package: name in the id -> name of the checkpoint."""

UNFITTED = {"nuPlan": "nuplan"}
"""Worlds that come without weights: unless a checkpoint of the user's own is given, they say how to fit one."""


def register_environments() -> None:
    """Registers `FLAM-v0`, which takes any checkpoint, and `FLAM-<Name>-v0` for every world with a name.

    There is no `max_episode_steps`: the horizon is the world's own and the environments keep to it themselves.
    """
    _register("FLAM-v0", {})
    for name, checkpoint in (BUNDLED | UNFITTED).items():
        _register(f"FLAM-{name}-v0", {"checkpoint": f"bundled:{checkpoint}"})


def _register(environment_id: str, arguments: dict[str, str]) -> None:
    if environment_id not in gym.registry:
        gym.register(
            environment_id,
            entry_point="flam_env.envs.env:FlamEnv",
            vector_entry_point="flam_env.envs.vector_env:FlamVectorEnv",
            kwargs=arguments,
        )
