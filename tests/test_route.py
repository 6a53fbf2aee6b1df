"""What becomes of a message, and where the source reads on."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from conftest import shared_data
from sse_server import canary, page_change, recent_change, tags_change

from processors.cursor import NO_OFFSET, Cursor, Meets, stream_of, topics_of_id
from processors.digest import page_partition
from processors.route import Route, Seen, Titles, event_id_of_key, lenient_meta, route
from schemas.event import PAGE_CHANGE, RISK_STREAMS, TAGS_CHANGE, Event, Meta, PageChange, RecentChange, decode_event
from schemas.log import Position

EDITS, CODFW_EDITS = f"eqiad.{PAGE_CHANGE}", f"codfw.{PAGE_CHANGE}"
AT_MS = 1_795_314_219_671


def read(doc: dict[str, Any]) -> Event:
    return decode_event(orjson.dumps(doc))


def meta(offset: int, at_ms: int = AT_MS, topic: str = EDITS, event_id: str = "a") -> Meta:
    return Meta(
        event_id=event_id, stream=PAGE_CHANGE, domain="d", at_ms=at_ms, topic=topic, partition=0, offset=offset
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


@pytest.mark.parametrize(
    ("more", "needed"),
    [
        ({"type": "log", "log_type": "patrol", "log_action": "patrol"}, True),
        ({"type": "log", "log_type": "review", "log_action": "approve-i"}, True),
        ({"type": "log", "log_type": "newusers", "log_action": "create"}, False),
        ({"type": "edit", "patrolled": True}, True),
        ({"type": "new", "patrolled": False}, True),
        ({"type": "edit"}, False),
        ({"type": "categorize", "patrolled": True}, False),
    ],
)
def test_of_recent_changes_only_log_actions_about_pages_and_users_and_edits_with_a_patrol_flag_are_needed(
    more: dict[str, Any], needed: bool
) -> None:
    event = read(recent_change(5, AT_MS) | more)
    assert isinstance(route(event, (), 3, all_changes=False), Route) is needed
    assert needed or route(event, (), 3, all_changes=False) == "not_needed"
    assert isinstance(route(event, (), 3), Route)


def test_an_edit_that_was_patrolled_when_it_was_made_goes_to_its_page_where_that_is_known() -> None:
    titles = Titles(most=2)
    edit = read(page_change(5, AT_MS, page=9))
    assert isinstance(edit, PageChange)
    titles.note(edit)
    seen = read(recent_change(9, AT_MS) | {"patrolled": True})
    assert isinstance(seen, RecentChange)
    went = route(edit, (), 12)
    assert isinstance(went, Route)
    for patrols in (False, True):
        there = route(seen, (), 12, titles=titles, patrols=patrols)
        assert isinstance(there, Route)
        assert there.partitions == went.partitions
    elsewhere = read(recent_change(8, AT_MS) | {"patrolled": True})
    for patrols, number in ((False, 1), (True, 12)):
        there = route(elsewhere, (), 12, titles=titles, patrols=patrols)
        assert isinstance(there, Route)
        assert len(there.partitions) == number
    unseen = route(read(recent_change(8, AT_MS) | {"patrolled": False}), (), 12, titles=titles, patrols=True)
    assert isinstance(unseen, Route)
    assert len(unseen.partitions) == 1
    for page in (10, 11):
        titles.note(read(page_change(page, AT_MS, page=page)))
    assert titles.of(seen) is None


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
    assert cursor.positions == (Position(topic=EDITS, partition=0, next_offset=7, at_ms=AT_MS, last_id="a"),)


def test_a_message_from_the_future_does_not_set_the_time_from_which_to_read_on() -> None:
    cursor = Cursor()
    cursor.move(meta(5, AT_MS + 86_400_000), AT_MS)
    assert cursor.positions[0].at_ms == AT_MS


ALL = (PAGE_CHANGE, TAGS_CHANGE)


def entries(cursor: Cursor, streams: tuple[str, ...] = ALL) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(cursor.last_event_id(streams, AT_MS) or "[]")
    return found


def test_we_resume_by_the_offset_of_the_last_message_and_what_never_spoke_by_time_and_never_by_minus_one() -> None:
    cursor = Cursor()
    assert cursor.last_event_id(ALL, AT_MS) == ""
    new = cursor.unknown([(EDITS, 0), (CODFW_EDITS, 0)], AT_MS)
    cursor.take(new)
    cursor.move(meta(5), AT_MS)
    assert [position.next_offset for position in new] == [NO_OFFSET, NO_OFFSET]
    assert entries(cursor, (PAGE_CHANGE,)) == [
        {"topic": CODFW_EDITS, "partition": 0, "timestamp": AT_MS - 60_000},
        {"topic": EDITS, "partition": 0, "offset": 5},
    ]


def test_after_a_message_without_an_id_we_resume_behind_it() -> None:
    cursor = Cursor()
    cursor.move(meta(5, event_id=""), AT_MS)
    assert entries(cursor, (PAGE_CHANGE,)) == [{"topic": EDITS, "partition": 0, "offset": 6}]


def test_a_stream_that_was_not_followed_before_is_asked_for_by_time_in_each_datacentre_we_know() -> None:
    cursor = Cursor()
    cursor.move(meta(5), AT_MS)
    cursor.move(meta(8, topic=CODFW_EDITS), AT_MS)
    added = {e["topic"]: e for e in entries(cursor, (PAGE_CHANGE, RISK_STREAMS[0]))}
    assert added.keys() == {EDITS, CODFW_EDITS, f"eqiad.{RISK_STREAMS[0]}", f"codfw.{RISK_STREAMS[0]}"}
    assert added[f"eqiad.{RISK_STREAMS[0]}"]["timestamp"] == AT_MS - 60_000


def test_a_stream_that_is_not_followed_any_more_is_not_asked_for() -> None:
    cursor = Cursor()
    cursor.move(meta(5), AT_MS)
    cursor.move(meta(8, topic=f"eqiad.{TAGS_CHANGE}"), AT_MS)
    assert [e["topic"] for e in entries(cursor, (TAGS_CHANGE,))] == [f"eqiad.{TAGS_CHANGE}"]


def test_a_topic_met_before_keeps_its_place() -> None:
    cursor = Cursor()
    cursor.move(meta(5), AT_MS)
    assert cursor.unknown([(EDITS, 0)], AT_MS + 1) == ()
    cursor.take([Position(topic=EDITS, partition=0, next_offset=NO_OFFSET, at_ms=0)])
    assert cursor.positions[0].next_offset == 6


@pytest.mark.parametrize(
    ("offset", "event_id", "meets"),
    [
        (5, "a", Meets.LAST),
        (5, "b", Meets.OTHER),  # the same offset of another cluster
        (6, "b", Meets.OTHER),  # the server does not have our last message any more
        (6, "a", Meets.OTHER),
        (4, "a", Meets.OTHER),
    ],
)
def test_the_last_message_must_come_again_on_a_new_connection(offset: int, event_id: str, meets: Meets) -> None:
    cursor = Cursor()
    cursor.move(meta(5), AT_MS)
    assert cursor.meets(meta(offset, AT_MS, event_id=event_id)) is meets


@pytest.mark.parametrize(
    ("offset", "later_ms", "near"),
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
def test_where_the_last_message_has_no_id_the_next_must_be_near(offset: int, later_ms: int, near: bool) -> None:
    cursor = Cursor()
    cursor.move(meta(5, event_id=""), AT_MS)
    assert cursor.meets(meta(offset, AT_MS + later_ms)) is (Meets.NEXT if near else Meets.OTHER)


def test_on_another_cluster_all_topics_are_resumed_by_time_and_nothing_is_held_against_the_server() -> None:
    cursor = Cursor()
    cursor.move(meta(5), AT_MS)
    cursor.move(meta(8, AT_MS + 7, CODFW_EDITS), AT_MS + 9)
    cursor.forget_offsets()
    assert entries(cursor, (PAGE_CHANGE,)) == [
        {"topic": CODFW_EDITS, "partition": 0, "timestamp": AT_MS + 7 - 60_000},
        {"topic": EDITS, "partition": 0, "timestamp": AT_MS - 60_000},
    ]
    assert cursor.meets(meta(900_000)) is Meets.NEXT
    cursor.move(meta(900_000, AT_MS - 59_000), AT_MS)
    assert (EDITS, 900_001, AT_MS) in [(p.topic, p.next_offset, p.at_ms) for p in cursor.positions]


@pytest.mark.parametrize(
    ("first_ms", "opened_ms", "lost"),
    [
        (-59_000, 10**9, None),  # what was read before comes again, from a minute back
        (0, 10**9, None),
        (1, 10**9, (0, 1)),
        (400_000, 10**9, (0, 400_000)),
        (400_000, 300_000, (0, 300_000)),  # what came after the connection began is not lost
        (400_000, -5, None),
    ],
)
def test_a_server_that_goes_on_behind_our_last_message_after_a_rewind_has_lost_what_lay_between(
    first_ms: int, opened_ms: int, lost: tuple[int, int] | None
) -> None:
    cursor = Cursor()
    cursor.move(meta(5), AT_MS)
    first = meta(900, AT_MS + first_ms)
    assert cursor.lost(first, AT_MS + opened_ms) is None  # offsets hold: holes are normal
    cursor.forget_offsets()
    found = Cursor(cursor.positions).lost(first, AT_MS + opened_ms)
    assert found == (None if lost is None else (AT_MS + lost[0], AT_MS + lost[1]))
    cursor.move(first, AT_MS + 10**9)
    assert cursor.lost(meta(901, AT_MS + 10**6), AT_MS + 10**9) is None


def test_a_topic_that_never_spoke_has_nothing_to_lose() -> None:
    cursor = Cursor(Cursor().unknown([(EDITS, 0)], AT_MS))
    cursor.forget_offsets()
    assert cursor.lost(meta(7, AT_MS + 10**6), AT_MS + 10**9) is None


@pytest.mark.parametrize("sse_id", ["", "7", "{", '["a"]', '[{"topic":1}]', '[{"topic":"eqiad.x","partition":0}]'])
def test_an_sse_id_of_another_form_names_no_topic(sse_id: str) -> None:
    assert topics_of_id(sse_id) == []


def test_the_sse_id_names_every_topic_of_the_subscription() -> None:
    frames = (shared_data() / "events" / "sse" / "page_change.sse").read_text().splitlines()
    first = next(line for line in frames if line.startswith("id:"))
    assert topics_of_id(first.removeprefix("id:")) == [(EDITS, 0), (CODFW_EDITS, 0)]
