"""Reads what is no wikitext. Any text gives a record; none raises."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import orjson

from processors.blocks import only
from schemas.data import Claim, ClaimChange, Data, DataDelta, Entity, EntityDelta, KeysTouched
from schemas.json_text import as_text

JSON_MODELS = frozenset(
    {
        "EntitySchema", "GrowthMentorList", "JsonSchema", "Json.JsonConfig", "Map.JsonConfig", "MassMessageListContent",
        "NewsletterContent", "ProofreadPage", "Tabular.JsonConfig", "Chart.JsonConfig", "json", "wikibase-item",
        "wikibase-lexeme", "wikibase-mediainfo", "wikibase-property", "zobject",
    }
)  # fmt: skip
ENTITIES = {
    "wikibase-item": "item",
    "wikibase-property": "property",
    "wikibase-lexeme": "lexeme",
    "wikibase-mediainfo": "mediainfo",
}
# Bounds of a record: statements, keys of a mapping, characters of one text and of all texts of a field.
MAX_CLAIMS = 5_000
MAX_KEYS = 2_000
MAX_VALUE = 2_000
MAX_CHARACTERS = 400_000
NO_JSON = object()

_Value = TypeVar("_Value", str, tuple[str, ...])


def read_data(text: str, model: str) -> Data:
    """The record of one text.

    >>> read_data('{"a": 1}', "json").well_formed, read_data("return {", "Scribunto").well_formed
    (True, None)
    """
    raw = text.encode("utf-8", "surrogatepass")
    doc = _json(raw) if model in JSON_MODELS else NO_JSON
    truncated: dict[str, int] = {}
    return Data(
        model=model,
        size=len(raw),
        lines=text.count("\n") + 1 if text else 0,
        sha256=hashlib.sha256(raw).hexdigest(),
        well_formed=None if model not in JSON_MODELS else doc is not NO_JSON,
        entity=_bounded(entity(doc, ENTITIES[model]), truncated) if model in ENTITIES and doc is not NO_JSON else None,
        truncated=truncated,
    )


def compare_data(old: str, new: str, model: str) -> DataDelta:
    """What an edit did to a text that is no wikitext."""
    before, after = old.encode("utf-8", "surrogatepass"), new.encode("utf-8", "surrogatepass")
    was, now = (_json(raw) if model in ENTITIES else NO_JSON for raw in (before, after))
    truncated: dict[str, int] = {}
    delta, lost, got = None, 0, 0
    if was is not NO_JSON and now is not NO_JSON:
        delta = _entity_delta(entity(was, ENTITIES[model]), entity(now, ENTITIES[model]), truncated)
    else:
        gone, came = only(old.split("\n"), new.split("\n"))
        lost, got = len(gone), len(came)
    return DataDelta(
        byte_delta=len(after) - len(before), lines_added=got, lines_removed=lost, entity=delta, truncated=truncated
    )


def _json(raw: bytes) -> Any:
    """`NO_JSON` where it is none."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return NO_JSON


def entity(doc: Any, kind: str) -> Entity:
    """An entity as Wikibase keeps it, in its shape of today and that of before 2013. Whatever is amiss is left out.

    Source: the Wikibase JSON data model.
    """
    lemmas = doc.get("lemmas") if isinstance(doc, dict) else None
    old = _map(_map(doc).get("label"))
    identifier = _map(doc).get("id", _map(doc).get("entity"))
    return Entity(
        type=kind,
        id=_text(identifier[-1] if isinstance(identifier, list) and identifier else identifier),
        labels=_terms(lemmas or _map(doc).get("labels") or old),
        descriptions=_terms(_map(doc).get("descriptions") or _map(doc).get("description")),
        aliases={
            language: tuple(value for each in _list(terms) if (value := _term(each)) is not None)
            for language, terms in sorted(_map(_map(doc).get("aliases")).items())
        },
        sitelinks={
            wiki: title
            for wiki, link in sorted(_map(_map(doc).get("sitelinks") or _map(doc).get("links")).items())
            if (title := _text(link.get("title", link.get("name")) if isinstance(link, dict) else link)) is not None
        },
        claims=tuple(_claims(_map(doc).get("claims") or _map(doc).get("statements"))),
        redirect=_text(_map(doc).get("redirect")),
    )


def _claims(claims: Any) -> Iterable[Claim]:
    groups = claims.values() if isinstance(claims, dict) else [claims]
    for group in groups:
        for claim in _list(group):
            main = _map(_map(claim).get("mainsnak"))
            if "property" in main:
                yield Claim(
                    property=as_text(main["property"])[:MAX_VALUE],
                    id=(_text(claim.get("id")) or "")[:MAX_VALUE],
                    rank=as_text(claim.get("rank", "normal"))[:MAX_VALUE],
                    snak=as_text(main.get("snaktype", "value"))[:MAX_VALUE],
                    value=_value(main.get("datavalue")),
                    qualifiers=tuple(sorted(_map(claim.get("qualifiers")))),
                    references=len(_list(claim.get("references"))),
                )
            elif len(old := _list(_map(claim).get("m"))) >= 2:
                yield Claim(
                    property=f"P{as_text(old[1])}"[:MAX_VALUE],
                    id=_text(claim.get("g")) or "",
                    rank={"0": "deprecated", "2": "preferred"}.get(as_text(claim.get("rank")), "normal"),
                    snak=as_text(old[0])[:MAX_VALUE],
                    value=_value({"type": old[2], "value": old[3]}) if len(old) > 3 else None,
                    qualifiers=tuple(
                        f"P{as_text(snak[1])}"[:MAX_VALUE] for snak in _list(claim.get("q")) if len(_list(snak)) > 1
                    ),
                    references=len(_list(claim.get("refs"))),
                )


def _value(data: Any) -> str | None:
    """A value in short.

    >>> _value({"type": "time", "value": {"time": "+1933-05-02T00:00:00Z", "precision": 11}})
    '+1933-05-02T00:00:00Z'
    """
    value = _map(data).get("value")
    if value is None:
        return None
    return as_text(_short(value) if isinstance(value, dict) else value)[:MAX_VALUE]


def _short(value: Mapping[str, Any]) -> Any:
    if "id" in value or "numeric-id" in value:
        letter = "P" if value.get("entity-type") == "property" else "Q"
        return value.get("id") or f"{letter}{as_text(value.get('numeric-id'))}"
    if "amount" in value:
        unit = as_text(value.get("unit", "1")).rpartition("/")[2]
        return value["amount"] if unit == "1" else f"{as_text(value['amount'])} {unit}"
    if "time" in value:
        return value["time"]
    if "latitude" in value:
        return f"{as_text(value['latitude'])},{as_text(value.get('longitude'))}"
    if "text" in value:
        return f"{as_text(value['text'])}@{as_text(value.get('language'))}"
    return value


def _terms(terms: Any) -> dict[str, str]:
    return {key: value for key, term in sorted(_map(terms).items()) if (value := _term(term)) is not None}


def _term(term: Any) -> str | None:
    return _text(term.get("value") if isinstance(term, dict) else term)


def _text(value: Any) -> str | None:
    return value[:MAX_VALUE] if isinstance(value, str) else None


def _map(value: Any) -> dict[str, Any]:
    """PHP writes an empty mapping as an empty list."""
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    if isinstance(value, dict):  # PHP writes a list with gaps as a mapping
        return list(value.values())
    return value if isinstance(value, list) else []


def _bounded(found: Entity, truncated: dict[str, int]) -> Entity:
    return Entity(
        type=found.type,
        id=found.id,
        labels=_some("labels", found.labels, truncated),
        descriptions=_some("descriptions", found.descriptions, truncated),
        aliases=_some("aliases", found.aliases, truncated),
        sitelinks=_some("sitelinks", found.sitelinks, truncated),
        claims=_first("claims", found.claims, truncated),
        redirect=found.redirect,
    )


def _some(name: str, values: Mapping[str, _Value], truncated: dict[str, int]) -> dict[str, _Value]:
    kept: dict[str, _Value] = {}
    left = MAX_CHARACTERS
    for key, value in values.items():
        left -= len(key) + (len(value) if isinstance(value, str) else sum(len(each) + 3 for each in value))
        if left < 0 or len(kept) == MAX_KEYS:
            truncated[name] = len(values)
            break
        kept[key] = value
    return kept


def _first(name: str, claims: tuple[Claim, ...], truncated: dict[str, int]) -> tuple[Claim, ...]:
    left = MAX_CHARACTERS
    for number, claim in enumerate(claims):
        left -= len(claim.id) + len(claim.value or "") + 30 + sum(len(each) + 3 for each in claim.qualifiers)
        if left < 0 or number == MAX_CLAIMS:
            truncated[name] = len(claims)
            return claims[:number]
    return claims


def _entity_delta(old: Entity, new: Entity, truncated: dict[str, int]) -> EntityDelta:
    before = {claim.id: claim for claim in old.claims if claim.id}
    after = {claim.id: claim for claim in new.claims if claim.id}
    gone, came = only(old.claims, new.claims)
    changed = tuple(
        ClaimChange(before=before[claim.id], after=claim) for claim in came if claim.id in before and claim.id in after
    )
    same = {change.after.id for change in changed}
    kept = _first("claims_changed", tuple(change.after for change in changed), truncated)
    return EntityDelta(
        labels=_touched("labels", old.labels, new.labels, truncated),
        descriptions=_touched("descriptions", old.descriptions, new.descriptions, truncated),
        aliases=_touched("aliases", old.aliases, new.aliases, truncated),
        sitelinks=_touched("sitelinks", old.sitelinks, new.sitelinks, truncated),
        claims_added=_first("claims_added", tuple(c for c in came if c.id not in same), truncated),
        claims_removed=_first("claims_removed", tuple(c for c in gone if c.id not in same), truncated),
        claims_changed=changed[: len(kept)],
    )


def _touched(name: str, old: Mapping[str, Any], new: Mapping[str, Any], truncated: dict[str, int]) -> KeysTouched:
    def bounded(action: str, keys: Iterable[str]) -> tuple[str, ...]:
        found = sorted(keys)
        if len(found) > MAX_KEYS:
            truncated[f"{name}_{action}"] = len(found)
        return tuple(key[:MAX_VALUE] for key in found[:MAX_KEYS])

    return KeysTouched(
        added=bounded("added", new.keys() - old.keys()),
        removed=bounded("removed", old.keys() - new.keys()),
        changed=bounded("changed", (key for key in old.keys() & new.keys() if old[key] != new[key])),
    )
