"""What a scan finds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple, TypeVar

from processors.infobox import values
from processors.maintenance import kind_of
from schemas.enriched import Category, Degraded, ExternalLink, Link, Media, Redirect, Reference, Section, Template
from schemas.shapes import Gallery, Infobox, KnownBy, LanguageLink, MaintenanceTag, Table, WikiList

# Start and end of one thing, its kind in the words of mwedittypes, and what tells it from others of its kind. Offsets
# count code points of the text with one line break before it.
Part = tuple[int, int, str, str]
Item = TypeVar("Item")


class Scan(NamedTuple):
    """What is in one text. Shapes: see `schemas.enriched`; lists in the order of the text, templates outermost first.

    sections[0] is the lead. parts: every item with its place (and comments, tables, galleries), in no order, for
    comparing two texts.
    """

    links: tuple[Link, ...]
    categories: tuple[Category, ...]
    media: tuple[Media, ...]
    templates: tuple[Template, ...]
    references: tuple[Reference, ...]
    external_links: tuple[ExternalLink, ...]
    infoboxes: tuple[Infobox, ...]
    tables: tuple[Table, ...]
    lists: tuple[WikiList, ...]
    galleries: tuple[Gallery, ...]
    language_links: tuple[LanguageLink, ...]
    maintenance: tuple[MaintenanceTag, ...]
    comments: tuple[str, ...]
    sections: tuple[Section, ...]
    redirect: Redirect | None
    plain_text: str
    parts: tuple[Part, ...]
    degraded: tuple[Degraded, ...]

    @property
    def abstract(self) -> str:
        lead = self.sections[0]
        return self.plain_text[lead.start : lead.end]


# Start, end, name, positional and named values of a template.
RawTemplate = tuple[int, int, str, tuple[str, ...], dict[str, str]]


@dataclass(slots=True)
class Found:
    """What the scanner has found so far: items with the place where they begin.

    references: start, end, name, group, content, text. boxes: templates that are infoboxes, by their start, and the
    text of their parameters.
    """

    links: list[tuple[int, Link]] = field(default_factory=list)
    language_links: list[tuple[int, LanguageLink]] = field(default_factory=list)
    categories: list[tuple[int, Category]] = field(default_factory=list)
    media: list[tuple[int, Media]] = field(default_factory=list)
    references: list[tuple[int, int, str | None, str | None, str | None, str | None]] = field(default_factory=list)
    external_links: list[tuple[int, ExternalLink]] = field(default_factory=list)
    templates: list[RawTemplate] = field(default_factory=list)
    boxes: dict[int, tuple[KnownBy, list[str]]] = field(default_factory=dict)
    tables: list[tuple[int, Table]] = field(default_factory=list)
    galleries: list[Gallery] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)


def in_order(items: list[tuple[int, Item]]) -> tuple[Item, ...]:
    if len(items) > 1:
        items.sort(key=itemgetter(0))
    return tuple([item for _, item in items])


def nest(found: Sequence[RawTemplate]) -> tuple[Template, ...]:
    """Each with the number of the one around it. found: outer before inner."""
    templates: list[Template] = []
    around: list[tuple[int, int]] = []
    for start, end, name, positional, named in found:
        while around and around[-1][0] <= start:
            around.pop()
        parent = around[-1][1] if around else None
        around.append((end, len(templates)))
        templates.append(Template(name, positional, named, parent))
    return tuple(templates)


def cite(found: Found, raw: Sequence[RawTemplate], templates: Sequence[Template]) -> tuple[Reference, ...]:
    """References with the numbers of the templates that stand in them and in no other one there."""
    starts = [template[0] for template in raw]
    references = []
    for start, end, name, group, content, text in sorted(found.references, key=itemgetter(0)):
        citations: tuple[int, ...] = ()
        if content and "{{" in content:
            first = bisect_left(starts, start)
            within = range(first, bisect_left(starts, end, lo=first))
            citations = tuple(n for n in within if (parent := templates[n].parent) is None or parent < first)
        references.append(Reference(name, group, content, text, citations))
    return tuple(references)


def boxes(found: Found, raw: Sequence[RawTemplate]) -> tuple[Infobox, ...]:
    """Infoboxes, with the text of their values."""
    return tuple(
        Infobox(template=number, known_by=found.boxes[start][0], values=values(found.boxes[start][1], named))
        for number, (start, _, _, _, named) in enumerate(raw)
        if start in found.boxes
    )


def tags(raw: Sequence[RawTemplate], language: str) -> tuple[MaintenanceTag, ...]:
    """The templates that ask for repair."""
    kinds = {name: kind_of(name, language) for name in {template[2] for template in raw}}
    return tuple(
        MaintenanceTag(kind=kind, name=name, template=number)
        for number, (_, _, name, _, _) in enumerate(raw)
        if (kind := kinds[name]) is not None
    )
