"""Tables and infoboxes: from rows of cells to what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.rendered import InfoboxField

MAX_SPAN = 1000
MAX_CELLS = 20_000


@dataclass(frozen=True, slots=True)
class Cell:
    """items: of the lists in it; links: titles of the pages it links to."""

    text: str
    header: bool
    columns: int = 1
    rows: int = 1
    items: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(slots=True)
class Grid:
    """A table while it is read. A cell that spans rows or columns is in each of them."""

    section: int
    inside: int | None
    caption: str | None = None
    rows: list[list[str]] = field(default_factory=list)
    headers: int = 0
    size: int = 0
    cut: bool = False
    _below: dict[int, tuple[int, str]] = field(default_factory=dict)

    def add(self, cells: Sequence[Cell]) -> None:
        """One row. Beyond 20,000 cells nothing is added."""
        if self.cut or not cells:
            return
        row: list[str] = []
        for cell in cells:
            self._fill(row)
            for _ in range(min(cell.columns, MAX_CELLS + 1 - len(row))):
                if cell.rows > 1 and len(self._below) < MAX_SPAN:
                    self._below[len(row)] = (cell.rows, cell.text)
                row.append(cell.text)
        self._fill(row)
        self._below = {at: (left - 1, text) for at, (left, text) in self._below.items() if left > 1}
        if self.size + len(row) > MAX_CELLS:
            self.cut = True
            return
        self.size += len(row)
        if self.headers == len(self.rows) and all(cell.header for cell in cells):
            self.headers += 1
        self.rows.append(row)

    def _fill(self, row: list[str]) -> None:
        """What cells above put here."""
        while (above := self._below.get(len(row))) is not None and len(row) < MAX_CELLS:
            row.append(above[1])


@dataclass(slots=True)
class Box:
    """An infobox while it is read."""

    template: str | None
    title: str | None = None
    group: str | None = None
    fields: list[InfoboxField] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """The first is the box's own, the others are those of the rows below them."""
        if not text:
            return
        if self.title is None and not self.fields:
            self.title = text
        else:
            self.group = text

    def loose(self, text: str) -> None:
        """What stands in no row; its first line is the title of a box that has none yet."""
        if text and self.title is None and not self.fields:
            self.title, _, text = text.partition("\n")
        if text:
            self.fields.append(InfoboxField(group=self.group, label=None, text=text, items=(), links=()))

    def add(self, cells: Sequence[Cell]) -> None:
        """One row: a label and its values, or a heading, or a value without label."""
        cells = [cell for cell in cells if cell.text or cell.links] if len(cells) != 2 else cells
        if not cells:
            return
        if len(cells) == 1 and (cells[0].header or self._may_be_title(cells[0].text)):
            self.heading(cells[0].text)
            return
        label, values = (cells[0].text, cells[1:]) if len(cells) > 1 else ("", cells)
        text = "\n".join(value.text for value in values if value.text)
        if not (label or text):
            return
        items = [item for value in values for item in value.items]
        if not items and len(values) > 1:
            items = [value.text for value in values]
        self.fields.append(
            InfoboxField(
                group=self.group,
                label=label or None,
                text=text,
                items=tuple(items),
                links=tuple(link for value in values for link in value.links),
            )
        )

    def _may_be_title(self, text: str) -> bool:
        """Some wikis write the title of a box in a plain cell."""
        return self.title is None and not self.fields and len(text) < 200 and "\n" not in text


def span(text: str | None) -> int:
    """A `colspan` or `rowspan`, bounded."""
    return min(max(int(text), 1), MAX_SPAN) if text is not None and text.isdecimal() and len(text) < 6 else 1
