"""The client of the content APIs: what it may reach, how long it waits, how much it takes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from email.utils import formatdate
from ipaddress import ip_address
from typing import Any

import pytest
from api_server import ApiServer, Reply, Request, drip, error, held_until, http, json

from schemas.content import Html
from schemas.reasons import Answer
from streams.content_api import MAX_BODY_BYTES, ContentApi, Trouble, retry_after
from streams.content_source import UnknownSite, may_reach
from streams.settings import DEFAULT_CONTENT, InvalidSetting, Settings

EN = ("enwiki", "en.wikipedia.org")
LIVE = Settings(contact="https://example.org/sluice")

KNOWN_DOMAINS = [
    "en.wikipedia.org", "be-tarask.wikipedia.org", "www.wikidata.org", "commons.wikimedia.org", "de.m.wikipedia.org",
    "www.mediawiki.org", "wikisource.org", "www.wikifunctions.org", "zh-min-nan.wiktionary.org", "ab.wikibooks.org",
    "en.wikinews.org", "en.wikiquote.org", "fr.wikisource.org", "en.wikiversity.org", "fr.wikivoyage.org",
]  # fmt: skip
HOSTILE_DOMAINS = [
    "", ".", "localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::1]", "::1", "0.0.0.0", "169.254.169.254",
    "metadata.google.internal", "10.0.0.1", "en.wikipedia.org.evil.example", "evil.example/en.wikipedia.org",
    "en.wikipedia.org@evil.example", "user:pass@en.wikipedia.org", "en.wikipedia.org:8080", "en.wikipedia.org#",
    "en.wikipedia.org?", "en.wikipedia.org/", "en.wikipedia.org/../x", "en.wikipedia.org\\evil", "en.wikipedia.org\n",
    "en.wikipedia.org\r\nHost: evil.example", "en.wikipedia.org\x00", " en.wikipedia.org", "en.wikipedia.org ",
    "EN.WIKIPEDIA.ORG", "en.wikipedia.org.", "a.b.wikipedia.org", "wikipedia.org", "evilwikipedia.org",
    "en.wikipedia.com", "en.wikipedia.org.", "-.wikipedia.org", "en_.wikipedia.org", "еn.wikipedia.org",
    "xn--en-.wikipedia.org", "en。wikipedia。org", "%65n.wikipedia.org", "{wiki}.wikipedia.org", "canary",
    "a" * 64 + ".wikipedia.org",
]  # fmt: skip


@pytest.fixture
async def wiki() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        server.put(9, "nine")
        yield server


def client(server: ApiServer, **more: Any) -> ContentApi:
    return ContentApi(Settings(content=server.template), **more)


async def trouble(server: ApiServer, reply: Reply, **more: Any) -> Trouble:
    """What the client says when this is the answer."""
    server.replies.append(reply)
    async with client(server, **more) as api:
        with pytest.raises(Trouble) as caught:
            await api.ask(EN, [9])
    return caught.value


async def test_one_request_asks_for_exact_revisions_as_the_etiquette_wants_it(wiki: ApiServer) -> None:
    wiki.put(10, "ten")
    async with ContentApi(Settings(content=wiki.template, contact="me@example.org")) as api:
        answers = await api.ask(EN, [9, 10, 11])
    assert (answers.found[9].text, answers.found[10].text, answers.missing) == ("nine", "ten", frozenset({11}))
    request = wiki.requests[0]
    assert request.path == "/enwiki/en.wikipedia.org/w/api.php"
    assert request.ids == (9, 10, 11)
    assert request.params["maxlag"] == "5"
    assert request.headers["user-agent"] == "sluice/0.1 (me@example.org) aiohttp"
    assert request.headers["accept-encoding"] == "gzip"
    assert "cookie" not in request.headers


async def test_connections_are_kept_and_never_more_than_three(wiki: ApiServer) -> None:
    go = asyncio.Event()
    wiki.replies += [held_until(go, wiki.reply) for _ in range(9)]
    async with client(wiki) as api:
        asks = [asyncio.create_task(api.ask(EN, [9])) for _ in range(9)]
        await wiki.asked(3)
        go.set()
        await asyncio.gather(*asks)
    assert (len(wiki.requests), wiki.connections, wiki.busiest) == (9, 3, 3)


@pytest.mark.parametrize(
    ("reply", "outcome", "seconds", "may_be_cause"),
    [
        (http(429, retry_after="17"), "throttled", 17.0, False),
        (http(429), "throttled", None, False),
        (error("maxlag", retry_after="5"), "throttled", 5.0, False),
        (error("ratelimited"), "throttled", None, False),
        (error("readonly"), "throttled", None, False),
        (error("internal_api_error_DBQueryError"), "failed", None, True),
        (error("badinteger"), "failed", None, True),
        (http(503, b"<html>", retry_after="30"), "failed", 30.0, True),
        (http(500), "failed", None, True),
        (http(403, b"Please set a user-agent"), "failed", None, False),
        (http(200, b"<html><body>maintenance</body></html>", content_type="text/html"), "not_json", None, True),
        (http(200, b""), "not_json", None, True),
        (http(200, b"\x1f\x8bnot gzip", content_encoding="gzip"), "not_json", None, True),
        (http(200, b"{}", content_encoding="br"), "not_json", None, False),
        (json({"batchcomplete": True}), "not_json", None, True),
        (json({"query": {"pages": []}}), "failed", None, True),
        (http(200, b"{}", content_length="100"), "failed", None, True),
    ],
)
async def test_what_is_no_answer_is_trouble_that_says_who_may_be_the_cause_and_when_to_come_back(
    wiki: ApiServer, reply: Reply, outcome: str, seconds: float | None, may_be_cause: bool
) -> None:
    said = await trouble(wiki, reply, deadline_seconds=1.0)
    assert (said.outcome, said.retry_after_seconds, said.may_be_cause) == (outcome, seconds, may_be_cause)


async def test_a_connection_that_is_refused_or_cut_is_trouble() -> None:
    async with ApiServer() as wiki:
        template = wiki.template
    async with ContentApi(Settings(content=template)) as api:
        with pytest.raises(Trouble, match="failed") as caught:
            await api.ask(EN, [9])
    assert not caught.value.may_be_cause


async def test_an_answer_that_drips_ends_with_the_deadline_of_the_whole_request(wiki: ApiServer) -> None:
    started = time.monotonic()
    said = await trouble(wiki, drip(0.05), deadline_seconds=0.5)
    assert (said.outcome, said.may_be_cause) == ("failed", True)
    assert time.monotonic() - started < 5


async def test_a_body_above_the_limit_is_not_read_to_its_end(wiki: ApiServer) -> None:
    said = await trouble(wiki, http(200, b" " * 3_000_000), max_body_bytes=1_000_000)
    assert "more than 1000000 bytes" in str(said)


async def test_a_gzip_bomb_takes_no_more_memory_than_the_limit(wiki: ApiServer) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(1_000)) + packer.flush()
    assert len(bomb) < 1_100_000
    tracemalloc.start()
    try:
        said = await trouble(wiki, http(200, bomb, content_encoding="gzip"), max_body_bytes=20_000_000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "more than 20000000 bytes" in str(said)
    assert peak_bytes < 60_000_000


async def test_another_revision_than_was_asked_for_is_trouble_and_no_answer(wiki: ApiServer) -> None:
    wiki.put(8, "eight")
    other = {"pages": [{"pageid": 7, "revisions": [wiki.revisions[8]["revision"]]}]}
    said = await trouble(wiki, json({"query": other}))
    assert (said.outcome, said.may_be_cause) == ("failed", True)


@pytest.mark.parametrize("packed", [False, True])
async def test_a_body_of_56_megabytes_leaves_memory_flat_and_has_a_named_outcome(wiki: ApiServer, packed: bool) -> None:
    block, blocks = b"x" * 1_000_000, 56

    async def huge(request: Request, writer: asyncio.StreamWriter) -> None:
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        body = b"".join(packer.compress(block) for _ in range(blocks)) + packer.flush() if packed else b""
        head = {"content-encoding": "gzip"} if packed else {}
        length = len(body) if packed else blocks * len(block)
        lines = "".join(f"{name}: {value}\r\n" for name, value in (head | {"content-length": str(length)}).items())
        writer.write(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body)
        with contextlib.suppress(ConnectionError):
            for _ in range(0 if packed else blocks):
                writer.write(block)
                await writer.drain()

    wiki.replies += [huge, huge]
    tracemalloc.start()
    try:
        async with client(wiki) as api:
            with pytest.raises(Trouble, match="more than 33554432 bytes"):
                await api.ask(EN, [9])
            assert await api.page(EN, 9) == Html(answer=Answer.TOO_LARGE)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The bound, twice while the buffer grows, and what the server here holds.
    assert peak_bytes < 2.5 * MAX_BODY_BYTES


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (http(404), Answer.MISSING),
        (http(403), Answer.HIDDEN),
        (http(200, b'<html about="//x/wiki/Special:Redirect/revision/9"></html>'), Answer.TEXT),
        (http(200, b'<html about="//x/wiki/Special:Redirect/revision/8"></html>'), Answer.SHA1_MISMATCH),
        (http(200, b"\xff"), Answer.UNAVAILABLE),
    ],
)
async def test_what_the_rest_api_says_of_a_page_has_a_name(wiki: ApiServer, reply: Reply, answer: Answer) -> None:
    wiki.replies.append(reply)
    async with client(wiki) as api:
        assert (await api.page(EN, 9)).answer is answer


@pytest.mark.parametrize(
    "reply",
    [
        http(429, retry_after="7"),
        http(500),
        http(302, location="http://127.0.0.1:1/"),
        http(200, gzip.compress(b"<html>" + bytes(9_000))[:-12], content_encoding="gzip"),
        drip(0.02),
    ],
)
async def test_a_page_that_does_not_come_is_trouble_and_no_answer(wiki: ApiServer, reply: Reply) -> None:
    wiki.replies.append(reply)
    async with client(wiki, deadline_seconds=0.5) as api:
        with pytest.raises(Trouble):
            await api.page(EN, 9)
    assert len(wiki.requests) == 1


async def test_an_answer_of_many_megabytes_is_read_whole(wiki: ApiServer) -> None:
    wiki.put(9, "ä\n" * 600_000)
    async with client(wiki) as api:
        answers = await api.ask(EN, [9])
    assert answers.found[9].text == "ä\n" * 600_000


async def test_a_redirect_is_not_followed(wiki: ApiServer) -> None:
    async with ApiServer() as inner:
        for status in (301, 302, 307, 308):
            said = await trouble(wiki, http(status, location=f"{inner.base}/latest/meta-data"))
            assert said.outcome == "not_json"
        assert inner.connections == 0


# What may be reached


@pytest.mark.parametrize("domain", HOSTILE_DOMAINS)
async def test_a_domain_that_is_no_wikimedia_projects_is_refused_without_a_connection(
    wiki: ApiServer, domain: str
) -> None:
    async with client(wiki) as api:
        with pytest.raises(UnknownSite):
            await api.ask(("enwiki", domain), [9])
    async with ContentApi(LIVE) as live:
        with pytest.raises(UnknownSite):
            live.url(("enwiki", domain))
    assert wiki.connections == 0


@pytest.mark.parametrize(
    "name", ["", "../x", "en/wiki", "enwiki\n", "ENWIKI", "en wiki", "{domain}", "a" * 65, "ęwiki"]
)
async def test_a_wiki_that_is_no_plain_name_is_refused_where_the_template_wants_it(wiki: ApiServer, name: str) -> None:
    async with client(wiki) as api:
        with pytest.raises(UnknownSite):
            await api.ask((name, EN[1]), [9])
    assert wiki.connections == 0


@pytest.mark.parametrize("domain", KNOWN_DOMAINS)
def test_the_projects_own_domains_are_known(domain: str) -> None:
    assert ContentApi(LIVE).url(("w", domain)) == f"https://{domain}/w/api.php"


async def test_a_projects_name_that_resolves_to_this_machine_is_not_connected_to(
    wiki: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(wiki.base.rpartition(":")[2])

    async def rebound(host: str, *args: Any, **kwargs: Any) -> list[Any]:
        families = {socket.AF_INET: ("127.0.0.1", port), socket.AF_INET6: ("::1", port, 0, 0)}
        return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in families.items()]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebound)
    settings = LIVE.with_(content=f"https://{{domain}}:{port}/w/api.php")
    async with ContentApi(settings) as api:
        with pytest.raises(Trouble, match="not a public address"):
            await api.ask(EN, [9])
    assert wiki.connections == 0


@pytest.mark.parametrize(
    ("address", "named", "allowed"),
    [
        ("208.80.154.224", None, True),
        ("2620:0:861:ed1a::1", None, True),
        ("127.0.0.1", None, False),
        ("::1", None, False),
        ("::ffff:127.0.0.1", None, False),
        ("64:ff9b::7f00:1", None, False),
        ("2002:7f00:1::", None, False),
        ("10.1.2.3", None, False),
        ("169.254.169.254", None, False),
        ("fe80::1", None, False),
        ("fd00::1", None, False),
        ("0.0.0.0", None, False),
        ("224.0.0.1", None, False),
        ("100.64.0.1", None, False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("127.0.0.1", "localhost", True),
        ("::1", "localhost", True),
        ("10.1.2.3", "localhost", False),
        ("127.0.0.1", "wiki.example.org", False),
        ("169.254.169.254", "wiki.example.org", False),
        ("10.1.2.3", "wiki.example.org", True),
        ("10.1.2.3", "10.1.2.3", True),
    ],
)
def test_only_public_addresses_are_reached_and_what_the_setting_itself_names(
    address: str, named: str | None, allowed: bool
) -> None:
    assert may_reach(ip_address(address), named) is allowed


@pytest.mark.parametrize("content", [DEFAULT_CONTENT, "https://en.wikipedia.org/w/api.php"])
def test_the_live_site_is_not_asked_by_nobody(content: str) -> None:
    with pytest.raises(InvalidSetting, match="SLUICE_CONTACT"):
        ContentApi(Settings(content=content))
    ContentApi(Settings(content=content, contact="https://example.org"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "en.wikipedia.org/w/api.php",
        "ftp://x/{domain}",
        "https:///w",
        "http://{domain}/w/api.php",
        "http://x/{page}",
    ],
)
def test_a_template_that_cannot_be_used_is_refused_at_the_start(content: str) -> None:
    with pytest.raises(InvalidSetting, match="SLUICE_CONTENT"):
        ContentApi(LIVE.with_(content=content))


# When to come back


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    now = 1_800_000_000.0
    assert retry_after(None, now) is None
    assert retry_after("12", now) == 12
    assert retry_after("1000000000", now) == 1e9
    assert retry_after(formatdate(now + 90, usegmt=True), now) == 90
    assert retry_after(formatdate(now - 90, usegmt=True), now) == 0
    for nonsense in ("", "soon", "-5", "1e9", "9" * 400, "Wed, 99 Foo 9999"):
        assert retry_after(nonsense, now) is None
