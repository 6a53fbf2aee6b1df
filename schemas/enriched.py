"""`sluice.enriched.v1`: one parsed record per revision, with what the edit changed.

Key `wiki:page:rev`. Written by enrich, read by publish. Names in JSON are the names of the fields here; only `Enriched`
adds `$schema`. Absent, false and zero are three things: None where it is not known or does not exist, an empty tuple
where it is known that there is none. Fields may be added; what is here stays.

What a page has by the thousand is a `NamedTuple`: frozen like the others, and made in a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, cast

import orjson

from schemas.content import record_key
from schemas.data import Claim, ClaimChange, Data, DataDelta, Entity, EntityDelta, KeysTouched
from schemas.log import InvalidRecord
from schemas.rendered import Rendered, decode_rendered
from schemas.shapes import (
    Cell,
    Gallery,
    Infobox,
    InfoboxValue,
    KnownBy,
    LanguageLink,
    ListItem,
    Maintenance,
    MaintenanceTag,
    Table,
    WikiList,
)

SCHEMA = "/sluice/enriched/1.0.0"


class ContentAbsent(StrEnum):
    """Why a record has no content: the API's answer in its words, a content model that we do not parse, or a bound of
    parsing that the page went beyond."""

    HIDDEN = "hidden"
    MISSING = "missing"
    SHA1_MISMATCH = "sha1_mismatch"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"
    NOT_ASKED = "not_asked"
    MODEL = "model"
    DEADLINE = "deadline"  # parsing took longer than it may
    MEMORY = "memory"  # parsing took more memory than it may
    CRASH = "crash"  # a process that parsed it was lost


class DeltaAbsent(StrEnum):
    """Why a record has no delta: the revision's side first, then the parent's."""

    NO_TEXT = "no_text"  # the revision itself has no content here; see content_absent
    NO_PARENT = "no_parent"
    HIDDEN = "hidden"
    MISSING = "missing"
    SHA1_MISMATCH = "sha1_mismatch"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"
    NOT_ASKED = "not_asked"
    MODEL = "model"


class Degraded(StrEnum):
    """Which bound a page went beyond, so that some of it was not seen."""

    SIZE = "size"  # only the first part of the text was read
    DEPTH = "depth"  # markup nested deeper than the bound was taken for text
    RAW = "raw"  # values of parameters were dropped or cut


class Link(NamedTuple):
    """`[[title#anchor|text]]`. title: with prefix, spaces, first letter upper, "" = this page. text: as shown; None =
    the title. namespace: its number, 0 = article; None = another wiki, or one of the wiki's own that we do not know."""

    title: str
    namespace: int | None = 0
    anchor: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """title without its prefix; sort_key as written, None where none is."""

    title: str
    sort_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A file that is shown, title without its prefix, by a link or in a gallery. caption: plain text. alt: what is read
    out instead. gallery: index in `galleries`."""

    title: str
    caption: str | None = None
    alt: str | None = None
    gallery: int | None = None


class Template(NamedTuple):
    """`{{name|positional|key=value}}`, parser functions and magic words included.

    name: spaces, first letter upper, without prefix; of `{{#if: x | y}}` it is `#if` and `x` the first positional.
    Values are wikitext as written, named ones stripped. parent: index in the same list of the innermost template
    around this one.
    """

    name: str
    positional: tuple[str, ...]
    named: Mapping[str, str]
    parent: int | None = None


class Reference(NamedTuple):
    """`<ref name= group=>content</ref>`. content: wikitext; None where the tag only names another one. text: plain,
    without what templates say. citations: indices in `templates` of those that stand in it, with names and fields."""

    name: str | None = None
    group: str | None = None
    content: str | None = None
    text: str | None = None
    citations: tuple[int, ...] = ()


class ExternalLink(NamedTuple):
    """`[url text]` or a bare url (text None)."""

    url: str
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """level: 0 = the lead, else the number of `=`. title: plain text. Its own text is `plain_text[start:end]`, without
    that of the sections below it; offsets count code points."""

    level: int
    title: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Where the page sends its readers."""

    title: str
    anchor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContent:
    """What is on the page, from its wikitext: what templates add when the page is rendered is not in here.

    parser: name and version. degraded: bounds the page went beyond. truncated: field → how many were found, where the
    record holds fewer (of `plain_text`: characters).
    plain_text: no headings, templates, tables, references, captions; its length before truncation is plain_text_length.
    abstract: the lead's plain text. comments: what is between `<!--` and `-->`. Indices into `templates` and
    `galleries` of things that the record no longer holds are left out, or None.
    """

    source: str = "wikitext"
    parser: str
    degraded: tuple[Degraded, ...] = ()
    truncated: Mapping[str, int]
    abstract: str
    plain_text: str
    plain_text_length: int
    sections: tuple[Section, ...]
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
    redirect: Redirect | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Titles, names or contents that only one side has, sorted; as often as that side has more of them."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionsTouched:
    """Titles of sections, in the order of the page; the lead is ""."""

    inserted: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


# Fields of `Delta`.
DIFFERENCES = ("categories", "links", "external_links", "media", "templates", "references", "maintenance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What the edit did to its parent.

    edit_types: kind → action → how many, in the words of mwedittypes (`Wikilink`, `Template`, ...; `insert`, `remove`,
    `change`); of a kind, what both sides have lost and got is a change. edit_types_by_section: the same by the titles
    of sections, without words and sections. Words are of the plain text and the tables; characters where the language
    does not space its words. maintenance: templates that ask for repair: added are tags set, removed are cleared.
    byte_delta: UTF-8 bytes of the new text minus those of the old. degraded: `size` where so much changed that only the
    first part of it was compared, or the texts themselves are longer than what is read.
    """

    edit_types: Mapping[str, Mapping[str, int]]
    edit_types_by_section: Mapping[str, Mapping[str, Mapping[str, int]]]
    categories: Difference
    links: Difference
    external_links: Difference
    media: Difference
    templates: Difference
    references: Difference
    maintenance: Difference
    sections: SectionsTouched
    words_added: int
    words_removed: int
    byte_delta: int
    degraded: tuple[Degraded, ...]
    truncated: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPage:
    """title: with prefix, spaces for underscores. prior_title: of a move, where the page was."""

    id: int
    title: str
    namespace: int
    is_redirect: bool
    prior_title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedRevision:
    """parent_id: 0 = there is none, None = not known. size: bytes. sha1: base-36. model: of the main slot."""

    id: int
    parent_id: int | None
    timestamp: str
    size: int | None
    sha1: str | None
    is_minor: bool
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """What of the revision the public could see when the event was made."""

    content: bool
    editor: bool
    comment: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """Who made the edit, as its event says it. user_id: None for an IP address. edit_count: at that time."""

    user_text: str
    user_id: int | None
    is_bot: bool
    is_temp: bool
    groups: tuple[str, ...]
    edit_count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The event. Times are RFC 3339, UTC, milliseconds: happened_at on the wiki, heard_at when the event was made.

    tags: None where nobody told us.
    """

    kind: str
    event_id: str
    domain: str
    happened_at: str
    heard_at: str
    page: ChangedPage
    revision: ChangedRevision
    comment: str | None
    editor: Editor | None
    visible: Visible
    tags: tuple[str, ...] | None
    uri: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Where the event is in the source's own Kafka; offset None where the server did not say."""

    stream: str
    topic: str
    partition: int
    offset: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How to check the record: upstream position, who gave the text, its SHA-1 (base-36) and SHA-256 (hex) in UTF-8."""

    upstream: Upstream
    content_source: str | None
    text_sha1: str | None
    text_sha256: str | None
    parent_text_sha1: str | None
    parser: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Enriched:
    """One record. content is None exactly if content_absent says why, delta and rendered likewise.

    content: what editors wrote, from wikitext. rendered: what readers see, from HTML; not asked for unless the settings
    want it. Where content_absent is `MODEL`, data and data_delta have what there is; elsewhere they are None.
    """

    wiki: str
    page_id: int
    rev_id: int
    change: Change
    content: PageContent | None
    content_absent: ContentAbsent | None
    delta: Delta | None
    delta_absent: DeltaAbsent | None
    provenance: Provenance
    rendered: Rendered | None = None
    rendered_absent: ContentAbsent | None = ContentAbsent.NOT_ASKED
    data: Data | None = None
    data_delta: DataDelta | None = None

    @property
    def key(self) -> bytes:
        return record_key(self.wiki, self.page_id, self.rev_id)


def encode_enriched(enriched: Enriched) -> bytes:
    """JSON with sorted keys: equal records give equal bytes."""
    doc = {"$schema": SCHEMA} | _fields(enriched)
    return orjson.dumps(doc, default=_fields, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS)


def encode_shown(doc: Mapping[str, Any]) -> bytes:
    """Parts of records as JSON for people: indented, keys sorted."""
    options = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_INDENT_2
    return orjson.dumps(doc, default=_fields, option=options)


def decode_enriched(payload: bytes) -> Enriched:
    """Raises `InvalidRecord`. Unknown fields are ignored."""
    try:
        doc = orjson.loads(payload)
        if not str(doc["$schema"]).startswith("/sluice/enriched/1."):
            raise InvalidRecord(f"schema {doc['$schema']!r}; we read {SCHEMA}")
        return Enriched(
            wiki=str(doc["wiki"]),
            page_id=int(doc["page_id"]),
            rev_id=int(doc["rev_id"]),
            change=_change(doc["change"]),
            content=None if doc["content"] is None else _content(doc["content"]),
            content_absent=None if doc["content_absent"] is None else ContentAbsent(doc["content_absent"]),
            delta=None if doc["delta"] is None else _delta(doc["delta"]),
            delta_absent=None if doc["delta_absent"] is None else DeltaAbsent(doc["delta_absent"]),
            data=None if doc.get("data") is None else _data(doc["data"]),
            data_delta=None if doc.get("data_delta") is None else _data_delta(doc["data_delta"]),
            provenance=_provenance(doc["provenance"]),
            rendered=None if doc.get("rendered") is None else decode_rendered(doc["rendered"]),
            rendered_absent=None if doc.get("rendered_absent") is None else ContentAbsent(doc["rendered_absent"]),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
        if isinstance(exc, InvalidRecord):
            raise
        raise InvalidRecord(f"no enriched record: {exc!r}") from exc


def _fields(value: Any) -> dict[str, Any]:
    """What orjson writes for one of our records. Raises `TypeError` for anything else."""
    kind: Any = type(value)
    return {name: getattr(value, name) for name in _names(kind)}


@cache
def _names(kind: Hashable) -> tuple[str, ...]:
    named: tuple[str, ...] | None = getattr(kind, "_fields", None)
    return named if named is not None else tuple(field.name for field in fields(cast(Any, kind)))


def _known(kind: Any, doc: dict[str, Any]) -> dict[str, Any]:
    """The fields of `kind` in `doc`, lists as tuples. Raises `KeyError` where one is absent."""
    values = {name: doc[name] for name in _names(kind)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _all(kind: Any, docs: list[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple(kind(**_known(kind, doc)) for doc in docs)


def _content(doc: dict[str, Any]) -> PageContent:
    values = _known(PageContent, doc)
    values |= {
        "degraded": tuple(Degraded(reason) for reason in doc["degraded"]),
        "sections": _all(Section, doc["sections"]),
        "links": _all(Link, doc["links"]),
        "categories": _all(Category, doc["categories"]),
        "media": _all(Media, doc["media"]),
        "templates": _all(Template, doc["templates"]),
        "references": _all(Reference, doc["references"]),
        "external_links": _all(ExternalLink, doc["external_links"]),
        "infoboxes": tuple(_infobox(infobox) for infobox in doc["infoboxes"]),
        "tables": tuple(_table(table) for table in doc["tables"]),
        "lists": tuple(WikiList(items=_all(ListItem, each["items"])) for each in doc["lists"]),
        "galleries": _all(Gallery, doc["galleries"]),
        "language_links": _all(LanguageLink, doc["language_links"]),
        "maintenance": tuple(
            MaintenanceTag(**_known(MaintenanceTag, tag) | {"kind": Maintenance(tag["kind"])})
            for tag in doc["maintenance"]
        ),
        "redirect": None if doc["redirect"] is None else Redirect(**_known(Redirect, doc["redirect"])),
    }
    return PageContent(**values)


def _infobox(doc: dict[str, Any]) -> Infobox:
    return Infobox(
        template=doc["template"], known_by=KnownBy(doc["known_by"]), values=_all(InfoboxValue, doc["values"])
    )


def _table(doc: dict[str, Any]) -> Table:
    return Table(caption=doc["caption"], rows=tuple(_all(Cell, row) for row in doc["rows"]))


def _data(doc: dict[str, Any]) -> Data:
    values = _known(Data, doc)
    if (found := doc["entity"]) is not None:
        entity = _known(Entity, found) | {"claims": _claims(found["claims"])}
        entity["aliases"] = {language: tuple(terms) for language, terms in found["aliases"].items()}
        values["entity"] = Entity(**entity)
    return Data(**values)


def _data_delta(doc: dict[str, Any]) -> DataDelta:
    values = _known(DataDelta, doc)
    if (found := doc["entity"]) is not None:
        keys = ("labels", "descriptions", "aliases", "sitelinks")
        entity: dict[str, Any] = {name: KeysTouched(**_known(KeysTouched, found[name])) for name in keys}
        for name in ("claims_added", "claims_removed"):
            entity[name] = _claims(found[name])
        entity["claims_changed"] = tuple(
            ClaimChange(before=before, after=after)
            for change in found["claims_changed"]
            for before, after in [_claims([change["before"], change["after"]])]
        )
        values["entity"] = EntityDelta(**entity)
    return DataDelta(**values)


def _claims(docs: list[dict[str, Any]]) -> tuple[Claim, ...]:
    return tuple(Claim(**_known(Claim, doc)) for doc in docs)


def _delta(doc: dict[str, Any]) -> Delta:
    values = _known(Delta, doc)
    for name in DIFFERENCES:
        values[name] = Difference(**_known(Difference, doc[name]))
    values["sections"] = SectionsTouched(**_known(SectionsTouched, doc["sections"]))
    values["degraded"] = tuple(Degraded(bound) for bound in doc["degraded"])
    return Delta(**values)


def _change(doc: dict[str, Any]) -> Change:
    values = _known(Change, doc)
    values |= {
        "page": ChangedPage(**_known(ChangedPage, doc["page"])),
        "revision": ChangedRevision(**_known(ChangedRevision, doc["revision"])),
        "editor": None if doc["editor"] is None else Editor(**_known(Editor, doc["editor"])),
        "visible": Visible(**_known(Visible, doc["visible"])),
    }
    return Change(**values)


def _provenance(doc: dict[str, Any]) -> Provenance:
    values = _known(Provenance, doc)
    values["upstream"] = Upstream(**_known(Upstream, doc["upstream"]))
    return Provenance(**values)
