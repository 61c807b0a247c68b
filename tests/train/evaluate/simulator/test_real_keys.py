"""Obedience and tracking where it is planted what dreams do with keys."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from flam_env import ActionDecoder, ActionDecoderConfig, ActionEncoder, ActionEncoderConfig
from flam_env.dream.dream import Dream
from flam_env.envs.controls import RealActionControl
from flam_env.envs.pressing import press
from flam_env.worlds.loading import load_world
from flam_env.worlds.world import World
from flam_train.evaluate.evaluate import evaluate
from flam_train.evaluate.report import format_report
from flam_train.evaluate.simulator import obedience as measure
from flam_train.evaluate.simulator.obedience import Judges, learn_judges, obedience
from flam_train.evaluate.simulator.player import COLOURS, find_players, player_colour
from flam_train.evaluate.simulator.real_keys import plan_real_keys
from flam_train.evaluate.simulator.same_keys import SameKeys, same_keys
from flam_train.evaluate.simulator.tracking import tracking
from flam_train.heads.known_actions import LabelledTransitions
from flam_train.store.clips import Clips
from flam_train.store.moments import Moments
from flam_train.store.store import EpisodeStore

SIZE, SIDE, CONTEXT, STEPS = 32, 4, 3, 8
MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 1)])  # rows, columns; keys 3 and 4 have the same effect
CLASSES = np.array([0, 1, 2, 3, 3])
COLOUR = COLOURS["bigfish"]


def draw(places: np.ndarray, size: int = SIZE, side: int = SIDE) -> np.ndarray:
    """Squares in the colour of the player with these middles (..., 2) -> uint8 (..., size, size, 3)."""
    pixels = np.stack(np.mgrid[:size, :size], -1) + 0.5
    inside = (abs(pixels - places[..., None, None, :]) < side / 2).all(-1)
    return inside[..., None] * np.array(COLOUR, np.uint8)


def walk(keys: np.ndarray, start: tuple[float, float] = (16, 16)) -> np.ndarray:
    """Where keys (B, H) take players: (B, 1 + H, 2)."""
    moved = MOVES[keys].cumsum(1)
    return np.concatenate([np.zeros_like(moved[:, :1]), moved], 1) + np.array(start)


def planted(dreamt: Callable[[np.ndarray, np.ndarray], np.ndarray], clips: int = 100, seed: int = 0) -> SameKeys:
    """Random keys in a game and in dreams: `dreamt` of keys and random other keys are those that dreams obey."""
    random = np.random.default_rng(seed)
    before, keys, others = (random.integers(0, 4, (clips, steps)) for steps in (CONTEXT - 1, STEPS, STEPS))
    keys[(keys == 3) & (random.random(keys.shape) < 0.5)] = 4
    real = draw(walk(np.concatenate([before, keys], 1)))
    middles = walk(before)[:, -1:] - 16 + walk(dreamt(keys, others))
    return SameKeys(real, real[:, CONTEXT - 1 :], draw(middles), keys)


class Reads(nn.Module):
    """Reads the move of the square exactly; where there is none it says the first key, as if it saw the state only."""

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Frames uint8 (B, H, W, 3) -> logits (B, 5)."""
        rows, columns = torch.meshgrid(*[torch.arange(SIZE, dtype=torch.float)] * 2, indexing="ij")
        pixels = torch.stack([rows, columns])

        def middle(frames: Tensor) -> Tensor:
            lit = (frames[..., 1] > 0).float()
            return torch.einsum("bhw,chw->bc", lit, pixels) / lit.sum((1, 2))[:, None]

        moved = (middle(after) - middle(before)).round()
        told = (moved[:, None] == torch.from_numpy(MOVES)).all(-1).float().argmax(-1)
        return one_hot(told, 5).float()


EXACT = Judges(Reads(), Reads())


def scores(dreamt: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> list[dict]:
    return obedience(EXACT, planted(dreamt), CLASSES)


# --- obedience --------------------------------------------------------------------------------------------------


def test_dreams_that_do_what_keys_ask_for_score_one_though_some_keys_are_the_same():
    for each, step in zip(scores(lambda keys, _: keys), (1, 8), strict=True):
        assert each["step"] == step and each["obeyed"] == each["judge_on_real"] == each["score"] == 1
        assert 0.15 < each["state_only"] < 0.4 and each["error"] == 0


def test_dreams_that_ignore_keys_score_nothing():
    for each in scores(lambda _, others: others):
        assert abs(each["score"]) < 3 * each["error"] < 0.4


def test_dreams_that_do_the_opposite_score_below_nothing():
    for each in scores(lambda keys, _: np.array([1, 0, 3, 2, 2])[keys]):
        assert each["obeyed"] == 0 and each["score"] < -2 * each["error"] < 0


def test_dreams_that_obey_every_other_time_score_half():
    half = scores(lambda keys, _: np.where(np.arange(len(keys))[:, None] % 2, keys, np.array([1, 0, 3, 2, 2])[keys]))
    assert all(each["obeyed"] == 0.5 and 0.2 < each["score"] < 0.45 for each in half)


def test_each_key_is_told_by_itself_and_those_of_equal_effect_are_one():
    pressed = planted(lambda keys, _: np.where(keys == 1, 0, keys))
    for each, step in zip(obedience(EXACT, pressed, CLASSES), (1, 8), strict=True):
        wanted = CLASSES[pressed.keys[:, step - 1]]
        assert list(each["keys"]) == ["0", "1", "2", "3"] and (pressed.keys[:, step - 1] == 4).any()
        for key, scores in each["keys"].items():
            obeyed = 0 if key == "1" else 1
            assert scores == {"clips": (wanted == int(key)).sum(), "obeyed": obeyed, "judge_on_real": 1}


def test_there_is_no_score_where_the_judge_knows_no_more_than_the_state():
    still = planted(lambda keys, _: keys)
    still = still._replace(recon=np.repeat(still.recon[:, :1], STEPS + 1, 1))
    assert all(each["score"] is None and each["error"] is None for each in obedience(EXACT, still, CLASSES))


def test_the_error_is_how_much_the_score_differs_between_draws_of_clips():
    random = np.random.default_rng(0)
    right = random.random((400, 3, 150)) < np.array([0.5, 0.8, 0.3])[:, None]
    drawn = [measure._score(*clips.astype(float)) for clips in right]
    errors = [each["error"] for each in drawn]
    assert np.mean([each["score"] for each in drawn]) == pytest.approx(0.4, abs=0.02)
    assert np.std([each["score"] for each in drawn]) == pytest.approx(np.mean(errors), rel=0.15)


def test_judges_learn_to_read_keys_which_the_state_alone_does_not_tell():
    random = np.random.default_rng(0)
    keys = random.integers(0, 2, 200)
    before = random.integers(6, 11, (200, 2)).astype(float)
    pairs = tuple(torch.from_numpy(draw(middles, 16)) for middles in (before, before + 2 * MOVES[keys]))
    episodes = np.arange(200) // 10
    at = Moments(split="train", names=tuple(map(str, range(20))), episodes=episodes, frames=np.arange(200) % 10)
    fit = replace(measure.FIT, steps=25, batch_size=16, learning_rate=2e-3, warmup_steps=2, ema=0.8, precision="fp32")
    labels = LabelledTransitions(at=at, actions=keys)
    judges = learn_judges(pairs, labels, 2, seed=2, fit=fit)
    judged, alone = judges.judge(*pairs), judges.state_only(pairs[0], pairs[0])
    right = [float((logits.argmax(-1).numpy() == keys).mean()) for logits in (judged, alone)]
    assert right[0] > 0.9 and right[1] < 0.7
    one, same = (learn_judges(pairs, labels, 2, seed=2, fit=replace(fit, steps=2)).judge(*pairs) for _ in range(2))
    assert torch.equal(one, same)


# --- tracking ---------------------------------------------------------------------------------------------------


def walking(columns: float = 0.0, rows: float = 0.0, recon: float = 0.0) -> SameKeys:
    """Players that walk to the right, in dreams and Recon displaced by so many px."""
    keys = np.full((7, STEPS), 3)
    middles = walk(np.full((7, CONTEXT - 1 + STEPS), 3), (16, 8))
    apart = middles[:, CONTEXT - 1 :] + np.array([rows, columns])
    return SameKeys(draw(middles), draw(middles[:, CONTEXT - 1 :] + np.array([0, recon])), draw(apart), keys)


def test_a_dream_whose_player_is_displaced_is_off_by_as_much():
    for columns, rows in ((0, 0), (2, 0), (-1, 0), (1, -2)):
        for each in tracking(walking(columns, rows), COLOUR)["after"]:
            assert each["dream_px"] == pytest.approx(np.hypot(columns, rows), abs=1e-6)
            assert each["recon_px"] == pytest.approx(0, abs=1e-6) and each["seen"] == 1


def test_what_recon_is_off_by_is_no_fault_of_the_dream():
    for each in tracking(walking(columns=2, recon=1), COLOUR)["after"]:
        assert each["recon_px"] == pytest.approx(1) and each["dream_px"] == pytest.approx(1)


def test_one_simple_player_stands_still_and_one_keeps_its_velocity():
    for each in tracking(walking(), COLOUR)["after"]:
        assert each["still_px"] == pytest.approx(each["step"]) and each["steady_px"] == pytest.approx(0, abs=1e-6)


def test_a_player_that_is_gone_is_where_it_was_last():
    gone = walking()
    gone.dreamt[:, 4:] = 0
    last = tracking(gone, COLOUR)["after"][-1]
    assert last["seen"] == 0 and last["dream_px"] == pytest.approx(8 - 3)


def test_what_looks_like_the_player_but_is_out_of_its_reach_is_another():
    middles = walk(np.full((1, 5), 3), (8, 8))
    others = np.where(np.arange(6)[:, None] < 2, (-9.0, -9.0), (25.0, 25.0))
    frames = np.maximum(draw(middles), draw(others[None], side=6))
    assert find_players(frames, COLOUR).places == pytest.approx(middles, abs=0.6)


def test_data_without_a_player_of_known_colour_is_refused():
    assert player_colour("procgen/leaper") == COLOURS["leaper"]
    with pytest.raises(ValueError, match=r"expected data of bigfish, leaper, starpilot, .* got 'multigrid'; leave out"):
        player_colour("multigrid")
    black = walking()
    black.real[:] = 0
    with pytest.raises(ValueError, match="expected a player of colour"):
        tracking(black, COLOUR)


# --- worlds -----------------------------------------------------------------------------------------------------


def most_moving_slot(world: World) -> int:
    """The slot whose action changes most of what the world shows next: others may hold nothing."""
    dream = Dream(world)
    state = dream.reset(world.starts.tokens[:4, :2])
    rest = torch.zeros(4, *world.action_shape)

    def moved(slot: int) -> int:
        action = rest.clone()
        action[:, slot] = 3
        return int((dream.step(state, action)[1] != dream.step(state, rest)[1]).sum())

    return max(range(world.model.slots), key=moved)


@pytest.fixture(scope="module")
def keyed(trained):
    """The world of squares, with a decoder and an encoder of random weights for the keys of Bigfish."""
    world = load_world(trained)
    sizes = {"slot_dim": world.model.slot_dim, "latent_dim": world.action_shape[-1], "actions": 15}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = ActionDecoder(ActionDecoderConfig(slots=world.model.slots, **sizes))
        encoder = ActionEncoder(ActionEncoderConfig(**sizes))
    encoder.known.fill_(True)
    decoder.controlled_slot.fill_(most_moving_slot(world))
    heads = {"decoder": decoder.eval(), "encoder": encoder.eval()}
    return replace(world, heads=world.heads | heads)


@pytest.fixture
def game(store, make_episode, tmp_path) -> EpisodeStore:
    """Squares as if they were Bigfish, played with random keys that had no effect."""
    settings = store.settings | {"held_keys": 4}
    game = EpisodeStore.create(tmp_path / "game", source="procgen/bigfish", size=store.size, settings=settings)
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for record in store.episodes(split)[:4]:
            episode = make_episode(store.read_frames(record, 0, record.frames))
            game.write(split, replace(episode, actions=random.integers(0, 9, record.frames).astype(np.int16)))
    return game


def clips_of(store: EpisodeStore, steps: int) -> Clips:
    frames = np.stack([store.read_frames(record, 0, 2 + steps) for record in store.episodes("test")[:3]])
    return Clips(frames, ("random",) * 3, known=torch.arange(3 * (2 + steps)).reshape(3, -1) % 9)


def test_dreams_are_those_of_an_environment_that_is_told_the_real_keys(keyed, store):
    dream = Dream(replace(keyed, settings=replace(keyed.settings, context=2)))
    clips = clips_of(store, 4)
    one, same, other = (same_keys(dream, clips, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.dreamt, same.dreamt) and not np.array_equal(one.dreamt, other.dreamt)
    assert np.array_equal(one.keys, clips.known[:, 1:-1]) and np.array_equal(one.dreamt[:, 0], one.recon[:, 0])
    assert one.recon.shape == one.dreamt.shape == (3, 5, 32, 32, 3) and one.scored == [1]
    begun = dream.reset(dream.encode(clips.frames[2, :2])[None])
    alone = press(dream, RealActionControl(dream.world), begun, one.keys[2:], [_stream(0, 2)])
    frames = torch.cat([frame for _, frame in alone]).numpy()
    assert np.array_equal(frames, one.dreamt[2, 1:]), "whatever else is in the batch"
    pressed = same_keys(dream, replace(clips, known=(clips.known + 3) % 9), 0)
    assert not np.array_equal(pressed.dreamt, one.dreamt), "keys matter"


def _stream(seed: int, row: int) -> np.random.Generator:
    return np.random.default_rng([seed, row])


def test_keys_that_the_decoder_does_not_know_are_refused(keyed, store):
    clips = clips_of(store, 3)
    with pytest.raises(ValueError, match=r"expected keys below 15, .* got 23"):
        same_keys(Dream(keyed), replace(clips, known=clips.known + 15))


def test_a_world_without_a_decoder_is_refused_before_anything_is_dreamt(trained, game, tmp_path):
    with pytest.raises(ValueError, match="flam-train ground"):
        evaluate(str(trained), game.root, metrics=("obedience",), clips=2, out=tmp_path / "report.json")
    assert not (tmp_path / "report.json").exists()


def test_data_whose_keys_player_or_shots_nobody_knows_is_refused(keyed, store, game):
    with pytest.raises(ValueError, match="number of real actions"):
        plan_real_keys(Dream(keyed), store, ("obedience",))
    assert plan_real_keys(Dream(keyed), store, ("pixels",)) == ()
    with pytest.raises(ValueError, match="leave out the metric shots"):
        plan_real_keys(Dream(keyed), game, ("shots",))


def test_play_whose_keys_were_not_held_is_warned_of(keyed, game):
    del game.settings["held_keys"]
    with pytest.warns(UserWarning, match="collect GAME --held-keys 4"):
        assert plan_real_keys(Dream(keyed), game, ("obedience",)) == ("obedience",)


def test_a_report_tells_all_beside_what_they_are_measured_against(keyed, game, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "FIT", replace(measure.FIT, steps=2, warmup_steps=1, precision="fp32"))
    monkeypatch.setattr("flam_train.evaluate.evaluate.load_world", lambda _: keyed)
    monkeypatch.setattr("flam_train.evaluate.evaluate.find_world", lambda _: tmp_path)
    monkeypatch.setitem(COLOURS, "bigfish", (40, 120, 250))
    monkeypatch.setattr("flam_train.evaluate.simulator.shots.GAME", "bigfish")
    asked = {"metrics": ("obedience", "tracking", "shots"), "clips": 4, "horizon": 9, "device": "cpu"}
    report = evaluate("keyed", game.root, out=tmp_path / "report.json", **asked)
    obeyed, tracked = report["obedience"], report["tracking"]
    assert [each["step"] for each in obeyed["after"]] == [each["step"] for each in tracked["after"]] == [1, 8]
    assert obeyed["clips"] == 4 and obeyed["held_keys"] == 4 and obeyed["learned"] == 4 * 44
    assert all(0 <= each[name] <= 1 for each in obeyed["after"] for name in ("obeyed", "judge_on_real", "state_only"))
    last_shots = report["shots"]["after"][-1]
    assert (last_shots["step"], last_shots["within"], last_shots["fired"], last_shots["others"]) == (8, 1, 0, 4)
    table, last = format_report(report), tracked["after"][-1]
    assert "| obedience (4 dreams, keys held for 4 steps) | score |" in table
    first, later = (each["keys"] for each in obeyed["after"])
    assert sum(key["clips"] for key in first.values()) == sum(key["clips"] for key in later.values()) == 4
    assert "| obedience by key | after 1: clips | after 1: right on dreams | after 1: right on real video | " in table
    key, read = next((key, read) for key, read in first.items() if key not in later)
    assert f"| {key} | {read['clips']} | {read['obeyed']:.4g} | {read['judge_on_real']:.4g} | - | - | - |" in table
    assert f"| after 8 | {last['dream_px']:.4g} | {last['error_px']:.4g} | {last['still_px']:.4g} | " in table
