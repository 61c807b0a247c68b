"""Before anybody trains: a sheet of what is there, and a report that says what is wrong with it."""

import numpy as np
import pytest
from films import film
from PIL import Image

from flam_train.presets import PRESETS
from flam_train.sources.films.preview import moving_share

pytest.importorskip("av")


@pytest.fixture
def saved(tmp_path):
    def saved(*videos: np.ndarray):
        for i, frames in enumerate(videos):
            np.save(tmp_path / f"film{i}.npy", frames)
        return [tmp_path / f"film{i}.npy" for i in range(len(videos))]

    return saved


def report(done) -> str:
    text = (done.store.root / "preview.txt").read_text()
    assert text == "".join(f"{line}\n" for line in done.report)
    return text


def test_the_sheet_shows_eight_frames_of_films(bring, saved):
    done = bring(*saved(*(film(i, 20, 64, 64) for i in range(3))))
    sheet = np.asarray(Image.open(done.store.root / "preview.png"))
    assert sheet.shape == (3 * (2 * 64 + 2 + 14), 8 * (2 * 64 + 2), 3)
    first = sheet[14 : 14 + 128 : 2, 0:128:2]
    assert any(np.array_equal(first, film(i, 20, 64, 64)[0]) for i in range(3))
    assert len(bring(*saved(*(film(i) for i in range(11)))).records) == 14
    assert np.asarray(Image.open(done.store.root / "preview.png")).shape[0] == 8 * (2 * 64 + 2 + 14)


def test_the_report_tells_frames_rate_cuts_motion_and_a_preset(bring, saved):
    done = bring(*saved(*(film(i, 30) for i in range(10))), fps=15.0)
    text = report(done)
    assert text.startswith("10 films, 10 episodes, 300 frames of 64 px at 15 frames a second, 0.3 minutes\n")
    assert "  train     8 films        240 frames, 80% (aim: 80%)\n" in text
    assert "cuts (none): 0 in 0 films\n" in text and "!" not in text
    assert f"pixels that move from frame to frame: {moving_share(done.store):.2%}\n" in text
    assert text.endswith("preset: --preset tiny, to try; 5,000 frames and more are worth --preset small\n")


def test_the_share_of_pixels_that_move_is_that_of_what_moves(bring, saved):
    still = np.zeros((3, 20, 64, 64, 3), np.uint8)
    for i, frames in enumerate(still):
        frames[::2, :16, :16] = 200
        frames[:, 40] = i + 1
    assert moving_share(bring(*saved(*still)).store) == pytest.approx(1 / 16)


@pytest.mark.parametrize(
    ("videos", "said"),
    [
        ([np.full((20, 64, 64, 3), i, np.uint8) for i in range(3)], "! hardly anything moves: a lower --fps"),
        (
            [np.random.default_rng(i).integers(0, 256, (20, 64, 64, 3)).astype(np.uint8) for i in range(3)],
            "! most of every frame changes: a moving camera, noise, or missed cuts",
        ),
        ([film(i, 9) for i in range(3)], "! 3 episodes have fewer than the 16 frames of a clip, and teach nothing"),
        ([film(0)], "! nothing in val and test: training needs three films or more"),
    ],
)
def test_what_will_go_wrong_is_said(bring, saved, videos, said):
    assert said in report(bring(*saved(*videos)))


@pytest.mark.parametrize(
    ("size", "preset"), [(128, "--preset tiny --model.image-size 128 --model.patch-size 8"), (224, "--preset paper")]
)
def test_the_preset_fits_the_size(bring, saved, size, preset):
    assert preset in report(bring(*saved(film(0)), size=size))


def test_what_is_said_of_presets_is_so():
    assert PRESETS["paper"].tokenizer.image_size == 224
    for name in ("small", "tiny"):
        assert PRESETS[name].tokenizer.image_size == 64 and PRESETS[name].tokenizer.patch_size == 64 // 16
