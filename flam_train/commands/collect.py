"""`flam-train collect`."""

from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, arg

from flam_train.commands.arguments import call
from flam_train.sources.collect import collect
from flam_train.sources.multigrid import Colours, RoomConfig


def main(arguments: list[str]) -> None:
    """Calls `collect`; the options of a room are its own."""
    call(collect, arguments, "game", room=Annotated[RoomConfig | None, OmitArgPrefixes, arg(constructor=room_of)])


def room_of(
    agents: int | None = None,
    tied: tuple[int, ...] | None = None,
    colours: Colours | None = None,
    cells: int | None = None,
) -> RoomConfig | None:
    """The room that options name, if there is one.

    Args:
        agents: multigrid only: 2 to 16 agents, 4 by default.
        tied: multigrid only: agents, counted from 0, that always take the same action: `--tied 0,1`; none by default.
        colours: multigrid only: agent i has a colour of its own (by default), all share one colour, or colours are
            drawn anew for each episode.
        cells: multigrid only: height and width of the room in cells, walls included, 8 by default.
    """
    options = {"agents": agents, "tied": tied, "colours": colours, "cells": cells}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    return RoomConfig(**given) if given else None
