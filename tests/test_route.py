"""What becomes of a message, and where the source reads on."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from conftest import shared_data
from sse_server import canary, page_change, recent_change, tags_change

from processors.cursor import NO_OFFSET, Cursor, stream_of, topics_of_id
from processors.digest import page_partition
from processors.route import Route, Seen, event_id_of_key, lenient_meta, route
from schemas.event import PAGE_CHANGE, Event, Meta, decode_event
from schemas.log import Position

EDITS, CODFW_EDITS = f"eqiad.{PAGE_CHANGE}", f"codfw.{PAGE_CHANGE}"
AT_MS = 1_795_314_219_671


def read(doc: dict[str, Any]) -> Event:
    return decode_event(orjson.dumps(doc))


def meta(offset: int, at_ms: int = AT_MS, topic: str = EDITS) -> Meta:
    return Meta(
        event_id="a", stream=PAGE_CHANGE, domain="d", at_ms=at_ms, topic=topic, partition=0, offset=offset
    )  # fmt: skip


def test_an_event_of_a_page_goes_to_the_partition_of_its_page_under_page_revision_and_event_id() -> None:
    for build in (page_change, tags_change):
        event = read(build(5, AT_MS, page=77))
        went = route(event, (), 12)
        assert isinstance(went, Route)
        assert went.key == f"enwiki:77:5:{event.meta.event_id}".encode()
        assert went.partitions == (page_partition("enwiki", 77, 12),)
        assert event_id_of_key(went.key) == event.meta.event_id


def test_a_log_action_goes_to_every_partition_under_one_key() -> None:
    event = read(recent_change(5, AT_MS, kind="log"))
    assert route(event, (), 3) == Route(key=f"enwiki:::{event.meta.event_id}".encode(), partitions=(0, 1, 2))


def test_other_recent_changes_go_to_one_partition_by_wiki_and_title() -> None:
    went = [route(read(recent_change(n, AT_MS, kind="categorize")), (), 12) for n in (5, 5, 6, 7, 8)]
    assert all(isinstance(each, Route) and len(each.partitions) == 1 for each in went)
    assert went[0] == went[1]
    assert len({each.partitions for each in went if isinstance(each, Route)}) > 1


def test_a_canary_and_another_wiki_are_dropped_under_their_names() -> None:
    assert route(read(canary(1, AT_MS)), (), 3) == "canary"
    assert route(read(page_change(1, AT_MS, wiki="frwiki")), ("enwiki", "dewiki"), 3) == "other_wiki"
    assert isinstance(route(read(page_change(1, AT_MS)), ("enwiki", "dewiki"), 3), Route)


def test_a_canary_is_a_canary_whatever_wikis_are_kept() -> None:
    assert route(read(canary(1, AT_MS)), ("enwiki",), 3) == "canary"


def test_the_keys_of_a_recording_are_unique() -> None:
    keys = set()
    lines = (shared_data() / "events" / "mediawiki.page_change.v1.ndjson").read_bytes().splitlines()
    for line in lines:
        doc = orjson.loads(line)
        if "$schema" in doc and "page_change_kind" in doc:
            went = route(decode_event(line), (), 12)
            assert isinstance(went, Route)
            keys.add(went.key)
    assert len(keys) > 20


def test_a_repeat_is_known_until_as_many_as_are_kept_came_after_it() -> None:
    seen = Seen(3, ["a", "b"])
    assert not seen.add("a")
    assert seen.add("c")
    assert seen.add("d")  # "b" is the oldest: "a" was seen again
    assert not seen.add("a")
    assert seen.add("b")


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"{}", b'{"meta":[]}', b'{"meta":{"topic":1,"partition":0,"offset":1,"dt":"2026-01-01"}}'],
)
def test_a_message_without_a_place_has_no_lenient_meta(payload: bytes) -> None:
    assert lenient_meta(payload) is None


def test_the_place_of_a_message_that_is_no_utf8_or_lacks_a_field_is_still_found() -> None:
    doc = page_change(5, AT_MS)
    doc["meta"] |= {"partition": 0, "offset": 41}
    del doc["meta"]["id"]
    payload = orjson.dumps(doc).replace("Größe".encode(), b"Gr\xf6\xdfe")
    found = lenient_meta(payload)
    assert found is not None
    assert (found.topic, found.offset, found.at_ms) == (EDITS, 41, AT_MS)


def test_a_topic_that_is_none_of_ours_has_no_stream_and_moves_no_cursor() -> None:
    assert stream_of(EDITS) == PAGE_CHANGE
    assert stream_of("eqiad.mediawiki.page-links-change") is None
    cursor = Cursor()
    cursor.move(meta(5, topic="eqiad.eventgate-main.test.event"), AT_MS)
    cursor.move(meta(-1), AT_MS)
    cursor.move(meta(2**63), AT_MS)
    assert cursor.positions == ()


def test_the_cursor_stands_behind_the_last_message_and_its_time_does_not_go_back() -> None:
    cursor = Cursor()
    cursor.move(meta(5), AT_MS + 10)
    cursor.move(meta(6, AT_MS - 3), AT_MS + 10)
    assert cursor.positions == (Position(topic=EDITS, partition=0, next_offset=7, at_ms=AT_MS),)


def test_a_message_from_the_future_does_not_set_the_time_from_which_to_read_on() -> None:
    cursor = Cursor()
    cursor.move(meta(5, AT_MS + 86_400_000), AT_MS)
    assert cursor.positions[0].at_ms == AT_MS


def test_we_resume_by_offset_and_what_never_spoke_by_time_and_never_by_minus_one() -> None:
    cursor = Cursor()
    assert cursor.last_event_id() == ""
    new = cursor.name([(EDITS, 0), (CODFW_EDITS, 0)], AT_MS)
    cursor.move(meta(5), AT_MS)
    assert [position.next_offset for position in new] == [NO_OFFSET, NO_OFFSET]
    assert orjson.loads(cursor.last_event_id()) == [
        {"topic": CODFW_EDITS, "partition": 0, "timestamp": AT_MS - 60_000},
        {"topic": EDITS, "partition": 0, "offset": 6},
    ]


def test_a_topic_named_again_keeps_its_place() -> None:
    cursor = Cursor()
    cursor.move(meta(5), AT_MS)
    assert cursor.name([(EDITS, 0)], AT_MS + 1) == ()
    assert cursor.positions[0].next_offset == 6


@pytest.mark.parametrize(
    ("offset", "later_ms", "agrees"),
    [
        (6, 0, True),
        (16, 5, True),  # offsets that are never served
        (6, -28, True),  # producer clocks
        (5, 5, False),  # before the cursor
        (6, -60_001, False),  # the offset is there, and is another event
        (1006, 5, True),
        (1007, 5, False),  # the server has it no longer, and went on at the end
    ],
)
def test_the_first_message_of_a_topic_must_be_where_we_asked_to_go_on(offset: int, later_ms: int, agrees: bool) -> None:
    cursor = Cursor()
    cursor.move(meta(5), AT_MS)
    assert cursor.agrees(meta(offset, AT_MS + later_ms)) is agrees


def test_on_another_cluster_all_topics_are_resumed_by_time_and_nothing_is_held_against_the_server() -> None:
    cursor = Cursor()
    cursor.move(meta(5), AT_MS)
    cursor.move(meta(8, AT_MS + 7, CODFW_EDITS), AT_MS + 9)
    cursor.forget_offsets()
    assert orjson.loads(cursor.last_event_id()) == [
        {"topic": CODFW_EDITS, "partition": 0, "timestamp": AT_MS + 7 - 60_000},
        {"topic": EDITS, "partition": 0, "timestamp": AT_MS - 60_000},
    ]
    assert cursor.agrees(meta(900_000))
    cursor.move(meta(900_000, AT_MS - 59_000), AT_MS)
    assert (EDITS, 900_001, AT_MS) in [(p.topic, p.next_offset, p.at_ms) for p in cursor.positions]


@pytest.mark.parametrize("sse_id", ["", "7", "{", '["a"]', '[{"topic":1}]', '[{"topic":"eqiad.x","partition":0}]'])
def test_an_sse_id_of_another_form_names_no_topic(sse_id: str) -> None:
    assert topics_of_id(sse_id) == []


def test_the_sse_id_names_every_topic_of_the_subscription() -> None:
    frames = (shared_data() / "events" / "sse" / "page_change.sse").read_text().splitlines()
    first = next(line for line in frames if line.startswith("id:"))
    assert topics_of_id(first.removeprefix("id:")) == [(EDITS, 0), (CODFW_EDITS, 0)]
