"""Labelled videos in an episode store."""

import os
import warnings
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from flam_env import Labeller, load_world, read_video
from flam_env.heads.action_decoder import ActionDecoder, ActionDecoderConfig
from flam_env.video.frames import resize_frames
from flam_env.worlds.checkpoint import round_as_stored
from flam_env.worlds.saving import save_world
from flam_train.cli import main
from flam_train.engine.locks import FolderInUseError
from flam_train.sources.label import label
from flam_train.store.rates import store_rate
from flam_train.store.store import EpisodeStore

imageio = pytest.importorskip("imageio.v3")
av = pytest.importorskip("av")


def noise(length: int, seed: int, size: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (length, size, size, 3)).astype(np.uint8)


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def clips(tmp_path) -> tuple[Path, Path]:
    """A video file of 9 frames and a folder of 7 images."""
    file, folder = tmp_path / "my clips (1).mp4", tmp_path / "frames"
    imageio.imwrite(file, noise(9, seed=1), plugin="pyav", codec="libx264", fps=10)
    folder.mkdir()
    for i, frame in enumerate(noise(7, seed=2)):
        imageio.imwrite(folder / f"{i}.png", frame)
    return file, folder


@pytest.fixture
def collected(tmp_path, make_episode) -> EpisodeStore:
    """A store as a collection makes it, with actions, rewards and truth."""
    store = EpisodeStore.create(tmp_path / "collected", source="noise", size=48, settings={"seed": 3})
    for i, split in enumerate(("train", "train", "test")):
        length = 300 if i == 1 else 4 + i
        episode = make_episode(noise(length, seed=i), "planner", level_seed=20 + i)
        random = np.random.default_rng(i)
        store.write(
            split,
            replace(
                episode,
                actions=random.integers(0, 15, (length, 2)).astype(np.int16),
                rewards=random.random(length).astype(np.float32),
                truth={"positions": random.random((length, 2))},
            ),
        )
    return store


def test_videos_become_episodes_with_the_labels_of_their_frames(clips, tiny_checkpoint, tmp_path, capsys):
    store = label(clips, world=str(tiny_checkpoint), out=tmp_path / "out", split="val")
    assert capsys.readouterr().out == f"{tmp_path}/out: labelled 2 episodes, 0 were there before\n"
    records = store.episodes("val")
    assert [record.path.stem.rpartition("-")[0] for record in records] == ["frames", "my-clips-1"]
    labeller = Labeller.from_pretrained(tiny_checkpoint)
    for record, path in zip(records, reversed(clips), strict=True):
        episode = store.read(record)
        assert np.array_equal(episode.frames, np.stack(list(read_video(path))))
        assert np.array_equal(episode.labels.latent_actions, labeller.label(path).latent_actions)
        assert episode.labels.world == labeller.world.fingerprint() == store.settings["world"]
        assert (episode.agent, episode.level_seed, episode.terminated) == ("video", -1, False)
        assert episode.actions.shape == (len(episode.frames), 0) and not episode.rewards.any()


def test_whatever_can_be_imported_can_be_labelled(tiny_checkpoint, tmp_path):
    folder, seen = tmp_path / "folder", [noise(5 + i, seed=i) for i in range(3)]
    folder.mkdir()
    recorded(folder / "film.mkv", seen[0], fps=10)
    np.save(folder / "one.npy", seen[1])
    np.savez(folder / "two.npz", frames=np.stack([seen[2], seen[2][::-1]]))
    store = label((folder,), world=str(tiny_checkpoint), out=tmp_path / "out")
    labeller = Labeller.from_pretrained(tiny_checkpoint)
    found = {record.path.stem.rpartition("-")[0]: store.read(record) for record in store.episodes("train")}
    assert set(found) == {"film", "one", "two-0", "two-1"}
    for name, frames in (("film", seen[0]), ("one", seen[1]), ("two-1", seen[2][::-1])):
        assert np.array_equal(found[name].frames, frames)
        assert np.array_equal(found[name].labels.latent_actions, labeller.label(frames).latent_actions)


def test_a_video_that_is_cut_becomes_an_episode_for_each_scene(clips, tiny_checkpoint, tmp_path):
    main(["label", str(clips[0]), "--world", str(tiny_checkpoint), "--out", str(tmp_path / "out"), "--cuts", "4,7"])
    store, frames = EpisodeStore.open(tmp_path / "out"), np.stack(list(read_video(clips[0])))
    labeller, records = Labeller.from_pretrained(tiny_checkpoint), store.episodes("train")
    for record, scene in zip(records, (frames[:4], frames[4:7], frames[7:]), strict=True):
        episode = store.read(record)
        assert np.array_equal(episode.frames, scene)
        assert np.array_equal(episode.labels.latent_actions, labeller.label(scene).latent_actions)
    for cuts in ((4, 8), (7, 4), (9,), (-2,)):
        for fps in (None, 10):
            with pytest.raises(ValueError, match="expected ascending cuts into stretches of 2 or more of its 9 frames"):
                label(clips[:1], world=str(tiny_checkpoint), out=tmp_path / "other", cuts=cuts, fps=fps)
    with pytest.raises(ValueError, match="expected --cuts with one video only, got 2; label"):
        label(clips, world=str(tiny_checkpoint), out=tmp_path / "other", cuts=(4,))


def test_episodes_of_a_store_keep_all_that_they_had(collected, tiny_checkpoint, tmp_path):
    store = label((collected.root,), world=str(tiny_checkpoint), out=tmp_path / "out")
    assert store.source == "noise" and store.settings == {"seed": 3, "world": load_world(tiny_checkpoint).fingerprint()}
    labeller = Labeller.from_pretrained(tiny_checkpoint)
    for split, count in (("train", 2), ("val", 0), ("test", 1)):
        assert len(store.episodes(split)) == count
        for record, before in zip(store.episodes(split), collected.episodes(split), strict=True):
            new, old = store.read(record), collected.read(before)
            assert record.path.name == before.path.name
            for key in ("frames", "actions", "rewards"):
                assert np.array_equal(getattr(new, key), getattr(old, key))
            assert np.array_equal(new.truth["positions"], old.truth["positions"])
            assert (new.agent, new.level_seed, new.terminated) == ("planner", old.level_seed, True)
            assert np.array_equal(new.labels.latent_actions, labeller.label(old.frames).latent_actions)


@pytest.mark.parametrize("options", [{"cuts": (2,)}, {"fps": 10}, {"split": "val"}, {"split": "train"}])
def test_what_is_asked_of_videos_only_is_refused_for_a_store(collected, tiny_checkpoint, tmp_path, options):
    with pytest.raises(
        ValueError, match=r"expected --split, --cuts and --fps with videos only, got .* in its own split; leave them"
    ):
        label((collected.root,), world=str(tiny_checkpoint), out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_frames_of_another_size_are_kept_as_the_world_saw_them(make_store, tiny_checkpoint, tmp_path):
    squares = make_store(tmp_path / "squares", {"train": (1, 5)})
    with pytest.warns(UserWarning, match="sees frames of 48 x 48: these of 32 x 32 are resized"):
        store = label((squares.root,), world=str(tiny_checkpoint), out=tmp_path / "out")
    frames = squares.read(squares.episodes("train")[0]).frames
    assert np.array_equal(store.read(store.episodes("train")[0]).frames, resize_frames(frames, 48))


def test_a_second_run_labels_only_what_is_new(clips, tiny_checkpoint, tmp_path, capsys):
    out, copy = tmp_path / "out", tmp_path / "elsewhere" / clips[1].name
    label(clips[1:], world=str(tiny_checkpoint), out=out)
    before = files(out)
    clips[1].rename(copy.parent.mkdir() or copy)
    label((*clips, copy)[::2], world=str(tiny_checkpoint), out=out)
    assert capsys.readouterr().out.endswith("labelled 1 episodes, 1 were there before\n")
    after = files(out)
    assert len(after) == len(before) + 1 and all(after[name] == content for name, content in before.items())


@pytest.mark.parametrize("cuts", [(), (2,)])
def test_a_folder_of_images_that_has_grown_is_refused(clips, tiny_checkpoint, tmp_path, cuts):
    settings = {"world": str(tiny_checkpoint), "out": tmp_path / "out"}
    label(clips[1:], cuts=cuts, **settings)
    before = files(tmp_path / "out")
    imageio.imwrite(clips[1] / "7.png", noise(1, seed=5)[0])
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=r"frames with the images of before, which .*out/train/frames-.* holds"):
            label(clips[1:], split=split, cuts=cuts, **settings)
    assert files(tmp_path / "out") == before
    store = label((clips[1].rename(tmp_path / "others"),), **settings)
    assert store.episodes("train")[-1].frames == 8


def test_folders_of_one_name_are_told_apart_where_they_come_together(clips, tiny_checkpoint, tmp_path):
    twin = tmp_path / "twin" / clips[1].name
    twin.mkdir(parents=True)
    for i, frame in enumerate(noise(5, seed=6)):
        imageio.imwrite(twin / f"{i}.png", frame)
    label(clips[1:], world=str(tiny_checkpoint), out=tmp_path / "out")
    store = label((clips[1], twin), world=str(tiny_checkpoint), out=tmp_path / "out")
    assert sorted(record.frames for record in store.episodes("train")) == [5, 7]


def test_an_interrupted_run_leaves_whole_episodes_and_is_resumed(clips, tiny_checkpoint, tmp_path, monkeypatch):
    out, advance, seen = tmp_path / "out", Labeller.advance, []

    def interrupted(self, state, frames):
        seen.append(frames.shape[1])
        if sum(seen) > 12:
            raise KeyboardInterrupt
        return advance(self, state, frames)

    monkeypatch.setattr(Labeller, "PIECE", 4)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Labeller, "advance", interrupted)
        label(clips, world=str(tiny_checkpoint), out=out)
    assert len(files(out)) == 2, "expected the header and the first episode"
    label(clips, world=str(tiny_checkpoint), out=out)
    label(clips, world=str(tiny_checkpoint), out=tmp_path / "at once")
    assert files(out) == files(tmp_path / "at once")


def test_a_second_run_at_the_same_time_is_refused_by_name(clips, tiny_checkpoint, tmp_path, monkeypatch):
    settings, advance, refused = {"world": str(tiny_checkpoint), "out": tmp_path / "out"}, Labeller.advance, []

    def meanwhile(self, state, frames):
        if not refused:
            with pytest.raises(FolderInUseError, match=rf"out, which is in use by process {os.getpid()} on") as error:
                label(clips[1:], cuts=(2,), **settings)
            refused.append(error)
        return advance(self, state, frames)

    monkeypatch.setattr(Labeller, "advance", meanwhile)
    store = label(clips[1:], **settings)
    assert refused and stretches(store) == [[]] and len(files(store.root)) == 2


def test_labels_of_another_world_need_another_folder(clips, tiny_checkpoint, tiny_world, tmp_path):
    out, units = tmp_path / "out", tiny_world.units
    other = replace(tiny_world, units=replace(units, scale=tuple(2 * scale for scale in units.scale)))
    save_world(tmp_path / "other", other)
    label(clips[:1], world=str(tiny_checkpoint), out=out)
    before = files(out)
    with pytest.raises(ValueError, match=f"settings.world .* there, {other.fingerprint()} here; use another folder"):
        label(clips[1:], world=str(tmp_path / "other"), out=out)
    assert files(out) == before


def test_a_fingerprint_tells_worlds_apart_and_survives_the_disk(tiny_checkpoint, tiny_world, tmp_path):
    assert load_world(tiny_checkpoint).fingerprint() == tiny_world.fingerprint()
    save_world(tmp_path / "again", tiny_world)
    assert load_world(tmp_path / "again").fingerprint() == tiny_world.fingerprint()
    units = replace(tiny_world.units, kept=(0, 1, 2, 4, 6))
    assert replace(tiny_world, units=units).fingerprint() != tiny_world.fingerprint()


def test_mistakes_are_one_line_and_leave_nothing(clips, collected, tiny_checkpoint, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    one = tmp_path / "one.png"
    imageio.imwrite(one, noise(1, seed=0)[0])
    mistakes = {
        "expected video files and folders of images, or one episode store on its own, got 0 paths": [],
        "got 2 paths with 1 stores": [clips[0], collected.root],
        "which does not exist": [clips[0], tmp_path / "nowhere.mp4"],
        "expected videos or images in the folder": [tmp_path / "empty"],
        "expected a video that PyAV can read, got ": [tmp_path / "text.mp4"],
        f"expected a video of 2 or more frames, got {one} with 1": [one],
    }
    for message, paths in mistakes.items():
        with pytest.raises(SystemExit) as left:
            main(["label", *map(str, paths), "--world", str(tiny_checkpoint), "--out", str(tmp_path / "out")])
        out, err = capsys.readouterr()
        assert left.value.code == 2 and out == "" and message in err and err.count("\n") == 1, err
        assert not (tmp_path / "out").exists()


def test_a_video_that_breaks_off_leaves_no_episode(clips, tiny_checkpoint, tmp_path):
    (clips[1] / "4.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"expected an image, got .*4\.png, which cannot be read"):
        label(clips, world=str(tiny_checkpoint), out=tmp_path / "out")
    store = EpisodeStore.open(tmp_path / "out")
    assert [record.frames for record in store.episodes("train")] == [9]
    assert len(files(tmp_path / "out")) == 2


# --- what a stretch is ------------------------------------------------------------------------------------------


def stretches(store: EpisodeStore, split: str = "train") -> list[list[str]]:
    """Frames of each video, as its name tells after title and content."""
    return [record.path.stem.split("-", 2)[2:] for record in store.episodes(split)]


def test_the_same_cuts_add_nothing_but_stretches_that_are_missing(clips, tiny_checkpoint, tmp_path, capsys):
    settings = {"world": str(tiny_checkpoint), "out": tmp_path / "out"}
    store = label(clips[1:], cuts=(2, 5), **settings)
    assert stretches(store) == [["0-1"], ["2-4"], ["5-6"]]
    before = files(store.root)
    store.episodes("train")[1].path.unlink()
    main(["label", str(clips[1]), "--world", str(tiny_checkpoint), "--out", str(store.root), "--starts", "2,5"])
    assert capsys.readouterr().out.endswith("labelled 1 episodes, 2 were there before\n")
    assert files(store.root) == before
    assert stretches(label(clips[1:], cuts=(0,), **settings | {"out": tmp_path / "whole"})) == [[]]


@pytest.mark.parametrize(
    ("cuts", "others", "held"),
    [
        ((), (2,), "holds all of it"),
        ((2,), (), "holds frames 0 to 1 of it"),
        ((2,), (3,), "holds frames 0 to 1 of it"),
        ((2,), (2, 4), "holds frames 2 to 6 of it"),
    ],
)
def test_a_video_is_not_cut_in_two_ways_in_one_store(clips, tiny_checkpoint, tmp_path, cuts, others, held):
    settings = {"world": str(tiny_checkpoint), "out": tmp_path / "out"}
    label(clips[1:], cuts=cuts, **settings)
    before = files(tmp_path / "out")
    with pytest.raises(
        ValueError, match=f"to be new or cut as before, but .*frames-.*{held}; repeat the cuts of before"
    ):
        label(clips[1:], cuts=others, **settings)
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(("cuts", "others"), [((), ()), ((2,), (2,)), ((2,), ()), ((), (4,))])
@pytest.mark.parametrize("renamed", [False, True])
def test_a_video_of_another_split_is_refused_under_any_name(clips, tiny_checkpoint, tmp_path, cuts, others, renamed):
    settings = {"world": str(tiny_checkpoint), "out": tmp_path / "out"}
    label(clips[1:], cuts=cuts, **settings)
    before = files(tmp_path / "out")
    video = clips[1].rename(tmp_path / "abcdef012345-other") if renamed else clips[1]
    with pytest.raises(
        ValueError, match=r"for the split val that no other split holds, got .* is .*train.frames-.*\.h5;"
    ):
        label((video,), split="val", cuts=others, **settings)
    assert files(tmp_path / "out") == before


def test_a_copy_under_another_name_is_the_same_video(clips, tiny_checkpoint, tmp_path, capsys):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clips[0].read_bytes())
    for paths, said in (((copy, clips[0]), "labelled 1 episodes, 0"), ((clips[0], copy), "labelled 0 episodes, 1")):
        label(paths, world=str(tiny_checkpoint), out=tmp_path / "out")
        assert said in capsys.readouterr().out


def remuxed(path: Path, out: Path, **tags: str) -> Path:
    """The pictures of a video as they are, in another container."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        target.metadata.update(tags)
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    return out


@pytest.mark.parametrize("ending", ["mkv", "mov", "mp4"])
def test_a_copy_in_another_container_or_with_other_tags_is_the_same_video(clips, tiny_checkpoint, tmp_path, ending):
    copy = remuxed(clips[0], tmp_path / f"copy.{ending}", title="another title")
    assert copy.read_bytes() != clips[0].read_bytes()
    settings = {"world": str(tiny_checkpoint), "out": tmp_path / "out"}
    label(clips[:1], **settings)
    before = files(tmp_path / "out")
    label((copy,), **settings)
    assert files(tmp_path / "out") == before
    with pytest.raises(ValueError, match="for the split val that no other split holds"):
        label((copy,), split="val", **settings)


def test_stretches_that_an_earlier_release_numbered_are_known(clips, tiny_checkpoint, tmp_path):
    store = label(clips[1:], world=str(tiny_checkpoint), out=tmp_path / "out")
    path = store.episodes("train")[0].path
    path.rename(path.with_name(f"{path.stem}-0.h5"))
    with pytest.raises(ValueError, match="holds stretch 0 of it"):
        label(clips[1:], world=str(tiny_checkpoint), out=tmp_path / "out")


def test_a_file_that_an_earlier_release_knew_by_its_bytes_is_not_labelled_again(clips, tiny_checkpoint, tmp_path):
    store = label(clips[:1], world=str(tiny_checkpoint), out=tmp_path / "out")
    path = store.episodes("train")[0].path
    content = sha256(sha256(clips[0].read_bytes()).digest()).hexdigest()[:12]
    path.rename(path.with_name(f"my-clips-1-{content}.h5"))
    with pytest.raises(ValueError, match="holds it, labelled by an earlier release; label into a folder of its own"):
        label(clips[:1], world=str(tiny_checkpoint), out=tmp_path / "out")


def test_an_episode_of_another_store_is_not_taken_for_one_of_the_same_name(collected, tiny_checkpoint, tmp_path):
    settings = {"world": str(tiny_checkpoint), "out": tmp_path / "out"}
    label((collected.root,), **settings)
    label((collected.root,), **settings)
    twin = EpisodeStore.create(tmp_path / "twin", source="noise", size=48, settings={"seed": 3})
    record = collected.episodes("train")[0]
    episode = collected.read(record)
    twin.write("train", replace(episode, rewards=episode.rewards + 1), name=record.path.stem)
    with pytest.raises(
        ValueError, match=rf"out/train/{record.path.name} to be the episode of that name .* another one"
    ):
        label((twin.root,), **settings)


def test_a_title_of_any_length_makes_a_name(tiny_checkpoint, tmp_path):
    path = recorded(tmp_path / f"{'long title ' * 22}.mkv", noise(3, seed=0), fps=10)
    store = label((path,), world=str(tiny_checkpoint), out=tmp_path / "out")
    assert [record.frames for record in store.episodes("train")] == [3]


def test_an_unknown_split_is_refused_before_the_work(clips, tiny_checkpoint, tmp_path):
    with pytest.raises(ValueError, match="expected a split out of train, val, test, got 'valid'"):
        label(clips, world=str(tiny_checkpoint), out=tmp_path / "out", split="valid")
    assert not (tmp_path / "out").exists()


# --- rates ------------------------------------------------------------------------------------------------------


def recorded(path: Path, frames: np.ndarray, fps: int) -> Path:
    """A video of so many frames a second, without loss."""
    settings = {"plugin": "pyav", "codec": "ffv1", "in_pixel_format": "rgb24", "out_pixel_format": "bgr0"}
    imageio.imwrite(path, frames, fps=fps, **settings)
    return path


def test_a_recording_of_another_pace_is_warned_of_and_can_be_brought_to_the_worlds(tiny_checkpoint, tmp_path):
    frames = noise(6, seed=3)
    path = recorded(tmp_path / "screen.mkv", np.repeat(frames, 8, axis=0), fps=80)
    settings = {"world": str(tiny_checkpoint)}
    with pytest.warns(UserWarning, match=r"80 frames a second .* world had 10, .* \(--fps 10\) to label what it shows"):
        store = label((path,), out=tmp_path / "every", **settings)
    assert store.settings["frames_per_second"] == 80 and store.frames("train") == 48
    with warnings.catch_warnings(action="error"):
        label((path,), out=tmp_path / "meant", fps=80, **settings)
        store = label((path,), out=tmp_path / "brought", fps=10, cuts=(20,), **settings)
    assert store.settings["frames_per_second"] == 10
    first, second = (store.read(record).frames for record in store.episodes("train"))
    assert np.array_equal(first, frames[:3]) and np.array_equal(second, frames[[2, 3, 4, 5]])
    assert stretches(store) == [["0-19"], ["20-47"]]
    with pytest.raises(
        ValueError, match=r"stretches of 2 or more of its 48 frames, got \(5,\), .* stretches of \[1, 6\]"
    ):
        label((path,), out=tmp_path / "short", fps=10, cuts=(5,), **settings)


def test_videos_of_one_store_have_one_rate(clips, tiny_checkpoint, tmp_path):
    settings = {"world": str(tiny_checkpoint), "out": tmp_path / "out"}
    fast, slow = (recorded(tmp_path / f"{fps}.mkv", noise(8, seed=fps), fps) for fps in (20, 10))
    with pytest.raises(
        ValueError, match=r"videos of 20 frames a second, as others have, got .*10\.mkv of 10; give --fps"
    ):
        label((fast, slow), **settings)
    assert not (tmp_path / "out").exists()
    label((slow,), **settings)
    label((clips[1],), **settings)
    with pytest.raises(ValueError, match=r"of 10 frames a second, as the store holds, got .*20\.mkv of 20; give --fps"):
        label((fast,), **settings)
    with pytest.raises(ValueError, match=r"settings.frames_per_second 10.0 there, 20.0 here; use another"):
        label((fast,), fps=20, **settings)
    store = label((fast, clips[0]), fps=10, **settings)
    assert sorted(record.frames for record in store.episodes("train")) == [4, 7, 8, 9]


def test_images_have_no_rate_and_leave_that_of_their_store_unknown(clips, tiny_checkpoint, tmp_path):
    settings = {"world": str(tiny_checkpoint), "out": tmp_path / "out"}
    assert "frames_per_second" not in label(clips[1:], **settings).settings
    assert "frames_per_second" not in label(clips[:1], **settings).settings
    for paths in (clips, clips[::-1]):
        assert "frames_per_second" not in label(paths, **settings | {"out": tmp_path / "together"}).settings
    others = [recorded(tmp_path / f"{fps}.mkv", noise(8, seed=fps), fps) for fps in (20, 40)]
    with pytest.raises(ValueError, match="videos of 20 frames a second, as others have"):
        label((clips[1], *others), **settings)
    with pytest.raises(ValueError, match=r"expected a video file to bring to another fps, got .*frames, whose own"):
        label(clips[1:], fps=10, **settings | {"out": tmp_path / "other"})


def test_a_store_of_another_pace_is_warned_of_and_keeps_its_frames(collected, make_episode, tiny_checkpoint, tmp_path):
    store = EpisodeStore.create(tmp_path / "fast", source="noise", size=48, settings={"frames_per_second": 30})
    store.write("train", make_episode(noise(3, seed=0)))
    with pytest.warns(
        UserWarning, match="fast has 30 frames a second and the videos of this world had 10, .* less happ"
    ):
        labelled = label((store.root,), world=str(tiny_checkpoint), out=tmp_path / "out")
    assert store_rate(labelled) == 30


# --- Minari -----------------------------------------------------------------------------------------------------


@pytest.fixture
def minari(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return minari


def test_a_minari_dataset_has_every_pixel_and_label(minari, collected, tiny_checkpoint, tmp_path):
    store = label((collected.root,), world=str(tiny_checkpoint), out=tmp_path / "out", minari="noise/labelled-v0")
    dataset = minari.load_dataset("noise/labelled-v0")
    assert dataset.observation_space.shape == (3, 48, 48) and dataset.action_space.shape == (6, 5)
    records = [record for split in ("train", "test") for record in store.episodes(split)]
    for found, record in zip(dataset, records, strict=True):
        episode = store.read(record)
        assert np.array_equal(np.moveaxis(found.observations, 1, -1), episode.frames)
        assert np.array_equal(found.actions, episode.labels.latent_actions) and found.actions.dtype == np.float32
        assert np.array_equal(found.rewards, episode.rewards[:-1])
        assert list(found.infos) == ["action"] and np.array_equal(found.infos["action"], episode.actions[:-1])
        assert np.flatnonzero(found.truncations).tolist() == [record.frames - 2] and not found.terminations.any()
    metadata = dataset.storage.get_episode_metadata(range(3))
    assert [(each["split"], each["agent"]) for each in metadata] == [(record.split, record.agent) for record in records]


def test_a_minari_dataset_has_the_real_actions_that_a_decoder_told(minari, clips, tiny_world, tmp_path):
    config = ActionDecoderConfig(slots=6, slot_dim=tiny_world.model.config.dim, latent_dim=5, actions=4)
    save_world(tmp_path / "decoded", replace(tiny_world, heads={"decoder": round_as_stored(ActionDecoder(config))}))
    store = label(clips, world=str(tmp_path / "decoded"), out=tmp_path / "out", minari="noise/labelled-v0")
    for found, record in zip(minari.load_dataset("noise/labelled-v0"), store.episodes("train"), strict=True):
        labels = store.read(record).labels
        assert sorted(found.infos) == ["action_probabilities", "pseudo_action"]
        assert np.array_equal(found.infos["pseudo_action"], labels.actions)
        assert np.array_equal(found.infos["action_probabilities"], labels.action_probabilities)


def test_a_minari_name_that_is_taken_or_none_is_refused_before_the_work(minari, clips, tiny_checkpoint, tmp_path):
    label(clips[1:], world=str(tiny_checkpoint), out=tmp_path / "one", minari="noise-v0")
    for name, message in (("noise-v0", "which exists; take another name$"), ("noise", "such as bigfish/label")):
        with pytest.raises(ValueError, match=message):
            label(clips, world=str(tiny_checkpoint), out=tmp_path / "two", minari=name)
    assert not (tmp_path / "two").exists()


def test_a_minari_export_that_fails_leaves_no_dataset(minari, collected, tiny_checkpoint, tmp_path, monkeypatch):
    read, seen = EpisodeStore.read, []

    def failing(self, record):
        seen.append(record)
        if len(seen) == 3:
            raise OSError("disk gone")
        return read(self, record)

    monkeypatch.setattr(EpisodeStore, "read", failing)
    with pytest.raises(OSError, match="disk gone"):
        label((collected.root,), world=str(tiny_checkpoint), out=tmp_path / "out", minari="noise/labelled-v0")
    assert not minari.list_local_datasets() and not any(
        name.endswith(".hdf5") for _, _, names in os.walk(tmp_path / "minari") for name in names
    )
