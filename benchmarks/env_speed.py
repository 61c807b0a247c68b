"""Steps per second of a dream beside the real Procgen, rendering frames of the same size, in one run.

    python benchmarks/env_speed.py --checkpoint bigfish --envs 1 16 64

Without a checkpoint a world of the `small` preset with random weights is timed: speed does not depend on weights.
Procgen is stepped with random actions, in as many threads as torch has, and shows its frames in two ways: as our videos
were made, from the 512-pixel render resized to 64, and natively at 64 pixels, which blurs small things. On a machine
that is busy with other things, `--per-cpu-second --threads 1` counts the seconds of work instead of those on the wall.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from flam_env import FlamEnv, FlamVectorEnv, World, load_world
from flam_env.worlds.units import ActionUnits
from flam_env.worlds.world import Starts, WorldSettings


class Stopwatch(NamedTuple):
    """Which seconds count, and how many of them a measurement takes."""

    clock: Callable[[], float]
    seconds: float


def random_world() -> World:
    """A world of the `small` preset with random weights."""
    from flam_env.models.factored import FactoredWorldModel
    from flam_env.models.tokenizer import Tokenizer
    from flam_train.presets import SMALL

    torch.manual_seed(0)
    tokenizer, model = Tokenizer(SMALL.tokenizer).eval(), FactoredWorldModel(SMALL.world_model).eval()
    size = SMALL.world_model.latent_dim
    units = ActionUnits(latent_dim=size, kept=tuple(range(size)), scale=(1.0,) * size)
    tokens = torch.randint(tokenizer.quantizer.size, (32, 18, SMALL.world_model.patches))
    actions = torch.randn(32, 17, SMALL.world_model.slots, size)
    return World(
        tokenizer, model, WorldSettings(source="random weights"), units, Starts(tokens, actions, actions[:, 0])
    )


def steps_per_second(step: Callable[[], None], envs: int, watch: Stopwatch) -> float:
    """Environment steps per second of a function that steps `envs` environments once."""
    step(), step()
    count, began = 0, watch.clock()
    while watch.clock() - began < watch.seconds:
        step()
        count += 1
    return count * envs / (watch.clock() - began)


def dream_speed(world: World, envs: int, device: str, watch: Stopwatch) -> float:
    """Through the Gymnasium faces, frames on the CPU, automatic resets included."""
    if envs == 1:
        env = FlamEnv(world=world, device=device)
        env.reset(seed=0)
        action = env.sample_latent_action()

        def step() -> None:
            if env.step(action)[3]:
                env.reset()
    else:
        batch = FlamVectorEnv(envs, world=world, device=device)
        batch.reset(seed=0)
        actions = batch.sample_latent_action()

        def step() -> None:
            batch.step(actions)

    return steps_per_second(step, envs, watch)


def procgen_speed(envs: int, size: int | None, watch: Stopwatch) -> float:
    """Procgen's Bigfish; frames of `size` from the large render, or native ones if None."""
    from flam_train.sources.procgen.simulators import open_simulators, resize

    threads = torch.get_num_threads() if envs > 1 else 0
    simulator = open_simulators(
        "bigfish", envs, first_level=0, levels=100, seed=0, render=size is not None, threads=threads
    )
    actions = np.random.default_rng(0).integers(0, 15, (64, envs)).astype(np.int32)
    turn = 0

    def step() -> None:
        nonlocal turn
        simulator.act(actions[turn % 64])
        turn += 1
        _, observation, _ = simulator.observe()
        if size is None:
            assert observation["rgb"].shape == (envs, 64, 64, 3)
        else:
            np.stack([resize(info["rgb"], size) for info in simulator.get_info()])

    return steps_per_second(step, envs, watch)


def main() -> None:
    """Prints one row for each number of environments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="a bundled world or a directory; default: random weights")
    parser.add_argument("--envs", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--per-cpu-second", action="store_true", help="steps per second of CPU time, of all threads")
    parser.add_argument("--threads", type=int, help="torch threads; default: torch's own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    world = load_world(arguments.checkpoint) if arguments.checkpoint else random_world()
    size = world.tokenizer.config.image_size
    watch = Stopwatch(time.process_time if arguments.per_cpu_second else time.perf_counter, arguments.seconds)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table = {
        f"dream {device}": [dream_speed(world, envs, device, watch) for envs in arguments.envs] for device in devices
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table[f"Procgen 512 to {size}"] = [procgen_speed(envs, size, watch) for envs in arguments.envs]
    table["Procgen native 64"] = [procgen_speed(envs, None, watch) for envs in arguments.envs]
    unit = "steps per CPU-second" if arguments.per_cpu_second else "steps per second"
    print(f"{torch.get_num_threads()} threads, {size} px, K = {world.model.config.slots}; {unit} by environments:")
    print(f"{'':24}" + "".join(f"{envs:>10}" for envs in arguments.envs))
    for name, speeds in table.items():
        print(f"{name:24}" + "".join(f"{speed:10.0f}" for speed in speeds))
    for name in list(table)[len(devices) :]:
        ratios = np.array(table["dream cpu"]) / np.array(table[name])
        print(f"{'dream cpu / ' + name:30}" + "  ".join(f"{ratio:.3f}" for ratio in ratios))
    print(f"peak memory: {peak / 1024:.0f} MiB with dreams, {before / 1024:.0f} MiB before")


if __name__ == "__main__":
    main()
