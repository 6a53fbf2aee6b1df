"""What a reader of HTML has found so far, bounded, and the record that comes of it."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from processors.html_boxes import Box, Grid
from processors.html_marks import Target, open_url, target
from schemas.json_text import as_text
from schemas.rendered import (
    Area,
    Beyond,
    CalledTemplate,
    Infobox,
    Note,
    Rendered,
    ShownCategory,
    ShownLink,
    ShownMedia,
    ShownRedirect,
    ShownSection,
    ShownUrl,
    Table,
)

MAX_PLAIN_TEXT = 600_000
MAX_ABSTRACT = 50_000
MAX_ITEMS = 10_000
BREAK = "\x1e"
NO_WIDTH = "\u200b"
# Looked up once: to find a member by its name takes as long as three calls of a method.
INFOBOX = Area.INFOBOX

Item = TypeVar("Item")


class Kept(Generic[Item]):
    """The first items, as many as the bounds of number and characters allow; `total` counts the others too."""

    __slots__ = ("items", "left", "total")

    def __init__(self, characters: int) -> None:
        self.items: list[Item] = []
        self.left = characters
        self.total = 0

    def add(self, item: Item, size: int) -> None:
        self.total += 1
        self.left -= size + 1
        if self.left >= 0 and len(self.items) < MAX_ITEMS:
            self.items.append(item)
        else:
            self.left = -1

    def __len__(self) -> int:
        return self.total


@dataclass(slots=True)
class _Medium:
    title: str
    kind: str
    width: int | None
    height: int | None
    alternative: str | None
    area: Area
    caption: str | None = None


@dataclass(slots=True)
class _Note:
    text: str = ""
    name: str | None = None
    group: str | None = None
    marks: int = 0
    listed: bool = False
    urls: list[str] = field(default_factory=list)
    citation: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Heading:
    level: int
    title: str
    anchor: str | None
    mark: int


class HtmlFound:
    """tape: text of the page, with `BREAK` between blocks. headings: so far. broken: attributes that are no JSON."""

    def __init__(self) -> None:
        self.rev_id: int | None = None
        self.title: str | None = None
        self.broken = 0
        self.redirect: ShownRedirect | None = None
        self.tape: list[str] = []
        self.headings: list[_Heading] = []
        self.media: list[_Medium] = []
        self.languages: Kept[str] = Kept(50_000)
        self._categories: dict[str, str | None] = {}
        self._targets: dict[str, Target] = {}
        self._linked: list[str] = []
        self._links: Kept[ShownLink] = Kept(300_000)
        self._external: Kept[ShownUrl] = Kept(200_000)
        self._interwiki: Kept[ShownUrl] = Kept(50_000)
        self._templates: Kept[CalledTemplate] = Kept(300_000)
        self._notes: defaultdict[str, _Note] = defaultdict(_Note)
        self._boxes: list[Box] = []
        self._grids: list[Grid] = []

    def heading(self, level: int, title: str, anchor: str | None) -> None:
        self.headings.append(_Heading(level=level, title=title, anchor=anchor, mark=len(self.tape)))

    def category(self, title: str, sort_key: str | None) -> None:
        """A page is in a category once, however often it says so."""
        self._categories.setdefault(title, sort_key)

    @property
    def linked(self) -> int:
        """How many links of infoboxes there were."""
        return len(self._linked)

    def linked_since(self, number: int) -> tuple[str, ...]:
        return tuple(self._linked[number:])

    def link(self, href: str, start: int, area: Area) -> None:
        """A link within the wiki, whose text is on the tape from `start` on."""
        if href[:2] == "./" and "#" not in href and "?" not in href and "%" not in href:
            # What nearly all are, as in `title_of`.
            title, anchor, exists = href[2:].replace("_", " "), None, True
        else:
            leads = self._targets.get(href)
            if leads is None:
                leads = self._targets[href] = target(href)
            title, anchor, exists = leads
        tape = self.tape
        text = " ".join(tape[start].split()) if len(tape) == start + 1 else clean(tape[start:])
        if area is INFOBOX:
            self._linked.append(title)
        self._links.add(ShownLink(title, anchor, text, exists, area), len(title) + len(text))

    def external_link(self, url: str, text: str | None) -> None:
        self._external.add(ShownUrl(url, text), len(url) + len(text or ""))

    def interwiki_link(self, url: str, text: str | None) -> None:
        self._interwiki.add(ShownUrl(url, text), len(url) + len(text or ""))

    def template(self, name: str, parameters: Mapping[str, str]) -> None:
        size = len(name) + _size(parameters)
        self._templates.add(CalledTemplate(name, parameters), size)

    def infobox(self, box: Box) -> None:
        self._boxes.append(box)

    def table(self, grid: Grid) -> int:
        """Its number."""
        self._grids.append(grid)
        return len(self._grids) - 1

    def medium(
        self, *, title: str, kind: str, width: int | None, height: int | None, alternative: str | None, area: Area
    ) -> None:
        self.media.append(_Medium(title, kind, width, height, alternative, area))

    def caption(self, since: int, text: str) -> None:
        """The caption of the files from number `since` on that have none."""
        for medium in self.media[max(since, 0) :]:
            medium.caption = medium.caption or text or None

    def mark(self, note_id: str) -> bool:
        """The page refers to a note. Returns whether its name is known."""
        note = self._notes[note_id]
        note.marks += 1
        return note.name is not None

    def name(self, note_id: str, named: Mapping[str, object]) -> None:
        """named: `name` and `group` as in the wikitext."""
        note, name, group = self._notes[note_id], named.get("name"), named.get("group")
        note.name = as_text(name) if name else None
        note.group = note.group or (as_text(group) if group else None)

    def note(self, note_id: str, text: str) -> None:
        note = self._notes[note_id]
        note.text, note.listed = text, True

    def cited_url(self, note_id: str, url: str) -> None:
        self._notes[note_id].urls.append(url)

    def citation(self, note_id: str, title: str) -> None:
        """Of several works in one note the first. title: a COinS."""
        note = self._notes[note_id]
        note.citation = note.citation or open_url(title)

    def record(self, parser: str, degraded: tuple[Beyond, ...]) -> Rendered:
        """All of it, bounded."""
        text, sections = self._lay_out()
        lead = text[: min(sections[0].end, MAX_ABSTRACT)]
        kept: dict[str, Kept[Any]] = {
            "sections": _keep(sections, 100_000, lambda s: len(s.title)),
            "infoboxes": _keep(map(_infobox, self._boxes), 150_000, _infobox_size),
            "categories": _keep(itertools.starmap(_category, self._categories.items()), 50_000, _category_size),
            "references": _keep(
                (_note(note_id, note) for note_id, note in self._notes.items() if note.listed), 500_000, _note_size
            ),
            "tables": _keep(map(_table, self._grids), 500_000, _table_size),
            "media": _keep(map(_medium, self.media), 100_000, _medium_size),
            "links": self._links,
            "external_links": self._external,
            "interwiki_links": self._interwiki,
            "languages": self.languages,
            "templates": self._templates,
        }
        truncated = {name: each.total for name, each in kept.items() if len(each.items) < each.total}
        if len(text) > MAX_PLAIN_TEXT:
            truncated["plain_text"] = len(text)
        if sections[0].end > MAX_ABSTRACT:
            truncated["abstract"] = sections[0].end
        if any(grid.cut for grid in self._grids):
            truncated.setdefault("tables", len(self._grids))
        return Rendered(
            parser=parser,
            rev_id=self.rev_id,
            title=self.title,
            degraded=degraded,
            truncated=truncated,
            broken=self.broken,
            abstract=lead,
            plain_text=text[:MAX_PLAIN_TEXT],
            plain_text_length=len(text),
            redirect=self.redirect,
            **cast(dict[str, Any], {name: tuple(each.items) for name, each in kept.items()}),
        )

    def _lay_out(self) -> tuple[str, list[ShownSection]]:
        """The page's own text, sections parted by one blank line, and their places in it; the lead is the first."""
        marks = [0, *(heading.mark for heading in self.headings), len(self.tape)]
        texts: list[str] = []
        sections: list[ShownSection] = []
        at = 0
        for number in range(len(self.headings) + 1):
            text = clean(self.tape[marks[number] : marks[number + 1]])
            if text:
                at += 2 if texts else 0
                texts.append(text)
            heading = self.headings[number - 1] if number else None
            sections.append(
                ShownSection(
                    level=heading.level if heading else 0,
                    title=heading.title if heading else "",
                    anchor=heading.anchor if heading else None,
                    start=at,
                    end=at + len(text),
                )
            )
            at += len(text)
        return "\n\n".join(texts), sections


def clean(pieces: Sequence[str]) -> str:
    """Text as it is shown: one space for any, one line for each block."""
    if len(pieces) == 1:
        # A break is a space to Python as well.
        return " ".join(pieces[0].split())
    text = "".join(pieces)
    if BREAK not in text:
        return " ".join(text.split())
    # Of what Python takes for a space one alone can be printed, and most lines have no other.
    lines = [
        line.strip() if line.isprintable() and "  " not in line else " ".join(line.split())
        for line in text.split(BREAK)
        if line and not line.isspace()
    ]
    if NO_WIDTH in text:
        # Where a line may break; a line of nothing else is none.
        lines = [line for each in lines if (line := each.strip(NO_WIDTH))]
    return "\n".join(lines)


def _keep(items: Iterable[Item], characters: int, size: Callable[[Item], int]) -> Kept[Item]:
    kept: Kept[Item] = Kept(characters)
    for item in items:
        kept.add(item, size(item))
    return kept


def _medium(medium: _Medium) -> ShownMedia:
    return ShownMedia(
        title=medium.title,
        kind=medium.kind,
        width=medium.width,
        height=medium.height,
        alternative=medium.alternative,
        caption=medium.caption,
        area=medium.area,
    )


def _medium_size(medium: ShownMedia) -> int:
    return len(medium.title) + len(medium.alternative or "") + len(medium.caption or "")


def _category(title: str, sort_key: str | None) -> ShownCategory:
    return ShownCategory(title=title, sort_key=sort_key)


def _category_size(category: ShownCategory) -> int:
    return len(category.title) + len(category.sort_key or "")


def _note(note_id: str, note: _Note) -> Note:
    return Note(note_id, note.name, note.group, note.text, note.marks, tuple(note.urls), note.citation)


def _note_size(note: Note) -> int:
    return len(note.id) + len(note.text) + _size(note.citation) + sum(map(len, note.urls))


def _size(texts: Mapping[str, str]) -> int:
    """What names and values take as JSON."""
    return sum(map(len, texts)) + sum(map(len, texts.values())) + 4 * len(texts)


def _infobox(box: Box) -> Infobox:
    return Infobox(template=box.template, title=box.title, fields=tuple(box.fields))


def _infobox_size(box: Infobox) -> int:
    return sum(
        len(each.text) + len(each.label or "") + sum(map(len, each.items)) + sum(map(len, each.links)) + 40
        for each in box.fields
    )


def _table(grid: Grid) -> Table:
    rows = tuple(map(tuple, grid.rows))
    return Table(
        caption=grid.caption,
        section=grid.section,
        inside=grid.inside,
        headers=rows[: grid.headers],
        rows=rows[grid.headers :],
    )


def _table_size(table: Table) -> int:
    return sum(len(cell) + 3 for rows in (table.headers, table.rows) for row in rows for cell in row)
