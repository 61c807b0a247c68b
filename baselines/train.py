"""`python -m baselines.train KIND DATA --out DIR`: makes a world of one of the baselines."""

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from baselines.action_world_model import ActionWorldModelConfig, PredictionLossConfig, action_world_model
from baselines.adaworld import LOSS, AdaWorldConfig, adaworld
from baselines.genie import GenieConfig, GenieLossConfig, genie
from baselines.playslot import PlaySlotConfig, PlaySlotLossConfig, playslot
from baselines.savi import SaviConfig, savi_sizes, slots
from baselines.scene import scene_sizes
from baselines.slotformer import SlotFormerConfig, SlotLossConfig, slotformer
from flam_env.models.factored import WorldModelConfig
from flam_train.cli import TRACEBACK, errors_in_one_line
from flam_train.commands.arguments import call, find_preset
from flam_train.engine.allocator import restart_with_huge_pages
from flam_train.presets import SMALL, Preset

KINDS: dict[str, Callable[..., Path]] = {
    "adaworld": adaworld,
    "genie": genie,
    "world-model": action_world_model,
    "playslot": playslot,
    "slotformer": slotformer,
    "slots": slots,
}
"""What can be trained: five baselines, and the slots that two of them are learned on."""

HELP = f"""\
usage: python -m baselines.train KIND DATA --out DIR ...

Trains one of {", ".join(KINDS)} on a store or a pack, as `flam-train world-model` trains FLAM: same tokenizer, same
sizes of attention, same number of updates. `python -m baselines.train KIND --help` shows all settings of a kind;
`{TRACEBACK}`, or FLAM_TRACEBACK=1, shows where an error came from."""


def train(kind: str, data: Path, *, out: Path, preset: str = "small", **changes: Any) -> Path:
    """Trains a baseline, or what is left of it, at the sizes and the budget of a preset of FLAM.

    Args:
        kind: of `KINDS`.
        data: a store of episodes, or a pack.
        out: the directory of the world; it has a tokenizer, or the pack brings one.
        preset: of `flam_train.presets`.
        **changes: arguments of the kind's function, in place of those of the preset.

    Returns:
        The directory of the world; of "slots", their file.

    Raises:
        FileNotFoundError: there is no tokenizer yet.
        ValueError: no such kind, preset or data, frames of another size, or `out` holds another run.
    """
    learn = find_kind(kind)
    return learn(data, out=out, **(preset_arguments(learn, preset) | changes))


def find_kind(name: str) -> Callable[..., Path]:
    """The function that trains a kind.

    Raises:
        ValueError: there is no such kind.
    """
    if name not in KINDS:
        raise ValueError(f"expected a kind of {list(KINDS)}, got {name!r}")
    return KINDS[name]


def preset_arguments(learn: Callable[..., Path], name: str) -> dict[str, Any]:
    """The arguments of the function of a kind that make it equal to FLAM of a preset.

    Of `small`, and of `gpu`, which has its model, sizes and budget alone: what binds slots there is FLAM's own, and its
    dear nat is one from a prior that is learned, which no baseline has; a nat from the unit normal keeps its price.

    Raises:
        ValueError: there is no such preset.
    """
    preset = find_preset(name)
    if preset.world_model == SMALL.world_model:
        preset = replace(preset, world_model=WorldModelConfig(), loss=LOSS)
    return equal_arguments(learn, preset)


def equal_arguments(learn: Callable[..., Path], preset: Preset) -> dict[str, Any]:
    """The arguments of the function of a kind that make it equal to FLAM of these sizes and this budget."""
    scene, slotted = scene_sizes(preset.world_model), savi_sizes(preset.world_model)
    weighting, layers = preset.loss.weighting, preset.world_model.layers
    of: dict[Callable[..., Path], dict[str, Any]] = {
        adaworld: {"model": AdaWorldConfig(**scene), "loss": preset.loss},
        genie: {
            "model": GenieConfig(**scene),
            "loss": GenieLossConfig(
                weighting=weighting, free_share=max(GenieLossConfig.free_share, preset.loss.free_share)
            ),
        },
        action_world_model: {
            "model": ActionWorldModelConfig(**scene),
            "loss": PredictionLossConfig(weighting=weighting),
        },
        playslot: {
            "model": PlaySlotConfig(**slotted, layers=layers, latent_dim=preset.world_model.latent_dim),
            "loss": PlaySlotLossConfig(**asdict(preset.loss)),
        },
        slotformer: {
            "model": SlotFormerConfig(**slotted, layers=layers),
            "loss": SlotLossConfig(weighting=weighting),
        },
        slots: {"model": SaviConfig(**slotted)},
    }
    return of[learn] | {"fit_config": preset.world_model_fit}


def main(arguments: list[str] | None = None) -> None:
    """`python -m baselines.train KIND ...`; a user's mistake becomes one line, not a traceback."""
    if arguments is None:
        restart_with_huge_pages()
        arguments = sys.argv[1:]
    kind, *rest = [word for word in arguments if word != TRACEBACK] or ["--help"]
    if kind in ("-h", "--help"):
        print(HELP)
        sys.exit(0)
    program = f"python -m baselines.train {kind}"
    with errors_in_one_line(program, TRACEBACK in arguments):
        call(find_kind(kind), rest, "data", program=program, presets=preset_arguments)


if __name__ == "__main__":
    main()
