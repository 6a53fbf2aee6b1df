"""Pages are parsed in processes that may be killed, hang or run out of memory; nobody else notices."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_enrich_step import content, kill_whoever_has

from processors.enrich import enrich
from schemas.content import Html, encode_content
from schemas.enriched import ContentAbsent, DeltaAbsent, Enriched, decode_enriched, encode_enriched
from schemas.reasons import Answer
from streams import metrics, parse_workers
from streams.parse_workers import Parsed, ParseWorkers, Unreadable

PAGE = content(102, "A [[lake]] of 230 m.")
# A tenth of a second or two: long enough to be hit, short enough to wait for.
LONG = content(103, "A [[lake]]{{convert|37|km}}<ref>Doe</ref>.\n" * 6_000)


def lost(reason: ContentAbsent) -> float:
    return metrics.REGISTRY.get_sample_value("sluice_parsers_lost_total", {"reason": reason}) or 0.0


def record(parsed: Parsed) -> Enriched:
    return decode_enriched(parsed.record)


async def parse(workers: ParseWorkers, page: object = PAGE) -> Enriched:
    return record(await workers.parse(encode_content(page)))  # type: ignore[arg-type]


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - processes have no event to wait for
            await asyncio.sleep(0.002)


async def hit(workers: ParseWorkers, how: signal.Signals, times: int) -> None:
    """Send `how` to the process that has a page, each time to another one."""
    seen: set[int] = set()
    for _ in range(times):
        await until(lambda: set(workers.busy) - seen)
        (pid,) = set(workers.busy) - seen
        seen.add(pid)
        os.kill(pid, how)


async def test_a_page_is_parsed_as_it_would_be_here_and_the_process_is_kept_for_the_next() -> None:
    async with ParseWorkers(1) as workers:
        parsed = await workers.parse(encode_content(PAGE))
        assert parsed.record == encode_enriched(enrich(PAGE))
        assert parsed.at_ms == 1_795_314_220_000
        first = workers._workers[0].pid
        await parse(workers)
        assert workers._workers[0].pid == first


async def test_a_page_whose_process_is_killed_once_is_parsed_by_another() -> None:
    before = lost(ContentAbsent.CRASH)
    async with ParseWorkers(1) as workers:
        found, _ = await asyncio.gather(parse(workers, LONG), hit(workers, signal.SIGKILL, 1))
    assert found == enrich(LONG)
    assert lost(ContentAbsent.CRASH) - before == 1


async def test_a_page_whose_process_is_killed_twice_has_a_record_that_says_so_and_the_others_have_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed = kill_whoever_has(LONG, monkeypatch)
    async with ParseWorkers(2) as workers:
        found, *others = await asyncio.gather(parse(workers, LONG), *(parse(workers) for _ in range(20)))
    assert others == [enrich(PAGE)] * 20
    assert len(killed) == 2
    assert (found.content, found.content_absent, found.delta_absent) == (None, "crash", DeltaAbsent.NO_TEXT)
    assert (found.key, found.change) == (LONG.key, enrich(LONG).change)


async def test_a_process_is_ended_also_in_the_middle_of_an_answer_that_nobody_reads(monkeypatch) -> None:
    monkeypatch.setattr(parse_workers, "BUFFER_BYTES", 1000)
    worker = parse_workers._Worker("", 30, parse_workers.MEMORY_BYTES)
    await worker._start()
    process = worker._process
    asking = asyncio.create_task(worker._ask(encode_content(LONG), 0, ContentAbsent.CRASH))
    await asyncio.sleep(0)  # it has begun to write
    await until(lambda: process.stdin._transport.get_write_buffer_size() == 0)
    asking.cancel()
    await asyncio.wait({asking})
    await until(lambda: process.stdout._paused)
    async with asyncio.timeout(20):
        assert await worker.kill() == -signal.SIGKILL


async def test_a_page_that_hangs_is_ended_by_the_deadline_and_the_loop_runs_on_meanwhile() -> None:
    before = lost(ContentAbsent.DEADLINE)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    async with ParseWorkers(1, deadline_seconds=0.5) as workers:
        await parse(workers)
        turning = asyncio.create_task(turn())
        # Stopped, it does what a page without end would do, whoever holds the interpreter.
        stopping = asyncio.create_task(hit(workers, signal.SIGSTOP, 2))
        found = await parse(workers, LONG)
        await stopping
        turning.cancel()
        assert (await parse(workers)).content is not None
    assert found.content_absent is ContentAbsent.DEADLINE
    assert lost(ContentAbsent.DEADLINE) - before == 2
    assert turns > 20


def peak_bytes(pid: int | None) -> int:
    """Of the address space of a process."""
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        pytest.skip("the system does not say how much memory a process has")
    line = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmPeak:"))
    return int(line.split()[1]) * 1024


async def test_a_page_that_takes_too_much_memory_is_ended_and_the_next_one_is_parsed() -> None:
    def gone() -> float:
        # Code in C may crash where it should say that memory ended.
        return lost(ContentAbsent.MEMORY) + lost(ContentAbsent.CRASH)

    async with ParseWorkers(1) as workers:
        await parse(workers)
        small = peak_bytes(workers._workers[0].pid)
    before = gone()
    async with ParseWorkers(1, memory_bytes=small + 40_000_000) as workers:
        large = content(104, "[[a|b]]" * 290_000)
        found = await parse(workers, large)
        assert (await parse(workers)).content is not None
    assert found.content_absent in {ContentAbsent.MEMORY, ContentAbsent.CRASH}
    assert gone() - before == 2


async def test_html_that_no_process_survives_does_not_take_the_text_with_it() -> None:
    # Real memory: the HTML needs more than there is, the text does not.
    html = Html(answer=Answer.TEXT, text="<p><b>x</b></p>" * 400_000)
    async with ParseWorkers(1, memory_bytes=150_000_000) as workers:
        found = await parse(workers, replace(PAGE, html=html))
    assert (found.rendered, found.rendered_absent) == (None, ContentAbsent.MEMORY)
    assert found.content == enrich(PAGE).content


async def test_what_is_no_content_record_is_refused_and_costs_no_process() -> None:
    async with ParseWorkers(1) as workers:
        with pytest.raises(Unreadable, match="no content record"):
            await workers.parse(b"\xff")
        pid = workers._workers[0].pid
        assert (await parse(workers)).content is not None
        assert workers._workers[0].pid == pid


async def test_a_process_is_made_anew_after_some_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse_workers, "PAGES_EACH", 2)
    async with ParseWorkers(1) as workers:
        pids = []
        for _ in range(4):
            await parse(workers)
            pids.append(workers._workers[0].pid)
    assert pids[0] == pids[1] != pids[2] == pids[3]


async def test_a_process_that_cannot_start_is_an_error_and_not_an_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    async with ParseWorkers(1) as workers:
        with pytest.raises(OSError, match="did not start"):
            await workers.parse(encode_content(PAGE))


async def test_a_cancelled_page_leaves_no_answer_behind_for_the_next() -> None:
    async with ParseWorkers(1) as workers:
        long = asyncio.create_task(parse(workers, LONG))
        await until(lambda: workers.busy)
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)
        assert (await parse(workers)).rev_id == PAGE.rev_id


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
async def test_a_process_does_not_outlive_a_parent_that_was_killed() -> None:
    code = (
        "import asyncio, sys\nfrom streams.parse_workers import ParseWorkers\n"
        "async def main():\n workers = ParseWorkers(1)\n await workers._workers[0]._start()\n"
        " print(workers._workers[0].pid, flush=True)\n await asyncio.sleep(60)\nasyncio.run(main())"
    )
    parent = subprocess.Popen(  # noqa: ASYNC220 - nothing else is under way
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
    await until(lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"
