"""Speed and memory, each against a named baseline of the same run: `make bench`.

A figure alone says as much about the machine as about sluice; the ratio of one run says what we cost. CPU seconds of
this process where the work is ours alone, wall seconds where a broker takes part.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import api_server
import bench_gate
import line
import mwparserfromhell
import orjson
import wikitextparser
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from bench_table import row
from mwedittypes import SimpleEditTypes
from mwparserfromhtml import Article
from peers import EPOCH, history
from test_scan import hostile
from windows import Windows

from processors.delta import compare
from processors.digest import page_partition
from processors.enrich import enrich
from processors.html import read_html
from processors.namespaces import language_of, namespaces_of
from processors.scan import scan
from processors.shard import Shard
from processors.store import Row
from schemas.content import Content, Text, decode_content, encode_content
from schemas.decision import decode_decisions, encode_decision
from schemas.enriched import encode_enriched
from schemas.event import PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, rfc3339
from schemas.log import KIND_CONTROL, KIND_EVENT, KIND_TICK, Policies, Policy, encode_policies
from schemas.page import Edit, Page, When
from schemas.page_record import encode_page
from schemas.reasons import Answer, Step
from streams import cluster, metrics, source
from streams.broker import Broker
from streams.collector import collect_rarely
from streams.disk import Disk
from streams.eventstreams import SimulatedSource
from streams.exactly_once import ExactlyOnce
from streams.kafka import Out, consumer, producer, read_partition, send, send_all
from streams.parse_workers import ParseWorkers
from streams.run import run_steps
from streams.settings import Settings, cache_folder
from streams.topics import Topics, limits
from streams.world import build_world, play

HOLDS = (0, 300, 3600)
BYTEWAX, QUIX = "0.21.1", "3.28.1"
WORDS = ("loch", "see", "ness", "water", "deep", "monster", "湖", "озеро", "stone", "bridge", "village", "year", "king")


def main(*, full: bool = False) -> int:
    """full: with as many edits as the goals say, which takes an hour and more."""
    print(f"{'what':<34}{'sluice':>12}{'baseline':>12}{'ratio':>8}  baseline is")
    parse()
    html()
    asyncio.run(parse_workers())
    compare_texts()
    hostile_pages()
    observe()
    bench_gate.many_policies()
    bench_gate.growth(100_000, 10_000_000 if full else 300_000)
    pending()
    simulate()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder), cache=cache_folder(os.environ)) as broker:
        settings = Settings(kafka=broker.bootstrap, partitions=3, assign="all", metrics_port=0)
        asyncio.run(exactly_once(settings.with_(topic_prefix="bench_loop")))
        kafka = settings.with_(topic_prefix="bench_peers")
        asyncio.run(bench_gate.over_kafka(kafka, peers_python(), HOLDS, 200_000 if full else 50_000))
        asyncio.run(bench_gate.many_pending(settings.with_(topic_prefix="bench_many"), 1_600_000 if full else 200_000))
        asyncio.run(bench_gate.from_the_topic(settings.with_(topic_prefix="bench_topic", partitions=1), 200_000))
        asyncio.run(bench_gate.latencies(settings.with_(topic_prefix="bench_late")))
        asyncio.run(bench_gate.latencies(settings.with_(topic_prefix="bench_later"), rate=200))
        asyncio.run(socket_to_log(settings.with_(topic_prefix="bench_source", partitions=12)))
        asyncio.run(cleaner(settings.with_(topic_prefix="bench_cleaner", partitions=1), broker))
        asyncio.run(fetch_and_enrich(settings.with_(topic_prefix="bench_fetch")))
        asyncio.run(catch_up(settings.with_(topic_prefix="bench_catch")))
        asyncio.run(whole_line(settings.with_(topic_prefix="bench_line")))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory of this process':<34}{peak:>9.0f} MB")
    return 0


def pages(count: int = 60) -> list[tuple[str, str]]:
    """(wiki, wikitext) of real pages where they lie beside the repository, else of made-up ones."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "pages" / "wikitext"
    chooser = random.Random(5)
    if folder.is_dir():
        # mwparserfromhell hangs on two known pages; they would measure nothing.
        files = [path for path in sorted(folder.iterdir()) if "Wikirreto" not in path.stem]
        chosen = chooser.sample(files, count)
        return [(path.stem.partition("__")[0], path.read_text("utf-8")) for path in chosen]
    return [("enwiki", made_up(chooser)) for _ in range(count)]


def made_up(chooser: random.Random) -> str:
    def sentence() -> str:
        words = " ".join(chooser.choices(WORDS, k=12))
        return f"{words} [[Loch {chooser.randrange(99)}|lake]]<ref>{{{{cite web|url=https://example.org/|title=T}}}}</ref>."

    sections = (f"== S{n} ==\n" + "\n\n".join(sentence() for _ in range(30)) for n in range(8))
    return "{{Infobox|name=Ness|depth=230}}\n" + "\n".join(sections) + "\n[[Category:Lakes]]"


def parse() -> None:
    """Interleaved, page by page, so that a busy machine slows all alike."""
    texts = [(text, namespaces_of(wiki)) for wiki, text in pages()]
    ours, hell, parser = interleaved(
        texts,
        lambda text, namespaces: scan(text, namespaces),
        lambda text, _: all_of_mwparserfromhell(text),
        lambda text, _: all_of_wikitextparser(text),
    )
    for theirs, name in ((hell, "mwparserfromhell"), (parser, "wikitextparser")):
        row(f"parse, {len(texts)} pages", len(texts) / ours, len(texts) / theirs, "/s", f"{name}, all fields")


def interleaved(items: Sequence[tuple[Any, ...]], *works: Callable[..., object]) -> list[float]:
    """CPU seconds of each work over all items, one after the other on each item."""
    spent = [0.0] * len(works)
    for item in items:
        for number, work in enumerate(works):
            began = time.process_time()
            work(*item)
            spent[number] += time.process_time() - began
    return spent


async def parse_workers(count: int = 2) -> None:
    """Records of real pages through processes, against the same here: what the pipes cost, and what a core brings."""
    records = [encode_content(edit(number, wiki, text)) for number, (wiki, text) in enumerate(pages())] * 4
    began = time.monotonic()
    for record in records:
        encode_enriched(enrich(decode_content(record)))
    inline = time.monotonic() - began
    async with ParseWorkers(count) as workers:
        await asyncio.gather(*(workers.parse(record) for record in records[:count]))
        began = time.monotonic()
        await asyncio.gather(*(workers.parse(record) for record in records))
        spread = time.monotonic() - began
    row(f"enrich, {count} processes", len(records) / spread, len(records) / inline, "/s", "the same in one process")


def edit(number: int, wiki: str, text: str) -> Content:
    """A page that gained its last line."""
    event = api_server.event(number, text, at_ms=EPOCH, wiki=wiki, page_id=number, parent_id=number + 1)
    before = text[: text.rstrip().rfind("\n") + 1]
    return Content(
        wiki=wiki,
        page_id=number,
        rev_id=number,
        event=event,
        revision=Text(rev_id=number, answer=Answer.TEXT, text=text, model="wikitext"),
        parent=Text(rev_id=number + 1, answer=Answer.TEXT, text=before, model="wikitext"),
        source="",
    )


HTML_FIELDS = (
    "audio categories citations comments externallinks headings images infobox inline_cleanup_tags lists math "
    "message_boxes nav_boxes notes references sections templates text_formatting video wikilinks wikitables"
)


def html(count: int = 10) -> None:
    """All fields of both, of each page the least of three times, interleaved; pages that the other cannot read measure
    nothing."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "pages" / "html"
    texts = [path.read_text("utf-8") for path in sorted(folder.glob("*.html"))]
    # It refuses pages without a base.
    texts = random.Random(5).sample([text for text in texts if "<base " in text], count) if texts else []
    ours = theirs = 0.0
    for text in texts:
        took: list[list[float]] = [[], []]
        for _ in range(3):
            for each, work in zip(took, (read_html, extract_html), strict=True):
                # The trees that the other leaves behind are not ours to look through.
                gc.collect()
                each.append(seconds(lambda text=text, work=work: work(text)))
        ours, theirs = ours + min(took[0]), theirs + min(took[1])
    if texts:
        row(
            f"HTML, {count} pages",
            count / ours,
            count / theirs,
            "/s",
            "mwparserfromhtml, all getters",
        )


def extract_html(text: str) -> None:
    article = Article(text)
    for name in HTML_FIELDS.split():
        getattr(article.wikistew, f"get_{name}")()
    list(article.get_plaintext())


def extract(text: str) -> None:
    code = mwparserfromhell.parse(text, skip_style_tags=True)
    for name in ("wikilinks", "templates", "external_links", "headings", "tags", "comments"):
        getattr(code, f"filter_{name}")()
    code.strip_code()


def all_of_mwparserfromhell(text: str) -> list[object]:
    """The fields of a record that it has: as text, since what is not written out is not extracted."""
    page = mwparserfromhell.parse(text, skip_style_tags=True)
    tags = page.filter_tags(matches=lambda node: node.tag in ("ref", "table", "gallery"))
    return [
        [(str(link.title), link.text and str(link.text)) for link in page.filter_wikilinks()],
        [(str(t.name), [(str(p.name), str(p.value)) for p in t.params]) for t in page.filter_templates()],
        [(str(link.url), link.title and str(link.title)) for link in page.filter_external_links()],
        [(heading.level, str(heading.title)) for heading in page.filter_headings()],
        [(str(tag.tag), str(tag.contents)) for tag in tags],
        [str(comment) for comment in page.filter_comments()],
        [str(section.strip_code()) for section in page.get_sections(flat=True, include_lead=True)],
    ]


def all_of_wikitextparser(text: str) -> list[object]:
    page = wikitextparser.parse(text)
    return [
        [(link.target, link.text) for link in page.wikilinks],
        [(t.name, [(argument.name, argument.value) for argument in t.arguments]) for t in page.templates],
        [(link.url, link.text) for link in page.external_links],
        [(ref.attrs, ref.contents) for ref in page.get_tags("ref")],
        [table.data(span=False) for table in page.tables],
        [str(comment) for comment in page.comments],
        [(s.level, s.title, s.plain_text()) for s in page.get_sections(include_subsections=False)],
    ]


def compare_texts() -> None:
    """Real edits, most of them small, and one paragraph more on large pages."""
    for name, edits in (("small edits", pairs()), ("edits of large pages", large_edits())):
        ours, theirs = interleaved(
            edits,
            lambda wiki, old, new: compare(old, new, namespaces_of(wiki)),
            lambda wiki, old, new: SimpleEditTypes("wikitext", old, new, language_of(wiki)).get_diff(),
        )
        row(f"delta, {len(edits)} {name}", len(edits) / ours, len(edits) / theirs, "/s", "mwedittypes, simple")


def pairs() -> list[tuple[str, str, str]]:
    """(wiki, old, new) of real revisions where they lie beside the repository, else of made-up ones."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "pages" / "pairs"
    if not folder.is_dir():
        text = made_up(random.Random(5))
        return [("enwiki", text, text.replace("loch", "lake", n)) for n in range(1, 40)]
    stems = [str(path)[: -len(".json")] for path in sorted(folder.glob("*.json"))]
    sides = [[Path(stem + side).read_text("utf-8") for side in (".old.txt", ".new.txt")] for stem in stems]
    return [(Path(stem).name.partition("__")[0], *both) for stem, both in zip(stems, sides, strict=True)]  # type: ignore[misc]


def large_edits(count: int = 25) -> list[tuple[str, str, str]]:
    chooser = random.Random(6)
    edits = []
    for wiki, text in pages():
        paragraphs = text.split("\n\n")
        if len(text) >= 20_000 and len(paragraphs) > 3:
            at = chooser.randrange(1, len(paragraphs))
            more = f"More of [[Loch {at}]] {{{{cite web|url=https://example.org/{at}|title=T}}}}."
            edits.append((wiki, text, "\n\n".join([*paragraphs[:at], more, *paragraphs[at:]])))
    return edits[:count]


def hostile_pages() -> None:
    """The worst of the made-up hostile pages and of edits of them, and how much longer twice as much takes."""
    namespaces = namespaces_of("enwiki")
    for length, label in ((200_000, "200 KB"), (2_000_000, "2 MB")):
        spent = {name: seconds(lambda text=text: scan(text, namespaces)) for name, text in hostile(length).items()}
        worst = max(spent, key=lambda name: spent[name])
        print(f"{'hostile, ' + label:<34}{spent[worst]:>10.2f} s  worst of {len(spent)}: {worst}")
    for length, label in ((200_000, "200 KB"), (2_000_000, "2 MB")):
        # The halves changed places, and one of them its lines.
        edits = {
            name: (text, text[length // 2 :].replace("a", "e") + text[: length // 2])
            for name, text in hostile(length).items()
        }
        spent = {name: seconds(lambda edit=edit: compare(*edit, namespaces)) for name, edit in edits.items()}
        worst = max(spent, key=lambda name: spent[name])
        print(f"{'hostile pair, ' + label:<34}{spent[worst]:>10.2f} s  worst of {len(spent)}: {worst}")
    growth = hostile_growth(150_000)
    worst = max(growth, key=lambda name: growth[name])
    print(f"{'hostile, twice as long':<34}{growth[worst]:>10.2f} ×  worst: {worst}")


def hostile_growth(length: int, rounds: int = 5) -> dict[str, float]:
    """How much longer twice as much takes, of each made-up hostile page that takes long enough to be measured.

    The middle of some rounds, in each of which the two follow one another: the worst of forty ratios of single times is
    that of the page in whose time something else ran. And without Python's garbage collection, which starts to look at
    what a page is made of from some size on.
    """
    namespaces = namespaces_of("enwiki")
    growth = {}
    halves, wholes = hostile(length), hostile(2 * length)
    gc.disable()
    for name in halves:
        took = [
            [seconds(lambda text=text: scan(text, namespaces)) for text in (halves[name], wholes[name])]
            for _ in range(rounds)
        ]
        if min(half for half, _ in took) > 0.01:
            growth[name] = statistics.median(whole / half for half, whole in took)
    gc.enable()
    return growth


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of the work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def observe(count: int = 200_000) -> None:
    """Bytes to bytes: the shard against the least that decides the same and keeps nothing; and what policies cost."""
    collect_rarely()  # as a gate does
    log = list(history(count))
    same, ours, theirs = [], 0.0, 0.0
    for work in (shard_over, dict_and_heap):
        with tempfile.TemporaryFile() as file:
            work(log[: count // 2], HOLDS, file.write)
            file.seek(0)
            same.append(sorted(bodies(file.read())))
    assert same[0] == same[1], "they decide differently"
    with open(os.devnull, "wb") as file:
        for _ in range(3):
            ours = fastest(ours, lambda: shard_over(log, HOLDS, file.write))
            theirs = fastest(theirs, lambda: dict_and_heap(log, HOLDS, file.write))
        row(f"observe, {count:,} edits × 3 windows", count / ours, count / theirs, "/s", "dict and heap, keeps nothing")
        peers(log, ours)
        three = state_bytes(shard_over(log, HOLDS, file.write))
        began = time.process_time()
        fifty = shard_over(log, HOLDS * 16 + HOLDS[:2], file.write)
        many = time.process_time() - began
    row("50 policies of 3 holds, CPU", many, ours, "s", "3 policies")
    row("  state, bytes per edit", state_bytes(fifty) / count, three / count, "B", "3 policies")


def peers(log: Sequence[tuple[bytes, bytes]], ours: float) -> None:
    """The same in stream processors from PyPI, file to file, in an environment of their own."""
    python = peers_python()
    if python is None:
        return
    count = sum(kind == KIND_EVENT for kind, _ in log)
    with tempfile.TemporaryDirectory() as folder:
        records, out = Path(folder) / "log", Path(folder) / "decisions"
        records.write_bytes(b"".join(kind + b" " + value + b"\n" for kind, value in log))
        windows = [f"w{n}_{hold}={hold * 1000}" for n, hold in enumerate(HOLDS)]
        command = [python, str(Path(__file__).with_name("peer_bytewax.py")), str(records), str(out), *windows]
        took = min(float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(2))
        mine = Path(folder) / "ours"
        with mine.open("wb") as file:
            shard_over(log, HOLDS, file.write)
        same = sorted(bodies(out.read_bytes())) == sorted(bodies(mine.read_bytes()))
    assert same, "they decide differently"
    row(f"  against Bytewax {BYTEWAX}", count / ours, count / took, "/s", "Bytewax, file to file, no recovery")


def peers_python() -> Path | None:
    """A Python that has them, made on the first run; None, and why, where there is no network for that."""
    folder = cache_folder(os.environ) / "bench-peers"
    python = folder / "bin" / "python"
    have = [str(python), "-c", "import bytewax, confluent_kafka, orjson, quixstreams"]
    if python.exists() and subprocess.run(have, check=False, capture_output=True).returncode == 0:
        return python
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        f"bytewax[kafka]=={BYTEWAX}",
        f"quixstreams=={QUIX}",
        "orjson",
    ]
    if subprocess.run(install, check=False, capture_output=True).returncode:
        print("  against Bytewax and Quix Streams: left out, they could not be installed (offline, or no wheel)")
        return None
    return python


def fastest(so_far: float, work: Callable[[], object]) -> float:
    """CPU seconds of the work, or what it took before if that was less."""
    gc.collect()
    began = time.process_time()
    work()
    took = time.process_time() - began
    return min(so_far or took, took)


def bodies(written: bytes) -> list[bytes]:
    """Each decision that was written, as what it is compared by."""
    return [encode_decision(d) for each in written.splitlines() for d in decode_decisions(each)]


def shard_over(log: Sequence[tuple[bytes, bytes]], holds: Sequence[int], write: Callable[[bytes], object]) -> Shard:
    """Write all decisions, a record per line."""
    named = tuple(Policy(name=f"w{n}_{hold}", hold_seconds=hold) for n, hold in enumerate(holds))
    shard = Shard()
    shard.apply(KIND_CONTROL, encode_policies(Policies(policies=named)))
    for kind, value in log:
        for group in shard.apply(kind, value):
            write(group.value)
            write(b"\n")
    return shard


def state_bytes(shard: Shard) -> int:
    """Of all pages."""
    return sum(len(encode_page(page)) for page in shard.hot.values())


def dict_and_heap(log: Sequence[tuple[bytes, bytes]], holds: Sequence[int], write: Callable[[bytes], object]) -> None:
    """The same decisions from the same bytes to the same bytes."""
    windows = Windows([(f"w{n}_{hold}", hold * 1000) for n, hold in enumerate(holds)])
    for kind, value in log:
        for decision in windows.tick(value) if kind == KIND_TICK else windows.edit(value):
            write(decision)
            write(b"\n")


def pending(count: int = 100_000) -> None:
    """What a pending edit takes: as bytes in memory, and in a store on disk with what the process needs for it."""
    chooser = random.Random(3)
    names = ("live", "fast", "standard")
    context = (0, ("edit",), "registered", (), ())
    rows = {}
    for n in range(count):
        sha1 = "".join(chooser.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=31))
        edit = Edit(
            2_500_000_000 + n, 0, f"{n:08}-0000-4000-8000-000000000000", EPOCH + n, sha1, f"{n:016x}", context, b"100"
        )
        page = Page("enwiki", n, f"Page_{n}", names, {edit.rev_id: sha1}, [edit])
        rows["enwiki", n] = Row(encode_page(page), When(1, EPOCH + n, 2))
    held = sum(len(row.value) for row in rows.values())
    with tempfile.TemporaryDirectory() as folder, Disk(Path(folder) / "d.db", topic="t", now_s=1, stale_s=9) as disk:
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        keys = list(rows)
        for at in range(0, count, 500):
            disk.write({key: rows[key] for key in keys[at : at + 500]})
        took = time.process_time() - began
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    row(f"pending edit, {count:,} pages", held / count, 960, "B", "dict and heap: 960 B (measured elsewhere)")
    print(f"{'  on disk; resident for it':<34}{size / count:>8,.0f} B  {grown / count:>8,.0f} B")
    print(f"{'  written':<34}{count / took:>8,.0f} /s")


def simulate(changes: int = 20_000) -> None:
    """The simulated wikis with their ledger, against writing that many events of theirs and nothing else."""
    collect_rarely()
    made = build_world(
        1, seconds=changes / 20, rate=20, wikis=300, tail_seconds=0, time_scale=1, vandalism_percent=6,
        canary_every_ms=900_000, keeps_truth=False,
    )  # fmt: skip
    with open(os.devnull, "wb") as file:
        source = SimulatedSource(made, ledger=made.ledger(file))
        began = time.process_time()
        asyncio.run(play(made, source, speed=0, after_seconds=0))
        ours = time.process_time() - began
        events = [orjson.loads(message.data) for message in source.messages]
        announced = sum(PAGE_CHANGE in message.topic for message in source.messages)
        began = time.process_time()
        file.writelines(orjson.dumps(event) for event in events)
        theirs = time.process_time() - began
    row(
        f"world, {announced:,} changes of 300 wikis", announced / ours, announced / theirs, "/s", "orjson of its events"
    )


class Copy:
    """What gate and publish cost without what they do: one record out for each one in."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self.copied = 0

    async def own(self, partition: int) -> None:
        pass

    async def work(self, partition: int, records: Sequence[Any]) -> list[Out]:
        return [Out(topic=self._topic, key=r.key, value=r.value, partition=partition) for r in records]

    def committed(self, partition: int, records: Sequence[Any], outs: Sequence[Out]) -> None:
        self.copied += len(records)

    def lost(self, partition: int) -> None:
        pass


async def exactly_once(settings: Settings, count: int = 20_000) -> None:
    """The loop against the same copy at least once."""
    await cluster.create(settings)
    topics = Topics(settings)
    bounds = limits(topics.table())
    await fill(settings, topics.content, [os.urandom(16) * 64 for _ in range(count)])
    copy = Copy(topics.enriched)
    loop = ExactlyOnce(
        settings,
        app=topics.group("bench"),
        step=Step.PUBLISH,
        inputs=[topics.content],
        limits=bounds,
        handler=copy,
        dead_letters=topics.deadletter,
        partitions=range(settings.partitions),
    )
    ours = await timed_until(loop.run, lambda: copy.copied >= count)
    began = time.monotonic()
    await copy_at_least_once(settings, topics.content, topics.decisions, count)
    theirs = time.monotonic() - began
    row(
        f"exactly-once loop, {count:,} × 1 KB", count / ours, count / theirs, "/s", "consume and produce, at least once"
    )


async def timed_until(run: Callable[[asyncio.Event], Awaitable[None]], done: Callable[[], bool]) -> float:
    stop = asyncio.Event()
    began = time.monotonic()
    task = asyncio.ensure_future(run(stop))
    while not done() and not task.done():  # noqa: ASYNC110 - looked at from outside, as a reader would
        await asyncio.sleep(0.02)
    took = time.monotonic() - began
    stop.set()
    await task
    return took


async def fill(settings: Settings, topic: str, values: Sequence[bytes]) -> None:
    sender = producer(settings)
    await sender.start()
    bounds = limits(Topics(settings).table())
    outs = (
        Out(topic=topic, key=b"%d" % n, value=value, partition=n % settings.partitions)
        for n, value in enumerate(values)
    )
    for future in [await send(sender, out, bounds) for out in outs]:
        await future
    await sender.stop()


async def copy_at_least_once(settings: Settings, source: str, target: str, count: int) -> None:
    reader, sender = consumer(settings, source, group=f"{settings.topic_prefix}.copy"), producer(settings)
    await reader.start()
    await sender.start()
    bounds = limits(Topics(settings).table())
    copied = 0
    while copied < count:
        batch = await reader.getmany(timeout_ms=300, max_records=1500)
        records = [record for each in batch.values() for record in each]
        outs = [Out(topic=target, key=r.key, value=r.value, partition=r.partition) for r in records]
        await asyncio.gather(*[await send(sender, out, bounds) for out in outs])
        if records:
            await reader.commit()
        copied += len(records)
    await reader.stop()
    await sender.stop()


async def socket_to_log(settings: Settings, count: int = 60_000) -> None:
    """The source from the socket to the acknowledged log, against the same messages produced at least once, unread."""
    await cluster.create(settings)
    command = [sys.executable, str(Path(__file__).with_name("flood.py")), str(count)]
    flood = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - nothing else runs yet
    try:
        assert flood.stdout is not None
        url, size = flood.stdout.readline().split()
        settings = settings.with_(source=url, since="earliest", tick_seconds=1.0, recentchange="all")
        written = metrics.RECORDS.labels(Step.SOURCE, "out")
        before, cpu = written._value.get(), time.process_time()
        ours = await timed_until(
            lambda stop: source.run(settings, stop), lambda: written._value.get() >= before + count
        )
        ours_cpu, cpu = time.process_time() - cpu, time.process_time()
        began = time.monotonic()
        await carry(settings, url, count)
        theirs, theirs_cpu = time.monotonic() - began, time.process_time() - cpu
    finally:
        flood.kill()
        flood.wait()
    row(f"source, {count:,} × {size} B", count / ours, count / theirs, "/s", "SSE into one topic, nothing else")
    row("  per second of our CPU", count / ours_cpu, count / theirs_cpu, "/s", "the same")
    week = 7 * 86_400 * 19
    print(f"  seven days of page changes ({week / 1e6:.1f} million) take {week * ours / count / 60:.0f} minutes")


async def cleaner(settings: Settings, broker: Broker, count: int = 60_000) -> None:
    """What one pass of the broker's cleaner over a log of unique keys reads and writes, against the log's size."""
    await cluster.create(settings)
    topics = Topics(settings)
    topic = {row.name: row for row in topics.table()}[topics.source]
    await fill(settings, topics.source, [os.urandom(700) * 2 for _ in range(count)])
    size = sum(path.stat().st_size for path in broker.folder.glob(f"data/{topics.source}-0/*.log"))
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    soon = topic.config | {"max.compaction.lag.ms": "1000", "segment.ms": "1000"}
    read, written, began = *process_io(broker.pid), time.monotonic()
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topics.source, configs=soon)])
    while (await read_partition(settings, topics.source, 0, end=1)) != []:
        tombstone = Out(topic=topics.source, key=b"0", value=None, partition=0)
        await send_all(settings, [tombstone])
        await asyncio.sleep(1)
    took = time.monotonic() - began
    await admin.close()
    moved = [(after - before) / size for before, after in zip((read, written), process_io(broker.pid), strict=True)]
    print(f"cleaner: until a record is gone from {size / 1e6:.0f} MB, {took:.0f} s,")
    print(f"  the broker reads {moved[0]:.1f} times and writes {moved[1]:.1f} times the log")
    # A day: 1.6 million page changes of 2.9 KB and as many predictions of 0.7 KB, pressed to a half; kept for 35 days.
    log_bytes = 35 * 1.6e6 * 3600 / 2
    rate = log_bytes * moved[1] / 86_400 / 1e6
    print(f"  {log_bytes / 1e9:.0f} GB of log, a pass a day: {rate:.1f} MB/s written on average")


def process_io(pid: int) -> tuple[int, int]:
    """Bytes that a process has read and written so far, files and sockets."""
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text("utf-8").splitlines())
    return int(lines["rchar"]), int(lines["wchar"])


async def fetch_and_enrich(settings: Settings, rounds: int = 4) -> None:
    """Edits of real pages from the log to their records, with two processes that parse, against parsing them here."""
    edits = [edit(2 * number + 1, wiki, text) for number, (wiki, text) in enumerate(pages() * rounds)]
    ours = await enriched(settings, edits)
    records = [encode_content(each) for each in edits]
    began = time.monotonic()
    for record in records:
        encode_enriched(enrich(decode_content(record)))
    theirs = time.monotonic() - began
    name = "parsing in one process, no broker, no API"
    row(f"fetch + enrich, {len(edits)} pages, 2 parse", len(edits) / ours, len(edits) / theirs, "/s", name)


async def catch_up(settings: Settings, count: int = 3_000) -> None:
    """A backlog of small edits while the API answers at once, against copying the log at least once."""
    chooser = random.Random(8)
    texts = [" ".join(chooser.choices(WORDS, k=300)) + "\n[[Category:Lakes]]\n" for _ in range(50)]
    edits = [edit(2 * n + 1, "enwiki", f"{texts[n % 50]}Edit {n}.\n") for n in range(count)]
    ours = await enriched(settings, edits)
    topics = Topics(settings)
    began = time.monotonic()
    await copy_at_least_once(settings, topics.source, topics.decisions, count)
    theirs = time.monotonic() - began
    row(f"catch-up, {count:,} small edits", count / ours, count / theirs, "/s", "the log copied, at least once")


async def enriched(settings: Settings, edits: Sequence[Content]) -> float:
    """Seconds from when the edits are in the log until all are enriched; the steps have started before."""
    await cluster.create(settings)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        sides = [text for edit in edits for text in (edit.revision, edit.parent)]
        file.write_bytes(orjson.dumps([(text.rev_id, text.text) for text in sides if text is not None]))
        command = [sys.executable, str(Path(__file__).with_name("texts_server.py")), str(file)]
        wiki = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - nothing else runs yet
        try:
            assert wiki.stdout is not None
            content = wiki.stdout.readline().strip()
            # A budget that is none, and no waiting for more.
            settings = settings.with_(content=content, linger_seconds=0.1, requests_per_minute=1e6, parse_workers=2)
            return await from_log_to_enriched(settings, edits)
        finally:
            wiki.kill()
            wiki.wait()


async def from_log_to_enriched(settings: Settings, edits: Sequence[Content]) -> float:
    written = metrics.RECORDS.labels(Step.ENRICH, "out")
    outs = [
        Out(
            topic=Topics(settings).source,
            key=f"{each.wiki}:{each.page_id}:{each.rev_id}".encode(),
            value=each.event,
            partition=page_partition(each.wiki, each.page_id, settings.partitions),
            headers=[("kind", KIND_EVENT)],
        )
        for each in edits
    ]
    before, stop = written._value.get(), asyncio.Event()
    steps = asyncio.create_task(run_steps(settings, [Step.FETCH, Step.ENRICH], stop))
    await send_all(settings, outs[:1])
    await until(lambda: written._value.get() > before, steps)
    await send_all(settings, outs[1:])
    began = time.monotonic()
    await until(lambda: written._value.get() >= before + len(outs), steps)
    took = time.monotonic() - began
    stop.set()
    await steps
    return took


async def until(done: Callable[[], bool], task: asyncio.Task[Any]) -> None:
    while not done():  # looked at from outside, as a reader would
        if task.done():
            task.result()
            raise RuntimeError("the steps ended")
        await asyncio.sleep(0.02)


async def whole_line(settings: Settings) -> None:
    """All five steps on a made-up world as fast as they go, against carrying the same messages into one topic."""
    world = build_world(1, seconds=120, rate=20)
    wikis = SimulatedSource(world)
    await wikis.start()
    settings = settings.with_(
        **line.HASTE | {"policies": (Policy(name="live", hold_seconds=0), Policy(name="fast", hold_seconds=10))},
        source=wikis.url,
        content=wikis.content,
        since=rfc3339(world.begin_ms - 1000),
    )
    await cluster.create(settings)
    await play(world, wikis, speed=0, after_seconds=120)
    messages = sum(b'"canary"' not in message.data for message in wikis.messages)
    stop = asyncio.Event()
    began = time.monotonic()
    steps = asyncio.create_task(run_steps(settings, list(Step), stop))
    await line.settled(settings, world.end_ms + 100_000)
    ours = time.monotonic() - began
    stop.set()
    await steps
    began = time.monotonic()
    await carry(settings, wikis.url, sum("prediction" not in message.topic for message in wikis.messages))
    theirs = time.monotonic() - began
    await wikis.stop()
    row(
        f"whole line, {messages:,} events", messages / ours, messages / theirs, "/s", "SSE into one topic, nothing else"
    )


async def carry(settings: Settings, url: str, count: int) -> None:
    streams = ",".join((PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, RECENT_CHANGE))
    sender = producer(settings)
    await sender.start()
    futures = []
    async with (
        aiohttp.ClientSession(read_bufsize=2**20) as session,
        session.get(f"{url}/v2/stream/{streams}", params={"since": "0"}) as response,
    ):
        async for text in response.content:
            if text.startswith(b"data: "):
                futures.append(await sender.send(Topics(settings).deadletter, value=text[6:], key=b"x"))
                if len(futures) == count:
                    break
    await asyncio.gather(*futures)
    await sender.stop()


if __name__ == "__main__":
    sys.exit(main(full="--full" in sys.argv[1:]))
