"""What is no wikitext: entities, code, JSON. A record for any text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_enrich import EXAMPLE, SCHEMA, closed, text

from processors.data import ENTITIES, JSON_MODELS, MAX_CHARACTERS, compare_data, read_data
from processors.enrich import enrich
from schemas.data import Claim, KeysTouched
from schemas.enriched import ContentAbsent, DeltaAbsent, decode_enriched, encode_enriched
from streams.settings import Settings
from streams.topics import Topics, limits


def claim(number: int, value: Any, property_id: str = "P31", kind: str = "string") -> dict[str, Any]:
    return {
        "mainsnak": {"snaktype": "value", "property": property_id, "datavalue": {"type": kind, "value": value}},
        "type": "statement",
        "id": f"Q1${number}",
        "rank": "normal",
        "qualifiers": {"P585": [{}]},
        "references": [{}, {}],
    }


ITEM = {
    "type": "item",
    "id": "Q1",
    "labels": {"en": {"language": "en", "value": "Loch Ness"}, "de": {"language": "de", "value": "Loch Ness"}},
    "descriptions": {"en": {"language": "en", "value": "lake"}},
    "aliases": {"en": [{"language": "en", "value": "Ness"}, {"language": "en", "value": "The Loch"}]},
    "sitelinks": {"enwiki": {"site": "enwiki", "title": "Loch Ness", "badges": []}},
    "claims": {"P31": [claim(1, {"entity-type": "item", "id": "Q23397"})]},
}


def dumped(**changes: Any) -> str:
    return orjson.dumps(ITEM | changes).decode()


def test_an_item_has_labels_descriptions_aliases_sitelinks_and_claims() -> None:
    found = read_data(dumped(), "wikibase-item").entity
    assert found is not None
    assert (found.type, found.id, found.redirect) == ("item", "Q1", None)
    assert found.labels == {"de": "Loch Ness", "en": "Loch Ness"}
    assert found.descriptions == {"en": "lake"}
    assert found.aliases == {"en": ("Ness", "The Loch")}
    assert found.sitelinks == {"enwiki": "Loch Ness"}
    assert found.claims == (
        Claim(
            property="P31", id="Q1$1", rank="normal", snak="value", value="Q23397", qualifiers=("P585",), references=2
        ),
    )


@pytest.mark.parametrize(
    ("value", "short"),
    [
        ("text", "text"),
        ({"entity-type": "item", "numeric-id": 5}, "Q5"),
        ({"amount": "+227", "unit": "http://www.wikidata.org/entity/Q11573"}, "+227 Q11573"),
        ({"amount": "+3", "unit": "1"}, "+3"),
        ({"time": "+1933-05-02T00:00:00Z", "precision": 11}, "+1933-05-02T00:00:00Z"),
        ({"latitude": 57.3, "longitude": -4.45}, "57.3,-4.45"),
        ({"text": "Loch Nis", "language": "gd"}, "Loch Nis@gd"),
        ({"z": 1, "a": 2}, '{"a":2,"z":1}'),
    ],
)
def test_a_value_is_told_in_short(value: Any, short: str) -> None:
    found = read_data(dumped(claims={"P1": [claim(1, value, "P1")]}), "wikibase-item").entity
    assert found is not None
    assert found.claims[0].value == short


def test_structured_data_of_a_file_has_captions_and_statements_and_empty_ones_may_be_lists() -> None:
    doc = {
        "type": "mediainfo",
        "id": "M7",
        "labels": {"en": {"value": "A lake"}},
        "statements": {"P180": [claim(1, "x", "P180")]},
    }
    found = read_data(orjson.dumps(doc).decode(), "wikibase-mediainfo").entity
    assert found is not None
    assert (found.id, found.labels, found.claims[0].property) == ("M7", {"en": "A lake"}, "P180")
    empty = read_data('{"id":"M7","labels":[],"descriptions":[],"statements":[]}', "wikibase-mediainfo").entity
    assert empty is not None
    assert (empty.labels, empty.claims) == ({}, ())


def test_an_item_in_the_shape_of_2012_and_a_redirect_are_read_too() -> None:
    old = {"entity": "q1", "label": {"en": "x"}, "links": {"enwiki": {"name": "X"}},
           "claims": [{"m": ["value", 31, "wikibase-entityid", {"entity-type": "item", "numeric-id": 5}],
                       "g": "q1$1",
                       "rank": 2}]}  # fmt: skip
    found = read_data(orjson.dumps(old).decode(), "wikibase-item").entity
    assert found is not None
    assert (found.id, found.labels, found.sitelinks) == ("q1", {"en": "x"}, {"enwiki": "X"})
    assert (found.claims[0].property, found.claims[0].value, found.claims[0].rank) == ("P31", "Q5", "preferred")
    merged = read_data('{"entity":"Q1","redirect":"Q2"}', "wikibase-item").entity
    assert merged is not None
    assert merged.redirect == "Q2"


def test_a_delta_of_items_names_languages_and_claims() -> None:
    new = dumped(
        labels={"en": {"value": "Ness"}, "fr": {"value": "Loch Ness"}},
        claims={"P31": [claim(1, "other")], "P2": [claim(2, "new", "P2")]},
    )
    delta = compare_data(dumped(), new, "wikibase-item").entity
    assert delta is not None
    assert delta.labels == KeysTouched(added=("fr",), removed=("de",), changed=("en",))
    assert [c.id for c in delta.claims_added] == ["Q1$2"]
    assert [(c.before.value, c.after.value) for c in delta.claims_changed] == [("Q23397", "other")]
    back = compare_data(new, dumped(), "wikibase-item").entity
    assert back is not None
    assert [c.id for c in back.claims_removed] == ["Q1$2"]


def test_code_has_size_lines_and_hash_and_a_delta_of_lines() -> None:
    found = read_data("return {\n  ä\n}\n", "Scribunto")
    assert (found.size, found.lines, found.well_formed, found.entity) == (16, 4, None, None)
    assert len(found.sha256) == 64
    delta = compare_data("a\nb\nc", "a\nd\nc\ne", "css")
    assert (delta.lines_added, delta.lines_removed, delta.byte_delta, delta.entity) == (2, 1, 2, None)


def test_json_says_whether_it_is_well_formed() -> None:
    assert read_data('{"a": [1]}', "json").well_formed is True
    assert read_data("{", "json").well_formed is False
    assert read_data("{", "wikibase-item").entity is None
    assert read_data("[" * 100_000, "json").well_formed is False


def test_a_record_of_an_item_has_no_content_but_data_and_is_valid() -> None:
    item = replace(
        EXAMPLE,
        revision=text(2, dumped(labels={}), model="wikibase-item"),
        parent=text(1, dumped(), model="wikibase-item"),
    )
    record = enrich(item)
    assert (record.content, record.content_absent, record.delta_absent) == (
        None,
        ContentAbsent.MODEL,
        DeltaAbsent.MODEL,
    )
    assert record.data is not None
    assert record.data_delta is not None
    payload = encode_enriched(record)
    jsonschema_rs.validator_for(closed({**SCHEMA, "examples": []})).validate(orjson.loads(payload))
    assert decode_enriched(payload) == record
    assert enrich(replace(item, parent=text(1, "x", model="wikitext"))).data_delta is None


def test_wikitext_has_no_data() -> None:
    assert (enrich(EXAMPLE).data, enrich(EXAMPLE).data_delta) == (None, None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["labels", "label", "claims", "m", "mainsnak", "property", "datavalue", "value", "id", "rank",
                         "aliases", "sitelinks", "title", "references", "qualifiers", "amount", "time", "text", "type",
                         "numeric-id", "statements", "lemmas", "entity", "redirect"]),
        inner, max_size=6,
    ),
    max_leaves=30,
)  # fmt: skip


@given(VALUES, VALUES, st.sampled_from(sorted(ENTITIES)))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_whatever_the_json_there_is_a_record_and_a_delta(old: Any, new: Any, model: str) -> None:
    before, after = (
        orjson.dumps(old).decode(),
        orjson.dumps({"labels": new, "claims": {"P1": [new, old]}} if old else new).decode(),
    )
    assert read_data(after, model).well_formed
    assert compare_data(before, after, model).byte_delta == len(after.encode()) - len(before.encode())


@given(st.text(max_size=200), st.sampled_from([*sorted(JSON_MODELS), "Scribunto", "css"]))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_whatever_the_text_there_is_a_record(words: str, model: str) -> None:
    assert read_data(words, model).lines == (words.count("\n") + 1 if words else 0)


@pytest.mark.parametrize("depth", [300, 1_010])
def test_json_that_is_nested_deeper_than_python_goes_is_read(depth: int) -> None:
    deep = orjson.Fragment(b"[" * depth + b"]" * depth)
    places: list[Any] = [
        {"mainsnak": {"property": deep, "snaktype": deep}, "rank": deep, "references": deep},
        {"m": [deep, deep, deep, deep], "q": [[0, deep]], "rank": deep},
        *(
            {"mainsnak": {"property": "P1", "datavalue": {"value": value}}}
            for value in (deep, {"x": deep}, *({key: deep} for key in ("id", "amount", "time", "latitude", "text")))
        ),
    ]
    text = dumped(claims={"P1": places}, labels=deep, aliases={"en": deep})
    read = read_data(text, "wikibase-item")
    assert read.entity is not None
    assert len(read.entity.claims) == len(places)
    assert compare_data(dumped(), text, "wikibase-item").entity is not None


def test_no_entity_makes_a_record_that_its_topic_refuses() -> None:
    huge = dumped(
        labels={f"x{n}": {"value": "\x01" * 400} for n in range(3_000)},
        aliases={"en": [{"value": "\x01" * 90} for _ in range(20_000)]},
        claims={"P1": [claim(n, "\x01" * 300, "P1") for n in range(6_000)]},
    )
    record = enrich(
        replace(EXAMPLE, revision=text(2, huge, model="wikibase-item"), parent=text(1, dumped(), model="wikibase-item"))
    )
    assert record.data is not None
    assert record.data.truncated["labels"] == 3_000
    topics = Topics(Settings())
    assert MAX_CHARACTERS < len(encode_enriched(record)) < limits(topics.table())[topics.enriched] * 0.98
