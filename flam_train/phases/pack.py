"""A store in one small file, for a machine that has neither the store nor a simulator."""

from pathlib import Path

from flam_env.dream.dream import find_device
from flam_train.phases.export import START_FRAMES
from flam_train.phases.tokenizer import find_tokenizer
from flam_train.phases.world_model import SHOWN_CLIPS, WATCHED_CLIPS
from flam_train.store.packing import Draw, write_pack
from flam_train.store.packs import Pack
from flam_train.store.store import EpisodeStore


def pack(
    data: Path,
    *,
    tokenizer: str,
    out: Path,
    clips: int = 256,
    clip_frames: tuple[int, ...] = (18, 24),
    device: str = "auto",
) -> Pack:
    """Makes one file of a store, which takes its place wherever a world is trained or scored.

    It holds the tokens of all frames, the tokenizer, bounds, agents, levels, known actions, rewards and ends of all
    episodes, and of the val and test splits real clips and what is known of the scene. Training on it draws the same
    batches as on the store, and `evaluate` with `--seed 0` and a length of `--clip-frames` scores the same clips. What
    needs all pixels (`tokenizer`, `clone`, `label`, the model without a world of `decoder`) takes the store.

    Args:
        data: a store of episodes that nobody is writing to.
        tokenizer: a directory that has a tokenizer, or the name of a bundled world.
        out: the file; a pack that is there is replaced.
        clips: how many real clips of the test split are kept for scores, of each length; beside them are the
            few of the val split that are watched during training, and those that a world shows itself on.
        clip_frames: lengths of these clips, context included: with a context of 2 and 16 predicted frames they are
            18 frames long. Clips of other lengths are drawn from the frames that are kept.
        device: where frames are encoded, if they are not yet: cpu, cuda or auto.

    Returns:
        The pack that was written.

    Raises:
        FileNotFoundError: no such tokenizer.
        FileExistsError: `out` is a folder.
        ValueError: no such store, frames of another size, no clips or too short ones, or another file is in the way.
    """
    if clips < 1 or not clip_frames or min(clip_frames) < 2:
        raise ValueError(f"expected clips >= 1 and clip_frames of 2 or more, got {clips} and {clip_frames}")
    lengths = sorted(set(clip_frames))
    draws = [Draw(split="test", count=clips, length=length) for length in lengths]
    draws += [Draw(split="val", count=WATCHED_CLIPS, length=length) for length in lengths]
    draws += [Draw(split="test", count=SHOWN_CLIPS, length=START_FRAMES)]
    return write_pack(EpisodeStore.open(data), find_tokenizer(tokenizer), out, draws, find_device(device))
