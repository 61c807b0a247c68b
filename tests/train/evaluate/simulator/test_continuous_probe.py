"""A linear probe finds known real-valued actions in latent ones where they are, and nothing where they are not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flam_train.cli import main
from flam_train.evaluate.backgrounds import MOVING
from flam_train.evaluate.evaluate import evaluate
from flam_train.evaluate.simulator.continuous_probe import Watched, known_changes, probe_scores
from flam_train.evaluate.simulator.report import OF_ENTITIES
from flam_train.store.moments import Moments
from flam_train.store.store import EpisodeStore

SLOTS, STATE, LATENT, VALUES = 3, 5, 4, 2


def planted(count: int, seed: int, *, shuffled: bool = False) -> Watched:
    """Transitions whose values are linear in the latent action of slot 1, and the first also in the states."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(count, VALUES, generator=random, dtype=torch.float64)
    states, latent_actions = (
        torch.randn(count, SLOTS, size, generator=random, dtype=torch.float64) for size in (STATE, LATENT)
    )
    told = values[torch.randperm(count, generator=random)] if shuffled else values
    latent_actions[:, 1, :2] = told @ torch.tensor([[2.0, 1.0], [-1.0, 3.0]], dtype=torch.float64) + 7
    states[:, 2, 0] = -3 * values[:, 0]
    return Watched(states, latent_actions, values)


def test_what_is_a_linear_function_of_a_latent_action_is_told():
    scores = probe_scores(planted(400, 1), planted(200, 2))
    assert len(scores) == VALUES
    for value, each in enumerate(scores):
        assert each["all_slots"] > 0.99 and each["best_slot"] > 0.99 and each["slot"] == 1
        assert each["spread"] == pytest.approx(1, abs=0.15)
        assert (each["state"] > 0.99) == (value == 0)


def test_what_belongs_to_other_transitions_is_not_told():
    scores = probe_scores(planted(400, 1, shuffled=True), planted(200, 2, shuffled=True))
    assert all(abs(each[name]) < 0.15 for each in scores for name in ("all_slots", "best_slot"))


def test_what_two_slots_tell_together_no_single_one_tells():
    learned, scored = planted(400, 1), planted(200, 2)
    for watched in (learned, scored):
        part = watched.latent_actions[:, 0, 0].clone()
        watched.latent_actions[:, 0, 0] = part + watched.values[:, 0]
        watched.latent_actions[:, 1] = torch.stack([part] * LATENT, -1)
    scores = probe_scores(learned, scored)[0]
    assert scores["all_slots"] > 0.98 and scores["best_slot"] < 0.7


def test_changes_are_those_since_the_frame_before():
    changes = known_changes(np.array([[1.0, 5.0], [4.0, 5.5], [np.nan, np.nan]], np.float32))
    assert np.isnan(changes[0, 2:]).all() and changes[1].tolist() == [4.0, 5.5, 3.0, 0.5]
    assert np.isnan(changes[2]).all()


def test_some_episodes_are_taken_whole():
    episodes = np.repeat(np.arange(5), [3, 4, 5, 6, 7])
    at = Moments(split="val", names=tuple("abcde"), episodes=episodes, frames=np.arange(25))
    rows = at.some_episodes(8, seed=3)
    taken, lengths = np.unique(episodes[rows], return_counts=True)
    assert 8 <= len(rows) < 8 + 7 and (lengths == taken + 3).all()
    assert len(at.some_episodes(99, seed=3)) == 25


# --- in a report ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driven(store, tmp_path_factory) -> EpisodeStore:
    """Squares whose known actions are where the upper one goes next, in a store that names them."""
    root = tmp_path_factory.mktemp("driven") / "store"
    names = {"known_actions": {"kind": "continuous", "names": ["down", "right"]}}
    made = EpisodeStore.create(root, source="squares", size=store.size, settings=store.settings | names)
    for split in store.splits:
        for record in store.episodes(split):
            episode = store.read(record)
            places = np.array([np.argwhere(frame[:16].any(-1)).mean(0) for frame in episode.frames])
            moved = np.concatenate([np.diff(places, axis=0), np.full((1, 2), np.nan)]).astype(np.float32)
            made.write(split, replace(episode, continuous_actions=moved), name=record.path.stem)
    return made


def test_the_report_tells_how_much_of_known_motion_latent_actions_tell(driven, trained, tmp_path, capsys):
    told = ["evaluate", str(trained), str(driven.root), "--metrics", "continuous_actions"]
    main([*told, "--clips", "4", "--horizon", "4", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "R2 of linear probes" in out and "| change of right |" in out
    report = evaluate(
        str(trained), driven.root, metrics=("continuous_actions",), clips=4, horizon=4, out=tmp_path / "again.json"
    )["continuous_actions"]
    assert list(report["values"]) == ["down", "right", "change of down", "change of right"]
    down = report["values"]["down"]  # of two rows; how far right depends on where a square was, and no line tells that
    assert down["all_slots"] > 0.25 and down["all_slots"] > down["state"]


def test_data_without_such_actions_are_refused(store, trained, tmp_path):
    with pytest.raises(ValueError, match="expected known actions that are real numbers in split 'train', got none"):
        evaluate(str(trained), store.root, metrics=("continuous_actions",), clips=4, horizon=4, out=tmp_path)


@pytest.mark.parametrize("metric", OF_ENTITIES)
@pytest.mark.parametrize("source", MOVING)
def test_entities_are_not_looked_for_where_the_camera_moves(metric, source, store, trained, tmp_path):
    moving = EpisodeStore.create(tmp_path / "store", source=source, size=store.size, settings=store.settings)
    moving.write("test", store.read(store.episodes("test")[0]))
    with pytest.raises(ValueError, match=f"expected metrics that {source} can have, got {metric}, .* the camera moves"):
        evaluate(str(trained), moving.root, metrics=(metric,), clips=2, out=tmp_path)
