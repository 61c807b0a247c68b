"""An action decoder from a few labels: which are drawn, what is learned, what is told."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from flam_env import ActionDecoder, ActionDecoderConfig, ActionEncoder, Labeller, load_world, save_world
from flam_env.dream.dream import Dream
from flam_env.heads.action_decoder import Transitions
from flam_env.video.frames import resize_frames
from flam_env.worlds.checkpoint import read_tensors
from flam_train.cli import main
from flam_train.engine import FitConfig
from flam_train.heads import encoder as action_encoding
from flam_train.heads.draws import draw_labels, draw_unlabelled, supervise
from flam_train.heads.dreamt_play import STEPS
from flam_train.heads.encoder import HELD, learn_encoder, share_obeyed
from flam_train.heads.few_labels import LearningConfig, hold_out
from flam_train.heads.ground import ground
from flam_train.heads.inverse_model import SupervisedInverseConfig
from flam_train.heads.known_actions import LabelledTransitions, action_classes, all_labels
from flam_train.heads.learning import action_scores, all_logits, calibrated_temperature, learn_actions
from flam_train.heads.mirrors import known_mirrors, mirrored, watch_in_mirrors, with_mirrored
from flam_train.heads.models import DecoderSize, LabelLearning, frame_pairs, learn_supervised
from flam_train.heads.player_finder import learn_player_finder
from flam_train.heads.player_slot import attention_of, one_slot, share_of_episodes
from flam_train.heads.watching import watch
from flam_train.sources.label import label
from flam_train.store.moments import Moments, read_clips
from flam_train.store.store import EpisodeStore
from flam_train.store.tokens import token_cache

LENGTHS, ACTIONS = {"train": (23, 60, 2, 41), "val": (31, 17), "test": (9,)}, 7
FIT = FitConfig(steps=30, batch_size=16, learning_rate=3e-3, ema=0.9, precision="fp32")
LEARNING = LearningConfig(held_out=0.3, evaluate_every=10, patience=0)


def moments(episodes: np.ndarray, frames: np.ndarray | None = None) -> Moments:
    """Moments of the train split of `played`, or of one that is nowhere."""
    names = tuple(f"noise-{number}" for number in range(episodes.max() + 1))
    frames = np.zeros_like(episodes) if frames is None else frames
    return Moments(split="train", names=names, episodes=episodes, frames=frames)


def taken(length: int, seed: int) -> np.ndarray:
    """What an agent does that knows only the first 5 of 7 actions."""
    return np.random.default_rng(seed).integers(0, 5, length).astype(np.int16)


def store_of(root: Path, make_episode, lengths=LENGTHS, source: str = "noise") -> EpisodeStore:
    store = EpisodeStore.create(root, source=source, size=48, settings={})
    for split, several in lengths.items():
        for index, length in enumerate(several):
            frames = np.random.default_rng(index).integers(0, 256, (length, 4, 4, 3)).astype(np.uint8)
            frames = frames.repeat(12, 1).repeat(12, 2)
            store.write(split, replace(make_episode(frames), actions=taken(length, seed=index)), name=f"noise-{index}")
    return store


@pytest.fixture(scope="module")
def played(tmp_path_factory, make_episode) -> EpisodeStore:
    return store_of(tmp_path_factory.mktemp("stores") / "played", make_episode)


# --- which labels -----------------------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_labels_and_fewer_are_the_first_of_more(played):
    every = all_labels(played, "train", actions=ACTIONS)
    one, again, other = (draw_labels(every, 50, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert np.array_equal(draw_labels(every, 20, seed=3), one[:20])


def test_labels_are_spread_over_episodes_and_are_what_was_done_there(played):
    every = all_labels(played, "train", actions=ACTIONS)
    rows = draw_labels(every, 90, seed=0)
    drawn, at = every.take(rows), every.at.take(rows)
    assert len(set(rows)) == 90 and at.names == ("noise-0", "noise-1", "noise-2", "noise-3")
    counts = np.bincount(at.episodes, minlength=4)
    expected = 90 * (np.array(LENGTHS["train"]) - 1) / 122
    assert (np.abs(counts - expected) < 3 * np.sqrt(expected)).all()
    for frame, action, episode in zip(at.frames, drawn.actions, drawn.episodes, strict=True):
        assert 0 <= frame < LENGTHS["train"][episode] - 1, "no transition begins with the last frame"
        assert action == taken(LENGTHS["train"][episode], seed=episode)[frame]


def test_numbers_of_labels_that_cannot_be_are_refused(played):
    every = all_labels(played, "train", actions=ACTIONS)
    for count in (4, 123):
        with pytest.raises(ValueError, match=f"expected between 5 labels, .* and 122, .*, got {count}; change"):
            draw_labels(every, count, seed=0)
    assert len(draw_labels(every, 122, seed=0)) == 122


def test_labels_outside_the_action_space_are_refused(played):
    with pytest.raises(ValueError, match=r"expected actions in \[0, 3\], or -1 .* got some in \[0, 4\]; tell how many"):
        all_labels(played, "train", actions=4)


@pytest.mark.parametrize(
    "agents, message",
    [
        (0, "expected transitions with a known action .* got none"),
        (3, "expected the actions of one .* those of 3; use"),
    ],
)
def test_a_store_without_actions_of_one_agent_is_refused(tmp_path, make_episode, agents, message):
    store = EpisodeStore.create(tmp_path / "out", source="video", size=48, settings={})
    episode = make_episode(np.zeros((6, 48, 48, 3), np.uint8))
    store.write("train", replace(episode, actions=np.zeros((6, agents), np.int16)))
    with pytest.raises(ValueError, match=message):
        all_labels(store, "train", actions=ACTIONS)


def test_actions_that_nobody_knows_are_no_labels(tmp_path, make_episode):
    store = EpisodeStore.create(tmp_path / "out", source="video", size=48, settings={})
    actions = np.array([3, -1, -1, 2, 6], np.int16)
    for number, known in enumerate((np.zeros((3, 0), np.int16), actions)):
        episode = make_episode(np.zeros((len(known), 48, 48, 3), np.uint8))
        store.write("train", replace(episode, actions=known), name=f"video-{number}")
    labels = all_labels(store, "train", actions=ACTIONS)
    assert [
        (labels.at.names[episode], frame) for episode, frame in zip(labels.episodes, labels.at.frames, strict=True)
    ] == [
        ("video-1", 0),
        ("video-1", 3),
    ]
    assert labels.actions.tolist() == [3, 2]


def test_labels_and_frames_of_different_length_are_refused(tmp_path, make_episode):
    store = store_of(tmp_path / "short", make_episode, {"train": (12,)})
    with h5py.File(store.episodes("train")[0].path, "r+") as file:
        del file["actions"]
        file["actions"] = taken(9, seed=0)
    with pytest.raises(ValueError, match="expected 12 actions, one for each frame, got 9; collect the episode again"):
        all_labels(store, "train", actions=ACTIONS)
    with pytest.raises(ValueError, match="got 4 labels for 5 moments; give as many of both"):
        LabelledTransitions(at=moments(np.arange(5)), actions=np.arange(4))
    labels = LabelledTransitions(at=moments(np.arange(5)), actions=np.arange(5))
    network = torch.nn.Linear(2, 3)
    with pytest.raises(ValueError, match=r"expected 5 inputs, one for each label, got .*5.*6.*; give the transitions"):
        inputs = torch.zeros(5, 2), torch.zeros(6, 2)
        learn_actions(network, inputs, labels, config=LEARNING, fit_config=FIT, out=tmp_path, identity={})


def test_a_game_knows_its_actions_and_nobody_knows_those_of_noise(played, tmp_path, make_episode):
    leaper = store_of(tmp_path / "leaper", make_episode, {"train": (3,)}, source="procgen/leaper")
    assert action_classes(leaper).tolist() == [1, 1, 1, 3, 4, 5, 7, 7, 7, 4, 4, 4, 4, 4, 4]
    assert action_classes(played, 7).tolist() == list(range(7))
    with pytest.raises(ValueError, match="expected the number of real actions 15, as procgen/leaper has, got 7"):
        action_classes(leaper, 7)
    with pytest.raises(ValueError, match="told, as noise is no game that is known, got None; give `actions`"):
        action_classes(played)


# --- what is learned --------------------------------------------------------------------------------------------


def planted(count: int, seed: int) -> tuple[Transitions, torch.Tensor, torch.Tensor]:
    """Moments in which one of 5 slots bears the mark of the player, and its latent action is the real one's.

    Returns:
        P transitions of 5 slots of empty frames, real actions (P,), the player's slot (P,): mostly slot 3.
    """
    random = torch.Generator().manual_seed(seed)
    slots, latent_actions = torch.randn(count, 2, 5, 6, generator=random), torch.randn(count, 5, 4, generator=random)
    actions = torch.randint(3, (count,), generator=random)
    player = torch.where(torch.rand(count, generator=random) < 0.7, 3, torch.randint(5, (count,), generator=random))
    rows = torch.arange(count)
    slots[..., 0], slots[rows, :, player, 0] = -3.0, 3.0
    codes = torch.tensor([[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]])
    latent_actions[rows, player] = codes[actions] + 0.2 * torch.randn(count, 4, generator=random)
    tokens, masks = torch.zeros(count, 2, 16, dtype=torch.long), torch.full((count, 2, 5, 16), 0.2)
    return Transitions(slots, latent_actions, tokens, masks), actions, player


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> tuple[ActionDecoder, ActionEncoder]:
    """A decoder of 500 planted labels, and an encoder."""
    inputs, actions, _ = planted(500, seed=0)
    labels = LabelledTransitions(at=moments(np.arange(500) // 20), actions=actions.numpy())
    torch.manual_seed(0)
    network = ActionDecoder(ActionDecoderConfig(slots=5, slot_dim=6, latent_dim=4, actions=3, width=24, dropout=0.1))
    settings = {"config": LEARNING, "fit_config": replace(FIT, steps=400, learning_rate=1e-2), "identity": {}}
    out = tmp_path_factory.mktemp("runs")
    learn_actions(network, inputs, labels, out=out / "decoder", **settings)
    network.controlled_slot.fill_(3)
    return network, learn_encoder(network, inputs, labels, np.arange(3), out=out / "encoder", **settings)


def test_a_planted_player_is_found_and_understood(learned):
    inputs, actions, player = planted(300, seed=1)
    decoder, _ = learned
    scores = action_scores(all_logits(decoder, inputs), actions, np.arange(3))
    assert scores["accuracy"] > 0.95
    attention = attention_of(decoder, inputs)
    assert (attention.argmax(1) == player).float().mean() > 0.97
    assert share_of_episodes(attention, np.arange(300) // 30, 3) == 1.0
    assert share_of_episodes(attention, np.arange(300) // 30, 2) == 0.0


def test_the_player_is_found_before_it_acts(learned, tmp_path):
    """Where slots take turns at it, and from labels and what nobody labelled."""
    (seen, actions, _), (more, _, _) = planted(200, seed=3), planted(300, seed=4)
    labels = LabelledTransitions(at=moments(np.arange(200) // 20), actions=actions.numpy())
    settings = {"config": LEARNING, "fit_config": replace(FIT, steps=200, learning_rate=1e-2), "identity": {}}
    finder = learn_player_finder(learned[0], seen, labels, more, out=tmp_path, **settings)
    others, _, player = planted(300, seed=5)
    holds = finder.holds(others.slots[:, 0])
    assert holds.sum(1).min() >= 1 and holds.float().sum(1).mean() < 1.5
    assert holds[torch.arange(300), player].float().mean() > 0.97
    assert one_slot(3)(others.slots[:, 0]).float().mean(0).tolist() == [0, 0, 0, 1, 0]


def test_the_gain_is_the_one_that_is_obeyed_most(learned, monkeypatch):
    obeyed = {1.0: 0.2, 2.0: 0.7, 4.0: 0.5}
    monkeypatch.setattr(
        action_encoding,
        "share_obeyed",
        lambda dream, decoder, encoder, steered, starts: obeyed[encoder.gain.item()] * (steered is third),
    )
    (decoder, encoder), third = copy.deepcopy(learned), one_slot(3)
    action_encoding.choose_gain(None, decoder, encoder, third)
    assert encoder.gain.item() == 2.0


def test_an_action_is_asked_for_as_long_as_it_could_leave_its_slot(decoded, monkeypatch):
    world, asked = load_world(decoded), []
    dream, step = Dream(world, "cpu"), Dream.step

    def noted(self, state, latent_actions, *rest):
        asked.append(latent_actions)
        return step(self, state, latent_actions, *rest)

    monkeypatch.setattr(Dream, "step", noted)
    every = slice(None)
    shares = [share_obeyed(dream, world.decoder, world.encoder, one_slot(slot), every) for slot in (0, 3)]
    context = max(1, min(world.model.window, world.starts.tokens.shape[1] - HELD))
    held = min(HELD, world.starts.actions.shape[1] - context + 1)
    assert len(asked) == 2 * held * len(world.encoder.choices) and all(0 <= share <= 1 for share in shares)
    first, other = asked[:held], asked[len(asked) // 2 :][:held]
    for number, (one, two) in enumerate(zip(first, other, strict=True)):
        did = world.starts.actions[:, context - 1 + number].clamp(-3, 3)
        assert torch.equal(one[:, 1:], did[:, 1:]) and torch.equal(two[:, :3], did[:, :3]), "others do what they did"
        assert not torch.equal(one[:, 0], did[:, 0])


def test_what_the_encoder_is_asked_for_the_decoder_reads(learned):
    seen, _, player = planted(300, seed=2)
    mine, asked = player == 3, torch.arange(300) % 3
    decoder, encoder = learned
    seen.latent_actions[:, 3] = encoder.encode(seen.slots[:, 0, 3], asked)
    told = decoder(*seen).logits.argmax(-1)
    assert (told == asked)[mine].float().mean() > 0.95


def test_probabilities_are_as_often_right_as_they_say():
    random = torch.Generator().manual_seed(0)
    truth = torch.randn(4000, 6, generator=random)
    actions = torch.multinomial(truth.softmax(-1), 1, generator=random)[:, 0]
    assert calibrated_temperature(3 * truth, actions) == pytest.approx(3, rel=0.1)
    honest, boastful = (action_scores(scale * truth, actions, np.arange(6)) for scale in (1, 3))
    assert honest["calibration_error"] < 0.03 < 0.2 < boastful["calibration_error"]
    assert honest["accuracy"] == boastful["accuracy"]


def test_actions_of_equal_effect_count_as_the_same():
    logits, actions = torch.eye(4)[[0, 1, 2, 3]], torch.tensor([1, 1, 3, 0])
    scores = action_scores(logits, actions, np.array([0, 0, 2, 2]))
    assert (scores["accuracy"], scores["class_accuracy"]) == (0.25, 0.75)


# --- what a world sees ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [5, 64])
def test_watched_transitions_are_the_labellers(played, tiny_world, monkeypatch, piece):
    monkeypatch.setattr("flam_train.heads.watching.PIECE", piece)
    labeller, at = Labeller(tiny_world), moments(np.array([2, 0, 1, 0, 1, 3]), np.array([0, 2, 58, 21, 1, 19]))
    seen = watch(labeller, token_cache(played, tiny_world.tokenizer)["train"], at)
    assert seen.slots.shape == (6, 2, 6, 16) and seen.latent_actions.shape == (6, 6, 5)
    for row, (episode, frame) in enumerate(zip(at.episodes, at.frames, strict=True)):
        frames = played.read(played.episodes("train")[episode]).frames
        inferred = labeller.label(frames).latent_actions[frame]
        np.testing.assert_allclose(seen.latent_actions[row], inferred, atol=2e-4)
        shown = tiny_world.model.observe(labeller.dream.encode(frames)[None]).at(slice(frame, frame + 2))
        assert torch.equal(seen.tokens[row].long(), shown.tokens[0])
        torch.testing.assert_close(seen.slots[row].float(), shown.slots[0], atol=2e-3, rtol=0)
        torch.testing.assert_close(seen.masks[row].float(), shown.masks[0], atol=2e-3, rtol=0)


def test_moments_of_which_there_are_no_tokens_are_refused(played, tiny_world):
    labeller, tokens = Labeller(tiny_world), token_cache(played, tiny_world.tokenizer)["train"]
    with pytest.raises(ValueError, match="expected tokens of the episode noise-4, got none"):
        watch(labeller, tokens, moments(np.array([0, 4]), np.array([0, 0])))
    for frames in ([22], [23]):
        with pytest.raises(
            ValueError, match="expected clips of 2 frames within their episodes, got some beyond the end"
        ):
            watch(labeller, tokens, moments(np.array([0]), np.array(frames)))


def test_labels_stay_with_their_frames_while_the_store_grows(tmp_path, make_episode, tiny_world):
    """Episodes that sort before those with labels come between the draw, the tokens and the frames."""
    store = store_of(tmp_path / "grows", make_episode)
    known = supervise(store, 60, actions=ACTIONS, seed=0).learned
    before, labeller = frame_pairs(store, known.at), Labeller(tiny_world)
    seen = watch(labeller, token_cache(store, tiny_world.tokenizer)["train"], known.at)
    for name in ("a-first", "noise-00"):
        store.write(
            "train", replace(make_episode(np.zeros((19, 48, 48, 3), np.uint8)), actions=taken(19, 8)), name=name
        )
    for one, other in zip(before, frame_pairs(store, known.at), strict=True):
        assert torch.equal(one, other)
    again = watch(labeller, token_cache(store, tiny_world.tokenizer)["train"], known.at)
    assert all(torch.equal(one, other) for one, other in zip(seen, again, strict=True))
    store.episodes("train")[1].path.unlink()
    with pytest.raises(
        ValueError, match="expected the episode noise-0 in split 'train', which was there before, got none"
    ):
        frame_pairs(store, known.at)


# --- the command ------------------------------------------------------------------------------------------------


def moving_squares(count: int) -> tuple[torch.Tensor, torch.Tensor, LabelledTransitions]:
    """Frames uint8 (P, 32, 32, 3) before and after a bright square has moved the way of its action, beside a lamp."""
    random = np.random.default_rng(0)
    places, actions = random.integers(4, 24, (count, 2)), random.integers(0, 4, count)
    moved = places + 2 * np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])[actions]
    frames = np.zeros((2, count, 32, 32, 3), np.uint8)
    frames[:, :, 0, 0] = random.integers(0, 256, (2, count, 3))  # what flickers tells nothing
    for shown, corners in zip(frames, (places, moved), strict=True):
        for frame, (y, x) in zip(shown, corners, strict=True):
            frame[y : y + 4, x : x + 4] = 220
    labels = LabelledTransitions(at=moments(np.arange(count) // 20), actions=actions)
    return torch.from_numpy(frames[0]), torch.from_numpy(frames[1]), labels


def test_the_supervised_model_learns_which_way_something_moved(tmp_path):
    before, after, labels = moving_squares(600)
    learning = LabelLearning(
        classes=np.arange(4),
        size=DecoderSize(dropout=0.1),
        config=LEARNING,
        fit_config=replace(FIT, steps=250, batch_size=32, learning_rate=2e-3),
        identity={},
    )
    network = learn_supervised((before[:400], after[:400]), labels.take(np.arange(400)), learning, tmp_path)
    told = all_logits(network, (before[400:], after[400:])).argmax(1).numpy()
    assert (told == labels.actions[400:]).mean() > 0.9


def test_a_model_that_has_learned_teaches_one_like_it_what_it_makes_of_more(tmp_path):
    """Of still frames, which no label is like, one says what its teacher says, and the teacher's seed would not."""
    before, after, labels = moving_squares(700)
    fit = replace(FIT, steps=250, batch_size=32, learning_rate=2e-3)
    learning = LabelLearning(
        classes=np.arange(4), size=DecoderSize(dropout=0.1), config=LEARNING, fit_config=fit, identity={}
    )
    rows, still = np.arange(200), (before[200:], before[200:])
    few, pairs = labels.take(rows), (before[rows], after[rows])
    seed = replace(learning, fit_config=replace(fit, seed=1))
    teacher, other = (
        learn_supervised(pairs, few, how, tmp_path / name) for how, name in ((learning, "a"), (seed, "b"))
    )
    student = learn_supervised(pairs, few, learning, tmp_path / "a", unlabelled=still)
    told, learned, others = (all_logits(network, still).softmax(1) for network in (teacher, student, other))
    assert (told - learned).abs().mean() < 0.5 * (told - others).abs().mean()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "a_taught", "b"}


def test_taught_examples_are_learned_from_and_never_held_out(tmp_path):
    """Labels know of one action only, all else is taught."""
    seen, actions, _ = planted(400, seed=0)
    rows = torch.cat([torch.where(actions == 0)[0][:60], torch.arange(200, 400)])
    labels = LabelledTransitions(at=moments(np.arange(60) // 5), actions=np.zeros(60, np.int64))
    network = ActionDecoder(ActionDecoderConfig(slots=5, slot_dim=6, latent_dim=4, actions=3, width=24, dropout=0.1))
    settings = {"config": replace(LEARNING, patience=0), "fit_config": replace(FIT, steps=300, learning_rate=1e-2)}
    told = torch.nn.functional.one_hot(actions[200:], 3).float()
    learn_actions(network, seen.at(rows), labels, taught=told, out=tmp_path / "a", identity={}, **settings)
    others, expected, _ = planted(100, seed=1)
    assert (all_logits(network, others).argmax(1) == expected)[expected > 0].float().mean() > 0.8
    with pytest.raises(ValueError, match="one for each label, and 199 beside these"):
        learn_actions(network, seen.at(rows), labels, taught=told[1:], out=tmp_path / "b", identity={}, **settings)


def test_unlabelled_transitions_are_drawn_from_all_others(played):
    every = all_labels(played, "train", actions=ACTIONS)
    known = every.take(draw_labels(every, 60, seed=0))
    drawn = draw_unlabelled(played, "train", known, 10_000, seed=0)
    transitions = sum(record.frames - 1 for record in played.episodes("train"))
    both = known.at.followed_by(drawn)
    assert len({*zip(both.episodes.tolist(), both.frames.tolist(), strict=True)}) == len(both) == transitions
    watched = {number: record.frames for number, record in enumerate(played.episodes("train"))}
    assert all(frame < watched[episode] - 1 for episode, frame in zip(drawn.episodes, drawn.frames, strict=True))
    some = draw_unlabelled(played, "train", known, 7, seed=0)
    assert some.same(drawn.take(np.arange(7))) and not some.same(draw_unlabelled(played, "train", known, 7, seed=1))


def test_mirrors_teach_the_supervised_model_what_it_has_no_label_of(tmp_path):
    """Shown moves to the right and down only, it tells those to the left, which mirrors make of those to the right."""
    before, after, labels = moving_squares(800)
    shown = np.flatnonzero(labels.actions[:600] < 2)
    left = 600 + np.flatnonzero(labels.actions[600:] == 2)
    fit = replace(FIT, steps=250, batch_size=32, learning_rate=2e-3)
    learning = LabelLearning(
        classes=np.arange(4), size=DecoderSize(dropout=0.1), config=LEARNING, fit_config=fit, identity={}
    )
    right = {}
    for name, mirrors in (("with", {1: (2, 1, 0, 3)}), ("without", {})):
        how = replace(learning, mirrors=mirrors)
        network = learn_supervised((before[shown], after[shown]), labels.take(shown), how, tmp_path / name)
        right[name] = (all_logits(network, (before[left], after[left])).argmax(1) == 2).float().mean().item()
    assert right["with"] > 0.9 and right["without"] == 0


def test_what_is_seen_in_a_mirror_is_the_move_of_the_other_direction():
    before, after, labels = moving_squares(64)
    torch.manual_seed(0)
    seen, then, actions = mirrored(before, after, torch.from_numpy(labels.actions), {1: (2, 1, 0, 3), 0: (0, 3, 2, 1)})
    centre = [((frames[..., 0] == 220).float().flatten(1).argmax(1)) for frames in (seen, then)]
    moved = torch.stack([centre[1] // 32 - centre[0] // 32, centre[1] % 32 - centre[0] % 32], 1)
    assert torch.equal(moved, 2 * torch.tensor([[0, 1], [1, 0], [0, -1], [-1, 0]])[actions])
    assert (actions != torch.from_numpy(labels.actions)).any()


def test_mirrors_are_known_of_games_with_their_own_actions():
    assert set(known_mirrors("procgen/bigfish", 15)) == {0, 1} and set(known_mirrors("procgen/starpilot", 15)) == {0}
    assert known_mirrors("procgen/bigfish", 9) == known_mirrors("film", 15) == {}
    for becomes in known_mirrors("procgen/bigfish", 15).values():
        assert [becomes[other] for other in becomes] == list(range(15)), "twice mirrored is as it was"


def test_a_world_sees_each_label_in_each_mirror_as_it_would_see_mirrored_video(played, tiny_world):
    """After the frames of a window, or after as many as there are."""
    labeller, window = Labeller(tiny_world, "cpu"), tiny_world.model.window
    labels = all_labels(played, "train", actions=ACTIONS).take(np.array([0, 3, 40, 100]))
    mirrors = {1: (1, 0, 2, 3, 4, 5, 6), 0: (0, 1, 3, 2, 4, 5, 6)}
    shown, seen = watch_in_mirrors(labeller, played, labels, mirrors, seed=0)
    assert len(seen) == len(shown.slots) == 3 * len(labels)
    found = set()
    for row in range(len(seen)):
        of = np.flatnonzero((labels.episodes == seen.episodes[row]) & (labels.at.frames == seen.at.frames[row])).item()
        frame = int(labels.at.frames[of])
        first = max(0, frame - window + 1)
        start = replace(labels.at.take(np.array([of])), frames=np.array([first]))
        clip = read_clips(played, start, frame - first + 2)[0]
        for axes in ((1,), (0,), (0, 1)):
            tokens = labeller.dream.encode(np.ascontiguousarray(np.flip(clip, [1 + axis for axis in axes])))
            last = labeller.follow(None, tokens[None])[1].at((0, -1))
            if torch.allclose(last.slots.half(), shown.slots[row], atol=1e-2):
                latent_actions = shown.latent_actions[row]
                torch.testing.assert_close(last.latent_actions.float(), latent_actions, atol=1e-4, rtol=1e-3)
                assert torch.equal(last.tokens, shown.tokens[row].long())
                action = labels.actions[of]
                for axis in axes:
                    action = mirrors[axis][action]
                assert seen.actions[row] == action
                found.add((of, axes))
    assert len(found) == len(seen), "every label in every mirror"


def test_mirrors_of_many_labels_are_drawn(played, tiny_world, monkeypatch):
    monkeypatch.setattr("flam_train.heads.mirrors.MOST", 5)
    labels = all_labels(played, "train", actions=ACTIONS)
    labeller, mirrors = Labeller(tiny_world, "cpu"), {1: tuple(range(ACTIONS))}
    one, again, other = (
        watch_in_mirrors(labeller, played, labels, mirrors, seed=seed)[1].at.frames.tolist() for seed in (0, 0, 1)
    )
    assert len(one) == 5 and one == again != other


def test_a_pack_has_no_frames_for_mirrors_and_adds_nothing(played, tiny_world, tmp_path):
    labels = all_labels(played, "train", actions=ACTIONS).take(np.arange(4))
    inputs, _, _ = planted(4, seed=0)
    same = with_mirrored(Labeller(tiny_world, "cpu"), object(), inputs, labels, {1: tuple(range(ACTIONS))}, seed=0)
    assert same == (inputs, labels)
    assert with_mirrored(Labeller(tiny_world, "cpu"), played, inputs, labels, {}, seed=0) == (inputs, labels)


def test_the_supervised_model_wants_frames_that_it_can_halve():
    with pytest.raises(ValueError, match="expected a size that is a multiple of 16"):
        SupervisedInverseConfig(size=40, actions=4)


def run(world: Path, store: EpisodeStore, out: Path, **changes) -> Path:
    arguments = {"labels": 60, "actions": ACTIONS, "learning": LEARNING, "fit_config": FIT, "device": "cpu"}
    return ground(str(world), store.root, out=out, **arguments | changes)


def assert_same_tensors(one: Path, two: Path) -> None:
    tensors, others = read_tensors(one)[1], read_tensors(two)[1]
    assert tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)


@pytest.fixture(scope="module")
def decoded(played, tiny_checkpoint, tmp_path_factory) -> Path:
    """A world with random weights and a decoder that hardly learned."""
    out = tmp_path_factory.mktemp("worlds") / "decoded"
    save_world(out, load_world(tiny_checkpoint))
    run(out, played, out)
    return out


def test_the_command_gives_the_world_a_decoder_and_a_report(decoded, played):
    world, report = load_world(decoded), json.loads((decoded / "decoder.json").read_text())
    assert world.decoder.config.actions == ACTIONS
    assert world.encoder.known.tolist() == [True] * 5 + [False] * 2
    assert (report["labels"], report["scored"], report["world"]) == (60, 46, world.fingerprint())
    assert report["controlled_slot"] == world.controlled_slot
    assert world.player_finder.holds(torch.zeros(2, 6, 16)).any(1).all()
    assert 0 <= report["obeyed"] <= 1
    assert 0 <= report["controlled_share_of_episodes"] <= 1
    for scores in (report[model] for model in ("decoder", "supervised", "state_only")):
        assert set(scores) == {"accuracy", "class_accuracy", "cross_entropy", "calibration_error"}
    at = moments(np.zeros(30, np.int64), np.arange(30))
    inputs = watch(Labeller(world), token_cache(played, world.tokenizer)["val"], at)
    assert torch.isfinite(all_logits(world.decoder, inputs)).all()


@pytest.mark.parametrize(("unlabelled", "dreamt"), [(0, 40), (50, STEPS - 1)])
def test_video_that_nobody_labelled_and_dreams_may_both_be_missing(
    played, tiny_checkpoint, tmp_path, unlabelled, dreamt
):
    learning = replace(LEARNING, unlabelled=unlabelled, dreamt=dreamt)
    run(tiny_checkpoint, played, tmp_path / "out", learning=learning, supervised=False)
    assert load_world(tmp_path / "out").decoder is not None
    assert (tmp_path / "out/training/decoder_dreamt").exists() == (dreamt >= STEPS)


def test_the_command_calibrates_on_held_out_labels_and_finds_the_slot_with_most_attention(decoded, played):
    world, labels = load_world(decoded), supervise(played, 60, actions=ACTIONS, seed=0).learned
    inputs = watch(Labeller(world), token_cache(played, world.tokenizer)["train"], labels.at)
    assert attention_of(world.decoder, inputs).mean(0).argmax() == world.controlled_slot
    held_out = hold_out(labels, LEARNING.held_out, seed=0)[1]
    logits = all_logits(world.decoder, inputs.at(held_out))
    assert calibrated_temperature(logits, torch.from_numpy(labels.actions[held_out])) == pytest.approx(1, abs=0.03)
    assert world.decoder.temperature != 1


def test_what_the_report_scores_is_what_was_stored(decoded, played, tiny_checkpoint, tmp_path):
    """A second run elsewhere gives the same file, bit for bit, and a third one only looks."""
    again = run(tiny_checkpoint, played, tmp_path, supervised=False)
    report = json.loads((tmp_path / "decoder.json").read_text())
    for head in ("decoder.safetensors", "encoder.safetensors", "player_finder.safetensors"):
        assert_same_tensors(again / head, decoded / head)
    assert run(tiny_checkpoint, played, tmp_path, supervised=False) == again
    assert json.loads((tmp_path / "decoder.json").read_text()) == report
    assert_same_tensors(again / "decoder.safetensors", decoded / "decoder.safetensors")
    world = load_world(decoded)
    scored = supervise(played, 60, actions=ACTIONS, seed=0).scored
    inputs = watch(Labeller(world), token_cache(played, world.tokenizer)["val"], scored.at)
    scores = action_scores(all_logits(world.decoder, inputs), torch.from_numpy(scored.actions), np.arange(ACTIONS))
    assert scores == report["decoder"]
    with pytest.raises(ValueError, match="another"):
        run(tiny_checkpoint, played, tmp_path, supervised=False, labels=61)


def test_other_play_is_scored_beside_and_play_of_another_source_is_refused(
    played, tiny_checkpoint, make_episode, tmp_path
):
    run(tiny_checkpoint, played, tmp_path / "out", also=(played.root,))
    report = json.loads((tmp_path / "out" / "decoder.json").read_text())
    beside = report["also"][played.root.name]
    assert (beside["scored"], beside["settings"]) == (report["scored"], played.settings)
    for model in ("decoder", "supervised", "state_only"):
        assert beside[model] == report[model], model
    other = store_of(tmp_path / "other", make_episode, source="elsewhere")
    with pytest.raises(ValueError, match="to score on as well, got"):
        run(tiny_checkpoint, played, tmp_path / "two", also=(other.root,))
    with pytest.raises(ValueError, match="of different names"):
        run(tiny_checkpoint, played, tmp_path / "two", also=(played.root, played.root))


def test_labelled_episodes_keep_the_real_actions(decoded, played, tmp_path):
    store = label((played.root,), world=str(decoded), out=tmp_path / "out", device="cpu")
    labeller = Labeller.from_pretrained(decoded)
    assert set(store.settings) == {"world", "decoder"}
    for record in store.episodes("val"):
        episode = store.read(record)
        expected = labeller.label(resize_frames(episode.frames, 48))
        assert episode.labels.actions.dtype == np.int16 and np.array_equal(episode.labels.actions, expected.actions)
        assert np.array_equal(episode.labels.action_probabilities, expected.action_probabilities)


def test_labels_of_another_decoder_need_another_folder(decoded, played, tiny_checkpoint, tmp_path):
    label((played.root,), world=str(tiny_checkpoint), out=tmp_path / "out", device="cpu")
    record = EpisodeStore.open(tmp_path / "out").episodes("test")[0]
    assert EpisodeStore.open(tmp_path / "out").read(record).labels.actions is None
    with pytest.raises(ValueError, match=r"differs in settings.decoder absent there, \w+ here; use another folder"):
        label((played.root,), world=str(decoded), out=tmp_path / "out", device="cpu")


def test_mistakes_are_one_line(played, tiny_checkpoint, tmp_path, capsys):
    for message, arguments in {
        "expected the number of real actions told": [],
        "expected actions in [0, 2], or -1 for unknown, got some in [0, 4]": ["--actions", "3"],
        "expected between 5 labels": ["--actions", "7", "--labels", "4"],
        "expected held_out between 0 and 1": ["--actions", "7", "--learning.held-out", "1"],
    }.items():
        with pytest.raises(SystemExit) as left:
            main(["ground", str(tiny_checkpoint), str(played.root), "--out", str(tmp_path / "out"), *arguments])
        out, err = capsys.readouterr()
        assert left.value.code == 2 and out == "" and message in err, err
        assert not (tmp_path / "out").exists()
