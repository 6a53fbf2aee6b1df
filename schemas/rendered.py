"""What readers see of a page: read from the HTML that the wiki's own parser rendered.

Beside `PageContent`, which is what editors wrote, it is a section of its own, so that each field names its source.
Lists are in the order of the page.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, cast


class Beyond(StrEnum):
    """Which bound a page went beyond, so that some of it was not seen."""

    SIZE = "size"  # only the first part was read
    DEPTH = "depth"  # what was nested deeper stands beside what is around it


class Area(StrEnum):
    """Where on the page something stands, by the innermost box around it."""

    TEXT = "text"
    INFOBOX = "infobox"
    TABLE = "table"
    REFERENCE = "reference"
    NOTICE = "notice"  # hatnotes, message boxes and other words about the page
    NAVIGATION = "navigation"  # navigation boxes, side bars, portals


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSection:
    """level: 0 = the lead, else of the heading, 1 to 6. anchor: what a link to it names. Its own text is
    `plain_text[start:end]`; offsets count code points."""

    level: int
    title: str
    anchor: str | None
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCategory:
    """title without its prefix; sort_key as written, None where none is."""

    title: str
    sort_key: str | None = None


# Not frozen and made by position, like all of which a page has thousands: otherwise each takes three times as long.
@dataclass(slots=True)
class ShownUrl:
    """A link out of the wiki. text: as shown, None where there is none."""

    url: str
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRedirect:
    """Where the page sends its readers."""

    title: str
    anchor: str | None = None


@dataclass(slots=True)
class ShownLink:
    """A link to a page of the wiki. title: with prefix, spaces. text: as shown, "" where it is a picture. exists: false
    for a red link."""

    title: str
    anchor: str | None
    text: str
    exists: bool
    area: Area


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMedia:
    """A file that is shown, in pixels as shown; None where the page does not say. title: without prefix.

    caption: plain text. alternative: what stands for the picture where it cannot be seen.
    """

    title: str
    kind: str
    width: int | None
    height: int | None
    alternative: str | None
    caption: str | None
    area: Area


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoboxField:
    """A row. group: the heading above it. label: None where the row has none. items: those of all lists in the value,
    or the cells where there are several. links: titles."""

    group: str | None
    label: str | None
    text: str
    items: tuple[str, ...]
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Infobox:
    """template: the name of the template that made it, None where the page does not say. title: its own heading."""

    template: str | None
    title: str | None
    fields: tuple[InfoboxField, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A grid: cells that span are repeated, so that each row has as many as there are columns.

    headers: the rows at the top that have nothing but header cells. section: index in `sections`. inside: index of the
    table around it.
    """

    caption: str | None
    section: int
    inside: int | None
    headers: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class Note:
    """A reference or a footnote as it is listed. id: of its element. marks: how often the page refers to it.

    urls: external links in it. citation: its fields in the words of OpenURL (`atitle`, `date`, ...), where it has them.
    """

    id: str
    name: str | None
    group: str | None
    text: str
    marks: int
    urls: tuple[str, ...]
    citation: Mapping[str, str]


@dataclass(slots=True)
class CalledTemplate:
    """A template that the page itself calls, with its parameters as written; those called by templates are not known
    from HTML."""

    name: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """rev_id, title: as the HTML says. plain_text: paragraphs and lists, without headings, boxes, tables, captions and
    marks of references. abstract: that of the lead. broken: how many attributes could not be read.

    degraded and truncated: as in `PageContent`.
    """

    source: str = "html"
    parser: str
    rev_id: int | None
    title: str | None
    degraded: tuple[Beyond, ...]
    truncated: Mapping[str, int]
    broken: int
    abstract: str
    plain_text: str
    plain_text_length: int
    sections: tuple[ShownSection, ...]
    infoboxes: tuple[Infobox, ...]
    categories: tuple[ShownCategory, ...]
    references: tuple[Note, ...]
    tables: tuple[Table, ...]
    media: tuple[ShownMedia, ...]
    links: tuple[ShownLink, ...]
    external_links: tuple[ShownUrl, ...]
    interwiki_links: tuple[ShownUrl, ...]
    languages: tuple[str, ...]
    templates: tuple[CalledTemplate, ...]
    redirect: ShownRedirect | None


T = TypeVar("T")


def decode_rendered(doc: dict[str, Any]) -> Rendered:
    """From the section of a record. Raises `KeyError`, `TypeError` and `ValueError`; unknown fields are ignored."""
    values = {name: doc[name] for name in _names(Rendered)}
    values |= {
        "degraded": tuple(Beyond(bound) for bound in doc["degraded"]),
        "sections": _all(ShownSection, doc["sections"]),
        "infoboxes": tuple(
            Infobox(template=box["template"], title=box["title"], fields=_all(InfoboxField, box["fields"]))
            for box in doc["infoboxes"]
        ),
        "categories": _all(ShownCategory, doc["categories"]),
        "references": _all(Note, doc["references"]),
        "tables": _all(Table, doc["tables"]),
        "media": tuple(_placed(ShownMedia, medium) for medium in doc["media"]),
        "links": tuple(_placed(ShownLink, link) for link in doc["links"]),
        "external_links": _all(ShownUrl, doc["external_links"]),
        "interwiki_links": _all(ShownUrl, doc["interwiki_links"]),
        "languages": tuple(doc["languages"]),
        "templates": _all(CalledTemplate, doc["templates"]),
        "redirect": None if doc["redirect"] is None else _one(ShownRedirect, doc["redirect"]),
    }
    return Rendered(**values)


@cache
def _names(kind: Hashable) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cast(Any, kind)))


def _one(kind: type[T], doc: dict[str, Any]) -> T:
    return kind(**{name: _frozen(doc[name]) for name in _names(cast(Hashable, kind))})


def _all(kind: type[T], docs: list[dict[str, Any]]) -> tuple[T, ...]:
    return tuple(_one(kind, doc) for doc in docs)


def _placed(kind: type[T], doc: dict[str, Any]) -> T:
    return _one(kind, doc | {"area": Area(doc["area"])})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value
