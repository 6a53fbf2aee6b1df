"""From the texts of a revision to its enriched record. Same content, same record, byte for byte.

Every list and text of a record is bounded, so that no page can make a record that its topic refuses: `truncated` says
of each field that was cut how much there was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from processors.data import compare_data, read_data
from processors.delta import compare
from processors.digest import sha1_base36
from processors.found import Scan
from processors.html import read_html
from processors.namespaces import Namespaces, namespaces_of
from processors.scan import PARSER, scan
from schemas.content import Content, Text
from schemas.data import Data, DataDelta
from schemas.enriched import (
    Change,
    ChangedPage,
    ChangedRevision,
    ContentAbsent,
    Delta,
    DeltaAbsent,
    Difference,
    Editor,
    Enriched,
    PageContent,
    Provenance,
    SectionsTouched,
    Template,
    Upstream,
    Visible,
)
from schemas.event import PageChange, decode_event, rfc3339
from schemas.log import InvalidRecord
from schemas.reasons import Answer
from schemas.rendered import Rendered
from schemas.shapes import Infobox, Table

MAX_ITEMS = 2_000
MAX_PLAIN_TEXT = 1_000_000
MAX_ABSTRACT = 50_000
# Characters of all items of a list together. With the plain text that is about 3 million in a record, and JSON takes at
# most 6 bytes for one: less than the 21 MB of the topic.
MAX_CHARACTERS = {
    "sections": 100_000,
    "links": 200_000,
    "categories": 50_000,
    "media": 100_000,
    "templates": 600_000,
    "references": 500_000,
    "external_links": 200_000,
    "infoboxes": 100_000,
    "tables": 400_000,
    "lists": 100_000,
    "galleries": 20_000,
    "language_links": 50_000,
    "maintenance": 50_000,
    "comments": 100_000,
}
# What the marks around a cell, an item, a value weigh in JSON, in characters of 6 bytes.
MARKUP = 10
MAX_DELTA_CHARACTERS = 40_000

_T = TypeVar("_T")


Words = Callable[[str], Namespaces]


def enrich(content: Content, words: Words = namespaces_of) -> Enriched:
    """The record of one content.

    words: from a wiki's name to its namespaces. Raises `InvalidEvent` or `InvalidRecord` where the event within is
    not a readable page_change.
    """
    event = _event(content)
    namespaces = words(content.wiki)
    found, page_absent = _scan(content, event, namespaces)
    delta, delta_absent = _delta(content, found, namespaces)
    data, data_delta = _data(content, event) if page_absent is ContentAbsent.MODEL else (None, None)
    return Enriched(
        wiki=content.wiki,
        page_id=content.page_id,
        rev_id=content.rev_id,
        change=_change(content, event),
        content=None if found is None else page_content(found),
        content_absent=page_absent,
        delta=delta,
        delta_absent=delta_absent,
        data=data,
        data_delta=data_delta,
        provenance=_provenance(content, event),
        rendered=_rendered(content),
        rendered_absent=_rendered_absent(content),
    )


def _rendered(content: Content) -> Rendered | None:
    html = content.html
    return None if html is None or html.text is None else read_html(html.text)


def _rendered_absent(content: Content) -> ContentAbsent | None:
    if content.html is None:
        return ContentAbsent.NOT_ASKED
    return None if content.html.text is not None else ContentAbsent(content.html.answer.value)


def without_page(content: Content, reason: ContentAbsent, words: Words = namespaces_of) -> Enriched:
    """The record without what was rendered, for `reason`. Raises as `enrich` does."""
    return replace(enrich(replace(content, html=None), words), rendered_absent=reason)


def without_content(content: Content, reason: ContentAbsent) -> Enriched:
    """The record of a page that could not be parsed, for `reason`. Raises as `enrich` does."""
    event = _event(content)
    return Enriched(
        wiki=content.wiki,
        page_id=content.page_id,
        rev_id=content.rev_id,
        change=_change(content, event),
        content=None,
        content_absent=reason,
        delta=None,
        delta_absent=DeltaAbsent.NO_TEXT,
        provenance=_provenance(content, event),
        rendered_absent=ContentAbsent.NOT_ASKED if content.html is None else reason,
    )


def _event(content: Content) -> PageChange:
    event = decode_event(content.event)
    if not isinstance(event, PageChange):
        raise InvalidRecord(f"content of a {type(event).__name__}; a PageChange was expected")
    return event


def _scan(content: Content, event: PageChange, namespaces: Namespaces) -> tuple[Scan | None, ContentAbsent | None]:
    text = content.revision.text
    if content.revision.answer is not Answer.TEXT or text is None:
        return None, ContentAbsent(content.revision.answer.value)
    if _model(content.revision, event) not in {"wikitext", None}:
        return None, ContentAbsent.MODEL
    return scan(text, namespaces), None


def page_content(found: Scan) -> PageContent:
    """The content section of a record, bounded."""
    truncated: dict[str, int] = {}

    def bounded(name: str, items: tuple[_T, ...], size: Callable[[_T], int]) -> tuple[_T, ...]:
        kept = cut(items, size, MAX_CHARACTERS[name])
        if len(kept) < len(items):
            truncated[name] = len(items)
        return kept

    plain_text, abstract = found.plain_text[:MAX_PLAIN_TEXT], found.abstract
    if len(plain_text) < len(found.plain_text):
        truncated["plain_text"] = len(found.plain_text)
    if len(abstract) > MAX_ABSTRACT:
        truncated["abstract"] = len(abstract)
    templates = bounded("templates", found.templates, _template_size)
    galleries = bounded("galleries", found.galleries, lambda g: _size(g.mode, g.caption))
    references, infoboxes, media, maintenance = found.references, found.infoboxes, found.media, found.maintenance
    if len(templates) < len(found.templates):
        kept = range(len(templates))
        references = tuple(r._replace(citations=tuple(n for n in r.citations if n in kept)) for r in references)
        infoboxes = tuple(box for box in infoboxes if box.template in kept)
        maintenance = tuple(tag for tag in maintenance if tag.template in kept)
    if len(galleries) < len(found.galleries):
        media = tuple(replace(m, gallery=None) if (m.gallery or 0) >= len(galleries) else m for m in media)
    return PageContent(
        parser=PARSER,
        degraded=found.degraded,
        abstract=abstract[:MAX_ABSTRACT],
        plain_text=plain_text,
        plain_text_length=len(found.plain_text),
        sections=bounded("sections", found.sections, lambda s: len(s.title)),
        links=bounded("links", found.links, lambda x: _size(x.title, x.anchor, x.text)),
        categories=bounded("categories", found.categories, lambda c: _size(c.title, c.sort_key)),
        media=bounded("media", media, lambda m: _size(m.title, m.caption, m.alt)),
        templates=templates,
        references=bounded("references", references, lambda r: _size(r.name, r.group, r.content, r.text)),
        external_links=bounded("external_links", found.external_links, lambda e: _size(e.url, e.text)),
        infoboxes=bounded("infoboxes", infoboxes, _infobox_size),
        tables=bounded("tables", found.tables, _table_size),
        lists=bounded("lists", found.lists, lambda each: sum(len(item.marks) + MARKUP for item in each.items)),
        galleries=galleries,
        language_links=bounded("language_links", found.language_links, lambda x: _size(x.language, x.title)),
        maintenance=bounded("maintenance", maintenance, lambda tag: len(tag.name)),
        comments=bounded("comments", found.comments, len),
        redirect=found.redirect,
        truncated=truncated,
    )


def cut(items: tuple[_T, ...], size: Callable[[_T], int], characters: int) -> tuple[_T, ...]:
    """The first items, as many as the bounds of number and size allow."""
    left = characters
    for number, item in enumerate(items):
        left -= size(item)
        if left < 0 or number == MAX_ITEMS:
            return items[:number]
    return items


def _size(*texts: str | None) -> int:
    return sum(len(text) for text in texts if text is not None)


def _template_size(template: Template) -> int:
    """Quotes and commas of many empty values weigh too."""
    values = sum(len(value) + 4 for value in template.positional)
    return len(template.name) + values + sum(len(key) + len(value) + 8 for key, value in template.named.items())


def _infobox_size(box: Infobox) -> int:
    return sum(_size(value.name, value.text) + MARKUP for value in box.values)


def _table_size(table: Table) -> int:
    return _size(table.caption) + sum(len(cell.text) + MARKUP for row in table.rows for cell in row)


def _data(content: Content, event: PageChange) -> tuple[Data | None, DataDelta | None]:
    """Of a text that is no wikitext: its record, and what changed where the parent has the same model."""
    text, parent, model = content.revision.text, content.parent, _model(content.revision, event)
    if text is None or model is None:
        return None, None
    same = parent is not None and parent.model in {model, None}
    old = parent.text if parent is not None and same else None
    return read_data(text, model), None if old is None else compare_data(old, text, model)


def _delta(content: Content, found: Scan | None, namespaces: Namespaces) -> tuple[Delta | None, DeltaAbsent | None]:
    text, parent = content.revision.text, content.parent
    if text is None:
        return None, DeltaAbsent.NO_TEXT
    if parent is None:
        return None, DeltaAbsent.NO_PARENT
    if parent.answer is not Answer.TEXT or parent.text is None:
        return None, DeltaAbsent(parent.answer.value)
    if found is None or parent.model not in {"wikitext", None}:
        return None, DeltaAbsent.MODEL
    return bounded_delta(compare(parent.text, text, namespaces, found)), None


def bounded_delta(delta: Delta) -> Delta:
    """Lists cut to what a record takes; `truncated` names `<list>_added` and `<list>_removed`."""
    truncated: dict[str, int] = {}

    def bounded(name: str, items: tuple[str, ...]) -> tuple[str, ...]:
        kept = cut(items, len, MAX_DELTA_CHARACTERS)
        if len(kept) < len(items):
            truncated[name] = len(items)
        return kept

    def both(name: str, difference: Difference) -> Difference:
        return Difference(
            added=bounded(f"{name}_added", difference.added), removed=bounded(f"{name}_removed", difference.removed)
        )

    names = bounded("edit_types_by_section", tuple(delta.edit_types_by_section))
    return replace(
        delta,
        edit_types_by_section={name: delta.edit_types_by_section[name] for name in names},
        categories=both("categories", delta.categories),
        links=both("links", delta.links),
        external_links=both("external_links", delta.external_links),
        media=both("media", delta.media),
        templates=both("templates", delta.templates),
        references=both("references", delta.references),
        maintenance=both("maintenance", delta.maintenance),
        sections=SectionsTouched(
            inserted=bounded("sections_inserted", delta.sections.inserted),
            removed=bounded("sections_removed", delta.sections.removed),
            changed=bounded("sections_changed", delta.sections.changed),
        ),
        truncated=truncated,
    )


def _change(content: Content, event: PageChange) -> Change:
    return Change(
        kind=event.kind,
        event_id=event.meta.event_id,
        domain=event.meta.domain,
        happened_at=rfc3339(event.happened_ms),
        heard_at=rfc3339(event.meta.at_ms),
        page=ChangedPage(
            id=event.page_id,
            title=event.title.replace("_", " "),
            namespace=event.namespace,
            is_redirect=event.is_redirect,
            prior_title=None if event.prior_title is None else event.prior_title.replace("_", " "),
        ),
        revision=ChangedRevision(
            id=event.rev_id,
            # Sources before May 2026 left it out where there is none; elsewhere its absence tells nothing.
            parent_id=event.parent_id if event.parent_id or event.kind == "create" else None,
            timestamp=rfc3339(event.rev_ms),
            size=event.rev_size,
            sha1=event.rev_sha1,
            is_minor=event.is_minor,
            model=_model(content.revision, event),
        ),
        comment=event.comment if event.comment_visible else None,
        editor=_editor(event),
        visible=Visible(content=event.content_visible, editor=event.editor_visible, comment=event.comment_visible),
        tags=_tags(content.revision),
        uri=event.uri or None,
    )


def _model(revision: Text, event: PageChange) -> str | None:
    if revision.model is not None:
        return revision.model
    return event.main.model if event.main is not None and event.main.model != "unknown" else None


def _editor(event: PageChange) -> Editor | None:
    """None where the name is hidden: by a flag, or because the event is a skeleton."""
    editor = event.editor
    if editor is None or editor.key or not event.editor_visible:
        return None
    return Editor(
        user_text=editor.user_text,
        user_id=editor.user_id,
        is_bot=editor.is_bot,
        is_temp=editor.is_temp,
        groups=editor.groups,
        edit_count=editor.edit_count,
    )


def _tags(revision: Text) -> tuple[str, ...] | None:
    """Known where the API has told us about the revision."""
    known = bool(revision.tags) or revision.answer in {Answer.TEXT, Answer.HIDDEN}
    return tuple(sorted(revision.tags)) if known else None


def _provenance(content: Content, event: PageChange) -> Provenance:
    text, parent = content.revision.text, content.parent
    return Provenance(
        upstream=Upstream(
            stream=event.meta.stream,
            topic=event.meta.topic,
            partition=event.meta.partition,
            offset=event.meta.offset if event.meta.offset >= 0 else None,
        ),
        content_source=content.source or None,
        text_sha1=None if text is None else sha1_base36(text),
        text_sha256=None if text is None else hashlib.sha256(text.encode()).hexdigest(),
        parent_text_sha1=None if parent is None or parent.text is None else sha1_base36(parent.text),
        parser=PARSER,
    )
