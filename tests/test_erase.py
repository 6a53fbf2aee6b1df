"""Erasure in the log: what is left, who is erased, what goes from the broker, and that a replay decides the same."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from conftest import MakeSettings, in_log_files, produce, read_all, shared_data
from sse_server import SseServer, canaries, page_change, recent_change
from test_source import running, until

from processors import remembered
from processors.digest import user_key
from processors.hear import hear
from processors.news import News, hides_or_shows
from processors.remembered import Remembered
from processors.shard import Shard
from processors.skeleton import Hidden, Shown, as_shown, concerns, hidden_by, mentions, shown_again, skeleton, stays
from schemas.content import record_key
from schemas.deadletter import DeadLetter
from schemas.decision import encode_decision
from schemas.event import PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, Canary, PageChange, decode_event, rfc3339
from schemas.log import KIND_CONTROL, KIND_EVENT, KIND_TICK, Policies, Policy, Tick, encode_policies, encode_tick
from schemas.reasons import SetAside, Step
from streams import source_log
from streams.capture import capture, read_capture, replay
from streams.kafka import Out, header, letter_out
from streams.settings import Settings
from streams.topics import Topics

AT_MS = 1_795_314_219_671
SECRET = "a-telephone-number"
CULPRIT = "Whoever Wrote It"


SEEN = dict.fromkeys(("text", "user", "comment"), True)


def edit(n: int, *, page: int = 7, user: str = CULPRIT, prior: int | None = None, **more: Any) -> dict[str, Any]:
    """An edit whose comment, and that of the one before, says too much."""
    doc = page_change(n, AT_MS + n, page=page)
    doc["revision"] |= {
        "comment": SECRET,
        "rev_sha1": f"{n:031}",
        "editor": {"user_text": user, "groups": ["*"]},
    } | more
    doc["meta"] |= {"uri": f"https://en.wikipedia.org/{SECRET}"}
    if prior is not None:
        doc["prior_state"] = {"revision": {"rev_id": prior, "comment": SECRET, "rev_sha1": f"{prior:031}"}}
    return doc


def hide(n: int, *, page: int = 7, at: int = 100) -> dict[str, Any]:
    return {
        "$schema": "/mediawiki/revision/visibility-change/1.0.0",
        "meta": page_change(n, AT_MS + at)["meta"]
        | {"id": f"hide-{n}", "stream": VISIBILITY_CHANGE, "topic": f"eqiad.{VISIBILITY_CHANGE}"},
        "database": "enwiki",
        "page_id": page,
        "rev_id": n,
        "rev_timestamp": rfc3339(AT_MS + n),
        "comment": SECRET,
        "performer": {"user_text": "An Admin"},
        "visibility": {"text": False, "user": True, "comment": False},
        "prior_state": {"visibility": {"text": True, "user": True, "comment": True}},
    }


def show(n: int, *, page: int = 7, at: int = 200) -> dict[str, Any]:
    """A revision that was hidden is before readers again."""
    doc = hide(n, page=page, at=at)
    doc["meta"] |= {"id": f"show-{n}"}
    return doc | {"visibility": SEEN, "prior_state": {"visibility": doc["visibility"]}}


def undelete(n: int, *, page: int, at: int) -> dict[str, Any]:
    doc = edit(n, page=page) | {"page_change_kind": "undelete"}
    doc["meta"] |= {"id": f"undelete-{page}", "dt": rfc3339(AT_MS + at)}
    return doc


@pytest.fixture
async def erasing(make_settings: MakeSettings, server: SseServer) -> Settings:
    """Settings of a source that looks often for what was hidden."""
    return await make_settings(source=server.url, since="earliest", tick_seconds=0.05, erase_seconds=0.1)


def dumps(doc: dict[str, Any]) -> bytes:
    return orjson.dumps(doc)


def test_a_skeleton_keeps_ids_hashes_times_and_flags_and_no_text_comment_or_name() -> None:
    whole = decode_event(dumps(edit(5, is_minor_edit=True)))
    left = skeleton(dumps(edit(5, is_minor_edit=True)), {5})
    assert SECRET.encode() not in left
    assert CULPRIT.encode() not in left
    event = decode_event(left)
    assert isinstance(event, PageChange)
    assert isinstance(whole, PageChange)
    assert (event.meta, event.rev_sha1, event.rev_ms, event.is_minor) == (
        whole.meta,
        whole.rev_sha1,
        whole.rev_ms,
        True,
    )
    assert event.editor is not None
    assert (event.editor.user_text, event.editor.key) == ("", user_key("enwiki", CULPRIT))
    assert skeleton(left, {5}) == left


def test_of_the_successor_only_the_prior_state_is_reduced() -> None:
    left = orjson.loads(skeleton(dumps(edit(6, prior=5)), {5}))
    assert left["revision"]["comment"] == SECRET
    assert left["prior_state"] == {"revision": {"rev_id": 5, "rev_sha1": f"{5:031}"}}


@pytest.mark.parametrize(
    ("key", "doc", "wanted"),
    [
        (b"enwiki:7:5:a", edit(5), True),
        (b"enwiki:7:6:a", edit(6, prior=5), True),
        (b"enwiki:7:6:a", edit(6, prior=4), False),
        (b"dewiki:7:5:a", edit(5), False),
        (b"enwiki:8:5:a", edit(5, page=8), False),
        (b"enwiki::5:a", recent_change(5, AT_MS), True),
        (b"enwiki:::a", recent_change(5, AT_MS, kind="log"), False),
    ],
)
def test_a_record_is_concerned_if_it_is_about_the_revision_or_repeats_it_in_its_prior_state(
    key: bytes, doc: dict[str, Any], wanted: bool
) -> None:
    assert concerns(key, dumps(doc), {("enwiki", 7): {5}}) is wanted


def test_a_suppressed_deletion_hides_the_whole_page_and_an_ordinary_one_nothing() -> None:
    gone = edit(5) | {"page_change_kind": "delete"}
    assert hidden_by(dumps(gone | {"performer": {"user_text": "An Admin"}})) is None
    flags = {"is_content_visible": False, "is_editor_visible": False, "is_comment_visible": False}
    gone["revision"] |= flags
    found = hidden_by(dumps(gone))
    assert found is not None
    assert (found.page_id, found.rev_id) == (7, None)
    shown = hide(5)
    shown["visibility"] = {"text": True, "user": True, "comment": True}
    assert hidden_by(dumps(shown)) is None


def recorded() -> Iterator[bytes]:
    packed = gzip.decompress((shared_data() / "recording" / "stream.sse.gz").read_bytes())
    return (line[5:].strip() for line in packed.splitlines() if line.startswith(b"data:"))


def test_a_recording_of_which_nothing_but_skeletons_is_left_is_decided_the_same() -> None:
    rules = Policies(policies=(Policy(name="live", hold_seconds=0), Policy(name="fast", hold_seconds=60)))
    shards = Shard(), Shard()
    for shard in shards:
        shard.apply(KIND_CONTROL, encode_policies(rules))
    made: tuple[list[bytes], list[bytes]] = ([], [])
    for number, data in enumerate(recorded()):
        event = decode_event(data)
        tick = encode_tick(
            Tick(
                number=number,
                heard_ms=dict.fromkeys((PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE), event.meta.at_ms),
                cursor=(),
            )
        )
        bare = data if isinstance(event, Canary) else skeleton(data, {None})
        for shard, value, decisions in zip(shards, (data, bare), made, strict=True):
            for kind, each in ((KIND_EVENT, value), (KIND_TICK, tick)):
                decisions += [encode_decision(d) for group in shard.apply(kind, each) for d in group.decisions]
    assert made[0] == made[1]
    assert len(made[0]) > 1000


@pytest.mark.kafka
async def test_what_is_hidden_goes_from_the_log_and_the_proof_names_what_went(
    erasing: Settings,
    server: SseServer,
) -> None:
    await server.add(edit(5), edit(6, prior=5, user="Another"), edit(9, page=8))
    async with running(erasing):
        await until(erasing, lambda log: len(log.events) == 3)
        await server.add(hide(5))
        log = await until(erasing, lambda log: bool(kinds(log, b"erasure")))
    proof = orjson.loads(kinds(log, b"erasure")[0].value)
    assert (proof["cause"], proof["rev_id"]) == ("hide-5", 5)
    reduced = {r.key for r in kinds(log, b"skeleton")}
    assert reduced == {key_of(edit(5), 5), key_of(edit(6), 6), b"enwiki:7:5:hide-5"}
    assert {each["key"].encode() for each in proof["records"]} == reduced
    assert not any(b"a-tele" in r.value for r in kinds(log, b"skeleton") if r.key != key_of(edit(6), 6))
    places = {r.key: int((header(r, "place") or b"").split(b":")[0]) for r in kinds(log, b"skeleton")}
    assert places == {r.key: r.offset for r in log.events if r.key in reduced}


def suppress(n: int, *, page: int, at: int = 101) -> dict[str, Any]:
    """The whole page goes, with everything about its last revision."""
    doc = edit(n, page=page) | {"page_change_kind": "delete"}
    flags = {"is_content_visible": False, "is_editor_visible": False, "is_comment_visible": False}
    doc["meta"] |= {"id": f"suppress-{page}", "dt": rfc3339(AT_MS + at)}
    doc["revision"] = {"rev_id": n, "rev_dt": doc["dt"]} | flags
    return doc


@pytest.mark.kafka
async def test_the_edit_after_a_hidden_one_stays_itself_also_when_another_page_is_suppressed_at_the_same_time(
    erasing: Settings,
    server: SseServer,
) -> None:
    await server.add(edit(5), edit(6, prior=5, user="Another"), edit(9, page=8), edit(10, page=8, prior=9))
    await server.add(recent_change(9, AT_MS), hide(5), suppress(10, page=8))
    async with running(erasing.with_(recentchange="all")):
        recent = f"enwiki::9:{recent_change(9, AT_MS)['meta']['id']}".encode()
        gone = {key_of(edit(5), 5), key_of(edit(9, page=8), 9), key_of(edit(10, page=8), 10), recent}
        log = await until(erasing, lambda log: gone <= {r.key for r in kinds(log, b"skeleton")})
        log = await until(erasing, lambda log: key_of(edit(6), 6) in {r.key for r in kinds(log, b"skeleton")})
    left = {r.key: r.value for r in kinds(log, b"skeleton")}
    assert stays(left[key_of(edit(6), 6)])
    assert not any(stays(left[key]) for key in gone)


def test_what_is_shown_again_is_asked_for_by_the_event_that_shows_it_also_where_its_parent_is_hidden() -> None:
    bare = skeleton(dumps(edit(5, is_content_visible=False)), {5})
    again = shown_again(bare, "show-5")
    assert (stays(bare), stays(again)) == (False, True)
    assert as_shown(bare) == bare
    event = decode_event(as_shown(again))
    assert isinstance(event, PageChange)
    assert (event.meta.event_id, event.rev_id, event.all_visible, event.comment) == ("show-5", 5, True, None)
    # In the log it stays what it was: a replay hears of the hiding that the edit began with.
    assert hear(again) == hear(bare)
    assert skeleton(again, {5}) == bare
    after = shown_again(skeleton(dumps(edit(6, prior=5)), {6}), "show-6")
    assert orjson.loads(as_shown(skeleton(after, {5})))["meta"]["id"] == "show-6"


def test_what_is_shown_stays_so_until_it_or_its_page_is_hidden_and_what_follows_that_is_left_for_later() -> None:
    news = News()
    for rev, page in ((5, 7), (6, 7), (9, 8)):
        event = hides_or_shows(dumps(show(rev, page=page)))
        assert isinstance(event, Shown)
        assert not news.contradicts(event)
        news.show(event, 100 + rev, erased=True)
    for doc in (hide(5, at=300), suppress(9, page=8)):
        hiding = hides_or_shows(dumps(doc))
        assert isinstance(hiding, Hidden)
        news.hide(hiding)
    assert {place: each.offset for place, each in news.shown.items()} == {("enwiki", 7, 6): 106}
    assert news.contradicts(event)
    assert hides_or_shows(dumps(edit(5))) is None


@pytest.mark.kafka
async def test_the_skeleton_of_what_is_shown_again_is_written_once_more_and_after_another_hiding_it_is_bare(
    erasing: Settings,
    server: SseServer,
) -> None:
    # One after the other, and all in one look; 9 was never hidden, and 6 has its own text again.
    await server.add(edit(5), edit(6, page=8), edit(9, page=9), hide(5), show(5), show(9, page=9))
    await server.add(suppress(6, page=8, at=102), undelete(6, page=8, at=103))
    async with running(erasing):
        log = await until(erasing, lambda log: b"show-5" in {header(r, "shown") for r in log.records})
        again = hide(5, at=300)
        again["meta"] |= {"id": "hide-again"}
        await server.add(again)
        log = await until(erasing, lambda log: len(kinds(log, b"erasure")) == 3)
    left = [(r.key, header(r, "shown"), stays(r.value)) for r in kinds(log, b"skeleton") if b"page_change" in r.key]
    five, six = key_of(edit(5), 5), key_of(edit(6, page=8), 6)
    assert [each for each in left if each[0] == five] == [
        (five, None, False),
        (five, b"show-5", True),
        (five, None, False),
    ]
    assert [each for each in left if each[0] != five] == [(six, b"undelete-8", False)]
    places = {header(r, "place") for r in kinds(log, b"skeleton") if r.key == five}
    assert len(places) == 1


@pytest.mark.kafka
async def test_what_two_streams_report_as_hidden_is_reduced_once(erasing: Settings, server: SseServer) -> None:
    await server.add(edit(5), hide(5))
    async with running(erasing):
        log = await until(erasing, lambda log: len(kinds(log, b"erasure")) == 1)
        before = len(kinds(log, b"skeleton"))
        again = hide(5, at=200)
        again["meta"]["id"] = "hide-again"
        await server.add(again)
        log = await until(erasing, lambda log: len(kinds(log, b"erasure")) == 2)
    # Of the second report itself.
    assert len(kinds(log, b"skeleton")) == before + 1


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (b'{"wiki_id":"enwiki","revision":{"rev_id":5}}', True),
        (b'{"database" : "enwiki", "rev_id" : 5, torn', True),
        (b'{"wiki":"enwiki","revision":{"rev_id":6,"rev_parent_id":5}}', True),
        (b'{"wiki":"enwiki","parent":{"rev_id":5,"text":"x"}}', True),
        (b'{"wiki":"enwiki","rev_id":51}', False),
        (b'{"wiki":"enwiki","page_id":5}', False),
        (b'{"wiki":"dewiki","rev_id":5}', False),
        (b'{"wiki":"dewiki","page_id":8}', True),
        (b'{"wiki":"dewiki","page_id":9}', False),
    ],
)
def test_a_dead_letter_that_names_a_hidden_revision_or_page_is_found_whatever_is_wrong_with_it(
    payload: bytes, wanted: bool
) -> None:
    assert mentions(payload, {("enwiki", 7): {5}, ("dewiki", 8): {None}}) is wanted


def test_what_was_hidden_is_remembered_by_page_and_revision_until_it_is_shown_again_or_long_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = Remembered()
    proof = {
        "wiki": "enwiki",
        "page_id": 8,
        "rev_id": None,
        "records": [{"key": "enwiki:8:9:a"}, {"key": "enwiki::9:b"}],
    }
    known.learn(proof)
    known.add({("enwiki", 7): {5}})
    assert known.concerning(b"enwiki:7:5:a", dumps(edit(5)))
    assert known.concerning(b"enwiki::9:a", dumps(recent_change(9, AT_MS)))
    assert known.concerning(key_of(edit(6, prior=5), 6), dumps(edit(6, prior=5)))
    # Of a hidden page what it had; it may be there again, and be edited.
    assert not known.concerning(b"enwiki:8:77:a", dumps(edit(77, page=8)))
    assert not known.concerning(b"tick:1", b"")
    known.shown("enwiki", 7, 5)
    assert not known.concerning(b"enwiki:7:5:a", dumps(edit(5)))
    monkeypatch.setattr(remembered, "KNOWN_PAGES", 1)
    known.add({("enwiki", 7): {6}})
    assert set(known.revisions) == {("enwiki", 7)}
    assert not known.concerning(b"enwiki::9:a", dumps(recent_change(9, AT_MS)))


@pytest.mark.kafka
async def test_what_comes_after_its_hiding_is_reduced_as_well_also_by_another_process(
    erasing: Settings,
    server: SseServer,
) -> None:
    await server.add(edit(9, page=8), hide(5))
    async with running(erasing):
        await until(erasing, lambda log: bool(kinds(log, b"erasure")))
    # Streams have no order among each other: the edit itself comes now; then it is shown again.
    late, after = edit(5), edit(6, prior=5, user="Another")
    await server.add(late, after)
    async with running(erasing):
        wanted = {key_of(late, 5), key_of(after, 6)}
        log = await until(erasing, lambda log: wanted <= {r.key for r in kinds(log, b"skeleton")})
        log = await until(erasing, lambda log: len(kinds(log, b"erasure")) == 3)
        left = {r.key: r.value for r in kinds(log, b"skeleton")}
        assert SECRET.encode() not in left[key_of(late, 5)]
        assert stays(left[key_of(after, 6)])
        assert {orjson.loads(r.value)["rev_id"] for r in kinds(log, b"erasure")} == {5}
        again = edit(5)
        again["meta"] |= {"id": "again"}
        await server.add(show(5), again, edit(11, page=9), hide(11, page=9, at=400))
        log = await until(erasing, lambda log: len(kinds(log, b"erasure")) == 4)
    assert b"enwiki:7:5:again" not in {r.key for r in kinds(log, b"skeleton")}


@pytest.mark.kafka
async def test_dead_letters_lose_their_bytes_also_when_they_come_late_and_are_not_written_again(
    erasing: Settings,
    server: SseServer,
) -> None:
    letters = Topics(erasing).deadletter
    broken = edit(5) | {"$schema": "/mediawiki/page/change/2.0.0"}
    broken["meta"] |= {"id": "broken"}
    innocent = edit(9, page=8) | {"$schema": "/mediawiki/page/change/2.0.0"}
    innocent["meta"] |= {"id": "innocent"}
    late = DeadLetter(
        step=Step.ENRICH, reason=SetAside.UNPARSEABLE, detail=SECRET, origin="content/0/9", payload=dumps(edit(5))
    )
    await server.add(edit(5), broken, innocent)
    async with running(erasing):
        await until(erasing, lambda log: len(log.events) == 1)
        await server.add(hide(5))
        await until(erasing, lambda log: bool(kinds(log, b"erasure")))
    # Written by a step that is behind, when the source has been started anew.
    async with running(erasing):
        await produce(erasing, [letter_out(letters, late)])
        async with asyncio.timeout(30):
            while True:
                last = {record.key: record for record in await read_all(erasing, letters)}
                if len(last) == 3 and sum(not record.value for record in last.values()) == 2:
                    break
                await asyncio.sleep(0.1)
    assert [record.value for record in last.values() if record.value] == [server.messages[2].data]
    erased = [record for record in last.values() if not record.value]
    assert {header(record, "step") for record in erased} == {b"source", b"enrich"}
    # By this a message that comes again is known, once compaction has left nothing else.
    assert {source_log._letter(record) for record in erased} == {"broken", "content/0/9"}
    assert {header(record, "reason") for record in erased} == {b"unknown_schema", b"unparseable"}
    assert not any(SECRET.encode() in value for record in erased for _, value in record.headers)


def kinds(log: Any, kind: bytes) -> list[Any]:
    return [r for r in log.records if header(r, "kind") == kind]


def key_of(doc: dict[str, Any], n: int) -> bytes:
    return f"enwiki:{doc['page']['page_id']}:{n}:{doc['meta']['id']}".encode()


@pytest.mark.kafka
async def test_a_hidden_string_is_in_no_topic_and_no_file_of_the_broker_and_a_replay_decides_the_same(
    make_settings: MakeSettings, server: SseServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = await make_settings(
        partitions=1, source=server.url, since="earliest", tick_seconds=0.05, erase_seconds=0.1,
        policies=(Policy(name="live", hold_seconds=0),),
    )  # fmt: skip
    topics = Topics(settings)
    # Of a broker that somebody else runs we see no files.
    found = tmp_path_factory.getbasetemp().glob("kafka*/data")
    logs = [log for data in found for name in (topics.source, topics.content) for log in data.glob(f"{name}-0")]
    await compact_soon(settings, topics.source, topics.content)
    content = Out(topic=topics.content, key=record_key("enwiki", 7, 5), value=SECRET.encode(), partition=0)
    await produce(settings, [content])
    await server.add(edit(5), edit(9, page=8), *canaries(1, AT_MS + 50))
    server.messages[1] = type(server.messages[1])(**fields(server.messages[1], SECRET, "kept"))
    async with running(settings):
        await until(settings, lambda log: len(log.events) == 2)
        assert all(in_log_files(log, SECRET) for log in logs)
        whole, bare = tmp_path / "whole.ndjson", tmp_path / "bare.ndjson.gz"
        await server.add(hide(5))
        await until(settings, lambda log: bool(kinds(log, b"erasure")))
        await produce(settings, [content._replace(value=None)])  # as fetch does it
        await capture(settings, whole)
        await gone_from(settings, topics, logs)
        await capture(settings, bare)
    assert SECRET not in whole.read_text()
    decided = [decisions(path) for path in (whole, bare)]
    assert decided[0] == decided[1]
    assert len(decided[0]) == 3  # two releases, and what the hiding takes back


def fields(message: Any, old: str, new: str) -> dict[str, Any]:
    data = message.data.replace(old.encode(), new.encode())
    return {"topic": message.topic, "offset": message.offset, "at_ms": message.at_ms, "data": data}


def decisions(path: Path) -> list[bytes]:
    found = []
    for _, groups in replay(read_capture(path)):
        assert isinstance(groups, list)
        found += [encode_decision(decision) for group in groups for decision in group.decisions]
    return found


async def compact_soon(settings: Settings, *names: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        rows = {row.name: row.config for row in Topics(settings).table()}
        soon = {"max.compaction.lag.ms": "500", "segment.ms": "500", "delete.retention.ms": "1000"}
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name, configs=rows[name] | soon) for name in names]
        )
    finally:
        await admin.close()


async def gone_from(settings: Settings, topics: Topics, logs: list[Path]) -> None:
    """Return when no reader gets the string, and no file of the broker has it."""
    began = time.monotonic()
    async with asyncio.timeout(90):
        while True:
            # Nothing is erased from a partition that is not written to; ticks do it for the log.
            await produce(settings, [Out(topic=topics.content, key=b"x:1:1", value=b"x", partition=0)])
            records = [r for name in (topics.source, topics.content) for r in await read_all(settings, name)]
            readable = any(SECRET.encode() in (record.value or b"") for record in records)
            if not readable and not any(in_log_files(log, SECRET) for log in logs):
                print(f"gone after {time.monotonic() - began:.1f} s")
                return
            await asyncio.sleep(0.3)
