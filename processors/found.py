"""What a scan finds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple, TypeVar

from processors.infobox import values
from processors.links import bare_url, caption_and_alt
from processors.maintenance import kind_of
from processors.namespaces import CATEGORY, FILE, Namespaces, normal_title, split_prefix
from processors.sections import Heading, lay_out, redirect_target
from processors.templates import template_name
from processors.tokens import attribute_values
from schemas.enriched import Category, Degraded, ExternalLink, Link, Media, Redirect, Reference, Section, Template
from schemas.shapes import Gallery, Infobox, KnownBy, LanguageLink, MaintenanceTag, Table, WikiList

# Start and end of one thing, its kind in the words of mwedittypes, and what tells it from others of its kind. Offsets
# count code points of the text with one line break before it.
Part = tuple[int, int, str, str]
Item = TypeVar("Item")
# Characters of a template's name as it is written, up to which it is kept in mind.
MAX_NAME = 2_000


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

    The scanner knows where a thing begins and ends; what it is, and its name, is told here.

    references: start, end, name, group, content, text. boxes: templates that are infoboxes, by their start, and the
    text of their parameters.
    """

    namespaces: Namespaces
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
    _names: dict[str, tuple[str, str | None] | None] = field(default_factory=dict)

    def url(self, start: int, text: str) -> None:
        """A url that stands in the text, or in a template. text: with what may follow it."""
        url = bare_url(text)
        if url is not None:
            self.external_links.append((start, ExternalLink(url)))
            self.parts.append((start, start + len(url), "ExternalLink", url))

    def place(
        self, target: str, text: str | None, parts: list[str], sort_key: str | None, start: int, end: int
    ) -> str | None:
        """What a link is by its prefix. text: shown; parts: plain text behind each bar.

        Returns what of it stands in the running text; None: it is no part of it.
        """
        title, hash_mark, anchor = target.partition("#")
        namespaces = self.namespaces
        prefix, rest = split_prefix(title) if ":" in title else ("", title)
        number = namespaces.numbers.get(prefix, 0) if prefix and rest else 0
        if number == CATEGORY:
            title = normal_title(rest, namespaces)
            self.categories.append((start, Category(title=title, sort_key=sort_key)))
            self.parts.append((start, end, "Category", title))
        elif number == FILE:
            title = normal_title(rest, namespaces)
            caption, alt = caption_and_alt(parts, namespaces.options)
            self.media.append((start, Media(title=title, caption=caption, alt=alt)))
            self.parts.append((start, end, "Media", title))
        elif prefix in namespaces.languages and rest and number == 0:
            title = normal_title(rest, namespaces)
            self.language_links.append((start, LanguageLink(language=prefix, title=title)))
            self.parts.append((start, end, "Wikilink", f"{prefix}:{title}"))
        else:
            title = title.lstrip(": ")
            if prefix == "" and ":" in title:  # it began with a colon
                prefix, rest = split_prefix(title)
                number = None if prefix in namespaces.languages else namespaces.numbers.get(prefix, 0) if rest else 0
            title = normal_title(title, namespaces)
            self.links.append((start, Link(title, number, anchor.strip() if hash_mark else None, text)))
            self.parts.append((start, end, "Wikilink", title))
            return target.lstrip(":") if text is None else text
        return None

    def template(self, raw: str, start: int, end: int, positional: list[str], named: dict[str, str]) -> bool:
        """Keep a template under its name. raw: what is before its first bar. False: the braces are text."""
        if raw in self._names:
            named_by = self._names[raw]
        else:
            named_by = template_name(raw, self.namespaces)
            if len(raw) < MAX_NAME:
                self._names[raw] = named_by
        if named_by is None:
            return False
        name, first = named_by
        unnamed = tuple(positional) if first is None else (first, *positional)
        self.templates.append((start, end, name, unnamed, named))
        self.parts.append((start, end, "Template", name))
        return True

    def reference(self, start: int, end: int, attributes: str, content: str | None, text: str | None) -> None:
        """A `<ref>`. content, text: None if it has none of its own."""
        given = attribute_values(attributes) if attributes else {}
        name, group = given.get("name"), given.get("group")
        self.references.append((start, end, name, group, content, text))
        self.parts.append((start, end, "Reference", name or ""))

    def gallery(self, start: int, end: int, attributes: str) -> None:
        """A `<gallery>` whose files were found."""
        given = attribute_values(attributes)
        self.galleries.append(Gallery(mode=given.get("mode"), caption=given.get("caption")))
        self.parts.append((start, end, "Gallery", ""))

    def scan(self, text: str, out: list[str], headings: Sequence[Heading], degraded: Iterable[Degraded]) -> Scan:
        """All of it. text: with one line break before it; out: the pieces of plain text."""
        plain_text, sections, lists = lay_out(out, headings)
        raw = sorted(self.templates, key=itemgetter(0))
        templates = nest(raw)
        return Scan(
            links=in_order(self.links),
            categories=in_order(self.categories),
            media=in_order(self.media),
            templates=templates,
            references=cite(self, raw, templates),
            external_links=in_order(self.external_links),
            infoboxes=boxes(self, raw),
            tables=in_order(self.tables),
            lists=lists,
            galleries=tuple(self.galleries),
            language_links=in_order(self.language_links),
            maintenance=tags(raw, self.namespaces.language),
            comments=tuple(self.comments),
            sections=sections,
            redirect=redirect_target(text, self.namespaces),
            plain_text=plain_text,
            parts=tuple(self.parts),
            degraded=tuple(sorted(degraded)),
        )


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
