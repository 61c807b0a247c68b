"""Tables in Markdown, whose columns are numbers by name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

Numbers = Mapping[str, float | str]


class Column(NamedTuple):
    """title: in the head of the table; measure: name of a number; form: of it; beside: name of one in parentheses."""

    title: str
    measure: str
    form: str
    beside: str = ""

    def cell(self, numbers: Numbers) -> str:
        """What stands in the column's cell of a row; text is taken as it is, and what there is not leaves it empty."""
        found = [numbers[name] for name in (self.measure, self.beside) if name in numbers]
        if self.measure not in numbers:
            return ""
        first, *second = (number if isinstance(number, str) else format(number, self.form) for number in found)
        return first + "".join(f" ({number})" for number in second)


def table(columns: Sequence[Column], rows: Iterable[Numbers]) -> Iterator[str]:
    """The lines of a table."""
    yield from table_of_text([column.title for column in columns], ([c.cell(row) for c in columns] for row in rows))


def table_of_text(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table whose cells are known."""
    for cells in (titles, ["---"] * len(titles), *rows):
        yield f"| {' | '.join(cells)} |"
