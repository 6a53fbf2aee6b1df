"""The simulated server, byte by byte: held against the recording, and against what the real server is known to do."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import orjson
import pytest
import recording

from processors.html import read_html
from schemas.event import PAGE_CHANGE, RECENT_CHANGE, milliseconds, rfc3339
from schemas.reasons import Answer
from streams.content_api import ContentApi
from streams.eventstreams import Refusal, SimulatedSource
from streams.settings import Settings
from streams.stream_log import Message, StreamLog, Subscription
from streams.wiki_api import ApiFault
from streams.world import BEGIN_MS, World, build_world, play

FRAME = re.compile(rb"event: message\nid: (\[.*\])\ndata: (\{.*\})\n\n")
STREAMS = (
    PAGE_CHANGE, RECENT_CHANGE, "mediawiki.revision-tags-change", "mediawiki.revision-visibility-change",
)  # fmt: skip
ENGLISH = "en.wikipedia.org"


class Served:
    """A world that has happened, and its server."""

    def __init__(self, world: World, source: SimulatedSource, file: io.BytesIO) -> None:
        self.world = world
        self.source = source
        self._file = file

    @property
    def api(self) -> str:
        return self.source.content.replace("{domain}", ENGLISH)

    def lines(self, kind: str) -> list[dict[str, Any]]:
        found = [orjson.loads(line) for line in self._file.getvalue().splitlines()]
        return [line for line in found if line["kind"] == kind]

    def revisions(self, count: int) -> list[int]:
        """Revisions of enwiki that can be read."""
        ids = [truth.rev_id for truth in self.world.truth if truth.wiki == "enwiki"]
        known = [rev_id for rev_id in ids if (found := self.world.revision(ENGLISH, rev_id)) and text_of(found)]
        assert len(known) >= count
        return known[:count]


def text_of(found: Any) -> str:
    return str(found["revision"]["slots"]["main"].get("content", ""))


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    file = io.BytesIO()
    world = build_world(3, seconds=20, tail_seconds=10)
    source = SimulatedSource(world, ledger=world.ledger(file))
    await source.start()
    await play(world, source, speed=0, after_seconds=1)
    yield Served(world, source, file)
    await source.stop()


async def get(url: str, headers: dict[str, str] | None = None, **params: str) -> tuple[int, Any, bytes]:
    async with aiohttp.ClientSession() as session, session.get(url, params=params, headers=headers) as response:
        return response.status, response.headers, await response.read()


async def first_bytes(url: str, frames: int, headers: dict[str, str] | None = None) -> tuple[dict[str, str], bytes]:
    """The header and the body up to so many blank lines, as they come over the wire."""
    found = b""
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        while found.count(b"\n\n") < frames:
            found += await response.content.readany()
    end = 0
    for _ in range(frames):
        end = found.index(b"\n\n", end) + 2
    return dict(response.headers.items()), found[:end]


async def curled(url: str, frames: int, *options: str) -> bytes:
    """The same by plain curl, body only unless `-i` is among the options."""
    run = await asyncio.create_subprocess_exec(
        "curl", "-sN", "--noproxy", "*", *options, url, stdout=asyncio.subprocess.PIPE
    )
    assert run.stdout is not None
    found = b""
    while found.count(b"\n\n") < frames and (piece := await run.stdout.read(65536)):
        found += piece
    if run.returncode is None:
        run.kill()
    # To the end: while a full pipe is not read, `wait` never returns.
    await run.communicate()
    return found


# Against the recording of the real server.

# Fields that only one side has, by stream and kind or in all, and why.
DIFFERENCES = {
    "page.namespace_is_content": "ours: production has it since page/change 1.6.0; the recording is of 1.2.0",
    "created_redirect_page.namespace_is_content": "ours: the same",
    "revision.rev_parent_id": "ours: 0 on first revisions since May 2026; absent there in the recording, of 1.43",
    "revision.revert.method": "ours: production has `revert` since July 2026",
    "revision.revert.is_exact": "ours: the same",
    "revision.revert.rev_original_id": "ours: the same",
    "revision.revert.rev_reverted_oldest_id": "ours: the same",
    "revision.revert.rev_reverted_newest_id": "ours: the same",
    "meta.key.wiki_id": "ours: production's server adds it since 2026",
    "meta.key.page_id": "ours: the same",
    "performer.user_text": "theirs: in 16 of 250 tags-changes, of tags that somebody set by hand",
    "performer.user_id": "theirs: the same",
    "performer.user_groups": "theirs: the same",
    "performer.user_is_bot": "theirs: the same",
    "performer.user_edit_count": "theirs: the same",
    "performer.user_registration_dt": "theirs: the same",
}
# In their values: `$schema` of page_change (1.12.0, 1.2.0), `request_id` (a UUID as in production, 24 hex digits).


@pytest.mark.skipif(not recording.present(), reason=recording.ABSENT)
async def test_the_recorded_stream_and_ours_have_the_same_framing_and_ids_of_the_same_shape(served):
    with gzip.open(recording.FOLDER / "stream.sse.gz", "rb") as file:
        recorded = file.read(400_000)
    _, ours = await first_bytes(f"{served.source.url}/v2/stream/{','.join(STREAMS)}?since=0", 60)
    for stream in (recorded[: recorded.rindex(b"\n\n") + 2], ours):
        assert stream.startswith(b":ok\n\n")
        frames = list(FRAME.finditer(stream))
        assert len(b"".join(frame[0] for frame in frames)) + len(b":ok\n\n") == len(stream)
        seen: dict[str, int] = {}
        for frame in frames:
            state = {entry["topic"]: entry for entry in json.loads(frame[1])}
            assert [entry.partition(".")[2] for entry in state] == [stream for stream in STREAMS for _ in range(2)]
            meta = json.loads(frame[2])["meta"]
            seen[meta["topic"]] = milliseconds(meta["dt"]) + 1
            for topic, entry in state.items():
                assert entry["partition"] == 0
                if topic in seen:
                    assert entry == {"topic": topic, "partition": 0, "timestamp": seen[topic]}


@pytest.mark.skipif(not recording.present(), reason=recording.ABSENT)
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_reads_the_replayed_recording_and_our_world_alike(served):
    async with recording.Playing(speed=0) as playing:
        replay = asyncio.create_task(playing.play(after_seconds=1))
        theirs = await curled(f"{playing.source.url}/v2/stream/{','.join(STREAMS)}?since=0", 400, "-i")
        await replay
    ours = await curled(f"{served.source.url}/v2/stream/{','.join(STREAMS)}?since=0", 400, "-i")
    heads = []
    for answer in (theirs, ours):
        head, _, body = answer.partition(b"\r\n\r\n")
        heads.append([line for line in head.split(b"\r\n") if not line.startswith(b"Date")])
        assert body.startswith(b":ok\n\nevent: message\nid: [{")
    assert heads[0] == heads[1]
    assert b"Content-Type: text/event-stream; charset=utf-8" in heads[0]
    assert b"Transfer-Encoding: chunked" in heads[0]
    with gzip.open(recording.FOLDER / "stream.sse.gz", "rb") as file:
        recorded = file.read(200_000)
    datas = [frame[2] for frame in FRAME.finditer(theirs.partition(b"\r\n\r\n")[2])]
    assert datas[:50] == [frame[2] for frame in FRAME.finditer(recorded)][:50]


@pytest.mark.skipif(not recording.present(), reason=recording.ABSENT)
async def test_our_events_have_the_fields_of_the_recorded_ones_but_for_the_listed_differences():
    ours: dict[tuple[str, str], set[str]] = {}
    for state in range(8):
        world = build_world(state, seconds=20, tail_seconds=20)
        source = SimulatedSource(world)
        await play(world, source, speed=0, after_seconds=0)
        learn(ours, (message.data for message in source.messages))
    theirs: dict[tuple[str, str], set[str]] = {}
    learn(theirs, (message.data for message in recording.messages()))
    both = ours.keys() & theirs.keys()
    assert both == theirs.keys()
    assert set().union(*(ours[what] ^ theirs[what] for what in both)) == set(DIFFERENCES)


def learn(known: dict[tuple[str, str], set[str]], datas: Iterable[bytes]) -> None:
    """Add the fields of each stream and kind; what a log's parameters are is each log's own."""
    for data in datas:
        doc = json.loads(data)
        if doc["meta"]["domain"] != "canary":
            kind = doc.get("page_change_kind") or doc.get("type") or ""
            found = {path for path in paths(doc) if not path.startswith("log_params.")}
            known.setdefault((doc["meta"]["stream"], kind), set()).update(found)


def paths(doc: Any, before: str = "") -> set[str]:
    if not isinstance(doc, dict):
        return {before}
    return {path for name, value in doc.items() for path in paths(value, f"{before}.{name}" if before else name)}


@pytest.mark.skipif(not recording.present(), reason=recording.ABSENT)
async def test_the_apis_answer_in_the_words_that_were_recorded(served):
    samples = [json.loads(line) for line in (recording.FOLDER / "api/enwiki/samples.ndjson").read_text().splitlines()]
    checked = set()
    for sample in samples:
        if sample["what"] not in {"unknown", "bad request"} or not sample["path"].endswith(("html", "formatversion=2")):
            continue
        status, headers, body = await get(f"{served.source.url}/{ENGLISH}{sample['path']}")
        assert (status, json.loads(body)) == (sample["status"], json.loads(sample["body"]))
        for name in ("content-type", "mediawiki-api-error"):
            assert headers.get(name) == sample["headers"].get(name)
        checked.add((sample["what"], sample["path"].partition("?")[0], status))
    assert len(checked) >= 3


# What the real server is known to do.


async def test_the_spec_lists_the_streams_and_old_names_still_work(served):
    _, _, body = await get(f"{served.source.url}/?spec")
    path = json.loads(body)["paths"]["/v2/stream/{streams}"]["get"]["parameters"][0]
    listed = path["schema"]["items"]["enum"]
    assert {*STREAMS, "recentchange", "mediawiki.page_revert_risk_prediction_change.v1"} <= set(listed)
    _, found = await first_bytes(f"{served.source.url}/v2/stream/recentchange?since=0", 2)
    assert b"eqiad.mediawiki.recentchange" in found


@pytest.mark.parametrize(
    ("path", "headers", "status", "detail"),
    [
        ("mediawiki.page_change.v1,nothing", {}, 400, "Invalid streams: nothing"),
        ("mediawiki.recentchange?since=yesterday", {}, 400, "Invalid since: yesterday"),
        ("mediawiki.recentchange", {"Last-Event-ID": "{"}, 400, "Invalid Last-Event-ID"),
        ("mediawiki.recentchange", {"Last-Event-ID": '[{"topic":"eqiad.x","offset":1}]'}, 404, "not available"),
    ],
)
async def test_what_is_refused_is_refused_in_json_and_stands_in_the_ledger(served, path, headers, status, detail):
    got, _, body = await get(f"{served.source.url}/v2/stream/{path}", headers)
    doc = json.loads(body)
    assert got == doc["status"] == status
    assert detail in doc["detail"]
    assert doc.keys() == {"status", "type", "title", "detail", "method", "uri"}
    assert [line["status"] for line in served.lines("refused")] == [status]


async def test_too_many_connections_and_a_reader_without_a_contact_are_refused(served):
    url = f"{served.source.url}/v2/stream/{PAGE_CHANGE}"
    served.source.faults.needs_contact = True
    assert (await get(url))[0] == 403
    served.source.faults.needs_contact = False
    served.source.faults.max_connections = 0
    status, _, body = await get(url)
    assert (status, json.loads(body)["detail"]) == (429, "Too Many Concurrent Connections From Your Client IP")


async def test_a_reader_of_json_gets_lines_without_ids(served):
    url = f"{served.source.url}/v2/stream/{PAGE_CHANGE}?since=0"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers={"Accept": "application/json"}) as response,
    ):
        assert response.headers["Content-Type"] == "application/json"
        lines = [await response.content.readline() for _ in range(5)]
    assert all(json.loads(line)["meta"]["stream"] == PAGE_CHANGE for line in lines)


async def test_resuming_by_offset_goes_on_after_it_and_by_the_servers_id_loses_what_shares_the_millisecond():
    log = StreamLog(["eqiad.x"])
    for offset, at_ms in enumerate([10, 20, 20, 20, 19, 30]):
        log.append(Message("eqiad.x", offset, at_ms, b"{}"))

    def seen(**where: int) -> list[int]:
        subscription = Subscription(log, ["eqiad.x"], [{"topic": "eqiad.x", "partition": 0, **where}])
        return [message.offset for message in log.messages[subscription.start :] if subscription.wants(message)]

    assert seen(offset=2) == [2, 3, 4, 5]
    assert seen(timestamp=21) == [5]
    assert seen(timestamp=20) == [1, 2, 3, 4, 5]
    assert seen(timestamp=99) == []
    assert seen(offset=99) == []


async def test_a_log_that_is_bounded_forgets_the_oldest_and_serves_the_rest_under_their_own_offsets():
    log = StreamLog(["eqiad.x", "eqiad.y"], kept=8)
    for n in range(100):
        log.append(Message(f"eqiad.{'xy'[n % 2]}", n // 2, n, b"%d" % n))
    assert 8 <= len(log.messages) <= 10
    assert log.base + len(log.messages) == log.end == 100
    subscription = Subscription(log, ["eqiad.x"], [{"topic": "eqiad.x", "timestamp": 0}])
    kept = [m for m in log.messages[subscription.start - log.base :] if subscription.wants(m)]
    assert [m.offset for m in kept] == list(range(50 - len(kept), 50))
    assert log.since("eqiad.x", 98) == 49
    assert log.number("eqiad.x", 49) == 98


async def test_a_cut_and_a_torn_connection_are_closed_in_the_ledger_with_what_they_got(served):
    served.source.faults.close_after = 7
    _, _, body = await get(f"{served.source.url}/v2/stream/{PAGE_CHANGE}?since=0")
    assert len(FRAME.findall(body)) == 7
    served.source.faults.close_after, served.source.faults.tear_after = None, 3
    with pytest.raises(aiohttp.ClientError):
        await get(f"{served.source.url}/v2/stream/{PAGE_CHANGE}?since=0")
    await served.source.until_connected(2)
    closed = served.lines("closed")
    assert [(line["events"], line["torn"]) for line in closed] == [(7, False), (3, True)]
    assert [line["streams"] for line in served.lines("opened")] == [[PAGE_CHANGE], [PAGE_CHANGE]]


# The APIs.


async def query(served: Served, **params: str) -> tuple[int, Any, Any]:
    status, headers, body = await get(served.api, None, action="query", format="json", formatversion="2", **params)
    return status, headers, json.loads(body) if body.startswith(b"{") else body


async def test_what_does_not_fit_into_an_answer_comes_with_the_next_request(served):
    ids = served.revisions(6)
    served.source.api.max_result_bytes = 2500
    found: list[int] = []
    more: dict[str, str] = {}
    answers = 0
    while True:
        given = {"prop": "revisions", "revids": "|".join(map(str, ids)), "rvprop": "ids|content", "rvslots": "*"}
        _, _, doc = await query(served, **given, **more)
        answers += 1
        found += [rev["revid"] for page in doc["query"]["pages"] for rev in page["revisions"]]
        assert ("continue" in doc) != doc.get("batchcomplete", False)
        if "continue" not in doc:
            break
        more = doc["continue"]
    assert sorted(found) == sorted(ids)
    assert answers > 1


async def test_a_lagging_replica_says_so_to_who_asks_and_does_not_know_the_newest_yet(served):
    (rev_id,) = served.revisions(1)
    served.source.api.lag_seconds = 7.2
    _, headers, doc = await query(served, revids=str(rev_id), prop="revisions", maxlag="5")
    assert doc["error"]["code"] == headers["MediaWiki-API-Error"] == "maxlag"
    assert headers["Retry-After"] == "5"
    _, _, doc = await query(served, revids=str(rev_id), prop="revisions")
    assert "pages" in doc["query"]
    served.source.api.replica_lag_ms = 10**9
    _, _, doc = await query(served, revids=str(rev_id), prop="revisions")
    assert list(doc["query"]["badrevids"]) == [str(rev_id)]


async def test_the_budget_is_of_a_minute_of_the_world_and_the_wait_of_ours(served):
    api, source = served.source.api, served.source
    api.requests_per_minute, api.speed = 2, 10
    source.now_ms = BEGIN_MS + 30_000
    answers = [await query(served, meta="siteinfo") for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    # 30 seconds of the world are 3 of ours.
    assert answers[2][1]["Retry-After"] == "3"
    source.now_ms = BEGIN_MS + 60_000
    assert (await query(served, meta="siteinfo"))[0] == 200


async def test_recent_changes_come_page_by_page_each_once_newest_first(served):
    _, _, whole = await query(served, list="recentchanges", rclimit="max", rcprop="ids")
    rows: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        _, _, doc = await query(
            served,
            list="recentchanges",
            rclimit="7",
            rcprop="title|ids|timestamp|user|comment|sizes|loginfo|tags",
            **more,
        )
        rows += doc["query"]["recentchanges"]
        if "continue" not in doc:
            break
        more = doc["continue"]
    ids = [row["rcid"] for row in rows]
    assert ids == sorted(set(ids), reverse=True)
    assert ids == [row["rcid"] for row in whole["query"]["recentchanges"]]
    assert len(ids) > 20
    assert {row["type"] for row in rows} >= {"edit", "log"}
    _, _, doc = await query(served, list="recentchanges", rcdir="newer", rclimit="3", rctype="edit", rcnamespace="0")
    assert [row["type"] for row in doc["query"]["recentchanges"]] == ["edit"] * 3
    _, _, doc = await query(served, list="recentchanges", rcstart="2020-01-01T00:00:00Z")
    assert doc["query"]["recentchanges"] == []
    _, _, doc = await query(served, list="recentchanges", rclimit="many")
    assert doc["error"]["code"] == "badinteger"


async def test_the_html_of_a_revision_has_its_text_its_links_and_its_categories(served):
    rest = f"{served.source.url}/{ENGLISH}/w/rest.php/v1/revision"
    checked = 0
    for rev_id in served.revisions(10):
        status, headers, body = await get(f"{rest}/{rev_id}/html")
        found = served.world.revision(ENGLISH, rev_id)
        assert found is not None
        assert status == 200
        assert headers["Content-Type"].startswith("text/html; charset=utf-8; profile=")
        text, page = text_of(found), body.decode()
        assert f'<meta property="mw:revisionSHA1" content="{found["revision"]["sha1"]}"/>' in page
        assert f"Special:Redirect/revision/{rev_id}" in page
        assert page.count('rel="mw:PageProp/Category"') == text.count("[[Category:")
        for link in re.findall(r"\[\[([A-Z][a-z]+)\]\]", text):
            assert f'<a rel="mw:WikiLink" href="./{link}" title="{link}">{link}</a>' in page
            checked += 1
        again = await get(f"{served.source.url}/{ENGLISH}/api/rest_v1/page/html/Any_title/{rev_id}")
        assert again[2] == body
    assert checked > 3
    kinds = [(line["form"], line["answer"]) for line in served.lines("served")]
    assert kinds == [("html", "text")] * 20


async def test_fetch_asks_for_texts_and_html_at_the_addresses_that_are_served(served):
    (rev_id, *_), site = served.revisions(1), ("enwiki", ENGLISH)
    async with ContentApi(Settings(content=served.source.content)) as api:
        assert rev_id in (await api.ask(site, [rev_id])).found
        html = await api.page(site, rev_id)
        assert html.answer is Answer.TEXT
        assert (await api.page(site, 7)).answer is Answer.MISSING
    read = read_html(html.text or "")
    assert (read.rev_id, read.plain_text != "") == (rev_id, True)


async def test_html_that_is_hidden_or_gone_is_refused_as_the_real_one_is(served):
    rest = f"{served.source.url}/{ENGLISH}/w/rest.php/v1/revision"
    (rev_id,) = served.revisions(1)
    served.world._wikis[ENGLISH].revisions[rev_id].hide({"text": False})
    status, _, body = await get(f"{rest}/{rev_id}/html")
    assert (status, json.loads(body)["errorKey"]) == (403, "rest-permission-denied-revision")
    status, _, body = await get(f"{rest}/7/html")
    assert (status, json.loads(body)["errorKey"]) == (404, "rest-nonexistent-revision")
    assert [line["answer"] for line in served.lines("served")] == ["hidden", "missing"]


async def test_a_wrong_text_is_told_from_a_right_one_in_the_ledger_and_heals_when_asked_again(served):
    (rev_id,) = served.revisions(1)
    served.source.api.faults.append(ApiFault(kind="wrong_text"))
    given = {"prop": "revisions", "revids": str(rev_id), "rvprop": "content|sha1", "rvslots": "*"}
    texts = []
    for _ in range(2):
        _, _, doc = await query(served, **given)
        texts.append(doc["query"]["pages"][0]["revisions"][0]["slots"]["main"]["content"])
    assert texts[0] != texts[1] == text_of(served.world.revision(ENGLISH, rev_id))
    lines = served.lines("served")
    assert [line["answer"] for line in lines] == ["wrong_text", "text"]
    assert [line["size_bytes"] for line in lines] == [len(text.encode()) for text in texts]


async def test_a_refusal_says_when_to_come_back(served):
    served.source.faults.refusals.append(Refusal(status=503, retry_after="4"))
    status, headers, _ = await get(f"{served.source.url}/v2/stream/{PAGE_CHANGE}?since={rfc3339(BEGIN_MS)}")
    assert (status, headers["Retry-After"]) == (503, "4")
