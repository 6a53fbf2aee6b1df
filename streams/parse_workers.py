"""Processes that parse, each one page at a time, so that no page can hold up the event loop, or take it down.

A page that a process does not survive, or does not finish in time, is given to a fresh one; if that fails too, to
another that leaves out the HTML, then to one that leaves out all: the record says why it has no content. A process that
failed is killed.

    parse ──► idle worker ──► record                           once more          then
                  └── killed, hung, out of memory ──► respawn ──────────► respawn ────► record without content
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from schemas.enriched import ContentAbsent
from streams import metrics
from streams.parse_worker import (
    ALL,
    ANSWER,
    ENRICHED,
    NO_MEMORY,
    NO_MEMORY_CODE,
    NOTHING,
    PAGE,
    READY,
    REASONS,
    REQUEST,
    UNREADABLE,
)

# The slowest real page takes a tenth of it.
DEADLINE_SECONDS = 10.0
MEMORY_BYTES = 1 << 30
START_SECONDS = 60.0
# A record is read in few pieces.
BUFFER_BYTES = 1 << 22
TRIES = 2
# In a content record that has no HTML: its keys are sorted.
NO_PAGE = b'"html":null,"page_id":'
# A process is made anew after so many pages, whatever it may have kept of them.
PAGES_EACH = 20_000

log = logging.getLogger("sluice.parse_workers")


class CannotParse(ValueError):
    """The parser raised: a fault of ours, with this page."""


class Unreadable(ValueError):
    """What was to be parsed is no content record."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """An enriched record as bytes; at_ms: when its event was made."""

    record: bytes
    at_ms: int


class _Lost(Exception):
    """The process did not finish the page."""

    def __init__(self, reason: ContentAbsent) -> None:
        super().__init__(reason)
        self.reason = reason


class ParseWorkers:
    """`async with ParseWorkers(2) as workers`. A process is started when a page first needs it."""

    def __init__(
        self,
        count: int,
        *,
        siteinfo: str = "",
        deadline_seconds: float = DEADLINE_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._workers = [_Worker(siteinfo, deadline_seconds, memory_bytes) for _ in range(count)]
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        for worker in self._workers:
            self._idle.put_nowait(worker)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            await worker.kill()

    @property
    def busy(self) -> list[int]:
        """Process ids of those that have a page now."""
        return [worker.pid for worker in self._workers if worker.has_page and worker.pid is not None]

    async def parse(self, content: bytes) -> Parsed:
        """The enriched record of a content record. Raises `Unreadable`, `CannotParse` and `OSError`."""
        reason = ContentAbsent.CRASH
        tries = [NOTHING] * TRIES
        if NO_PAGE not in content:
            tries.append(PAGE)
        for left_out in tries:
            try:
                return await self._attempt(content, left_out, reason)
            except _Lost as lost:
                reason = lost.reason
        return await self.leave_out(content, reason)

    async def leave_out(self, content: bytes, reason: ContentAbsent) -> Parsed:
        """The record without content, since `reason`. Raises as `parse` does."""
        try:
            return await self._attempt(content, ALL, reason)
        except _Lost as lost:
            raise CannotParse(f"a process was lost without parsing: {lost.reason}") from lost

    async def _attempt(self, content: bytes, left_out: int, reason: ContentAbsent) -> Parsed:
        worker = await self._idle.get()
        try:
            return await worker.parse(content, left_out, reason)
        except _Lost as lost:
            metrics.PARSERS_LOST.labels(lost.reason).inc()
            log.warning("a page was not parsed: %s", lost.reason)
            raise
        finally:
            self._idle.put_nowait(worker)


class _Worker:
    def __init__(self, siteinfo: str, deadline_seconds: float, memory_bytes: int) -> None:
        self._siteinfo = siteinfo
        self._deadline_seconds = deadline_seconds
        self._memory_bytes = memory_bytes
        self._process: asyncio.subprocess.Process | None = None
        self._pages = 0
        self.has_page = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def parse(self, content: bytes, left_out: int, reason: ContentAbsent) -> Parsed:
        if self._pages >= PAGES_EACH:
            await self.kill()
        if self._process is None:
            await self._start()
        self.has_page = True
        try:
            async with asyncio.timeout(self._deadline_seconds):
                kind, at_ms, payload = await self._ask(content, left_out, reason)
        except TimeoutError as exc:
            await self.kill()
            raise _Lost(ContentAbsent.DEADLINE) from exc
        except (OSError, asyncio.IncompleteReadError) as exc:
            code = await self.kill()
            raise _Lost(ContentAbsent.MEMORY if code == NO_MEMORY_CODE else ContentAbsent.CRASH) from exc
        except asyncio.CancelledError:
            # Its answer would be taken for that of the next page.
            await self.kill()
            raise
        finally:
            self.has_page = False
        self._pages += 1
        if kind == NO_MEMORY:
            await self.kill()
            raise _Lost(ContentAbsent.MEMORY)
        if kind == ENRICHED:
            return Parsed(payload, at_ms)
        raise (Unreadable if kind == UNREADABLE else CannotParse)(payload.decode())

    async def _start(self) -> None:
        """Raises `OSError` if there can be no process that answers."""
        given = (str(self._memory_bytes), str(os.getpid()), self._siteinfo)
        arguments = (sys.executable, "-m", "streams.parse_worker", *given)
        self._process = await asyncio.create_subprocess_exec(
            *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=BUFFER_BYTES
        )
        self._pages = 0
        try:
            async with asyncio.timeout(START_SECONDS):
                kind, _, _ = await self._answer()
        except (TimeoutError, asyncio.IncompleteReadError) as exc:
            await self.kill()
            raise OSError(f"a process that parses did not start: {exc!r}") from exc
        except asyncio.CancelledError:
            await self.kill()
            raise
        if kind != READY:
            raise RuntimeError(f"a process that parses began with {kind}")

    async def _ask(self, content: bytes, left_out: int, reason: ContentAbsent) -> tuple[int, int, bytes]:
        process = self._process
        if process is None or process.stdin is None:
            raise RuntimeError("asked before it was started")
        process.stdin.write(REQUEST.pack(left_out, REASONS.index(reason), len(content)))
        process.stdin.write(content)
        await process.stdin.drain()
        return await self._answer()

    async def _answer(self) -> tuple[int, int, bytes]:
        process = self._process
        if process is None or process.stdout is None:
            raise RuntimeError("asked before it was started")
        kind, at_ms, length = ANSWER.unpack(await process.stdout.readexactly(ANSWER.size))
        return kind, at_ms, await process.stdout.readexactly(length)

    async def kill(self) -> int | None:
        """End the process, if there is one, and return its exit code. The next page starts another."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        # What is left in the pipe is read, else `wait` may never return; unless somebody reads it already.
        with contextlib.suppress(RuntimeError):
            if process.stdout is not None:
                await process.stdout.read()
        return await process.wait()
