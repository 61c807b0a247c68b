"""Registers the environments with Gymnasium; entry points are strings, so that nothing heavy is imported."""

import gymnasium as gym

BUNDLED = {
    "FLAM-Bigfish-v0": "bigfish",
    "FLAM-Bigfish-v1": "bigfish-v1",
    "FLAM-MultiGrid-v0": "multigrid",
    "FLAM-Starpilot-v0": "starpilot",
    "FLAM-Starpilot-v1": "starpilot-v1",
}
"""Worlds that come with the package: id -> name of the checkpoint."""

UNFITTED = {"FLAM-nuPlan-v0": "nuplan"}
"""Worlds that come without weights: unless a checkpoint of the user's own is given, they say how to fit one."""


def register_environments() -> None:
    """Registers `FLAM-v0`, which takes any checkpoint, and the id of every world that has one.

    There is no `max_episode_steps`: the horizon is the world's own and the environments keep to it themselves.
    """
    _register("FLAM-v0", {})
    for environment_id, checkpoint in (BUNDLED | UNFITTED).items():
        _register(environment_id, {"checkpoint": f"bundled:{checkpoint}"})


def _register(environment_id: str, arguments: dict[str, str]) -> None:
    if environment_id not in gym.registry:
        gym.register(
            environment_id,
            entry_point="flam_env.envs.env:FlamEnv",
            vector_entry_point="flam_env.envs.vector_env:FlamVectorEnv",
            kwargs=arguments,
        )
