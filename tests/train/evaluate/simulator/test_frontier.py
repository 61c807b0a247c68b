"""The table of PSNR against rate says what report files say, and sets no evaluation beside another."""

import json
from pathlib import Path

import pytest

from flam_train.cli import main
from flam_train.evaluate.simulator.frontier import frontier

POINTS = {"codec": (58.0, 31.8, 30.5), "dear": (2.4, 26.8, 26.1), "middle": (13.26, 28.25, 27.0)}


@pytest.fixture
def reports(tmp_path) -> dict[str, Path]:
    paths = {}
    for name, (nats, mean, sampled) in POINTS.items():
        report = {
            "world": {"model": name},
            "data": {"source": "squares", "split": "test"},
            **{"clips": 64, "context": 8, "horizon": 16, "size": 64, "seed": 0},
            "scores": {"all": {"prediction_psnr": mean, "sampled_psnr": 22.5, "recon_psnr": 34.75}},
            "rate": {
                "nats": nats,
                "nats_from_no_knowledge": nats + 1,
                "deciding_slots": 3,
                "posterior_sampled_psnr": sampled,
            },
        }
        paths[name] = tmp_path / name / "report.json"
        paths[name].parent.mkdir()
        paths[name].write_text(json.dumps(report))
    return paths


def change(path: Path, **parts) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def test_worlds_stand_in_the_order_of_their_rate_with_the_numbers_of_their_reports(reports):
    facts, _, *lines = frontier(tuple(reports.values())).splitlines()
    assert facts == "64 clips of squares, context 8, 16 steps."
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == ["dear", "middle", "codec"]
    assert lines[3] == "| middle | 13.3 | 14.3 | 3 | 28.25 | 27.00 | 22.50 | 34.75 | 6.50 | 5.75 |"


def test_what_else_is_known_of_a_world_stands_beside_it(reports):
    stretches = [{"steps": [1, 16], "auc": 0.5625}, {"steps": [17, 40], "auc": 0.75}]
    lives = [{"steps": each["steps"], "ratio": dict.fromkeys(("entities", "entries"), 1.25)} for each in stretches]
    lives[1]["ratio"]["exits"], lives[0]["ratio"]["exits"] = None, 0.5
    change(
        reports["dear"],
        slots={"own": 0.9, "own_of_tiles": 0.8, "identity": 0.7, "changed_inside": None},
        velocity={"r2": 0.8, "error_px": 0.25},
        realism={"stretches": stretches},
        life={"stretches": lives},
        dream_horizon={"last_step": 16},
    )
    change(reports["middle"], velocity={"r2": None, "error_px": 0.5}, slots={"own": 0.5, "identity": 0.25})
    titles, _, dear, middle, codec = (
        line.removeprefix("| ").removesuffix(" |").split(" | ")[10:]
        for line in frontier(tuple(reports.values())).splitlines()[2:]
    )
    assert dict(zip(titles, dear, strict=True)) == {
        "own slot": "0.9",
        "identity": "0.7",
        "changed inside": "-",
        "velocity R2": "0.8",
        "error, px a step": "0.25",
        "real or dream, AUC (1-16, 17-40)": "0.5625, 0.75",
        "entities, dreamt / real (1-16, 17-40)": "1.25, 1.25",
        "entries, dreamt / real (1-16, 17-40)": "1.25, 1.25",
        "exits, dreamt / real (1-16, 17-40)": "0.5, -",
        "dreams hold until step": "16",
    }
    assert middle == ["0.5", "0.25", "-", "-", "0.5", "-", "-", "-", "-", "-"] and codec == ["-"] * 10


def test_a_folder_stands_for_its_report_and_another_file_for_its_name(reports, tmp_path):
    other = reports["dear"].rename(tmp_path / "dearest.json")
    table = frontier((reports["codec"].parent, other))
    assert "| dearest | 2.4 |" in table and "| codec | 58.0 |" in table


def test_the_command_prints_the_table(reports, capsys):
    main(["frontier", *map(str, reports.values())])
    assert capsys.readouterr().out == frontier(tuple(reports.values())) + "\n"


@pytest.mark.parametrize("parts", [{"context": 2}, {"clips": 32}, {"data": {"source": "rooms", "split": "test"}}])
def test_reports_of_different_evaluations_are_refused(reports, parts):
    change(reports["dear"], **parts)
    with pytest.raises(ValueError, match=rf"dear.*differs in .*{next(iter(parts))}.*score all worlds in one way"):
        frontier(tuple(reports.values()))


def test_a_report_without_a_rate_says_how_to_add_it(reports):
    report = json.loads(reports["dear"].read_text())
    del report["rate"]
    reports["dear"].write_text(json.dumps(report))
    with pytest.raises(ValueError, match=r"dear.* a report without rate; add them with `flam-train evaluate --metrics"):
        frontier(tuple(reports.values()))


def test_no_report_and_one_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected at least one report, got none"):
        frontier(())
    with pytest.raises(FileNotFoundError, match="expected a report at"):
        frontier((tmp_path,))
