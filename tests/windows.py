"""What the bench compares the gate with: the same windows in the plainest Python, for whatever carries it.

Fixed windows over page changes: an edit is released when its hold and the grace are over, unless its text was undone
before; what is undone later is taken back. It reads the events, and writes the decisions as the gate does, byte for
byte. It knows nothing else: no other signals, no rules, no restart. It needs nothing of sluice.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import orjson

RING, GRACE_MS, SKEW_MS, HORIZON_MS = 16, 60_000, 600_000, 30 * 86_400_000
LISTENED = ["identity_revert", "declared_revert", "reverted_tag", "page_delete", "hide"]


class Edit(NamedTuple):
    wiki: str
    page: int
    rev: int
    event_id: str
    start_ms: int
    user: str


class Windows:
    """windows: (name, hold in ms) of each."""

    def __init__(self, windows: Sequence[tuple[str, int]]) -> None:
        self.windows = windows
        self.rings: dict[tuple[str, int], list[tuple[int, str]]] = {}
        self.waiting: dict[tuple[int, int], Edit] = {}
        self.out: dict[tuple[int, int], Edit] = {}
        self.newest: dict[tuple[str, int, int], int] = {}
        self.late: dict[tuple[int, int], dict] = {}
        self.due: list[tuple[int, int, int]] = []

    def edit(self, value: bytes) -> list[bytes]:
        """The decisions that an event leads to."""
        doc = orjson.loads(value)
        revision, page_id, wiki = doc["revision"], doc["page"]["page_id"], doc["wiki_id"]
        rev, sha1, user = revision["rev_id"], revision["rev_sha1"], revision["editor"]["user_text"]
        at_ms, start_ms = milliseconds(doc["meta"]["dt"]), milliseconds(revision["rev_dt"])
        edit = Edit(wiki, page_id, rev, doc["meta"]["id"], start_ms if abs(at_ms - start_ms) < SKEW_MS else at_ms, user)
        made: list[bytes] = []
        ring = self.rings.get((wiki, page_id))
        if ring is None:
            prior = doc["prior_state"]["revision"]
            ring = self.rings[wiki, page_id] = [(prior["rev_id"], prior["rev_sha1"])]
        for at in range(len(ring) - 1, -1, -1):
            if ring[at][1] == sha1:
                for undone, _ in ring[at + 1 :]:
                    self._undo(undone, edit, start_ms, made)
                break
        ring.append((rev, sha1))
        if len(ring) > RING:
            del ring[0]
        for window, (_, hold_ms) in enumerate(self.windows):
            self.waiting[rev, window] = edit
            if hold_ms:
                heapq.heappush(self.due, (edit.start_ms + hold_ms + GRACE_MS, rev, window))
            else:
                self._release(rev, window, edit.start_ms, made)
        return made

    def tick(self, value: bytes) -> list[bytes]:
        """The decisions of all whose time has come."""
        heard_ms = min(orjson.loads(value)["heard_ms"].values())
        made: list[bytes] = []
        while self.due and self.due[0][0] <= heard_ms:
            fire_ms, rev, window = heapq.heappop(self.due)
            if (rev, window) in self.waiting:
                self._release(rev, window, fire_ms, made)
        return made

    def _release(self, rev: int, window: int, fire_ms: int, made: list[bytes]) -> None:
        edit = self.waiting.pop((rev, window))
        newest = self.newest.get((edit.wiki, edit.page, window), 0)
        if newest > rev:
            made.append(self._decision(edit, window, "superseded", fire_ms, fire_ms, by=newest))
            return
        self.newest[edit.wiki, edit.page, window] = rev
        self.out[rev, window] = edit
        made.append(self._decision(edit, window, "released", fire_ms, fire_ms))
        late = self.late.pop((rev, window), None)
        if late is not None:
            del self.out[rev, window]
            made.append(self._decision(edit, window, "retracted", fire_ms, late["at_ms"], signal=late))

    def _undo(self, rev: int, by: Edit, at_ms: int, made: list[bytes]) -> None:
        for window, (_, hold_ms) in enumerate(self.windows):
            edit = self.waiting.get((rev, window)) or self.out.get((rev, window))
            if edit is None:
                continue
            itself = edit.user == by.user
            signal = {"at_ms": at_ms, "by_rev_id": by.rev, "by_self": itself, "event_id": by.event_id,
                      "kind": "identity_revert"}  # fmt: skip
            fire_ms = edit.start_ms + (hold_ms + GRACE_MS if hold_ms else 0)
            if (rev, window) in self.waiting:
                # What is due before goes out first.
                if at_ms >= fire_ms:
                    if not itself:
                        self.late.setdefault((rev, window), signal)
                    continue
                del self.waiting[rev, window]
                state, taker = ("superseded", by.rev) if itself else ("withheld", None)
                made.append(self._decision(edit, window, state, fire_ms, at_ms, signal=signal, by=taker))
            elif not itself and at_ms - fire_ms <= HORIZON_MS:
                del self.out[rev, window]
                made.append(self._decision(edit, window, "retracted", fire_ms, at_ms, signal=signal))

    def _decision(
        self, edit: Edit, window: int, state: str, fire_ms: int, at_ms: int, *, signal: dict | None = None,
        by: int | None = None,
    ) -> bytes:  # fmt: skip
        name, hold_ms = self.windows[window]
        decision = {
            "absent": [kind for kind in LISTENED if kind != signal["kind"]] if signal else LISTENED,
            "decided_for_ms": at_ms,
            "epoch": 0,
            "event_id": edit.event_id,
            "fire_ms": fire_ms,
            "hold_ms": hold_ms,
            "listened": LISTENED,
            "page_id": edit.page,
            "partial": False,
            "policy": name,
            "reason": "reverted" if state in ("withheld", "retracted") else None,
            "rev_id": edit.rev,
            "rule": 0,
            "signals": [signal] if signal else [],
            "start_ms": edit.start_ms,
            "state": state,
            "superseded_by": by,
            "wiki": edit.wiki,
        }
        return orjson.dumps({"decisions": [decision]})


def milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def peak_mb() -> int:
    """The most memory that this process had. (The system's `ru_maxrss` begins with that of the parent.)"""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))
