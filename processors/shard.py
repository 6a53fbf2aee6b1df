"""One partition of the log, walked record by record: the same walk in the gate and in a replay. Pure.

A shard owns the pages of its partition, the policies in force and the watermark. Everything it knows comes from the
records it is given, so the same records give the same decisions, whoever reads them and however fast.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from processors import gate
from schemas.decision import Decision
from schemas.event import Canary, Event, InvalidEvent, RecentChange, decode_event
from schemas.log import (
    KIND_CONTROL,
    KIND_ERASURE,
    KIND_EVENT,
    KIND_SKELETON,
    KIND_TICK,
    InvalidRecord,
    Policies,
    Tick,
    decode_policies,
    decode_tick,
)
from schemas.page import Page
from schemas.reasons import SetAside

PageKey = tuple[str, int]


class Unreadable(ValueError):
    """A record of the log that the gate cannot read; it belongs in the dead-letter topic under `reason`."""

    def __init__(self, reason: SetAside, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All decisions that one input caused about one page. cause: the event's id, or `tick-<number>`."""

    wiki: str
    page_id: int
    cause: str
    decisions: tuple[Decision, ...]

    @property
    def key(self) -> bytes:
        """The record's key on `sluice.decisions.v1`."""
        return f"{self.wiki}:{self.page_id}:{self.cause}".encode()


class Shard:
    """The gate's state for one partition.

    pages: what is known of each page. policies: those in force, None before the first control record.
    heard: the watermark in ms, -1 before the first tick. pending: (edit, policy) pairs that wait.
    `touched` collects the keys of the pages that changed since the caller last cleared it; a key in it that is not
    in `pages` stands for a page that was forgotten.
    """

    def __init__(self, pages: Iterable[Page] = (), policies: Policies | None = None) -> None:
        self.pages: dict[PageKey, Page] = {(page.wiki, page.page_id): page for page in pages}
        self.policies = policies
        self.touched: set[PageKey] = set()
        self.policies_changed = False
        self.heard = -1
        self.pending = gate.pending(self.pages.values())
        self._due: list[tuple[int, str, int]] = []
        self._next: dict[PageKey, int] = {}
        self._schedule_all()

    def apply(self, kind: bytes | None, value: bytes) -> list[Group]:
        """Walk over one record of `sluice.source.v1`.

        kind: its header of that name. Raises `Unreadable`; the shard is then as it was before.
        """
        try:
            if kind == KIND_EVENT:
                return self._event(decode_event(value))
            if kind == KIND_TICK:
                return list(self._tick(decode_tick(value)))
            if kind in {KIND_SKELETON, KIND_ERASURE}:
                return []
            if kind == KIND_CONTROL:
                self._control(decode_policies(value))
                return []
        except InvalidEvent as exc:
            raise Unreadable(exc.reason, exc.detail) from exc
        except InvalidRecord as exc:
            raise Unreadable(SetAside.WRONG_RECORD, str(exc)) from exc
        raise Unreadable(SetAside.WRONG_RECORD, f"a record of kind {kind!r}")

    def _event(self, event: Event) -> list[Group]:
        # What carries no page id is kept for those who want it; nothing in it decides a hold today.
        if self.policies is None or isinstance(event, Canary | RecentChange):
            return []
        key = (event.wiki, event.page_id)
        before = self.pages.get(key) or Page(wiki=event.wiki, page_id=event.page_id)
        after, decisions = gate.observe(before, event, self.policies)
        self._keep(key, before, after, self.policies)
        return self._groups(key, event.meta.event_id, decisions)

    def _tick(self, tick: Tick) -> Iterator[Group]:
        self.heard = max(self.heard, gate.heard_until(tick.heard_ms))
        if self.policies is None:
            return
        while self._due and self._due[0][0] <= self.heard:
            at, wiki, page_id = heapq.heappop(self._due)
            key = (wiki, page_id)
            if self._next.get(key) != at:
                continue
            before = self.pages[key]
            after, decisions = gate.advance(before, self.heard, self.policies)
            self._keep(key, before, after, self.policies)
            yield from self._groups(key, f"tick-{tick.number}", decisions)

    def _control(self, policies: Policies) -> None:
        self.policies = policies
        self.policies_changed = True
        for key, page in self.pages.items():
            changed = gate.change_policies(page, policies)
            if changed != page:
                self.pages[key] = changed
                self.touched.add(key)
        self.pending = gate.pending(self.pages.values())
        self._schedule_all()

    def _groups(self, key: PageKey, cause: str, decisions: list[Decision]) -> list[Group]:
        if not decisions:
            return []
        return [Group(wiki=key[0], page_id=key[1], cause=cause, decisions=tuple(decisions))]

    def _keep(self, key: PageKey, before: Page, after: Page, policies: Policies) -> None:
        if after.edits or after.waiting:
            self.pages[key] = after
            self._schedule(key, policies)
        else:
            self.pages.pop(key, None)
            self._next.pop(key, None)
        if after is not before:
            self.pending += gate.pending([after]) - gate.pending([before])
            self.touched.add(key)

    def _schedule(self, key: PageKey, policies: Policies) -> None:
        due = gate.next_due_ms(self.pages[key], policies)
        if due is None:
            self._next.pop(key, None)
        elif self._next.get(key) != due:
            self._next[key] = due
            heapq.heappush(self._due, (due, *key))

    def _schedule_all(self) -> None:
        self._due, self._next = [], {}
        if self.policies is not None:
            for key in self.pages:
                self._schedule(key, self.policies)
