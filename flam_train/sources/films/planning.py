"""What is to be imported: films looked at before they are read, copies found, and a split for each."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from flam_train.engine.processes import available_cores
from flam_train.sources.films.cuts import GIVEN, Cuts
from flam_train.sources.films.film import Film
from flam_train.sources.films.known_actions import KnownActions
from flam_train.sources.films.splits import split_films

try:
    from tqdm import tqdm
except ImportError as error:
    raise ImportError("importing needs tqdm: pip install 'flam-env[train]'") from error


@dataclass(frozen=True, eq=False)
class Probed:
    """What is known of a film before it is read: what tells it from others, frames a second, about how many frames."""

    film: Film
    content: str
    rate: float | None
    length: float
    known: KnownActions | None


class Held(Protocol):
    """What a store says of a film of which it holds all."""

    @property
    def split(self) -> str:
        """Where it lies."""

    @property
    def frames(self) -> int:
        """Of the film as it is."""

    @property
    def cuts(self) -> tuple[int, ...]:
        """Frames with which another scene begins."""


@dataclass(kw_only=True)
class Plan:
    """What is to be done.

    Attributes:
        wanted: films and the split of each.
        copies: films that are copies of others, which they are.
        refused: why films are left out, by what they are called.
        held: split and length of the films that the store holds, by content.
        given: the splits that a person gives, by content.
    """

    wanted: list[tuple[Probed, str]] = field(default_factory=list)
    copies: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    held: dict[str, tuple[str, float]] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)

    def split(self, films: Iterable[Probed]) -> dict[str, str]:
        """The split of each of some films by its content."""
        lengths = {each.content: max(1.0, each.length) for each in films}
        return split_films(lengths, self.held, {key: value for key, value in self.given.items() if key in lengths})


def probe_films(films: Sequence[Film], actions: str) -> tuple[list[Probed], dict[str, str]]:
    """What is known of films before they are read, and why others cannot be, by what they are called.

    Args:
        films: which.
        actions: as for `Film.known_actions`.
    """

    def probe(film: Film) -> Probed | str:
        try:
            return Probed(film, film.content(), film.rate(), film.length(), film.known_actions(actions))
        except (ValueError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(available_cores()) as pool:
        looked = tqdm(pool.map(probe, films), total=len(films), desc="look", unit=" films", disable=None, leave=False)
        found = list(zip(films, looked, strict=True))
    probed = [each for _, each in found if isinstance(each, Probed)]
    return probed, {film.origin: each for film, each in found if isinstance(each, str)}


def plan_import(
    probed: Sequence[Probed], held: Mapping[str, Held], splits: Mapping[str, str], cuts: Cuts, kind: Any
) -> Plan:
    """Which films go where.

    Args:
        probed: films.
        held: those that the store holds, by content.
        splits: what a person gives, by origin.
        cuts: how films are cut.
        kind: of known actions that the store takes, None for none.
    """
    plan, first = Plan(), dict[str, Probed]()
    for each in probed:
        before = first.setdefault(each.content, each)
        if before is not each:
            plan.copies[each.film.origin] = before.film.origin
        if reason := _objection(each, before, held.get(each.content), splits, cuts, kind):
            plan.refused[each.film.origin] = reason
    new = {
        content: each for content, each in first.items() if content not in held and each.film.origin not in plan.refused
    }
    plan.given = {content: splits[each.film.origin] for content, each in new.items() if each.film.origin in splits}
    plan.held = {content: (record.split, float(record.frames)) for content, record in held.items()}
    plan.wanted = [(new[content], split) for content, split in plan.split(new.values()).items()]
    return plan


def _objection(
    film: Probed, before: Probed, held: Held | None, splits: Mapping[str, str], cuts: Cuts, kind: Any
) -> str | None:
    """Why a film is left out, if it is."""
    origin, wanted = film.film.origin, splits.get(film.film.origin)
    if wanted != splits.get(before.film.origin, wanted) and wanted is not None:
        return (
            f"expected one split for one film, got {splits[before.film.origin]} for {before.film.origin} and {wanted} "
            f"for {origin}, which is a copy of it; leave one out"
        )
    if held is not None and wanted not in (None, held.split):
        return f"expected {origin} for the split {wanted}, got it in {held.split} of the store; keep it there"
    if held is not None and cuts.how == GIVEN and cuts.given.get(origin, ()) != held.cuts:
        return (
            f"expected {origin} cut as before, at {','.join(map(str, held.cuts)) or 'no frame'}, got "
            f"{','.join(map(str, cuts.given.get(origin, ()))) or 'none'}; repeat these cuts, or name another folder"
        )
    if film.known is not None and kind_of(film.known) != kind:
        return (
            f"expected known actions as {'the other films have' if kind else 'in the store'}, {kind or 'none'}, got "
            f"{kind_of(film.known)} in {film.known.origin}; say --actions, or import it into a folder of its own"
        )
    return None


def kind_of(known: KnownActions) -> dict[str, Any]:
    """What the settings of a store say of known actions."""
    return {"kind": "discrete" if known.discrete else "continuous", "names": list(known.names)}
