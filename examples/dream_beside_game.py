"""Presses the same keys in the real game and in a dream of it, and films the two side by side.

    python examples/dream_beside_game.py --out beside.mp4                      # or .gif
    python examples/dream_beside_game.py --checkpoint runs/my-world --game bigfish # your own, with an action decoder

Keys are drawn at random and held for four frames, on levels that nobody has seen. After two seconds of play the dream
gets as many real frames as its world needs, and from there on nothing but the keys: what else lives in it moves as the
world draws it. Episodes in which the player dies before the film is over are passed over.

Needs some extras: pip install 'flam-env[train,procgen,video,eval]'.
"""

import argparse
from itertools import islice
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from tqdm import tqdm

import flam_env  # noqa: F401  (registers the environments)
from flam_env.envs.vector_wrappers import RealActions
from flam_train.evaluate.simulator.controls import tokenizer_round_trip
from flam_train.evaluate.simulator.player import player_colour
from flam_train.evaluate.simulator.same_keys import SameKeys
from flam_train.evaluate.simulator.tracking import tracking
from flam_train.pictures.sheets import contact_sheet, write_gif, write_mp4
from flam_train.players.chance import HeldKeysAgent
from flam_train.sources.procgen.episodes import record_episode

HELD, BEFORE = 4, 30  # frames for which a key is held, and that are played before what the dream begins with
TRIES = 50  # episodes that are played at most for each that is shown
KEYS = ("left down", "left", "left up", "down", "none", "up", "right down", "right", "right up", *"DAWSQE")


def play(game: str, episodes: int, length: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The first episodes that last so many frames uint8 (B, T, H, W, 3), and the keys int64 (B, T) pressed at them."""
    agent, tries = HeldKeysAgent(game, HELD), TRIES * episodes
    played = (
        record_episode(game, "test", agent, seed=[seed, number], size=size, max_frames=length)
        for number in range(tries)
    )
    lasting = islice((episode for episode in played if len(episode.frames) == length), episodes)
    kept = list(tqdm(lasting, "playing", episodes, leave=False, disable=None))
    if len(kept) < episodes:
        raise SystemExit(
            f"expected {episodes} episodes of {length} frames, got {len(kept)} of {tries}; take fewer --steps"
        )
    return np.stack([each.frames for each in kept]), np.stack([each.actions for each in kept]).astype(np.int64)


def dream(envs: RealActions, context: np.ndarray, keys: np.ndarray, seed: int) -> np.ndarray:
    """What is dreamt after real frames uint8 (B, C, H, W, 3) as keys (B, T) are pressed: uint8 (B, 1 + T, H, W, 3)."""
    frames, _ = envs.reset(seed=seed, options={"start": list(context)})
    dreamt = [frames]
    for pressed in tqdm(keys.T, "dreaming", leave=False, disable=None):
        frames, *_ = envs.step(pressed)
        dreamt.append(frames)
    return np.stack(dreamt, 1)


def film(pressed: SameKeys) -> np.ndarray:
    """The game on the left, the dream on the right, and a row for each of B episodes: uint8 (1 + T, H', W', 3)."""
    real, sheets = pressed.real[:, -pressed.dreamt.shape[1] :], []
    for time, pairs in enumerate(np.stack([real, pressed.dreamt], 2).swapaxes(0, 1)):
        led = [KEYS[key] for key in pressed.keys[:, time - 1]] if time else ["start"] * len(pairs)
        labels = [f"{row}:  game | dream   {key}" for row, key in enumerate(led)]
        sheets.append(contact_sheet(dict(zip(labels, pairs, strict=True)), scale=3))
    return np.stack(sheets)


def main() -> None:
    """Plays, dreams, writes the film, and says how far apart the two players are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="bigfish-v1", help="bundled world or your own, with an action decoder")
    parser.add_argument("--game", help="bigfish, leaper or starpilot; default: the one that the world was learned from")
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("beside.mp4"), help="ends in .mp4 or .gif")
    arguments = parser.parse_args()

    count, steps, seed = arguments.episodes, arguments.steps, arguments.seed
    envs = RealActions(gym.make_vec("FLAM-v0", num_envs=count, checkpoint=arguments.checkpoint, horizon=steps))
    settings, size = envs.unwrapped.world.settings, envs.single_observation_space.shape[0]
    game, context = arguments.game or settings.source.removeprefix("procgen/"), settings.context
    frames, keys = play(game, count, BEFORE + context + steps, size, seed)
    real, keys = frames[:, BEFORE:], keys[:, BEFORE + context - 1 : -1]  # key t leads from frame t to frame t + 1
    dreamt = dream(envs, real[:, :context], keys, seed)
    recon = tokenizer_round_trip(envs.unwrapped.dream)(torch.from_numpy(real[:, context - 1 :])).numpy()
    pressed = SameKeys(real, recon, dreamt, keys)
    write = write_gif if arguments.out.suffix == ".gif" else write_mp4
    write(arguments.out, film(pressed), settings.frames_per_second)
    print(f"wrote {count} episodes of {game} beside dreams, {steps} steps under the same keys, to {arguments.out}")
    print("how far the player is from that of the game, in px beyond the error with which it is found:")
    for after in tracking(pressed, player_colour(game))["after"]:
        text = "  after step {step}: in the dream {dream_px:.1f}, had it stood still {still_px:.1f}; seen in {seen:.0%}"
        print(text.format(**after), "of the dreams")


if __name__ == "__main__":
    main()
