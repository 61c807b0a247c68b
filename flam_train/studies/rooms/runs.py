"""Which runs an experiment consists of. Runs of one experiment are trained for equally many steps."""

from dataclasses import dataclass, replace
from typing import Any

from flam_env.models.factored import WorldModelConfig
from flam_env.models.tokenizer import TokenizerConfig
from flam_train.engine import FitConfig
from flam_train.phases.losses import WorldModelLossConfig
from flam_train.presets import ROOMS
from flam_train.sources.multigrid import Colours, RoomConfig

FRAMES, SIZE = 100_000, 64
LARGE_CELLS = 16  # cells along one side of the room in which the number of agents is swept
ROOM = RoomConfig()
PALETTES: dict[Colours, str] = {"distinct": "", "same": "-same", "per-episode": "-per-episode"}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One world: who is in the room, and what is trained on it."""

    name: str
    room: RoomConfig = ROOM
    model: WorldModelConfig = ROOMS.world_model
    loss: WorldModelLossConfig = ROOMS.loss
    fit: FitConfig = ROOMS.world_model_fit

    @property
    def store(self) -> str:
        """Name of the room's data, which runs share."""
        tied = "-tied" + "".join(map(str, self.room.tied)) if self.room.tied else ""
        return f"agents{self.room.agents}-cells{self.room.cells}{PALETTES[self.room.colours]}{tied}"

    @property
    def tokenizer(self) -> TokenizerConfig:
        """One token for each cell of the room."""
        return replace(ROOMS.tokenizer, image_size=SIZE, patch_size=SIZE // self.room.cells)


def _main(seed: int) -> Run:
    return Run(name=f"main-{seed}", fit=replace(ROOMS.world_model_fit, seed=seed))


def _slots(slots: int) -> Run:
    return Run(name=f"slots-{slots}", model=replace(ROOMS.world_model, slots=slots))


def _agents(agents: int) -> Run:
    return Run(
        name=f"agents-{agents}",
        room=RoomConfig(agents=agents, cells=LARGE_CELLS),
        model=replace(ROOMS.world_model, slots=agents),
        fit=replace(ROOMS.world_model_fit, steps=1500),
    )


def _tied(first: int, second: int) -> Run:
    return Run(
        name=f"tied-{first}{second}",
        room=RoomConfig(tied=(first, second)),
        model=replace(ROOMS.world_model, slots=3),
    )


def _tried(run: Run, name: str, loss: WorldModelLossConfig = ROOMS.loss, **changes: Any) -> Run:
    """What was tried where a run disagrees with the paper: the same with other settings."""
    return replace(run, name=f"{run.name}-{name}", model=replace(run.model, **changes), loss=loss)


def _ablation(name: str, colours: Colours, **changes: Any) -> Run:
    model = replace(ROOMS.world_model, **changes)
    return Run(name=f"{name}{PALETTES[colours]}", room=RoomConfig(colours=colours), model=model)


def _beta(price: float) -> Run:
    return Run(name=f"price-{price:g}", loss=replace(ROOMS.loss, information_price=price))


def _binding(name: str, **changes: Any) -> Run:
    return Run(name=f"binding-{name}", model=replace(ROOMS.world_model, **changes))


MAIN = _main(0)
EXPERIMENTS: dict[str, tuple[Run, ...]] = {
    "main": (MAIN, _main(1), _main(2)),
    "slots": (
        _slots(2),
        MAIN,
        _slots(8),
        _slots(16),
        _tried(_slots(16), "cheap", replace(ROOMS.loss, information_price=0.015)),
    ),
    "agents": (
        _agents(2),
        _agents(4),
        _agents(8),
        _tried(_agents(2), "no-sink", background_sink=False),
        _tried(_agents(8), "no-sink", background_sink=False),
    ),
    "tied": (
        _tied(0, 1),
        _tied(0, 2),
        _tied(1, 3),
        _tried(_tied(0, 1), "no-sink", background_sink=False),
        _tried(_tied(0, 2), "no-sink", background_sink=False),
        _tried(_tied(1, 3), "no-sink", background_sink=False),
    ),
    "ablations": (
        MAIN,
        _ablation("recurrence", "distinct", recurrence=True),
        _ablation("coupled", "distinct", coupled=True),
        _ablation("factored", "same"),
        _ablation("recurrence", "same", recurrence=True),
        _ablation("coupled", "same", coupled=True),
        _ablation("factored", "per-episode"),
        _ablation("recurrence", "per-episode", recurrence=True),
        _ablation("coupled", "per-episode", coupled=True),
    ),
    "beta": (_beta(0.0015), _beta(0.015), MAIN, _beta(1.5), _beta(15)),
    "binding": (
        MAIN,
        _binding("no-sink", background_sink=False),
        _binding("no-sink-5-slots", background_sink=False, slots=5),
        _binding("no-focus", focus=False),
        _binding("no-difference", difference=False),
        _binding("sharp", sharpness=1.5),
        _binding("2-dimensions", latent_dim=2),
    ),
}
"""Runs of each experiment: a. main, b. slots, c. agents, d. tied, e. ablations, f. beta, and what makes slots bind."""
