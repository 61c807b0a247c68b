"""From a few labels to policies: what each arm learns from, how its runs are made, and the table of their reports."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("procgen")
pytest.importorskip("stable_baselines3")

from flam_env import Labeller
from flam_env.worlds.checkpoint import round_as_stored, save_network
from flam_train.clone import load_clone
from flam_train.engine import FitConfig
from flam_train.engine.locks import folder_lock
from flam_train.heads.draws import draw_labels
from flam_train.heads.few_labels import LearningConfig
from flam_train.heads.known_actions import all_labels
from flam_train.players.behaviour_cloning import CloningConfig
from flam_train.players.policy import Policy, PolicyConfig
from flam_train.presets import SMALL
from flam_train.sources.collect import collect
from flam_train.store.store import EpisodeStore
from flam_train.studies.policies import policies as command
from flam_train.studies.policies import training
from flam_train.studies.policies.arms import arm_demonstrations, held_out_demonstrations, share_frames
from flam_train.studies.policies.findings import read_arms
from flam_train.studies.policies.policies import policies
from flam_train.studies.policies.pseudo_labels import label_path, make_pseudo_labels, read_pseudo_labels
from flam_train.studies.policies.runs import RUNS, Run
from flam_train.studies.policies.study import PolicyStudy
from flam_train.studies.policies.tables import game_lines, policy_tables
from flam_train.studies.policies.training import make_policy
from flam_train.studies.runs import make_report

ACTIONS, LABELS, LONGEST = 15, 40, 60
HURRIED = FitConfig(steps=4, batch_size=5, learning_rate=1e-3, precision="fp32")
FEW = tuple(
    Run(arm=arm, labels=LABELS if arm in ("flam", "supervised", "vanilla") else None, seed=1)
    for arm in ("demonstrator", "random", "all-labels", "flam", "supervised", "vanilla")
)


def never(*arguments, **named):
    raise AssertionError("this must not be called")


def untaught_policy(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    policy = Policy(PolicyConfig(game="bigfish", widths=(4, 6), features=5))
    save_network(path, round_as_stored(policy))
    return path


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory) -> EpisodeStore:
    """Native pictures of episodes that an untaught policy plays; it lies beside them."""
    folder = tmp_path_factory.mktemp("stores")
    player = untaught_policy(folder / "policy.safetensors", 3)
    settings = {"frames": 500, "random_share": 0.0, "max_episode_frames": LONGEST, "workers": 1, "native": True}
    return collect("bigfish", folder / "bigfish", demonstrator=player, **settings)


@pytest.fixture(scope="module")
def study(demonstrations, tmp_path_factory) -> Iterator[PolicyStudy]:
    """What runs share; the pseudo labels of the few runs are made, and all frames are there."""
    folder = tmp_path_factory.mktemp("study")
    shared = PolicyStudy(
        game="bigfish",
        data=demonstrations.root,
        demonstrator=demonstrations.root.parent / "policy.safetensors",
        runs=folder / "runs",
        reports=folder / "reports",
        features="nature",
        fit=HURRIED,
    )
    with pytest.MonkeyPatch.context() as patch:
        made_in = "flam_train.studies.policies.pseudo_labels"
        patch.setattr(f"{made_in}.SMALL", replace(SMALL, decoder_fit=HURRIED))
        patch.setattr(f"{made_in}.LEARNING", LearningConfig(dreamt=16))
        labelled = [run for run in FEW if run.arm in ("flam", "supervised")]
        make_pseudo_labels(demonstrations, Labeller.from_pretrained("bigfish"), labelled, shared.pseudo_labels)
    with share_frames(demonstrations, shared.frames):
        yield shared
    assert not shared.frames.exists()


@pytest.fixture
def quick(monkeypatch) -> None:
    """Runs that play one short episode in each of two simulators."""
    monkeypatch.setattr(training, "SIMULATORS", 2)
    monkeypatch.setattr(training, "EPISODES", 1)
    monkeypatch.setattr(training, "JUDGED_EPISODES", 1)
    for module in ("training", "study"):
        monkeypatch.setattr(
            f"flam_train.studies.policies.{module}.CLONING", CloningConfig(evaluate_every=2, patience=0)
        )


# --- what each arm learns from ----------------------------------------------------------------------------------


def test_every_arm_with_a_seed_learns_from_the_same_labels(demonstrations, study):
    every = all_labels(demonstrations, "train", actions=ACTIONS)
    known = np.isin(np.arange(len(every)), draw_labels(every, LABELS, seed=1))
    pairs = {run.arm: arm_demonstrations(run, demonstrations, study.pseudo_labels, study.frames) for run in FEW[2:]}
    assert np.array_equal(pairs["all-labels"].acts, every.actions)
    assert np.array_equal(pairs["vanilla"].acts, every.actions[known])
    assert np.array_equal(pairs["vanilla"].obs, pairs["all-labels"].obs[known])
    for arm in ("flam", "supervised"):
        acts = pairs[arm].acts
        assert acts.shape == (len(every), ACTIONS) and np.allclose(acts.sum(1), 1, atol=2e-3)
        assert np.array_equal(acts[known].argmax(1), every.actions[known]) and (acts[known].max(1) == 1).all()
        assert acts[~known].max(1).min() < 1, "what is not known is not certain"
        assert np.array_equal(pairs[arm].obs, pairs["all-labels"].obs)


def test_frames_stand_beside_the_actions_that_were_taken_in_them(demonstrations, study):
    pairs = arm_demonstrations(FEW[2], demonstrations, study.runs, study.frames)
    record, *_ = demonstrations.episodes("train")
    episode = demonstrations.read(record)
    assert np.array_equal(pairs.obs[: record.frames - 1], episode.frames[:-1])
    assert np.array_equal(pairs.acts[: record.frames - 1], episode.actions[:-1])
    assert set(held_out_demonstrations(demonstrations).episodes) == set(range(len(demonstrations.episodes("val"))))


def test_arms_that_take_all_frames_share_one_file_of_them(demonstrations, study):
    """A run that held them would need gigabytes, and so would every run beside it."""
    for run in FEW[2:5]:
        frames = arm_demonstrations(run, demonstrations, study.pseudo_labels, study.frames).obs
        while frames is not None and not isinstance(frames, np.memmap):
            frames = frames.base
        assert Path(frames.filename).parent == study.frames, "read where they are"


def test_frames_that_came_later_are_missed_by_name(demonstrations, study, tmp_path):
    store = EpisodeStore.open(shutil.copytree(demonstrations.root, tmp_path / "grows"))
    store.write("train", store.read(store.episodes("val")[0]), name="a-first")
    with pytest.raises(ValueError, match=r"frames: expected the frames of \d+ moments .* let a store be while"):
        arm_demonstrations(FEW[2], store, study.pseudo_labels, study.frames)


def test_pseudo_labels_are_scored_where_labels_are_not_known(demonstrations, study):
    every = all_labels(demonstrations, "train", actions=ACTIONS)
    unknown = ~np.isin(np.arange(len(every)), draw_labels(every, LABELS, seed=1))
    for run in FEW[3:5]:
        told = read_pseudo_labels(label_path(study.pseudo_labels, run))
        right = (told.probabilities.argmax(1) == every.actions)[unknown].mean()
        assert told.scores["accuracy"] == pytest.approx(right, abs=0.01)  # half precision may settle ties otherwise
        assert told.scores["class_accuracy"] >= told.scores["accuracy"]


def test_pseudo_labels_that_are_there_are_not_made_again(demonstrations, study, monkeypatch):
    monkeypatch.setattr("flam_train.studies.policies.pseudo_labels.token_cache", never)
    make_pseudo_labels(demonstrations, Labeller.from_pretrained("bigfish"), FEW[3:5], study.pseudo_labels)


def test_pseudo_labels_made_with_another_world_are_refused(demonstrations, study, tiny_checkpoint):
    with pytest.raises(ValueError, match=r"got a file of pseudo labels that differs in world \w+ there, \w+ here"):
        make_pseudo_labels(demonstrations, Labeller.from_pretrained(tiny_checkpoint), FEW[3:4], study.pseudo_labels)
    make_pseudo_labels(demonstrations, Labeller.from_pretrained(tiny_checkpoint), FEW[4:5], study.pseudo_labels)


def test_pseudo_labels_stay_with_their_frames_while_the_store_grows(demonstrations, study, tmp_path):
    """An episode that sorts first comes after the labels were made."""
    before = arm_demonstrations(FEW[3], demonstrations, study.pseudo_labels, study.frames)
    store = EpisodeStore.open(shutil.copytree(demonstrations.root, tmp_path / "grows"))
    store.write("train", store.read(store.episodes("val")[0]), name="a-first")
    after = arm_demonstrations(FEW[3], store, study.pseudo_labels, study.frames)
    assert np.array_equal(after.obs, before.obs) and np.array_equal(after.acts, before.acts)
    for run in FEW[3:5]:
        with pytest.raises(ValueError, match="differs in the same moments False there, True here, transitions"):
            make_pseudo_labels(store, Labeller.from_pretrained("bigfish"), [run], study.pseudo_labels)


def test_pseudo_labels_of_moments_without_names_are_refused(study, tmp_path):
    with np.load(label_path(study.pseudo_labels, FEW[3])) as file:
        np.savez(tmp_path / "old.npz", probabilities=file["probabilities"], world=file["world"])
    with pytest.raises(ValueError, match=r"old\.npz: expected pseudo labels of named moments, got none; move it away"):
        read_pseudo_labels(tmp_path / "old.npz")


# --- one run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", FEW, ids=lambda run: run.arm)
def test_a_run_leaves_a_report_and_its_policy_plays(run, study, quick):
    make_report(study, run, make_policy)
    report = json.loads(study.report(run).read_text())
    assert report["levels"]["episodes"] == len(report["levels"]["returns"]) == 2
    assert report["settings"] == study.settings(run) and report["settings"]["arm"] == run.arm
    if run in FEW[2:]:
        assert load_clone(study.runs / run.name / "policy.safetensors").observation_space.shape == (3, 64, 64)
        assert [look["step"] for look in report["curve"]] == [2, 4] and report["kept_step"] in (2, 4)
        kept = next(look for look in report["curve"] if look["step"] == report["kept_step"])
        assert kept["val_return"] == max(look["val_return"] for look in report["curve"])
    assert ("pseudo_labels" in report) == (run.arm in ("flam", "supervised"))


def test_a_run_that_is_made_again_gives_the_same_report(study, quick):
    run, reports = FEW[5], []
    for folder in ("one", "two"):
        again = replace(study, runs=study.runs.parent / folder, reports=study.reports.parent / folder)
        with share_frames(EpisodeStore.open(study.data), again.frames):
            make_report(again, run, make_policy)
        reports.append(json.loads(again.report(run).read_text()))
        assert reports[-1].pop("seconds") > 0
    assert reports[0] == reports[1]


# --- the command ------------------------------------------------------------------------------------------------


def test_the_command_makes_what_is_missing_and_nothing_twice(study, quick, monkeypatch):
    monkeypatch.setattr(command, "RUNS", FEW)
    monkeypatch.setattr("flam_train.studies.runs.side_by_side", lambda jobs, *rest: [job() for job in jobs.values()])
    settings = {"data": study.data, "demonstrator": study.demonstrator, "fit": HURRIED, "features": "nature"}
    folders = {"runs": study.runs.parent / "all-runs", "reports": study.runs.parent / "all-reports"}
    policies("bigfish", arms=("random", "vanilla"), **settings, **folders)
    written = sorted((folders["reports"] / "bigfish").iterdir())
    assert [path.stem for path in written] == ["random-1", f"vanilla-{LABELS}-1"]
    assert not (folders["runs"] / "bigfish" / "frames").exists(), "they are many GB"
    monkeypatch.setattr(command, "make_policy", never)
    policies("bigfish", arms=("random", "vanilla"), **settings, **folders)


def test_there_are_no_more_runs_at_once_than_there_is_memory_for(study, monkeypatch):
    started = []
    monkeypatch.setattr("flam_train.studies.runs.side_by_side", lambda jobs, workers, title: started.append(workers))
    monkeypatch.setattr("flam_train.studies.runs.available_cores", lambda: 16)
    settings = {"data": study.data, "demonstrator": study.demonstrator}
    settings |= {name: study.runs.parent / f"other-{name}" for name in ("runs", "reports")}
    for gigabytes, workers in ((128.0, 0), (7.0, 0), (0.5, 0), (7.0, 5)):
        monkeypatch.setattr("flam_train.studies.runs.available_memory", lambda memory=gigabytes: 1e9 * memory)
        policies("bigfish", arms=("random", "all-labels", "vanilla"), workers=workers, **settings)
    assert started == [12, 3, 1, 5]  # of 12 runs
    with pytest.raises(ValueError, match="expected workers >= 0, got -1"):
        policies("bigfish", workers=-1, **settings)


def test_two_commands_do_not_share_a_folder_of_runs(study, monkeypatch):
    monkeypatch.setattr("flam_train.studies.runs.side_by_side", never)
    settings = {"data": study.data, "demonstrator": study.demonstrator}
    settings |= {name: study.runs.parent / f"locked-{name}" for name in ("runs", "reports")}
    with folder_lock(settings["runs"] / "bigfish"), pytest.raises(ValueError, match="nobody else writes into"):
        policies("bigfish", arms=("vanilla",), **settings)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"game": "coinrun"}, "expected a game of bigfish, leaper, starpilot"),
        ({"arms": ("expert",)}, "and arms of all-labels, demonstrator, flam.*got 'bigfish' and expert"),
        ({"game": "starpilot"}, "expected demonstrations of starpilot, got procgen/bigfish"),
        ({"demonstrator": Path("nowhere.safetensors")}, "expected the file of a trained policy"),
    ],
)
def test_what_does_not_belong_together_is_refused_before_anything_is_written(changes, message, study, tmp_path):
    settings = {"game": "bigfish", "data": study.data, "demonstrator": study.demonstrator, "runs": tmp_path / "runs"}
    with pytest.raises(ValueError, match=message):
        policies(**settings | {"reports": tmp_path / "reports"} | changes)
    assert not list(tmp_path.iterdir())


def test_a_demonstrator_who_was_not_filmed_is_refused(study, tmp_path):
    other = untaught_policy(tmp_path / "other.safetensors", 4)
    with pytest.raises(ValueError, match=r"got a store that differs in demonstrator \w+ there.*other.safetensors`"):
        policies("bigfish", data=study.data, demonstrator=other, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# --- the table --------------------------------------------------------------------------------------------------


def write_reports(folder: Path, returns: dict[str, float], **changes) -> Path:
    """A report for each run of the named arms, with returns around what is given."""
    for run in RUNS:
        name = run.arm if run.labels is None else f"{run.arm}-{run.labels}"
        if name in returns:
            settings = {"arm": run.arm, "labels": run.labels, "seed": run.seed, "features": "nature"}
            settings |= {"fit": {"steps": 1500, "batch_size": 6, "seed": run.seed}, "demonstrations": {"frames": 4321}}
            settings |= changes
            levels = {"mean_return": returns[name] + run.seed - 1, "episodes": 100}
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{run.name}.json").write_text(json.dumps({"settings": settings, "levels": levels}))
    return folder


def test_the_table_gives_means_over_seeds_ratios_and_whether_bars_hold(tmp_path):
    returns = {"flam-10000": 12.0, "vanilla-10000": 4.8, "flam-1000": 5.0, "vanilla-1000": 4.0, "all-labels": 14.0}
    text = "\n".join(game_lines("bigfish", read_arms(write_reports(tmp_path, returns))))
    assert "| flam | 10000 | 12.0 ± 0.6 (3) | 300 |  | 0.86 |" in text and "*8.8*" in text
    assert "| flam 10000 / vanilla 10000 | ≥ 2.4 | 2.50 | holds |" in text
    assert "| flam 1000 / vanilla 1000 | ≥ 1.8 | 1.25 | missed |" in text
    assert "| flam 10000 / all-labels | aim 0.8 | 0.86 | reached |" in text
    assert "demonstrator" not in text.split("| ratio")[1]
    assert "network `nature` and learn for 9,000 sample-updates" in text and "4,321 frames" in text


def test_reports_that_cannot_be_compared_are_refused(tmp_path):
    folder = write_reports(tmp_path / "bigfish", {"flam-1000": 5.0})
    write_reports(folder, {"vanilla-1000": 5.0}, features="impala")
    with pytest.raises(ValueError, match=r"differs in features impala there, nature here; a table compares like with"):
        policy_tables(reports=tmp_path)
    (folder / "notes.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected reports of runs only, got \['notes'\]"):
        read_arms(folder)
    with pytest.raises(FileNotFoundError, match="expected folders of reports"):
        policy_tables(reports=tmp_path / "nothing")


def test_reports_of_pseudo_labels_from_several_worlds_are_refused(tmp_path):
    folder = write_reports(tmp_path, {"flam-1000": 5.0})
    for path, world in zip(sorted(folder.iterdir()), ("one", "one", "two"), strict=True):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pseudo_labels": {"world": world}}))
    with pytest.raises(ValueError, match=r"expected pseudo labels of one world, got \['one', 'two'\]"):
        read_arms(folder)


def test_a_game_that_the_paper_lacks_has_a_table(tmp_path):
    write_reports(tmp_path / "leaper", {"flam-1000": 5.0})
    assert "## Leaper" in policy_tables(reports=tmp_path)


def test_a_report_under_another_runs_name_is_refused(tmp_path):
    folder = write_reports(tmp_path, {"flam-1000": 5.0})
    (folder / "flam-1000-0.json").rename(folder / "vanilla-1000-0.json")
    with pytest.raises(ValueError, match=r"expected a report of vanilla-1000-0 .* arm flam there, vanilla here"):
        read_arms(folder)
