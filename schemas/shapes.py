"""What a page is made of beyond links and templates: infoboxes, tables, lists, galleries, tags that ask for repair.

Parts of `PageContent`. Absent and empty differ: None where there is none or nobody knows, "" where it is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class KnownBy(StrEnum):
    """How a template was taken for an infobox: a word in its name, or named values and a place before all text."""

    NAME = "name"
    SHAPE = "shape"


class Maintenance(StrEnum):
    """What a maintenance template asks for."""

    CITATION = "citation"  # sources are missing, for a statement or the page
    POINT_OF_VIEW = "point_of_view"
    CLARIFY = "clarify"
    UPDATE = "update"
    CLEANUP = "cleanup"
    NOTABILITY = "notability"
    DEAD_LINK = "dead_link"
    STUB = "stub"
    DELETION = "deletion"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageLink:
    """`[[de:Loch Ness]]`: the page in another language, shown beside this one."""

    language: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """`<gallery mode= caption=>`; its files are among `media`, with the number of their gallery."""

    mode: str | None = None
    caption: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoboxValue:
    """text: plain; None where only a template within would say it. The wikitext is in the template's `named`."""

    name: str
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Infobox:
    """template: index in `templates`. values: named ones, in their order; empty ones left out."""

    template: int
    known_by: KnownBy
    values: tuple[InfoboxValue, ...]


class Cell(NamedTuple):
    """text: plain, without what templates and tables within it say."""

    text: str
    header: bool = False
    colspan: int = 1
    rowspan: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`{| ... |}`, a nested one after the one around it. rows: cells as written; spans are not spread out."""

    caption: str | None
    rows: tuple[tuple[Cell, ...], ...]


class ListItem(NamedTuple):
    """marks: as `*#`. Its text is `plain_text[start:end]`; offsets count code points."""

    marks: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WikiList:
    """Lines that follow each other and begin with `*`, `#`, `:` or `;`."""

    items: tuple[ListItem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceTag:
    """A template that tells editors what to repair. template: index in `templates`."""

    kind: Maintenance
    name: str
    template: int
