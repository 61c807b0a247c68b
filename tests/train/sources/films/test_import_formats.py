"""Films of every kind come as a player shows them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from films import HEIGHT, WIDTH, film, write_film, write_images

from flam_env import Labeller, read_video
from flam_env.video.frames import fit_frames
from flam_train.sources.films.finding import find_films
from flam_train.store.store import EpisodeStore

av = pytest.importorskip("av")
h5py = pytest.importorskip("h5py")


def stored(store: EpisodeStore, title: str) -> np.ndarray:
    """The frames of the only episode of a film."""
    (record,) = (
        each for split in store.splits for each in store.episodes(split) if each.path.stem.startswith(f"{title}-")
    )
    return store.read(record).frames


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other).mean())


def fitted(frames: np.ndarray, fit: str = "crop") -> np.ndarray:
    return fit_frames(frames, 64, fit)


KINDS = {
    "h264.mp4": ("libx264", "yuv420p", 12),
    "h265.mp4": ("libx265", "yuv420p", 12),
    "ten bits.mkv": ("libx264", "yuv420p10le", 12),
    "vp9.webm": ("libvpx-vp9", "yuv420p", 12),
    "mpeg4.avi": ("mpeg4", "yuv420p", 14),
    "deep.mov": ("prores_ks", "yuv422p10le", 4),
    "exact.mkv": ("ffv1", "bgr0", 0),
    "stream.ts": ("mpeg2video", "yuv420p", 14),
    "animated.gif": ("gif", "rgb8", 24),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One film in each kind of file, folder and array, and notes of somebody."""
    root = tmp_path_factory.mktemp("mixed")
    for i, (name, (codec, pixels, _)) in enumerate(KINDS.items()):
        write_film(root / name, film(i), codec, pixels=pixels)
    write_images(root / "day" / "pictures", film(20))
    np.save(root / "day" / "array.npy", film(21))
    np.savez(root / "day" / "arrays.npz", frames=film(22), others=np.zeros(3))
    np.save(root / "day" / "several.npy", np.stack([film(23), film(24)]))
    (root / "notes.txt").write_text("nothing to see")
    (root / ".hidden.mp4").write_bytes(b"nothing to see")
    return root


@pytest.fixture(scope="module")
def mixed(folder, tmp_path_factory):
    """What came of that folder."""
    from flam_train.sources.films.importing import import_

    out = tmp_path_factory.mktemp("stores") / "mixed"
    return import_((folder,), out=out, fps=15.0, cuts="none", workers=1)


def test_a_folder_of_mixed_films_becomes_one_store(folder, mixed):
    assert not mixed.refused and not mixed.copies
    assert len(mixed.records) == len(KINDS) + 5
    assert mixed.store.settings["frames_per_second"] == 15


@pytest.mark.parametrize("name", KINDS)
def test_films_of_every_codec_have_their_frames_and_colours(mixed, name):
    number, worst = list(KINDS).index(name), KINDS[name][2]
    frames = stored(mixed.store, name.partition(".")[0].replace(" ", "-"))[:20]  # hundredths of GIF add up to one more
    assert difference(frames, fitted(film(number))) <= worst
    assert difference(frames, fitted(film(number + 1))) > 30


@pytest.mark.parametrize(
    ("title", "seed"), [("pictures", 20), ("array", 21), ("arrays", 22), ("several-0", 23), ("several-1", 24)]
)
def test_images_and_arrays_come_as_they_are(mixed, title, seed):
    assert np.array_equal(stored(mixed.store, title), fitted(film(seed)))


def test_every_door_reads_the_same(folder, tiny_world):
    labeller = Labeller(tiny_world)
    by_file, by_array = (labeller.label(folder / "day" / name).latent_actions for name in ("array.npy", "arrays.npz"))
    assert np.array_equal(by_file, labeller.label(film(21)).latent_actions)
    assert np.array_equal(by_array, labeller.label(film(22)).latent_actions)
    with pytest.raises(ValueError, match=r"expected the frames \(T, H, W, 3\) of one video, got 2 in .*several\.npy"):
        read_video(folder / "day" / "several.npy")


# --- shapes -----------------------------------------------------------------------------------------------------


def test_frames_are_cropped_padded_or_stretched(bring, tmp_path):
    wide = film(0)
    np.save(tmp_path / "wide.npy", wide)
    middle = wide[:, :, (WIDTH - HEIGHT) // 2 : (WIDTH + HEIGHT) // 2]
    cropped = stored(bring(tmp_path / "wide.npy").store, "wide")
    assert np.array_equal(cropped, fitted(middle, "stretch"))
    padded = stored(bring(tmp_path / "wide.npy", fit="pad", out=tmp_path / "padded").store, "wide")
    assert not padded[:, :8].any() and not padded[:, -8:].any() and np.array_equal(padded[:, 8:-8], wide)
    stretched = stored(bring(tmp_path / "wide.npy", fit="stretch", out=tmp_path / "stretched").store, "wide")
    assert difference(stretched.mean(1), wide.mean(1)) < 6 < difference(cropped.mean(1), wide.mean(1))


def test_pixels_that_are_not_square_are_shown_square(bring, tmp_path):
    narrow = film(0, width=HEIGHT)
    write_film(tmp_path / "disc.mp4", narrow, aspect=Fraction(4, 3))
    assert next(read_video(tmp_path / "disc.mp4")).shape == (HEIGHT, WIDTH, 3)
    padded = stored(bring(tmp_path / "disc.mp4", fit="pad").store, "disc")
    assert not padded[:, :8].any() and padded[:, 8].mean() > 20


def test_films_and_pictures_of_a_phone_come_upright(bring, tmp_path):
    from PIL import Image

    write_film(tmp_path / "phone.mp4", film(0), turned=90)
    shown = stored(bring(tmp_path / "phone.mp4").store, "phone")
    assert difference(shown, fitted(np.rot90(film(0), axes=(1, 2)))) < 12
    (tmp_path / "photos").mkdir()
    for i, frame in enumerate(film(1, 3)):
        image = Image.fromarray(frame)
        image.getexif()[0x0112] = 6
        image.save(tmp_path / "photos" / f"{i}.png", exif=image.getexif())
    turned = stored(bring(tmp_path / "photos", out=tmp_path / "other").store, "photos")
    assert np.array_equal(turned, fitted(np.rot90(film(1, 3), -1, axes=(1, 2))))


@pytest.mark.parametrize("size", [128, 224])
def test_frames_have_the_size_that_was_asked_for(bring, tmp_path, size):
    np.save(tmp_path / "film.npy", film(0, 3))
    assert stored(bring(tmp_path / "film.npy", size=size).store, "film").shape == (3, size, size, 3)


# --- times ------------------------------------------------------------------------------------------------------


def test_films_of_all_rates_are_brought_to_one(bring, tmp_path):
    times = [0, 40, 80, 400, 440, *range(500, 1500, 100)]
    paths = [
        write_film(tmp_path / "constant.mp4", film(0, 30), rate=30),
        write_film(tmp_path / "odd.mp4", film(1, 30), rate=Fraction(30000, 1001)),
        write_film(tmp_path / "variable.mkv", film(2, len(times)), milliseconds=times),
    ]
    done = bring(*paths, fps=10.0)
    found = {record.origin: record for record in done.records}
    assert [round(found[str(path)].rate, 2) for path in paths[:2]] == [30, 29.97]
    assert [found[str(path)].stored for path in paths] == [10, 10, 15]
    numbers = [0, 2, 2, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    shown = np.stack(list(read_video(paths[2])))[numbers]
    assert np.array_equal(stored(done.store, "variable"), fitted(shown))


def test_without_a_rate_films_are_brought_to_what_most_of_them_have(bring, tmp_path):
    write_film(tmp_path / "a.mp4", film(0, 40), rate=Fraction(30000, 1001))
    write_film(tmp_path / "b.mp4", film(1, 10), rate=10)
    write_images(tmp_path / "c", film(2, 7))
    done = bring(tmp_path)
    assert done.store.settings["frames_per_second"] == 29.97
    found = {Path(record.origin).name: record.stored for record in done.records}
    assert found == {"a.mp4": 40, "b.mp4": 30, "c": 7}
    assert any("1 films have fewer than 29.97 frames a second, so frames repeat" in line for line in done.report)


def test_images_alone_have_no_rate_but_that_which_is_given(bring, tmp_path):
    write_images(tmp_path / "c", film(2, 7))
    assert "frames_per_second" not in bring(tmp_path / "c").store.settings
    assert bring(tmp_path / "c", fps=12.5, out=tmp_path / "other").store.settings["frames_per_second"] == 12.5


# --- data sets --------------------------------------------------------------------------------------------------


def dataset(root: Path, observations, actions=None, kind: str = "hdf5") -> Path:
    """A Minari dataset as it lies on a disk; observations: of each episode a dict of arrays, or one."""
    (root / "data").mkdir(parents=True)
    (root / "data" / "metadata.json").write_text(f'{{"data_format": "{kind}"}}')
    with h5py.File(root / "data" / "main_data.hdf5", "w") as file:
        for i, seen in enumerate(observations):
            episode = file.create_group(f"episode_{i}")
            for name, array in (seen if isinstance(seen, dict) else {"": seen}).items():
                episode[f"observations/{name}".rstrip("/")] = array
            if actions is not None:
                episode["actions"] = actions[i]
    return root


def test_episodes_of_a_minari_dataset_are_films_with_their_actions(bring, tmp_path):
    frames = [film(i, 9 + i) for i in range(3)]
    first = np.moveaxis(frames[2], -1, 1)
    taken = [np.arange(len(each) - 1) % 4 for each in frames]
    dataset(tmp_path / "game" / "play-v0", [frames[0], {"image": frames[1]}, {"a/b": first}], taken)
    done = bring(tmp_path / "game" / "play-v0")
    assert not done.refused and len(done.records) == 3
    for i, each in enumerate(frames):
        assert np.array_equal(stored(done.store, f"play-v0-episode-{i}"), fitted(each))
    records = [record for split in done.store.splits for record in done.store.episodes(split)]
    for record in records:
        actions = done.store.read(record).actions
        assert actions.tolist() == [*taken[record.frames - 9], -1]


def test_what_minari_itself_writes_is_read(bring, tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    from gymnasium.spaces import Box, Discrete
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    frames = [film(i, 5) for i in range(3)]
    buffers = [
        EpisodeBuffer(
            observations=each,
            actions=np.arange(4),
            rewards=np.zeros(4),
            terminations=np.zeros(4, bool),
            truncations=np.arange(4) == 3,
        )
        for each in frames
    ]
    space = Box(0, 255, frames[0].shape[1:], np.uint8)
    with pytest.warns(UserWarning):
        minari.create_dataset_from_buffers(
            "game/play-v0", buffers, observation_space=space, action_space=Discrete(4), algorithm_name="x"
        )
    films, refused = find_films([tmp_path / "minari"])
    assert not refused and len(films) == 3
    done = bring(tmp_path / "minari")
    assert len(done.records) == 3
    assert difference(stored(done.store, "play-v0-episode-1"), fitted(frames[1])) < 12
