"""Whether two commits compute the same with the bundled worlds: the proof of a change that should change nothing.

    python benchmarks/golden.py OLD            # holds the working tree against the commit OLD
    python benchmarks/golden.py OLD --worlds bigfish multigrid

Each side runs in a process of its own, on one thread, with its own bundled worlds: tokens of a dream of 16 steps must
be equal, and the labels of a clip must agree to 1e-5.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
STEPS, DREAMS, CLIPS = 16, 4, 2
CLOSE = 1e-5


def watched(worlds: list[str]) -> dict[str, np.ndarray]:
    """What the code that is imported computes with bundled worlds: tokens, real and latent labels, by name."""
    import torch

    from flam_env import Dream, Labeller, load_clips, load_world

    torch.set_num_threads(1)
    found = {}
    for name in worlds:
        world = load_world(name)
        dream, starts = Dream(world), world.starts
        context = world.settings.context
        state, tokens = dream.reset(starts.tokens[:DREAMS, :context]), []
        for action in starts.actions[:DREAMS, context - 1 :][:, :STEPS].clamp(-3, 3).unbind(1):
            state, _ = dream.step(state, action)
            tokens.append(state.tokens)
        labels = Labeller(world, "cpu").label(load_clips(name)[:CLIPS])
        found |= {f"{name}/tokens": torch.stack(tokens).numpy(), f"{name}/latent_actions": labels.latent_actions}
        if labels.action_probabilities is not None:
            found[f"{name}/action_probabilities"] = labels.action_probabilities
    return found


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A folder with the files of a commit, for as long as the context is open."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


def computed_by(tree: Path, worlds: list[str]) -> dict[str, np.ndarray]:
    """What `watched` returns with the packages of a folder."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "watched.npz"
        environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).resolve()), "--write", str(result), "--worlds", *worlds]
        subprocess.run(command, cwd=folder, check=True, env=environment)
        with np.load(result) as arrays:
            return dict(arrays)


def differences(old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> dict[str, str]:
    """One line for each thing that was computed: how it agrees; those that differ begin with "DIFFERS"."""
    return {name: _compared(old.get(name), new.get(name)) for name in sorted(old | new)}


def _compared(old: np.ndarray | None, new: np.ndarray | None) -> str:
    if old is None or new is None or old.shape != new.shape:
        shapes = [None if side is None else side.shape for side in (old, new)]
        return f"DIFFERS: shape {shapes[0]} before, {shapes[1]} now"
    if old.dtype.kind in "iu":
        wrong = (old != new).mean()
        return "equal" if not wrong else f"DIFFERS: {100 * wrong:.3f} % of {old.size} values"
    apart = np.abs(old - new).max()
    return f"{'within' if apart <= CLOSE else 'DIFFERS: not within'} {CLOSE}: {apart:.2g} apart at most"


def main() -> None:
    """Prints how the two agree; exits with 1 where they do not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", nargs="?", help="the commit to hold the working tree against")
    parser.add_argument("--worlds", nargs="+", default=["bigfish", "multigrid", "starpilot"])
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        np.savez(arguments.write, **watched(arguments.worlds))
        return
    if arguments.old is None:
        parser.error("expected the commit to hold the working tree against, e.g. HEAD~1")
    with checked_out(arguments.old) as tree:
        found = differences(computed_by(tree, arguments.worlds), computed_by(ROOT, arguments.worlds))
    for name, line in found.items():
        print(f"{name:32}{line}")
    sys.exit(any(line.startswith("DIFFERS") for line in found.values()))


if __name__ == "__main__":
    main()
