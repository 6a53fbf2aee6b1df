"""What a scan finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TypeVar

from schemas.enriched import Category, Degraded, ExternalLink, Link, Media, Redirect, Reference, Section, Template

# Start and end of one thing, its kind in the words of mwedittypes, and what tells it from others of its kind. Offsets
# count code points of the text with one line break before it.
Part = tuple[int, int, str, str]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
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
    sections: tuple[Section, ...]
    redirect: Redirect | None
    plain_text: str
    parts: tuple[Part, ...]
    degraded: tuple[Degraded, ...]

    @property
    def abstract(self) -> str:
        lead = self.sections[0]
        return self.plain_text[lead.start : lead.end]


@dataclass(slots=True)
class Found:
    """What the scanner has found so far: items with the place where they begin."""

    links: list[tuple[int, Link]] = field(default_factory=list)
    categories: list[tuple[int, Category]] = field(default_factory=list)
    media: list[tuple[int, Media]] = field(default_factory=list)
    references: list[tuple[int, Reference]] = field(default_factory=list)
    external_links: list[tuple[int, ExternalLink]] = field(default_factory=list)
    templates: list[tuple[int, int, str, tuple[str, ...], dict[str, str]]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)


def in_order(items: list[tuple[int, Item]]) -> tuple[Item, ...]:
    return tuple(item for _, item in sorted(items, key=itemgetter(0)))


def nest(found: list[tuple[int, int, str, tuple[str, ...], dict[str, str]]]) -> tuple[Template, ...]:
    """Outer before inner, each with the number of the one around it."""
    templates: list[Template] = []
    around: list[tuple[int, int]] = []
    for start, end, name, positional, named in sorted(found, key=itemgetter(0)):
        while around and around[-1][0] <= start:
            around.pop()
        parent = around[-1][1] if around else None
        around.append((end, len(templates)))
        templates.append(Template(name=name, positional=positional, named=named, parent=parent))
    return tuple(templates)
