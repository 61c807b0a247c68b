"""Which film goes to which split: 80/10/10 by length, never one film to two, or as a person says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flam_train.sources.films.cuts import rows_of_films
from flam_train.sources.films.film import Film
from flam_train.sources.schedule import SPLIT_SHARE
from flam_train.store.store import SPLITS


def split_films(
    films: Mapping[str, float], held: Mapping[str, tuple[str, float]], given: Mapping[str, str]
) -> dict[str, str]:
    """The split of each film by its content; the same for the same films, in whatever order they come.

    The longest come first, each to the split that lacks most; of three or more films, one at least goes to each split.
    Where two are all, they go to train and val, one alone to train.

    Args:
        films: how long each is that is to be split.
        held: split and length of those that a store holds.
        given: the splits that a person gives.
    """
    found = {content: given[content] for content in films if content in given}
    total = sum(films.values()) + sum(length for _, length in held.values())
    lacks = {split: share * total for split, share in SPLIT_SHARE.items()}
    count = dict.fromkeys(SPLITS, 0)

    def book(split: str, length: float) -> None:
        lacks[split] -= length
        count[split] += 1

    for split, length in held.values():
        book(split, length)
    for content, split in found.items():
        book(split, films[content])
    rest = sorted((content for content in films if content not in found), key=lambda each: (-films[each], each))
    for number, content in enumerate(rest, start=1):
        empty = [split for split in SPLITS if not count[split]]
        must = empty and len(rest) - number < len(empty)
        found[content] = empty[0] if must else max(SPLITS, key=lambda split: lacks[split])
        book(found[content], films[content])
    return found


def read_splits(path: Path, films: Sequence[Film]) -> dict[str, str]:
    """The split of films by origin, of a table of CSV with the name of a film and its split in each row.

    Raises:
        ValueError: a row names something else, or a film is named for two splits.
    """
    if not path.is_file():
        raise ValueError(f"expected a table of CSV with the name of a film and its split in each row, got {path}")
    found = dict[str, str]()
    for film, row in rows_of_films(path, films):
        split = row[1] if len(row) == 2 else ""
        if split not in SPLITS:
            raise ValueError(
                f"expected a film and one of {', '.join(SPLITS)} in each row of {path}, got {','.join(row)}"
            )
        if found.setdefault(film.origin, split) != split:
            raise ValueError(f"expected one split for {film.origin} in {path}, got {found[film.origin]} and {split}")
    return found
