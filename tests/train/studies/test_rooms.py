"""Controlled experiments: which runs they have, one run from its room to its report, and the tables of reports."""

import io
import json
import sys
from dataclasses import asdict, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import imageio.v3 as imageio
import pytest

from flam_env.models.factored import WorldModelConfig
from flam_train.engine import FitConfig
from flam_train.evaluate.rooms.dci import pair_name
from flam_train.presets import ROOMS
from flam_train.sources.multigrid import RoomConfig
from flam_train.studies.rooms import experiment as command
from flam_train.studies.rooms import findings as reading
from flam_train.studies.rooms import paper
from flam_train.studies.rooms.columns import COLUMNS
from flam_train.studies.rooms.curves import draw_figures
from flam_train.studies.rooms.experiment import CURVE, RoomStudy, experiment, make_world, prepare_room
from flam_train.studies.rooms.findings import Finding, read_findings
from flam_train.studies.rooms.runs import EXPERIMENTS, Run
from flam_train.studies.rooms.tables import TABLES, format_tables, tables
from flam_train.studies.rooms.thresholds import BARS, bar_lines
from flam_train.studies.runs import make_report

# What hurried runs deserve to hear.
pytestmark = pytest.mark.filterwarnings("ignore::flam_train.phases.collapse.CollapseWarning")

RUNS = [run for runs in EXPERIMENTS.values() for run in runs]
BY_NAME = {run.name: run for run in RUNS}
GOOD = {bar.measure: bar.bound for bar in BARS}


def never(*arguments, **named):
    raise AssertionError("this must not be called")


# --- which runs -------------------------------------------------------------------------------------------------


def test_a_name_means_the_same_run_in_every_experiment():
    assert all(run == BY_NAME[run.name] for run in RUNS)
    for runs in EXPERIMENTS.values():
        assert len({run.name for run in runs}) == len(runs)
    assert not {run.name for run in RUNS} & {run.store for run in RUNS}, "they have folders side by side"


def test_runs_of_an_experiment_are_trained_for_equally_many_steps():
    for runs in EXPERIMENTS.values():
        assert len({run.fit.steps for run in runs}) == 1 and runs[0].fit.steps > 0


def test_rooms_that_differ_have_stores_of_their_own():
    assert all((one.store == other.store) == (one.room == other.room) for one, other in combinations(RUNS, 2))
    changes = ({"agents": 5}, {"tied": (0, 1)}, {"tied": (0, 1, 2)}, {"colours": "same"}, {"cells": 9})
    assert len({Run(name="a", room=RoomConfig(**change)).store for change in ({}, *changes)}) == 1 + len(changes)


def test_a_room_has_one_token_for_each_cell():
    for run in RUNS:
        assert run.tokenizer.grid == run.room.cells


# --- one run ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_run(monkeypatch) -> Run:
    """A run that is trained in seconds, in the only experiment there is."""
    pytest.importorskip("gym_multigrid")
    hurried = FitConfig(steps=3, batch_size=4, learning_rate=1e-3, precision="fp32")
    model = WorldModelConfig(slots=3, latent_dim=5, dim=16, heads=2, layers=1, iterations=1, group=1, window=7)
    run = Run(name="small", room=RoomConfig(agents=2), model=model, fit=hurried)
    monkeypatch.setattr(command, "FRAMES", 3000)
    monkeypatch.setattr(command, "evaluate", partial(command.evaluate, clips=16))
    monkeypatch.setattr("flam_train.evaluate.video_scores.FEW_CLIPS", 2)
    monkeypatch.setattr("flam_train.evaluate.wholeness.DREAMT_STEPS", (1, 2))
    monkeypatch.setattr(command, "ROOMS", replace(ROOMS, tokenizer_fit=hurried))
    for module in (command, reading):
        monkeypatch.setattr(module, "EXPERIMENTS", {"main": (run,)})
    return run


def test_a_run_goes_from_its_room_to_its_report_and_on_from_where_it_was_killed(small_run, tmp_path, monkeypatch):
    folders = {name: tmp_path / name for name in ("data", "runs", "reports")}
    study = RoomStudy(**folders)
    path = study.report(small_run)
    prepare_room(small_run, study)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(command, "evaluate", lambda *arguments, **named: (_ for _ in ()).throw(KeyboardInterrupt))
        make_report(study, small_run, make_world)
    assert not path.exists()

    monkeypatch.setattr("flam_train.phases.tokenizer.reconstruction_loss", never)
    monkeypatch.setattr("flam_train.phases.world_model.world_model_loss", never)
    prepare_room(small_run, study)
    make_report(study, small_run, make_world)
    report = json.loads(path.read_text())
    assert report["run"]["name"] == "small" and report["data"]["settings"]["room"]["agents"] == 2
    ((step, *looks),) = [[look[name] for name in CURVE] for look in report["run"]["curve"]]
    assert step == 3 and all(isinstance(number, float) for number in looks)
    assert "all_with_own_slot" in (tmp_path / "runs" / "small" / "log.txt").read_text().replace(" ", "_")
    found = read_findings(study.reports)["small"].numbers
    assert set(COLUMNS) - set(found) == {"tied_pair"} and all(bar.measure in found for bar in BARS)

    path.unlink()
    make_report(study, small_run, make_world)
    again = json.loads(path.read_text())
    assert again["run"].pop("evaluation_seconds") > 0 and report["run"].pop("evaluation_seconds") > 0
    assert again == report

    monkeypatch.setattr(command, "prepare_room", never)
    before = path.read_bytes()
    experiment("main", **folders)
    assert path.read_bytes() == before


@pytest.mark.parametrize("given", [{"name": "mian"}, {"name": "main", "workers": -1}])
def test_an_experiment_that_there_is_not_is_refused(given, tmp_path):
    with pytest.raises(
        ValueError, match=r"expected one of main, slots, agents, tied, .* or all, and workers >= 0, got"
    ):
        experiment(**given, data=tmp_path / "data", runs=tmp_path / "runs", reports=tmp_path / "reports")
    assert list(tmp_path.iterdir()) == []


# --- tables -----------------------------------------------------------------------------------------------------


def report_of(run: Run, **changes: float) -> dict:
    """A report that clears all bars by nothing, in which pairs of agents share slots more and more."""
    numbers = GOOD | {"psnr": 41.04, "recon": 52.06, "own_slot": 3.9, "nats_per_agent": 5} | changes
    dci = ("disentanglement", "completeness", "informativeness", "owner_consistency", "match_consistency")
    pairs = enumerate(combinations(range(run.room.agents), 2), 1)
    return {
        "scores": {"all": {"prediction_psnr": numbers["psnr"], "recon_psnr": numbers["recon"]}},
        "measures": {
            "gap_to_recon_db": numbers["recon"] - numbers["psnr"],
            "nats_per_frame": run.room.agents * numbers["nats_per_agent"],
        },
        "factorization": {
            "dci": {name: numbers[name] for name in dci}
            | {"random_disentanglement": 0.31, "agents_with_own_slot": numbers["own_slot"]}
            | {"all_with_own_slot": numbers["all_own_slot"]}
            | {pair_name(*pair): number / 10 for number, pair in pairs},
            "actions": {"accuracy": numbers["action_accuracy"], "floor": 0.27},
            "exactness": {name: numbers[name] for name in ("frames_right", "dreams_whole")},
            "independence": {"moves_one_agent": numbers["moves_one_agent"]},
        },
        "data": {"settings": {"room": asdict(run.room)}},
        "horizon": 16,
        "run": {
            "name": run.name,
            **{part: asdict(getattr(run, part)) for part in ("model", "loss", "fit")},
            "curve": [look(100, None, 1.0), look(run.fit.steps, 41.0, 3.9)],
        },
    }


def look(step: int, psnr: float | None, own_slot: float) -> dict:
    return {"step": step, "time": 0.75 * step, "rollout_psnr": psnr, "agents_with_own_slot": own_slot}


def write(folder: Path, name: str, **changes: float) -> dict:
    report = report_of(BY_NAME[name], **changes)
    (folder / f"{name}.json").write_text(json.dumps(report))
    return report


def rows_of(text: str, title: str) -> list[dict[str, str]]:
    """The rows of the first table under a heading that starts so, by the heads of their columns."""
    section = text.partition(f"## {title}")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    lines = lines[: next((i for i, line in enumerate(lines) if line.startswith("| bar ")), None)]
    head, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert set(rule) == {"---"} and all(len(row) == len(head) for row in rows)
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_every_experiment_has_a_table_of_its_runs_and_of_the_papers(tmp_path):
    out = tables(tmp_path)
    assert list(TABLES) == list(EXPERIMENTS) and set(paper.TABLES) | set(paper.STATEMENTS) <= set(EXPERIMENTS)
    assert [line[3:] for line in out.splitlines() if line.startswith("## ")] == [t.title for t in TABLES.values()]
    for name, table in TABLES.items():
        rows = rows_of(out, table.title)
        ours = [row["run"] for row in rows if not row["run"].startswith("*paper, Table")]
        assert ours == [run.name for run in EXPERIMENTS[name]]
        assert len(rows) == len(ours) + len(paper.TABLES.get(name, ()))
        assert all("no report yet" in row.values() for row in rows[: len(ours)])
    assert "| bar |" not in out and out.count("*Paper: ") == len(paper.STATEMENTS)


def test_a_row_says_what_the_report_of_its_run_says(tmp_path):
    write(tmp_path, "main-1", dreams_whole=0.1234)
    out = tables(tmp_path)
    assert out.startswith("Rollouts of 16 steps ")
    missing, row, *_, slotformer = rows_of(out, "a. Main")
    assert missing["run"] == "main-0" and missing["PSNR, dB (Recon)"] == "no report yet"
    assert row["run"] == "main-1" and row["PSNR, dB (Recon)"] == "41.0 (52.1)" and row["gap, dB"] == "11.0"
    assert row["D (Random)"] == "0.91 (0.31)" and row["C (Random)"] == "0.91", "what is not scored stays empty"
    assert row["own slot (agents)"] == "3.9 (4)" and row["actions told (floor)"] == "0.950 (0.270)"
    assert row["nats per agent"] == "5.00" and row["dreams whole (without laws)"] == "0.123"
    assert row["steps (minutes)"] == f"{BY_NAME['main-1'].fit.steps} ({BY_NAME['main-1'].fit.steps / 80:.0f})"
    assert slotformer["run"] == "*paper, Tables 1, 2: SlotFormer*" and slotformer["I (Random)"] == "0.90 (0.10)"
    assert slotformer["dreams whole (without laws)"] == ""


def test_a_run_stands_in_every_experiment_that_has_it(tmp_path):
    for name in ("main-0", "agents-8", "price-15"):
        write(tmp_path, name)
    out = format_tables(read_findings(tmp_path))
    for title, key, cells in (
        ("b. ", "K", {"main-0": "4", "*paper, Table 3: K = 2*": "2"}),
        ("c. ", "agents", {"agents-8": "8"}),
        ("f. ", "price of a nat", {"main-0": "0.15", "price-15": "15"}),
    ):
        assert cells.items() <= {row["run"]: row[key] for row in rows_of(out, title)}.items()


def test_a_tied_pair_is_compared_with_the_other_pairs_and_with_chance(tmp_path):
    write(tmp_path, "tied-13")
    older = write(tmp_path, "tied-01")
    for pair in combinations(range(4), 2):
        del older["factorization"]["dci"][pair_name(*pair)]
    (tmp_path / "tied-01.json").write_text(json.dumps(older))
    unscored, _, row, *_ = rows_of(format_tables(read_findings(tmp_path)), "d. ")
    assert row["run"] == "tied-13" and row["tied pair in one slot"] == "0.500"
    assert row["other pairs (chance)"] == f"{(0.1 + 0.2 + 0.3 + 0.4 + 0.6) / 5:.3f} ({1 / 6:.3f})"
    assert unscored["tied pair in one slot"] == unscored["other pairs (chance)"] == "" and unscored["K"] == "3"


# --- bars -------------------------------------------------------------------------------------------------------


def bars_of(folder: Path) -> dict[str, list[str]]:
    """Bound, worst value and verdict of each bar."""
    lines = tables(folder).partition("| bar |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {BARS[i].measure: rest for i, (_, *rest) in enumerate(cells)}


def test_bars_hold_at_their_bound_in_the_worst_of_the_seeds(tmp_path):
    write(tmp_path, "main-0")
    assert {cells[2] for cells in bars_of(tmp_path).values()} == {"holds so far"}
    write(tmp_path, "main-1", **{name: 2 * bound for name, bound in GOOD.items() if name != "nats_per_agent"})
    write(tmp_path, "main-2", nats_per_agent=1.5)
    bars = bars_of(tmp_path)
    assert {cells[2] for cells in bars.values()} == {"holds"} and len(bars) == len(BARS)
    assert bars["informativeness"] == ["≥ 0.93", "0.9300", "holds"]
    assert bars["nats_per_agent"] == ["≤ 5", "5.0000", "holds"]


@pytest.mark.parametrize("measure", GOOD)
def test_a_bar_is_missed_where_one_seed_is_on_the_wrong_side(tmp_path, measure):
    write(tmp_path, "main-0")
    write(tmp_path, "main-1")
    wrong = GOOD[measure] + (1e-4 if measure == "nats_per_agent" else -1e-4)
    write(tmp_path, "main-2", **{measure: wrong})
    missed = {name: cells for name, cells in bars_of(tmp_path).items() if cells[2] != "holds"}
    assert missed == {measure: [missed[measure][0], f"{wrong:.4f}", "missed"]}


def test_no_number_is_not_a_good_one():
    numbers = [GOOD, GOOD | {"frames_right": float("nan")}]
    lines = bar_lines([Finding(each, []) for each in numbers], 3)
    assert [line for line in lines if line.endswith("| nan | missed |")] == [
        lines[2 + list(GOOD).index("frames_right")]
    ]
    unscored = {name: bound for name, bound in GOOD.items() if name != "completeness"}
    lines = bar_lines([Finding(each, []) for each in (GOOD, unscored)], 2)
    assert [line for line in lines if "not scored" in line] == ["| completeness | ≥ 0.91 |  | not scored |"]


# --- files that are none ----------------------------------------------------------------------------------------


def test_a_folder_that_there_is_not_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a folder of reports at .*nothing, .*flam-train experiment"):
        tables(tmp_path / "nothing")


@pytest.mark.parametrize(
    "content", [b"", b'{"scores": ', b"\xff\xfe\x00", b"[1, 2]", b"{}", b'{"run": {"name": "main-0"}}']
)
def test_a_damaged_file_is_named(tmp_path, content):
    write(tmp_path, "main-1")
    (tmp_path / "main-0.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"main-0\.json: expected .*, got .*; (move|score|name)"):
        tables(tmp_path)


@pytest.mark.parametrize(
    "place",
    [("run",), ("horizon",), ("data",), ("run", "curve"), ("run", "curve", 1), ("scores", "all"), ("run", "fit")],
)
def test_a_report_with_something_else_inside_is_named(tmp_path, place):
    report = write(tmp_path, "main-0")
    *way, last = place
    inner = report
    for step in way:
        inner = inner[step]
    inner[last] = "else"
    (tmp_path / "main-0.json").write_text(json.dumps(report))
    with pytest.raises(ValueError, match=r"main-0\.json: expected what `flam-train experiment` reports of a run, got"):
        tables(tmp_path)


def test_a_file_of_no_run_is_named(tmp_path):
    write(tmp_path, "main-0")
    (tmp_path / "main-0.json").rename(tmp_path / "mine.json")
    with pytest.raises(ValueError, match=r"expected reports of runs only, got \['mine'\]; move them away"):
        tables(tmp_path)


def test_a_report_of_another_run_is_named_with_what_differs(tmp_path):
    write(tmp_path, "main-1")
    (tmp_path / "main-1.json").rename(tmp_path / "main-2.json")
    with pytest.raises(ValueError, match=r"main-2\.json: expected a report of main-2 .* name main-1 there, main-2"):
        tables(tmp_path)
    report = report_of(BY_NAME["main-2"])
    report["run"]["model"] |= {"slots": 7, "of_old": 1}
    report["data"]["settings"]["room"]["tied"] = [0, 1]
    (tmp_path / "main-2.json").write_text(json.dumps(report))
    with pytest.raises(ValueError, match=r"differs in model.slots 7 there, 4 here, room.tied \[0, 1\] there, \[\] h"):
        tables(tmp_path)


# --- figures ----------------------------------------------------------------------------------------------------


def test_figures_are_drawn_of_what_there_is(tmp_path):
    reports, plots = tmp_path / "reports", tmp_path / "new" / "plots"
    reports.mkdir()
    tables(reports, plots=plots)
    assert not plots.exists()
    for name in ("agents-2", "agents-8", "price-1.5"):
        write(reports, name)
    assert "## a. Main" in tables(reports, plots=plots)
    names = {"curves-agents", "curves-beta", "frames-right-by-agents", "psnr-by-price"}
    assert {path.name for path in plots.iterdir()} == {f"{name}.png" for name in names}
    sizes = {path.stem: imageio.imread(path).shape[:2] for path in plots.iterdir()}
    assert sizes == {name: (450, 1200 if "curves" in name else 600) for name in names}


def test_figures_show_the_numbers(tmp_path):
    """The same report gives the same picture, and another number another one."""
    pictures = []
    for right in (0.4, 0.4, 0.9):
        write(tmp_path, "agents-4")
        write(tmp_path, "agents-8", frames_right=right)
        figures = draw_figures(read_findings(tmp_path))
        pictures.append({name: imageio.imread(io.BytesIO(png)).tobytes() for name, png in figures.items()})
    assert pictures[0] == pictures[1]
    assert pictures[0]["curves-agents"] == pictures[2]["curves-agents"]
    assert pictures[0]["frames-right-by-agents"] != pictures[2]["frames-right-by-agents"]


def test_matplotlib_that_is_missing_is_named_where_plots_are_wanted(tmp_path, monkeypatch):
    write(tmp_path, "main-0")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'flam-env\[viz\]'"):
        tables(tmp_path, plots=tmp_path / "plots")
    assert not (tmp_path / "plots").exists()
    assert "## a. Main" in tables(tmp_path)
