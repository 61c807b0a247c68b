"""What the methods are compared on, and where it is: a store, or a pack of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from flam_train.engine.locks import folder_lock
from flam_train.presets import BOUND, PRESETS, Preset
from flam_train.sources.collect import collect
from flam_train.sources.multigrid import RoomConfig
from flam_train.store.store import EpisodeStore

PIXELS_OF_A_CELL = 16
"""Of a room in the preset of the paper: 128 pixels for 8 cells."""
MOST_CODES = 2**16


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Video of one kind.

    title: in tables; source: what collects it; preset: whose sizes suit it; model: fields of `WorldModelConfig` that it
    wants changed; loss and tokenizer_fit: those of the objective and of the budget of its tokenizer, at that preset;
    tokenizer: the data set whose tokenizer it takes, by default its own; bundled: the bundled world whose tokenizer it
    takes at that preset, so that rows made on different machines stand on one; frames: of all splits; room: who is in
    the room, if it is one.
    """

    title: str
    source: Literal["bigfish", "leaper", "starpilot", "multigrid"]
    preset: str
    model: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=dict)
    tokenizer_fit: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: str = ""
    bundled: str = ""
    frames: int = 100_000
    room: RoomConfig | None = None

    @property
    def codes(self) -> int:
        """How many codes Genie has: one for each joint action in a room (paper, C.1), as far as that can be; else 256.

        Whoever is in the room turns left, turns right, walks or rests.
        """
        return 256 if self.room is None else min(4**self.room.agents, MOST_CODES)

    def preset_at(self, name: str) -> Preset:
        """A preset whose sizes fit this video: so many slots, one token for each cell of a room."""
        preset = PRESETS[name]
        if name == self.preset:
            loss, fit = replace(preset.loss, **self.loss), replace(preset.tokenizer_fit, **self.tokenizer_fit)
            preset = replace(preset, loss=loss, tokenizer_fit=fit)
        model, size = replace(preset.world_model, **self.model), preset.tokenizer.image_size
        if self.room is None:
            return replace(preset, world_model=model)
        if name == "paper":
            size = PIXELS_OF_A_CELL * self.room.cells
        patch = size // self.room.cells if name == "rooms" else preset.tokenizer.patch_size
        tokenizer = replace(preset.tokenizer, image_size=size, patch_size=patch)
        return replace(preset, tokenizer=tokenizer, world_model=replace(model, grid=tokenizer.grid))


def _game(title: str, source: Literal["bigfish", "leaper", "starpilot"], bundled: str = "") -> DataSet:
    return DataSet(
        title=title, source=source, preset="small", model=COMPARED, loss=PRICE, bundled=bundled, frames=200_000
    )


def _rooms(title: str, room: RoomConfig, bundled: str = "") -> DataSet:
    large = room.cells > RoomConfig().cells
    model = COMPARED | ({"slots": SPARE * room.agents, **NO_SINK} if large else {"slots": room.agents})
    named = CROWDED.get(room.agents, "") if large else ""
    return DataSet(
        title=title,
        source="multigrid",
        preset="rooms",
        model=model,
        loss=PRICE,
        tokenizer_fit=MANY_SMALL if large else {},
        tokenizer=named,
        bundled=bundled,
        room=room,
    )


COMPARED = BOUND | {"prior_components": None}
PRICE = {"information_price": 0.15}
"""All methods pay the unit normal, and the same for each nat: FLAM learns no prior here, since no other method has one,
and the dear nat of `small`, which is one from such a prior, would not be comparable."""
SPARE = 2
"""Slots of a large room for each agent. With 4 slots for 4 agents 2.4 to 3.1 of them had a slot of their own and .2 of
FLAM's frames were right, with 8 all and .96, after the same updates; the one action of other methods grows alike."""
NO_SINK = {"background_sink": False}
"""In a large room the sink is in the way of slots."""
MANY_SMALL = {"steps": 3000, "batch_size": 32}
"""Of its tokenizer: where agents are few of many cells, their kinds come apart with the number of updates."""
CROWDED = {2: "agents4"}
"""Whose tokenizer a large room of so few agents takes. With that of its own video .51 of frames came back with every
heading right, after twice as many updates .74, with that of 4 agents, among whom are these 2, all."""

SWEPT = (2, 4, 8, 16)
"""Numbers of agents of Figure 4, in a room of 16 x 16 cells."""

DATA_SETS = {
    "multigrid": _rooms("MultiGrid", RoomConfig(), bundled="multigrid"),
    "bigfish": _game("Bigfish", "bigfish", bundled="bigfish"),
    "leaper": _game("Leaper", "leaper"),
    "starpilot": _game("Starpilot", "starpilot", bundled="starpilot"),
    **{f"agents{n}": _rooms(f"MultiGrid, {n} agents", RoomConfig(agents=n, cells=16)) for n in SWEPT},
}
"""By the names of their stores and packs."""


def find_data(folder: Path, name: str, size: int) -> Path:
    """Where a data set is, or will be: its pack, or else its store. Those of other sizes than 64 px have a name of it.

    Args:
        folder: of stores and packs.
        name: of the data set.
        size: of its frames in pixels.
    """
    full = name if size == PRESETS["small"].tokenizer.image_size else f"{name}-{size}px"
    pack = Path(folder) / f"{full}.pack"
    return pack if pack.is_file() else Path(folder) / full


def collect_data(folder: Path, name: str, size: int) -> Path:
    """The pack or the store of a data set; the latter is collected now as far as it is not there.

    Raises:
        ImportError: it has to be collected, and the simulator is missing.
        ValueError: the folder of the store holds something else.
    """
    path, data_set = find_data(folder, name, size), DATA_SETS[name]
    if not path.is_file():
        with folder_lock(path.parent, wait=True, name=f".{path.name}"):
            if not _is_whole(path, data_set.frames):
                collect(data_set.source, path, frames=data_set.frames, size=size, room=data_set.room)
    return path


def _is_whole(store: Path, frames: int) -> bool:
    if not any(store.glob("*/*.h5")):  # none, or one whose first episode was never finished
        return False
    found = EpisodeStore.open(store)
    return sum(map(found.frames, found.splits)) >= frames
