"""The command line: what works there, and that a user's mistake is one clear line and leaves nothing behind."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.checkpoint import load_network
from flam_train.cli import COMMANDS, main
from flam_train.commands.arguments import call
from flam_train.engine import FitConfig, allocator
from flam_train.engine.state import read_header
from flam_train.presets import PRESETS
from flam_train.store.store import EpisodeStore


@pytest.fixture(autouse=True)
def already_restarted(monkeypatch):
    """Commands start themselves anew with these settings; a test must not."""
    monkeypatch.setenv("GLIBC_TUNABLES", allocator.TUNABLES)


@pytest.fixture
def refused(capsys):
    """Runs a command that has to fail and returns the one line that it says."""

    def run(*arguments) -> str:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert left.value.code == 2 and out == ""
        lines = [line for line in err.splitlines() if line.strip() and "%|" not in line]  # progress bars aside
        assert len(lines) == 1, f"expected one line, got {err}"
        return lines[0]

    return run


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


# --- mistakes ---------------------------------------------------------------------------------------------------


def test_unknown_command(refused):
    message = refused("colect", "bigfish")
    assert message.startswith("flam-train: expected a command of ") and message.endswith("got 'colect'")
    assert all(repr(name) in message for name in COMMANDS)


def test_unknown_game(capsys, tmp_path):
    with pytest.raises(SystemExit) as left:
        main(["collect", "pong", "--out", str(tmp_path / "data")])
    out, err = capsys.readouterr()
    assert left.value.code == 2 and out == "" and "Traceback" not in err
    assert all(word in err for word in ("'pong'", "'bigfish'", "'leaper'", "'starpilot'"))
    assert not (tmp_path / "data").exists()


def test_unknown_option(capsys, tmp_path):
    with pytest.raises(SystemExit) as left:
        main(["tokenizer", str(tmp_path), "--out", str(tmp_path / "run"), "--model.widht", "3"])
    out, err = capsys.readouterr()
    assert left.value.code == 2 and out == "" and "--model.widht" in err and "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [["--preset", "large"], ["--preset=large"], ["--preset"]])
def test_unknown_preset(refused, tmp_path, given):
    message = refused("tokenizer", tmp_path, "--out", tmp_path / "run", *given)
    assert f"expected a preset of {sorted(PRESETS)}, got '{'large' if 'large' in given[-1] else ''}'" in message


@pytest.mark.parametrize("command", ["tokenizer", "world-model"])
def test_missing_store(refused, tmp_path, command):
    message = refused(command, tmp_path / "nothing", "--out", tmp_path / "run")
    assert message.startswith(f"flam-train {command}: expected the folder of an episode store, got {tmp_path}/nothing")
    assert message.endswith("make a store with `flam-train collect`, or name the folder of one")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["tokenizer", "world-model"])
def test_empty_store(refused, tmp_path, command):
    EpisodeStore.create(tmp_path / "empty", source="squares", size=32, settings={})
    message = refused(command, tmp_path / "empty", "--out", tmp_path / "run")
    assert f"expected at least one episode, got the empty store {tmp_path}/empty; fill it first" in message
    assert not (tmp_path / "run").exists()


def test_store_of_another_size(refused, store, tmp_path):
    message = refused("tokenizer", store.root, "--out", tmp_path / "run", "--preset", "tiny")
    assert "expected frames of 64 px, got 32 px; set --model.image-size" in message
    assert list(tmp_path.iterdir()) == []


def test_truncated_store(refused, make_store, tmp_path):
    store = make_store(tmp_path / "data", {"train": (2, 9), "val": (1, 7)})
    path = store.episodes("train")[1].path
    path.write_bytes(path.read_bytes()[:-900])
    message = refused("tokenizer", store.root, "--out", tmp_path / "run", "--model.image-size", 32)
    assert f"got {path}, which is damaged" in message
    assert "restore it from a copy, or, if a command made it here, delete it and run the same command again" in message
    assert not (tmp_path / "run").exists()


def test_foreign_folder_as_a_store(refused, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    message = refused("tokenizer", tmp_path / "photos", "--out", tmp_path / "run")
    assert f"expected an episode store with a store.json, got {tmp_path}/photos without one" in message
    assert contents(tmp_path) == {"photos/cat.png": b"cat"}


def test_foreign_folder_for_a_collection(refused, tmp_path):
    if not find_spec("procgen"):
        pytest.skip("needs Procgen: pip install 'flam-env[procgen]'")
    (tmp_path / "cat.png").write_bytes(b"cat")
    message = refused("collect", "leaper", "--out", tmp_path, "--frames", 40)
    assert f"expected an absent or empty folder, got {tmp_path}, which holds something else" in message
    assert contents(tmp_path) == {"cat.png": b"cat"}


def test_output_folder_of_another_run(refused, store, trained, tmp_path):
    out = shutil.copytree(trained, tmp_path / "run")
    before = contents(out)
    message = refused("tokenizer", store.root, "--out", out, "--preset", "tiny", "--model.image-size", 32)
    assert "expected a directory without a world model" in message and "another output folder" in message
    message = refused("world-model", store.root, "--out", out, "--preset", "tiny")
    assert "got a run that differs in" in message and "choose another output folder" in message
    assert contents(out) == before


def test_output_folder_that_is_a_file(refused, store, tmp_path):
    (tmp_path / "run").write_text("mine")
    message = refused("tokenizer", store.root, "--out", tmp_path / "run", "--model.image-size", 32)
    assert f"{tmp_path}/run" in message
    assert contents(tmp_path) == {"run": b"mine"}


def test_world_model_before_its_tokenizer(refused, store, tmp_path):
    message = refused("world-model", store.root, "--out", tmp_path / "run")
    assert f"expected a tokenizer at {tmp_path}/run/tokenizer.safetensors, found none" in message
    assert list(tmp_path.iterdir()) == []


def test_missing_world(refused, store, tmp_path):
    for arguments in (["evaluate", tmp_path, store.root], ["demo", tmp_path, "--out", tmp_path / "demo"]):
        message = refused(*arguments)
        assert "expected a world directory with a config.json or one of [" in message and f"'{tmp_path}'" in message
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there(refused, store, trained, tmp_path):
    message = refused("evaluate", trained, store.root, "--device", "cuda:99", "--out", tmp_path / "report.json")
    assert "expected a device of this machine, got 'cuda:99'" in message
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_the_world_does_not_have(refused, trained, tmp_path):
    for option, value in (("--clip", 16), ("--clip", -1), ("--horizon", 33), ("--horizon", 0)):
        message = refused("demo", trained, "--out", tmp_path / "demo", option, value)
        assert "expected a clip and a horizon within the world's 6 clips of 34 frames" in message
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite(refused, store, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "flam_train.phases.tokenizer.reconstruction_loss", lambda a, b: (a - b).square().mean() * np.nan
    )
    options = ["--model.image-size", 32, "--preset", "tiny", "--fit-config.steps", 3, "--fit-config.batch-size", 2]
    message = refused("tokenizer", store.root, "--out", tmp_path / "run", *options)
    assert message.startswith("flam-train tokenizer: expected a finite loss and gradient, got loss nan")
    assert not (tmp_path / "run" / "tokenizer.safetensors").exists()


# --- missing extras ---------------------------------------------------------------------------------------------

WITHOUT = """
import contextlib, io, sys

def without(package, command):
    for name in [name for name in sys.modules if name.split(".")[0] in (package, "flam_train")]:
        del sys.modules[name]
    sys.modules.pop("torch.utils.tensorboard", None)
    sys.modules[package] = None  # what Python itself does to refuse an import
    out = io.StringIO()
    try:
        with contextlib.redirect_stderr(out):
            from flam_train.__main__ import main
            main(command.split())
    except SystemExit as left:
        print(package, left.code, out.getvalue().strip().replace("\\n", "\\\\n"))
    del sys.modules[package]

store, world, out = sys.argv[1:]
train = f"tokenizer {store} --out {out} --model.image-size 32"
for package in ("accelerate", "filelock", "tensorboard", "tqdm", "h5py", "torchmetrics", "tyro"):
    without(package, train)
for package in ("imageio", "av"):
    without(package, f"demo {world} --out {out}")
without("procgen", f"collect leaper --out {out}")
without("gym_multigrid", f"collect multigrid --out {out}")
without("scipy", f"evaluate {world} {store} --metrics dci --out {out}")
without("matplotlib", f"latent-map {world} {store} --out {out}")
without("minari", f"label {store} --world {world} --out {out} --minari squares-v0")
"""


def test_a_missing_extra_is_named_with_its_pip_line(store, trained, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-c", WITHOUT, str(store.root), str(trained), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = {line.split()[0]: line for line in done.stdout.splitlines()}
    extras = {"train": ["accelerate", "filelock", "tensorboard", "tqdm", "h5py", "torchmetrics", "tyro"]}
    extras |= {"video": ["imageio", "av"], "procgen": ["procgen"], "multigrid": ["gym_multigrid"], "eval": ["scipy"]}
    extras |= {"viz": ["matplotlib"], "minari": ["minari"]}
    assert sorted(said) == sorted(package for packages in extras.values() for package in packages)
    for extra, packages in extras.items():
        for package in packages:
            assert said[package].startswith(f"{package} 2 flam-train"), said[package]
            assert said[package].endswith(f"pip install 'flam-env[{extra}]'"), said[package]
            assert "\\n" not in said[package]
    assert not out.exists()


# --- what works -------------------------------------------------------------------------------------------------


def test_no_command_lists_all(capsys):
    for arguments in ([], ["--help"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capsys.readouterr()
        assert left.value.code == 0 and err == ""
        lines = [line.split() for line in out.splitlines() if line.startswith("  ")]
        assert sorted(COMMANDS) == sorted(name for name, *_ in lines), "one line for each"
        assert all(len(words) > 2 for words in lines) and max(map(len, out.splitlines())) <= 120


def test_a_preset_sets_defaults_and_options_change_them(store, tmp_path):
    changes = ["--model.image-size", "32", "--model.width", "20", "--fit-config.steps", "2"]
    smaller = ["--fit-config.batch-size", "3"]
    main(["tokenizer", str(store.root), "--preset", "tiny", "--out", str(tmp_path / "run"), *changes, *smaller])
    network, _ = load_network(tmp_path / "run" / "tokenizer.safetensors", Tokenizer, TokenizerConfig)
    tiny = vars(PRESETS["tiny"].tokenizer)
    assert vars(network.config) == tiny | {"image_size": 32, "width": 20}
    assert tiny["blocks"] != TokenizerConfig().blocks, "the test shows nothing if the preset is the default"


def test_presets_train_by_steps_whatever_the_machine():
    budgets = {
        (name, phase): fit
        for name, preset in PRESETS.items()
        for phase, fit in vars(preset).items()
        if isinstance(fit, FitConfig)
    }
    assert len(budgets) == 6 * len(PRESETS)
    timed = {("gpu", "world_model_fit"), ("gpu", "scheduled_sampling_fit")}
    assert all(fit.steps > 0 and fit.minutes == 0 for name, fit in budgets.items() if name not in timed)
    assert all(budgets[name].minutes > 0 for name in timed)


@pytest.mark.parametrize("given", [["--minutes", "0.001"], ["--fit-config.minutes", "0.001"]])
def test_minutes_take_the_place_of_steps(store, tmp_path, given):
    smaller = ["--model.image-size", "32", "--model.width", "4", "--fit-config.batch-size", "3", "--preset", "tiny"]
    main(["tokenizer", str(store.root), "--out", str(tmp_path), *smaller, *given])
    done = read_header(tmp_path / "training" / "tokenizer" / "resume.safetensors")
    assert done.step < PRESETS["tiny"].tokenizer_fit.steps and done.seconds >= 0.06
    assert done.record["fit"]["minutes"] == 0.001


def test_evaluate_demo_and_dreams_write_where_they_are_told(store, trained, tmp_path, capsys):
    main(["evaluate", str(trained), str(store.root), "--clips", "3", "--horizon", "5", "--out", f"{tmp_path}/r.json"])
    assert "| Recon (tokenizer round trip) | " in capsys.readouterr().out
    main(["demo", str(trained), "--out", str(tmp_path / "demo"), "--horizon", "6"])
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in ("prediction", "recon", "copy_last"))
    main(["dreams", str(trained), "--out", str(tmp_path / "dreams.png"), "--count", "3", "--steps", "9"])
    assert set(contents(tmp_path)) == {"r.json", "demo/dream.mp4", "demo/dream.png", "dreams.png"}


@pytest.mark.parametrize("given", [["3,4,5"], ["3", "4", "5"], ["3,", "4,5"]])
def test_numbers_have_commas_or_spaces_between_them(given, capsys):
    def levels(levels: tuple[int, ...], steps: int = 2) -> None:
        """Prints what it is given."""
        print(levels, steps)

    call(levels, ["--levels", *given, "--steps", "6"])
    assert capsys.readouterr().out == "(3, 4, 5) 6\n"


def test_what_is_no_number_is_refused(capsys):
    with pytest.raises(SystemExit) as left:
        main(["collect", "multigrid", "--out", "nowhere", "--tied", "0,b"])
    out, err = capsys.readouterr()
    assert left.value.code == 2 and out == "" and "Error parsing --tied" in err and "'b'" in err


def test_a_report_goes_into_a_folder_that_is_there(store, trained, tmp_path):
    main(["evaluate", str(trained), str(store.root), "--clips", "2", "--horizon", "3", "--out", str(tmp_path)])
    assert set(contents(tmp_path)) == {"report.json"}


@pytest.mark.parametrize("flags, variable, shown", [("", "", 0), ("", "0", 0), ("", "1", 1), ("--traceback", "", 1)])
def test_a_traceback_is_shown_to_whoever_asks_for_it(tmp_path, monkeypatch, capsys, flags, variable, shown):
    monkeypatch.setenv("FLAM_TRACEBACK", variable)
    for arguments in ([*flags.split(), "demo", "nowhere"], ["demo", *flags.split(), "nowhere"]):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        err = capsys.readouterr().err
        assert left.value.code == 2 and err.count("Traceback (most recent call last)") == shown
        assert err.count("in find_world") == shown and err.splitlines()[-1].startswith("flam-train demo: expected a")


def test_an_interrupted_command_says_so_in_one_line(store, monkeypatch, tmp_path, capsys):
    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("flam_train.phases.tokenizer.fit", interrupted)
    with pytest.raises(SystemExit) as left:
        main(["tokenizer", str(store.root), "--out", str(tmp_path / "run"), "--model.image-size", "32"])
    assert left.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1] == "flam-train tokenizer: interrupted"


def test_torchrun_starts_every_command(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", "-m", "flam_train"]
    command = [*launch, "tokenizer", str(tmp_path / "my data"), "--out", str(tmp_path / "run")]
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    said = [line for line in done.stderr.splitlines() if line.startswith("flam-train")]
    assert done.returncode and len(said) == 1 and f"got {tmp_path}/my data, which is no folder" in said[0]


# --- memory settings --------------------------------------------------------------------------------------------


@pytest.fixture
def executed(monkeypatch):
    """What would have been started in place of this process."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(allocator, "_gpu_computes", lambda: False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return calls


def test_a_command_starts_anew_with_the_same_arguments_and_its_memory_settings(executed, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "flam_train", "tokenizer", "a b", "--out", "c"])
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    allocator.restart_with_huge_pages()
    ((program, arguments, environment),) = executed
    assert program == sys.executable
    assert arguments == [sys.executable, "-m", "flam_train", "tokenizer", "a b", "--out", "c"]
    assert environment == dict(os.environ) | {"GLIBC_TUNABLES": allocator.TUNABLES}
    assert environment["SOMETHING_ELSE"] == "kept"


def test_a_command_does_not_start_anew_twice_or_where_it_would_not_help(executed, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("platform.libc_ver", lambda: ("", ""))
        allocator.restart_with_huge_pages()
    with monkeypatch.context() as patch:
        patch.setattr(allocator, "_gpu_computes", lambda: True)
        allocator.restart_with_huge_pages()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "orig_argv", ["python3", "-m", "flam_train", "tokenizer", "--help"])
        allocator.restart_with_huge_pages()
    monkeypatch.setenv("GLIBC_TUNABLES", "the.user=own")
    allocator.restart_with_huge_pages()
    assert executed == []


@pytest.mark.parametrize(
    "files, visible, expected",
    [
        (["nvidia0", "nvidiactl"], None, True),
        (["nvidia0"], "0", True),
        (["nvidia0"], "", False),
        (["nvidiactl"], None, False),
        (["kfd"], None, True),
        ([], None, False),
    ],
)
def test_a_gpu_is_seen_before_torch_is_imported(tmp_path, monkeypatch, files, visible, expected):
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert allocator._gpu_computes(tmp_path) is expected


def test_only_a_command_of_a_shell_starts_anew(executed, monkeypatch, capsys):
    for arguments, started in ((["--help"], 0), (None, 1)):
        monkeypatch.setattr(sys, "argv", ["flam-train"])
        with pytest.raises(SystemExit):
            main(arguments)
        assert len(executed) == started
