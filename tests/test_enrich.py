"""The enriched record: what is absent, false or zero, the same bytes for the same texts, and its bounds."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest

from processors.enrich import MAX_ITEMS, enrich
from processors.scan import MAX_SIZE
from schemas.content import Content, Html, Text, decode_content, encode_content
from schemas.enriched import ContentAbsent, DeltaAbsent, Enriched, decode_enriched, encode_enriched
from schemas.event import PAGE_CHANGE, TAGS_CHANGE, InvalidEvent
from schemas.log import InvalidRecord
from schemas.reasons import Answer
from streams.settings import Settings
from streams.topics import Topics, limits

ROOT = Path(__file__).parents[1]
RECORDED = ROOT.parent / "shared" / "data" / "events" / "mediawiki.page_change.v1.ndjson"
SCHEMA = orjson.loads((ROOT / "schemas" / "enriched" / "1.0.0.json").read_bytes())

EVENT: dict[str, Any] = {
    "$schema": "/mediawiki/page/change/1.2.0",
    "meta": {
        "id": "1a3dbb30-0b5c-4d1c-9d6f-6f9e1c6a7e21",
        "stream": PAGE_CHANGE,
        "domain": "en.wikipedia.org",
        "dt": "2026-11-22T02:23:40.671Z",
        "uri": "https://en.wikipedia.org/wiki/Loch_Ness",
        "topic": "eqiad.mediawiki.page_change.v1",
        "partition": 0,
        "offset": 5_000_000_000,
    },
    "page_change_kind": "edit",
    "dt": "2026-11-22T02:23:39Z",
    "wiki_id": "enwiki",
    "page": {"page_id": 17, "page_title": "Loch_Ness", "namespace_id": 0, "is_redirect": False},
    "revision": {
        "rev_id": 2_550_088_642,
        "rev_parent_id": 2_550_088_641,
        "rev_dt": "2026-11-22T02:23:39Z",
        "rev_size": 195,
        "rev_sha1": "000000000000000000000000000000a",
        "is_minor_edit": True,
        "comment": "",
        "editor": {"user_text": "~2026-12", "user_id": 9, "is_bot": False, "is_temp": True, "groups": ["*", "temp"]},
        "content_slots": {"main": {"content_model": "wikitext", "content_size": 195}},
    },
}
NEW = (
    "{{Infobox lake|name=Loch Ness|depth={{convert|227|m}}}}\n'''Loch Ness''' is a [[loch|lake]] in "
    '[[Scotland]].<ref name="m">[https://example.org Map]</ref>\n\n== Depth ==\nIt is deep.\n[[Category:Lochs|Ness]]'
)
OLD = NEW.replace("|227|", "|230|").replace(" in [[Scotland]]", "")


def text(rev_id: int, words: str | None, answer: Answer = Answer.TEXT, model: str | None = "wikitext") -> Text:
    return Text(rev_id=rev_id, answer=answer, text=words, model=model, tags=("mw-undo",) if words else ())


EXAMPLE = Content(
    wiki="enwiki",
    page_id=17,
    rev_id=2_550_088_642,
    event=orjson.dumps(EVENT),
    revision=text(2_550_088_642, NEW),
    parent=text(2_550_088_641, OLD),
    source="https://en.wikipedia.org/w/api.php",
)


def of(words: str, parent: str | None = None) -> Enriched:
    old = None if parent is None else text(1, parent)
    return enrich(replace(EXAMPLE, revision=text(2, words), parent=old))


def with_event(**changes: Any) -> Content:
    return replace(EXAMPLE, event=orjson.dumps(EVENT | changes))


def with_revision(**changes: Any) -> Content:
    return with_event(revision=EVENT["revision"] | changes)


# The schema file


def test_the_schema_names_topic_key_writer_and_reader_and_its_example_is_what_enrich_makes() -> None:
    assert (SCHEMA["$id"], SCHEMA["title"]) == ("/sluice/enriched/1.0.0", "sluice.enriched.v1")
    assert all(word in SCHEMA["description"] for word in ("wiki:page:rev", "enrich", "publish", "Compatibility"))
    example = orjson.loads(encode_enriched(enrich(EXAMPLE)))
    assert SCHEMA["examples"] == [example]
    jsonschema_rs.validator_for(SCHEMA).validate(example)


def closed(schema: Any) -> Any:
    """The schema without room for fields that it does not name: what we write today is all in it."""
    if isinstance(schema, dict):
        walked = {key: closed(value) for key, value in schema.items()}
        if "properties" in walked and "required" in walked:
            walked["additionalProperties"] = False
        return walked
    return [closed(item) for item in schema] if isinstance(schema, list) else schema


def test_every_field_that_is_written_is_in_the_schema_and_every_record_is_valid() -> None:
    validator = jsonschema_rs.validator_for(closed({**SCHEMA, "examples": []}))
    contents = [
        EXAMPLE,
        replace(EXAMPLE, parent=None),
        replace(EXAMPLE, revision=text(2, None, Answer.HIDDEN)),
        with_revision(is_editor_visible=False, is_comment_visible=False),
        replace(EXAMPLE, revision=text(2, "#REDIRECT [[x#y]]")),
    ]
    for content in contents:
        validator.validate(orjson.loads(encode_enriched(enrich(content))))


def test_recorded_events_give_valid_records() -> None:
    if not RECORDED.is_file():
        pytest.skip("the shared events are not here")
    validator = jsonschema_rs.validator_for(SCHEMA)
    made = 0
    for line in RECORDED.read_bytes().splitlines():
        event = orjson.loads(line)
        try:
            record = enrich(replace(EXAMPLE, event=line))
        except InvalidEvent:
            continue
        validator.validate(orjson.loads(encode_enriched(record)))
        assert record.change.page.title == event["page"]["page_title"].replace("_", " ")
        made += 1
    assert made >= 25


# Bytes


def test_the_same_content_gives_the_same_bytes_with_sorted_keys() -> None:
    payload = encode_enriched(enrich(EXAMPLE))
    assert payload == encode_enriched(enrich(decode_content(encode_content(EXAMPLE))))
    assert payload == orjson.dumps(orjson.loads(payload), option=orjson.OPT_SORT_KEYS)


def test_the_same_content_gives_the_same_bytes_in_a_process_with_another_hash_seed() -> None:
    words = "".join(f"[[Loch {n}]]{{{{cn{n}}}}}" for n in range(20))
    content = replace(EXAMPLE, revision=text(2, NEW + words), html=Html(answer=Answer.TEXT, text=f"<p>{words}</p>"))
    code = (
        "import sys\nfrom processors.enrich import enrich\nfrom schemas.content import decode_content\n"
        "from schemas.enriched import encode_enriched\n"
        "sys.stdout.buffer.write(encode_enriched(enrich(decode_content(sys.stdin.buffer.read()))))"
    )
    # Ours is another one each time.
    env = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=encode_content(content), env=env, capture_output=True, check=True)
    assert done.stdout == encode_enriched(enrich(content))


def test_what_is_encoded_decodes_to_the_same_record() -> None:
    for content in (EXAMPLE, replace(EXAMPLE, parent=None), with_revision(is_editor_visible=False)):
        record = enrich(content)
        assert decode_enriched(encode_enriched(record)) == record
    assert enrich(EXAMPLE).key == b"enwiki:17:2550088642"


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"\xff", b'{"$schema":"/sluice/enriched/2.0.0"}'])
def test_what_is_no_enriched_record_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidRecord):
        decode_enriched(payload)


def test_an_unknown_field_is_ignored() -> None:
    payload = encode_enriched(enrich(EXAMPLE))
    doc = orjson.loads(payload)
    doc["new"] = doc["change"]["new"] = doc["content"]["links"][0]["new"] = 1
    assert decode_enriched(orjson.dumps(doc)) == decode_enriched(payload)


# Absent, false, zero


def test_a_comment_may_be_empty_hidden_or_absent() -> None:
    assert enrich(EXAMPLE).change.comment == ""
    without = {key: value for key, value in EVENT["revision"].items() if key != "comment"}
    assert enrich(with_event(revision=without)).change.comment is None
    hidden = enrich(with_revision(comment="secret", is_comment_visible=False))
    assert (hidden.change.comment, hidden.change.visible.comment) == (None, False)


def test_a_hidden_editor_is_none_even_if_the_event_names_one() -> None:
    record = enrich(with_revision(is_editor_visible=False))
    assert (record.change.editor, record.change.visible.editor) == (None, False)
    assert b"~2026-12" not in encode_enriched(record)


def test_no_parent_is_zero_where_a_page_was_made_and_unknown_elsewhere() -> None:
    without = {key: value for key, value in EVENT["revision"].items() if key != "rev_parent_id"}
    made = enrich(replace(with_event(revision=without, page_change_kind="create"), parent=None))
    assert (made.change.revision.parent_id, made.delta, made.delta_absent) == (0, None, DeltaAbsent.NO_PARENT)
    assert enrich(with_event(revision=without)).change.revision.parent_id is None


def test_tags_are_none_where_nobody_was_asked_and_empty_where_there_are_none() -> None:
    assert enrich(EXAMPLE).change.tags == ("mw-undo",)
    hidden = replace(EXAMPLE, revision=text(2, None, Answer.HIDDEN))
    assert enrich(hidden).change.tags == ()
    assert enrich(replace(EXAMPLE, revision=text(2, None, Answer.NOT_ASKED))).change.tags is None


@pytest.mark.parametrize("answer", [answer for answer in Answer if answer is not Answer.TEXT])
def test_without_text_content_is_none_and_says_the_answer(answer: Answer) -> None:
    record = enrich(replace(EXAMPLE, revision=text(2, None, answer)))
    assert (record.content, record.content_absent) == (None, ContentAbsent(answer.value))
    assert (record.delta, record.delta_absent) == (None, DeltaAbsent.NO_TEXT)
    assert (record.provenance.text_sha1, record.provenance.text_sha256) == (None, None)
    parentless = enrich(replace(EXAMPLE, parent=text(1, None, answer)))
    assert (parentless.delta, parentless.delta_absent) == (None, DeltaAbsent(answer.value))
    assert parentless.content is not None


def test_what_is_no_wikitext_is_not_parsed() -> None:
    record = enrich(replace(EXAMPLE, revision=text(2, '{"a": 1}', model="json")))
    assert (record.content, record.content_absent, record.change.revision.model) == (None, ContentAbsent.MODEL, "json")
    assert record.provenance.text_sha256 is not None
    parent = enrich(replace(EXAMPLE, parent=text(1, "{}", model="json")))
    assert parent.delta_absent is DeltaAbsent.MODEL


def test_an_empty_page_is_known_to_have_nothing_on_it() -> None:
    content = of("").content
    assert content is not None
    assert (content.links, content.plain_text_length, content.abstract, content.redirect) == ((), 0, "", None)


def test_what_is_no_page_change_is_refused() -> None:
    tags = {
        "meta": EVENT["meta"] | {"stream": TAGS_CHANGE}, "database": "enwiki", "page_id": 1, "rev_id": 2, "tags": [],
        "prior_state": {"tags": []},
    }  # fmt: skip
    with pytest.raises(InvalidRecord):
        enrich(replace(EXAMPLE, event=orjson.dumps(tags)))
    with pytest.raises(InvalidEvent):
        enrich(replace(EXAMPLE, event=b"{}"))


# Bounds


def test_long_lists_are_cut_and_say_how_many_there_were() -> None:
    record = of("[[a]]" * (MAX_ITEMS + 5), "")
    assert record.content is not None
    assert record.delta is not None
    assert (len(record.content.links), record.content.truncated) == (MAX_ITEMS, {"links": MAX_ITEMS + 5})
    assert record.delta.truncated == {"links_added": MAX_ITEMS + 5}


def test_a_parent_stays_within_a_list_that_was_cut() -> None:
    content = of("{{a|{{b}}}}" * MAX_ITEMS).content
    assert content is not None
    assert all(t.parent is None or t.parent < len(content.templates) for t in content.templates)


def test_what_names_a_template_that_the_record_no_longer_holds_is_left_out() -> None:
    late = "<ref>{{cite}}</ref>{{Infobox lake|a=b}}{{Citation needed}}"
    content = of(late + "{{a}}" * MAX_ITEMS + late).content
    assert content is not None
    assert [len(reference.citations) for reference in content.references] == [1, 0]
    assert (len(content.infoboxes), len(content.maintenance)) == (1, 1)


def test_a_file_of_a_gallery_that_the_record_no_longer_holds_names_none() -> None:
    content = of(f"<gallery caption={'x' * 500}>\na.jpg\n</gallery>" * 50 + "[[File:b.jpg]]").content
    assert content is not None
    kept = len(content.galleries)
    assert (kept < 50, len(content.media)) == (True, 51)
    assert [m.gallery for m in content.media] == [*range(kept), *[None] * (51 - kept)]


HUGE = {
    "plain text": "\x01",
    "links": "[[\x01\x01\x01\x01\x01\x01\x01\x01|" + "\x01" * 200 + "]]",
    "values": "{{a|\x01|\x01=\x01}}",
    "empty values": "{{a" + "|" * 900_000 + "}}",
    "nested": "{{a|" * 90 + "\x01" * 2_000 + "}}" * 90,
    "references": "<ref>" + "\x01" * 900 + "</ref>",
    "sections": "\n== " + "\x01" * 200 + " ==",
    "external": "[http://a.org/ " + "\x01" * 900 + "]",
    "galleries": "<gallery>\nFile:a.jpg|" + "\x01" * 900 + "\n</gallery>",
}
# A page full of these takes seconds, and a quarter of one reaches the bounds.
SLOW = {"values", "empty values", "nested"}


@pytest.mark.parametrize("name", sorted(HUGE))
def test_no_page_makes_a_record_that_its_topic_refuses(name: str) -> None:
    piece = HUGE[name]
    words = piece * (MAX_SIZE // len(piece) // (4 if name in SLOW else 1))
    topics = Topics(Settings())
    size = len(encode_enriched(of(words, "")))
    assert size < limits(topics.table())[topics.enriched] * 0.98


def test_a_page_of_everything_makes_a_record_that_its_topic_takes() -> None:
    pieces = [piece for name, piece in HUGE.items() if name not in SLOW]
    share = MAX_SIZE // len(pieces)
    words = "\n".join(piece * (share // len(piece)) for piece in pieces)
    topics = Topics(Settings())
    assert len(encode_enriched(of(words, ""))) < limits(topics.table())[topics.enriched] * 0.98
