"""The paper's comparison as a plan: fair, made in pieces, skipped where done, and never a number that was not found."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dots import FIT, LEVELS, SIZES, filmed
from PIL import Image

import baselines.campaign.campaign as command
from baselines.campaign import data_sets, trainings
from baselines.campaign.__main__ import main
from baselines.campaign.campaign import campaign
from baselines.campaign.data_sets import DATA_SETS, DataSet, collect_data, find_data
from baselines.campaign.findings import Finding, read_findings
from baselines.campaign.frontiers import at_rate, draw_frontiers
from baselines.campaign.hypotheses import HYPOTHESES, hypothesis_lines, verdict
from baselines.campaign.methods import LEARNING_RATES, METHODS, SLOTS, TRIED_RATES
from baselines.campaign.paper import TABLE_1
from baselines.campaign.plans import HURRIED, PLANS, PRICES, Budget, Training
from baselines.campaign.progress import progress_lines
from baselines.campaign.rollouts import SHOWN_STEPS, rollouts
from baselines.campaign.settings import settings
from baselines.campaign.shared import share_tokenizer
from baselines.campaign.study import REPORTS, Campaign
from baselines.campaign.tables import tables
from baselines.genie import GenieLossConfig
from baselines.savi import Savi, SaviConfig
from flam_env.models.tokenizer import Tokenizer, TokenizerConfig
from flam_env.worlds.checkpoint import as_written, fingerprint, load_network
from flam_env.worlds.finding import find_world
from flam_env.worlds.loading import load_world
from flam_train.engine.identity import as_json
from flam_train.engine.log import METRICS_NAME
from flam_train.engine.state import read_header
from flam_train.pictures.sheets import LABEL_HEIGHT
from flam_train.presets import PRESETS
from flam_train.sources.multigrid import RoomConfig
from flam_train.store.store import EpisodeStore

pytestmark = [
    pytest.mark.filterwarnings("ignore::flam_train.phases.collapse.CollapseWarning"),
    pytest.mark.filterwarnings("ignore:.*frames a second"),
]
ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / REPORTS


def never(*arguments, **named):
    raise AssertionError("this must not be called")


# --- which trainings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", PLANS)
def test_each_training_of_a_plan_is_one_of_its_own(plan):
    names = [training.name for training in PLANS[plan]]
    assert names and len(set(names)) == len(names)


@pytest.mark.parametrize("plan", ["cpu", "gpu", "tiny"])
def test_methods_have_equal_updates_sizes_and_information(plan):
    """Whatever is compared on a data set has one budget, one size of attention, and latents of one capacity."""
    for training in PLANS[plan]:
        preset = training.preset_for(training.method)
        twin = replace(training, method="flam").preset_for("flam")
        assert (preset.world_model, preset.loss) == (twin.world_model, twin.loss)
        arguments = METHODS[training.method].arguments(preset, training.data_set)
        free = getattr(arguments["loss"], "free_share", None)
        least = GenieLossConfig.free_share if training.method == "genie" else 0.0
        assert free in (None, max(least, twin.loss.free_share))
        assert preset.world_model_fit.steps == twin.world_model_fit.steps == training.budget.steps
        assert preset.world_model.prior_components is None, "nobody learns a prior"
        model = arguments["model"]
        assert (model.dim, model.heads, model.feed_forward) == (
            preset.world_model.dim,
            preset.world_model.heads,
            preset.world_model.feed_forward,
        )
        if training.method in ("adaworld", "genie"):
            assert model.latent_dim == preset.world_model.slots * preset.world_model.latent_dim
    budgets = {(t.data, t.preset): t.budget for t in PLANS[plan]}
    assert all(t.budget == budgets[t.data, t.preset] for t in PLANS[plan])


def test_slots_by_reconstruction_have_updates_of_their_own_and_a_report_says_how_many():
    game, room = (
        next(t for t in PLANS["cpu"] if (t.data, t.method) == (d, "playslot")) for d in ("bigfish", "multigrid")
    )
    assert (game.preset_for(SLOTS).world_model_fit.steps, game.preset_for("playslot").world_model_fit.steps) == (
        1200,
        400,
    )
    assert settings(game)["slots_fit_config"]["steps"] == 1200
    assert settings(room)["slots_fit_config"]["steps"] == room.preset_for(SLOTS).world_model_fit.steps == 600
    for method in (SLOTS, "flam", "genie"):
        assert "slots_fit_config" not in settings(replace(room, method=method)), "it stands on none"


def test_genie_has_a_code_for_each_joint_action_as_far_as_that_can_be():
    codes = {data: DATA_SETS[data].codes for data in ("agents2", "agents4", "agents8", "agents16", "multigrid")}
    assert codes == {"agents2": 16, "agents4": 256, "agents8": 65536, "agents16": 65536, "multigrid": 256}
    assert DATA_SETS["bigfish"].codes == 256


def test_the_plans_hold_what_was_promised_of_them():
    """On the CPU what an afternoon allows; on a GPU all the rest, by the same command."""
    cpu, gpu = ({(t.data, t.method, t.preset, t.seed) for t in PLANS[plan]} for plan in ("cpu", "gpu"))
    for method in METHODS:
        assert {(t, method, DATA_SETS[t].preset, 0) for t in ("multigrid", "bigfish", "starpilot")} <= cpu
        assert {("multigrid", method, "rooms", seed) for seed in (0, 1, 2)} <= cpu
        assert {("leaper", method, "small", seed) for seed in (0, 1, 2)} <= gpu
        assert {(data, method, "paper", 0) for data in TABLE_1} <= gpu
    assert {(f"agents{n}", "flam", "rooms", 0) for n in (2, 4)} <= cpu
    assert {(f"agents{n}", "genie", "rooms", 0) for n in (2, 4, 8, 16)} <= gpu
    for plan in ("cpu", "gpu"):
        for data in PRICES:
            prices = {t.price for t in PLANS[plan] if (t.data, t.method) == (data, "adaworld")}
            assert len(prices) == 3, "a frontier has three prices"


def test_all_methods_pay_the_unit_normal_and_the_same_for_each_nat():
    for training in {training for plan in PLANS.values() for training in plan}:
        preset = training.preset_for(training.method)
        assert preset.world_model.prior_components is None, training.label
        usual = PRESETS["paper"].loss.information_price if training.preset == "paper" else 0.15
        price = usual if training.price is None else training.price
        assert (preset.loss.information_price, preset.loss.last_price) == (price, None), training.label


def test_presets_fit_their_video():
    for name, data_set in DATA_SETS.items():
        for preset in (data_set.preset, "tiny", "paper"):
            fitted = data_set.preset_at(preset)
            size, patch = fitted.tokenizer.image_size, fitted.tokenizer.patch_size
            assert fitted.world_model.grid * patch == size, name
            if data_set.room is not None:
                large = data_set.room.cells > 8
                assert fitted.world_model.slots == (2 if large else 1) * data_set.room.agents
                assert size % data_set.room.cells == 0
            if preset == "rooms":
                assert fitted.world_model.grid == data_set.room.cells, "a token for each cell"


def test_words_choose_by_the_first_parts_of_labels():
    plan = PLANS["cpu"]
    chosen = command.choose(plan, ("multigrid/flam",))
    assert {t.method for t in chosen} == {"flam"} and {t.price for t in chosen} == {None, *PRICES["multigrid"]}
    assert {t.data for t in command.choose(plan, ("agents2", "bigfish/genie"))} == {"agents2", "bigfish"}
    assert command.choose(plan, ()) == list(plan)
    with pytest.raises(
        ValueError, match=r"expected the first parts of labels of this plan, as .*bigfish/flam.*'multi'"
    ):
        command.choose(plan, ("multi",))


def test_learning_rates_are_those_with_the_best_rollouts_or_else_the_lowest_objective():
    ends: dict[str, dict[float, tuple[float, float]]] = {}
    for training, finding in read_findings(COMMITTED / "tuning", PLANS["tuning"]).items():
        rollouts, objective = finding.mean("rollouts") or 0.0, finding.mean("objective")
        ends.setdefault(training.method, {})[training.rate] = (round(rollouts, 2), -objective)
    whole = {method: by_rate for method, by_rate in ends.items() if by_rate.keys() == set(TRIED_RATES)}
    assert whole, "somebody was tuned"
    for method, by_rate in whole.items():
        assert max(by_rate, key=by_rate.get) == LEARNING_RATES[method], method


# --- data -------------------------------------------------------------------------------------------------------------


def test_a_pack_goes_before_a_store_and_what_is_whole_is_not_collected_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr(data_sets, "collect", never)
    monkeypatch.setitem(DATA_SETS, "dots", DataSet(title="Dots", source="bigfish", preset="tiny", frames=9))
    shutil.copytree(store.root, tmp_path / "dots")
    assert collect_data(tmp_path, "dots", 64) == tmp_path / "dots"
    (tmp_path / "dots.pack").touch()
    assert collect_data(tmp_path, "dots", 64) == tmp_path / "dots.pack"
    assert find_data(tmp_path, "dots", 224) == tmp_path / "dots-224px"
    monkeypatch.setitem(DATA_SETS, "dots", replace(DATA_SETS["dots"], frames=10_000))
    (tmp_path / "dots.pack").unlink()
    with pytest.raises(AssertionError, match="must not be called"):
        collect_data(tmp_path, "dots", 64)


def test_a_store_whose_first_episode_was_never_finished_is_collected(tmp_path, monkeypatch):
    EpisodeStore.create(tmp_path / "bigfish", source="procgen/bigfish", size=64, settings={})
    asked = []
    monkeypatch.setattr(data_sets, "collect", lambda source, out, **how: asked.append(source))
    assert collect_data(tmp_path, "bigfish", 64) == tmp_path / "bigfish" and asked == ["bigfish"]


def test_a_large_room_of_two_agents_takes_the_tokenizer_of_four(tmp_path):
    study = Campaign(data=tmp_path, tokenizers=tmp_path, runs=tmp_path / "runs", reports=tmp_path / "reports")
    trainings = {data: Training(data=data, method="flam", budget=HURRIED, preset="rooms") for data in DATA_SETS}
    shared = {data: study.tokenizer(training).name for data, training in trainings.items()}
    assert shared["agents2"] == shared["agents4"] == "agents4-rooms"
    assert all(name == f"{data}-rooms" for data, name in shared.items() if data != "agents2")
    fits = {data: trainings[data].data_set.preset_at("rooms") for data in ("agents2", "agents4")}
    assert fits["agents2"].tokenizer == fits["agents4"].tokenizer
    assert fits["agents2"].tokenizer_fit == fits["agents4"].tokenizer_fit


# --- a rehearsal ------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(in_turn):
    """Trainings are made in this process, one after the other; returns the names of those that were begun."""
    return in_turn(command)


@pytest.fixture
def rehearsal(monkeypatch, here, begin, tmp_path):
    """A plan with a training of every method on a dot; returns the arguments of the command that makes it."""
    tokenizer = begin()
    filmed(tmp_path / "data" / "dots-16px")
    shared = tmp_path / "runs" / "tokenizers" / "dots-tiny"
    shared.mkdir(parents=True)
    shutil.copy(tokenizer / "tokenizer.safetensors", shared)
    tiny = PRESETS["tiny"]
    monkeypatch.setitem(
        PRESETS,
        "tiny",
        replace(
            tiny,
            tokenizer=replace(tiny.tokenizer, image_size=16, patch_size=8),
            world_model=replace(tiny.world_model, **SIZES, slots=3, latent_dim=5),
            world_model_fit=replace(FIT, log_every=1),
        ),
    )
    monkeypatch.setitem(DATA_SETS, "dots", DataSet(title="Dots", source="bigfish", preset="tiny", frames=9))
    plan = tuple(Training(data="dots", method=method, budget=HURRIED, preset="tiny") for method in METHODS)
    monkeypatch.setitem(PLANS, "tiny", plan)
    folders = {name: tmp_path / name for name in ("data", "runs", "reports")}
    return folders | {"plan": "tiny", "clips": 3, "perceptual": ()}


def test_a_campaign_leaves_a_world_and_a_report_of_every_method_and_is_not_made_again(rehearsal, here, monkeypatch):
    said = campaign(**rehearsal)
    assert said.startswith("6 of 6 trainings have their report")
    reports = {path.stem: json.loads(path.read_text()) for path in (rehearsal["reports"] / "tiny").iterdir()}
    assert reports.keys() == {f"dots-{method}-0" for method in METHODS} == set(here)
    for method, kind in METHODS.items():
        report = reports[f"dots-{method}-0"]
        assert ("rate" in report) == kind.infers and report["clips"] == 3 and report["run"]["parameters"] > 0
        assert report["run"]["steps"] == (4 if kind.on_slots else 2), "those of the slots count"
        assert report["run"]["phases"].keys() == ({SLOTS, method} if kind.on_slots else {method})
        assert report["run"]["phases"][method]["steps"] == 2
        model = load_world(rehearsal["runs"] / "tiny" / f"dots-{method}-0").model
        assert model.slots == (3 if kind.slotted else 1)
        assert report["run"]["model"] == as_json(as_written(model.config))
    run = reports["dots-world-model-0"]["run"]
    assert (run["settings"]["model"]["choices"], run["model"]["choices"]) == (15, 3), "data decide what can be done"
    assert len([*rehearsal["runs"].glob(f"tiny/dots-{SLOTS}-*")]) == 1, "slots are learned once"
    monkeypatch.setattr(command, "side_by_side", never)
    assert campaign(**rehearsal) == said
    monkeypatch.setattr(command, "load_judges", lambda metrics, **_: here.append(metrics))
    monkeypatch.setattr(command, "side_by_side", lambda jobs, *_, **__: here.append([*jobs]) or {})
    campaign(**rehearsal | {"only": ("dots/genie",), "perceptual": ("lpips",)})
    assert here[-2:] == [("lpips",), ["dots-genie-0"]], "a metric that is wanted later is added"


def test_rollouts_of_all_methods_on_the_same_clips_are_one_picture(rehearsal, tmp_path):
    campaign(**rehearsal, only=("dots/flam", "dots/world-model"))
    folders = {name: rehearsal[name] for name in ("plan", "data", "runs")}
    out = rollouts(**folders, of="dots", out=tmp_path / "rollouts.png")
    with Image.open(out) as picture:
        frames = np.asarray(picture)
    rows = 4  # true, FLAM, World Model, Recon
    assert frames.shape == (2 * rows * (16 + 2 + LABEL_HEIGHT), len(SHOWN_STEPS) * (16 + 2), 3)
    one = rollouts(**folders, of="dots", clips=1, out=tmp_path / "one.png")
    with Image.open(one) as picture:
        assert np.asarray(picture).shape[0] == len(frames) // 2
    with pytest.raises(FileNotFoundError, match=r"expected worlds of leaper .* --only leaper"):
        rollouts(**folders, of="leaper")
    with pytest.raises(ValueError, match="expected a data set of multigrid"):
        rollouts(**folders, of="chess")


def test_a_training_whose_piece_is_over_goes_on_from_its_checkpoint(rehearsal, here, monkeypatch):
    endless = tuple(replace(t, budget=replace(HURRIED, steps=10**7)) for t in PLANS["tiny"][:1])
    monkeypatch.setitem(PLANS, "tiny", endless)
    said = campaign(**rehearsal, minutes_at_once=0.05)
    assert said.startswith("0 of 1 trainings have their report; about ") and "nothing is known" not in said
    assert said.endswith(" minutes of one core of updates left; data, tokenizers and scoring not counted")
    resume = rehearsal["runs"] / "tiny/dots-flam-0/training/world_model/resume.safetensors"
    before = read_header(resume).step
    assert before > 0
    planned = campaign(**rehearsal, dry_run=True)
    assert f"| dots/flam/0 | 10000000 x 2 | 0 | {rehearsal['data']}/dots-16px | step {before}, " in planned
    campaign(**rehearsal, minutes_at_once=0.04)
    assert read_header(resume).step > before and here == ["dots-flam-0"] * 2


def test_what_was_scored_is_not_scored_again_after_a_kill(rehearsal, monkeypatch):
    scored = []
    evaluate = trainings.evaluate

    def dies_at_rate(*arguments, metrics, **named):
        scored.append(metrics)
        if metrics == ("rate",) and len(scored) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments, metrics=metrics, **named)

    monkeypatch.setattr(trainings, "evaluate", dies_at_rate)
    for _ in range(2):
        try:
            campaign(**rehearsal, only=("dots/flam",))
        except KeyboardInterrupt:
            assert not (rehearsal["reports"] / "tiny").exists()
    assert scored == [("pixels",), ("rate",), ("rate",)]
    assert (rehearsal["reports"] / "tiny/dots-flam-0.json").exists()


def test_a_report_of_other_settings_is_refused_before_anything_is_made(rehearsal, here, monkeypatch):
    campaign(**rehearsal, only=("dots/genie",))
    longer = tuple(replace(t, budget=replace(HURRIED, steps=9)) for t in PLANS["tiny"])
    monkeypatch.setitem(PLANS, "tiny", longer)
    path = rehearsal["reports"] / "tiny/dots-genie-0.json"
    for dry_run in (False, True):
        with pytest.raises(ValueError, match=rf"{path}.*fit_config.steps 2 there, 9 here.*move it away"):
            campaign(**rehearsal, dry_run=dry_run)
    assert here == ["dots-genie-0"]
    path.unlink()  # what was trained for it is of other settings, too
    with pytest.raises(ChildProcessError, match=r"fit.steps 2 there, 9 here; move .*/dots-genie-0 away"):
        campaign(**rehearsal, only=("dots/genie",))
    assert not path.exists()


def test_a_metric_is_added_to_the_report_of_a_world_that_is_not_trained_again(rehearsal, monkeypatch):
    only = rehearsal | {"only": ("dots/genie",)}
    campaign(**only)
    path, world = rehearsal["reports"] / "tiny/dots-genie-0.json", rehearsal["runs"] / "tiny/dots-genie-0"
    whole = json.loads(path.read_text())
    for report in (path, world / "report.json"):
        report.write_text(json.dumps({name: part for name, part in whole.items() if name != "rate"}))
    monkeypatch.setattr(trainings, "_train", never)
    assert campaign(**only).startswith("1 of 1")
    assert json.loads(path.read_text()) == whole
    shutil.move(world, world.with_name("elsewhere"))
    with pytest.raises(FileNotFoundError, match=rf"world of dots-genie-0 in {world}, to add lpips .*move {path} away"):
        campaign(**only | {"perceptual": ("lpips",)})
    assert not world.exists() and campaign(**only).startswith("1 of 1"), "it lacks nothing that was asked for"


@pytest.mark.parametrize("folder", ["dots-slotformer-0", f"dots-{SLOTS}-tiny-0"])
def test_a_kill_while_a_tokenizer_is_copied_leaves_none(folder, rehearsal, monkeypatch):
    [shared] = (rehearsal["runs"] / "tokenizers").glob("*/tokenizer.safetensors")
    content, copy = shared.read_bytes(), rehearsal["runs"] / "tiny" / folder / shared.name
    write = Path.write_bytes

    def dies_halfway(path, written):
        if path.parent == copy.parent and written == content:
            write(path, written[: len(written) // 2])
            raise KeyboardInterrupt
        return write(path, written)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", dies_halfway)
        with pytest.raises(KeyboardInterrupt):
            campaign(**rehearsal, only=("dots/slotformer",))
    assert copy.parent.is_dir() and not copy.exists()
    assert campaign(**rehearsal, only=("dots/slotformer",)).startswith("1 of 1")
    assert copy.exists()


def test_slots_of_other_settings_are_not_built_upon(rehearsal, monkeypatch):
    campaign(**rehearsal, only=("dots/slotformer",))
    learned = rehearsal["runs"] / f"tiny/dots-{SLOTS}-tiny-0"
    before = fingerprint(load_network(learned / "slots.safetensors", Savi, SaviConfig)[0])
    plan = PLANS["tiny"]
    for steps in (1, 3):  # `fit` would take the first for done, and go on for the second
        other = tuple(replace(t, budget=replace(HURRIED, slot_steps=steps)) for t in plan)
        monkeypatch.setitem(PLANS, "tiny", other)
        with pytest.raises(ChildProcessError, match=rf"fit.steps 2 there, {steps} here; move {learned} away"):
            campaign(**rehearsal, only=("dots/playslot",))
    monkeypatch.setitem(PLANS, "tiny", plan)
    shutil.move(learned / "training", learned / "elsewhere")
    with pytest.raises(ChildProcessError, match="got a file without its run"):
        campaign(**rehearsal, only=("dots/playslot",))
    shutil.move(learned / "elsewhere", learned / "training")
    assert campaign(**rehearsal, only=("dots/playslot",)).startswith("1 of 1")
    assert fingerprint(load_network(learned / "slots.safetensors", Savi, SaviConfig)[0]) == before


def test_a_tokenizer_of_other_settings_is_not_shared(rehearsal, store, tmp_path, monkeypatch):
    sizes, fit = TokenizerConfig(image_size=16, patch_size=8, width=12, blocks=1, levels=LEVELS), replace(FIT, steps=1)
    shared, out, training = tmp_path / "tokenizer", tmp_path / "out", PLANS["tiny"][0]

    def share(**changes):
        preset = replace(PRESETS["tiny"], **{"tokenizer": sizes, "tokenizer_fit": fit} | changes)
        monkeypatch.setitem(PRESETS, "tiny", preset)
        share_tokenizer(training, store.root, shared, out)

    share()
    share()
    assert (out / "tokenizer.safetensors").read_bytes() == (shared / "tokenizer.safetensors").read_bytes()
    with pytest.raises(ValueError, match=rf"fit.steps 1 there, 2 here; move {shared} away"):
        share(tokenizer_fit=replace(fit, steps=2))
    with pytest.raises(ValueError, match=r"identity.model.width 12 there, 16 here"):
        share(tokenizer=replace(sizes, width=16))


@pytest.mark.parametrize("data", ["multigrid", "bigfish", "starpilot"])
def test_data_of_a_bundled_world_take_its_tokenizer(data, store, tmp_path):
    planned = [training for training in PLANS["cpu"] + PLANS["gpu"] if training.data == data]
    shared, out = tmp_path / "tokenizer", tmp_path / "out"
    out.mkdir()
    share_tokenizer(planned[0], store.root, shared, out)
    assert (out / "tokenizer.safetensors").read_bytes() == (find_world(data) / "tokenizer.safetensors").read_bytes()
    assert not shared.exists()
    sizes = load_network(out / "tokenizer.safetensors", Tokenizer, TokenizerConfig)[0].config
    for training in planned:
        same = training.data_set.preset_at(training.preset).tokenizer == sizes
        assert same == (training.bundled is not None) == (training.preset != "paper")


def test_a_training_that_fails_leaves_the_others_alone(rehearsal, here, monkeypatch):
    def fail(training, *_):
        if training.method == "genie":
            raise ValueError("no luck")

    monkeypatch.setattr(command, "make_training", fail)
    with pytest.raises(ChildProcessError, match=r"got dots-genie-0: no luck; see log.txt"):
        campaign(**rehearsal)
    assert len(here) == len(METHODS)


def test_what_cannot_be_scored_is_refused_before_anything_is_made(rehearsal, here, tmp_path, monkeypatch):
    monkeypatch.setenv("FLAM_METRICS", str(tmp_path / "none"))
    monkeypatch.setitem(PLANS, "tiny", (replace(PLANS["cpu"][0], budget=HURRIED),))
    with pytest.raises(FileNotFoundError, match="fetch-metrics"):
        campaign(**rehearsal | {"perceptual": ("lpips",)})
    for wrong in ({"clips": 1}, {"minutes_at_once": -1.0}, {"jobs": -1}):
        with pytest.raises(ValueError, match="expected"):
            campaign(**rehearsal | wrong)
    assert not here


def test_rooms_are_scored_by_how_they_are_factorized(here, monkeypatch, tmp_path):
    pytest.importorskip("gym_multigrid")
    tiny = PRESETS["tiny"]
    small = replace(tiny.world_model, dim=16, heads=2)
    fit = replace(tiny.tokenizer_fit, steps=2, batch_size=2)
    monkeypatch.setitem(PRESETS, "tiny", replace(tiny, tokenizer_fit=fit, world_model=small))
    room = replace(DATA_SETS["agents2"], frames=2000, room=RoomConfig(agents=2))
    monkeypatch.setitem(DATA_SETS, "agents2", room)
    folders = {name: tmp_path / name for name in ("data", "runs", "reports")}
    campaign(**folders, plan="tiny", only=("agents2/flam",), clips=3, perceptual=())
    report = json.loads((tmp_path / "reports/tiny/agents2-flam-tiny-0.json").read_text())
    assert {"dci", "exactness"} <= report["factorization"].keys()


# --- how long it takes ------------------------------------------------------------------------------------------------


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Trainings of known speed: returns a campaign, and what plants a log of so many steps and minutes in it."""
    monkeypatch.setitem(DATA_SETS, "dots", DataSet(title="Dots", source="bigfish", preset="tiny", frames=9))
    study = Campaign(data=tmp_path, tokenizers=tmp_path, runs=tmp_path / "runs", reports=tmp_path / "reports")

    def plant(folder: str, phase: str, steps: int, minutes: float) -> None:
        log = study.runs / folder / "training" / phase / METRICS_NAME
        log.parent.mkdir(parents=True)
        log.write_text("".join(json.dumps({"step": n, "time": 60.0 * minutes, "loss": 0.0}) + "\n" for n in (1, steps)))

    return study, plant


def timed(method: str, seed: int = 0) -> Training:
    budget = Budget(steps=100, batch_size=2, slot_steps=50)
    return Training(data="dots", method=method, budget=budget, preset="tiny", seed=seed, scored=False)


def test_the_slots_and_what_stands_on_them_have_paces_of_their_own(planted):
    """Slots take 1 minute a step, PlaySlot 2, SlotFormer 3; slots that two trainings share are learned once."""
    study, plant = planted
    study.reports.mkdir()
    phases = {SLOTS: {"steps": 50, "seconds": 3000.0}, "playslot": {"steps": 100, "seconds": 12000.0}}
    run = {"steps": 150, "seconds": 15000.0, "phases": phases}
    study.report(timed("playslot")).write_text(json.dumps({"run": run}))
    plant("dots-slotformer-0", "world_model", 20, 60.0)
    plan = [timed(method, seed) for seed in (0, 1) for method in ("playslot", "slotformer")]
    *rows, said = progress_lines([*plan, timed("flam")], study, budgets=True)
    states = [row.split(" | ")[-1] for row in rows[1:]]
    assert states == [
        "done |",
        f"step 20, {50 * 1 + 80 * 3} minutes left |",
        f"{50 * 1 + 100 * 2} minutes left |",
        f"{50 * 1 + 100 * 3} minutes left |",
        "minutes unknown |",
    ]
    left = (50 + 80 * 3) + 50 + 100 * 2 + 100 * 3
    assert said == (
        f"1 of 5 trainings have their report; about {left} minutes of one core of updates left; data, tokenizers and "
        "scoring not counted; of 1 nothing is known yet"
    )


def test_a_log_goes_before_a_report_which_may_be_of_another_machine(planted):
    study, plant = planted
    study.reports.mkdir()
    run = {"steps": 100, "seconds": 60.0, "phases": {"flam": {"steps": 100, "seconds": 60.0}}}
    study.report(timed("flam")).write_text(json.dumps({"run": run}))
    plan = [timed("flam"), timed("flam", 1), timed("flam", 2)]
    assert "about 2 minutes" in [*progress_lines(plan, study)][-1]
    plant("dots-flam-0", "world_model", 100, 30.0)
    assert "about 60 minutes" in [*progress_lines(plan, study)][-1]
    plant("dots-flam-1", "world_model", 50, 35.0)  # the mean of .3 and .7 minutes a step, for 50 and 100 steps
    assert "about 75 minutes" in [*progress_lines(plan, study)][-1]


# --- tables -----------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_committed_reports_beside_the_paper(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    main(["tables", "--figure", str(tmp_path / "frontiers.png")])
    out = capsys.readouterr().out
    for wanted in ("| *paper: FLAM* |", "*56.5*", "| Random |", "## Figure 4", "## Learning rates"):
        assert wanted in out
    assert (tmp_path / "frontiers.png").read_bytes().startswith(b"\x89PNG")
    assert out.strip() == (COMMITTED / "comparison.md").read_text().strip(), "print it anew, and commit it"


def test_the_front_page_has_the_summary_of_the_committed_reports():
    assert tables(reports=COMMITTED, summary=True) in (ROOT / "README.md").read_text()


def test_what_was_not_run_is_called_so(tmp_path):
    (tmp_path / "gpu").mkdir()
    out = tables(plan="gpu", reports=tmp_path)
    rows = [line for line in out.splitlines() if line.startswith("| FLAM | not run |")]
    assert len(rows) == 2 * len(TABLE_1) + 1, "of every data set at both sizes, and of the factorization"
    judged = out[out.index("## What the paper says") :]
    verdicts = [line for line in judged.splitlines() if line.startswith("| ") and line.endswith("| not run |  |  |  |")]
    assert len(verdicts) == len(HYPOTHESES)


def found(data: str, method: str, *numbers: dict[str, float], price: float | None = None) -> dict[Training, Finding]:
    training = next(t for t in PLANS["cpu"] if (t.data, t.method, t.price, t.seed) == (data, method, price, 0))
    return {training: Finding(training, numbers)}


def test_hypotheses_are_found_or_refuted_with_their_numbers():
    told = {"nats": 8.0, "psnr_posterior": 41.0}
    findings = found("multigrid", "flam", {"psnr": 44.0} | told, {"psnr": 45.0} | told)
    findings |= found("multigrid", "genie", {"psnr": 30.0, "psnr_posterior": 29.0, "nats": 5.0})
    findings |= found("multigrid", "adaworld", {"psnr": 40.0}) | found("multigrid", "playslot", {"psnr": 43.2})
    lines = "\n".join(hypothesis_lines(PLANS["cpu"], findings))
    genie = "*+22.6* | +14.50 | +12.00 | 8.0 ± 0.0 and 5.0 (codes) | found |"
    assert f"| MultiGrid | Genie | 10 dB and more ahead | {genie}" in lines
    assert "| MultiGrid | AdaWorld | 10 dB and more ahead | *+32.5* | +4.50 |" in lines and "| refuted |" in lines
    assert "| MultiGrid | PlaySlot | level | *+0.0* | +1.30 |" in lines and "| undecided |" in lines
    assert "| Starpilot | AdaWorld | ahead, by 1.5 dB | *+1.5* | not run |  |  |  |" in lines


def test_a_lead_near_where_its_verdict_changes_is_undecided():
    def ahead(lead: float) -> bool:
        return lead >= 10

    assert [verdict(ahead, lead) for lead in (9.4, 9.6, 10.4, 10.6)] == ["refuted", "undecided", "undecided", "found"]


def test_at_equal_information_a_frontier_is_read_between_its_points_only():
    points = [
        *found("multigrid", "adaworld", {"nats": 10.0, "psnr_posterior": 20.0}).values(),
        *found("multigrid", "adaworld", {"nats": 20.0, "psnr_posterior": 30.0}, price=0.015).values(),
    ]
    assert at_rate(15.0, points) == pytest.approx(25.0)
    assert at_rate(5.0, points) is None and at_rate(21.0, points) is None and at_rate(1.0, []) is None
    findings = {point.training: point for point in points}
    findings |= found("multigrid", "flam", {"nats": 12.0, "psnr_posterior": 28.0})
    lines = "\n".join(hypothesis_lines(PLANS["cpu"], findings))
    assert "FLAM 28.00 dB with 12.0 nats (price 0.15), AdaWorld 22.00 dB" in lines
    findings |= found("multigrid", "flam", {"nats": 18.0, "psnr_posterior": 34.0}, price=0.015)
    findings |= found("multigrid", "adaworld", {"nats": 15.0, "psnr_posterior": 25.0}, price=1.5)
    lines = "\n".join(hypothesis_lines(PLANS["cpu"], findings))
    assert "AdaWorld 25.00 dB with 15.0 nats (price 1.5), FLAM 31.00 dB" in lines
    assert "- Bigfish: no point of either lies between two of the other's" in lines
    assert draw_frontiers(PLANS["cpu"], findings).startswith(b"\x89PNG")


def test_a_report_of_other_settings_is_refused(rehearsal):
    campaign(**rehearsal, only=("dots/slotformer",))
    folder = rehearsal["reports"] / "tiny"
    assert read_findings(folder, PLANS["tiny"])
    other = tuple(replace(training, budget=replace(HURRIED, steps=9)) for training in PLANS["tiny"])
    with pytest.raises(ValueError, match=r"a report of dots-slotformer-0"):
        read_findings(folder, other)
    (folder / "dreamer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected reports of runs only, got \['dreamer'\]"):
        read_findings(folder, PLANS["tiny"])
