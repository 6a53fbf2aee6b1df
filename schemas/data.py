"""What is no wikitext: Wikidata entities, Structured Data on Commons, Lua, CSS, JavaScript, JSON.

Part of `sluice.enriched.v1`. A text is always a record: what cannot be read says `well_formed` false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Claim(NamedTuple):
    """One statement. value: an id, text, number, time or place in short; None where it is `somevalue` or `novalue`.

    id: as in the entity, "" in revisions from before there were any. qualifiers: their properties. references: how
    many.
    """

    property: str
    id: str
    rank: str
    snak: str
    value: str | None
    qualifiers: tuple[str, ...]
    references: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """An item, property, lexeme (its lemmas are the labels) or the structured data of a file (captions, statements).

    labels, descriptions, aliases: by language. sitelinks: wiki → title. redirect: id of the entity it was merged into.
    """

    type: str
    id: str | None
    labels: Mapping[str, str]
    descriptions: Mapping[str, str]
    aliases: Mapping[str, tuple[str, ...]]
    sitelinks: Mapping[str, str]
    claims: tuple[Claim, ...]
    redirect: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """model: MediaWiki's content model. size: UTF-8 bytes. sha256: hex. well_formed: of JSON whether it is, None else.

    truncated: field of `entity` → how many there were, where the record holds fewer.
    """

    model: str
    size: int
    lines: int
    sha256: str
    well_formed: bool | None
    entity: Entity | None
    truncated: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysTouched:
    """Languages of labels, descriptions and aliases, wikis of sitelinks: sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimChange:
    """A statement under the same id, before and after."""

    before: Claim
    after: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityDelta:
    labels: KeysTouched
    descriptions: KeysTouched
    aliases: KeysTouched
    sitelinks: KeysTouched
    claims_added: tuple[Claim, ...]
    claims_removed: tuple[Claim, ...]
    claims_changed: tuple[ClaimChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDelta:
    """What the edit did. lines: of texts that are no entity, as a bag; entity: of two entities."""

    byte_delta: int
    lines_added: int
    lines_removed: int
    entity: EntityDelta | None
    truncated: Mapping[str, int]
