"""Quality over real histories: the rows that are folded from decisions equal what the raw histories say."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice

import pytest
from conftest import shared_data

from processors import curve, whatif
from processors.quality import Book, Measures, differences, summed
from schemas.event import rfc3339
from schemas.log import Policies, Policy
from schemas.quality import Quality, decode_quality, encode_quality
from streams.histories import read_history

HOLDS = {"live": 0, "fast": 300, "hour": 3600, "day": 86_400}
MONTH_MS = 30 * 86_400_000


@pytest.mark.parametrize("name", ["wikidata_sha1", "enwiki_sha1"])
def test_the_ledger_equals_a_recomputation_from_the_raw_histories(name, monkeypatch):
    monkeypatch.setattr("processors.quality.MOST_DAYS", 10_000)
    rules = Policies(policies=tuple(Policy(name=policy, hold_seconds=hold) for policy, hold in HOLDS.items()))
    pages = curve.pages(read_history(shared_data() / "histories" / f"{name}.csv.gz"))
    books = [Book() for _ in range(3)]
    expected: dict[tuple[str, str], Quality] = {}
    for page_id, history in enumerate(pages.values(), start=1):
        # In pieces, as the records come, and through what is written of the rows: a restart after every piece.
        made = [*whatif.over_history(history, page_id, rules)]
        for at in range(0, len(made), 5000):
            books[page_id % 3].hear(made[at : at + 5000])
            rows = books[page_id % 3].rows.values()
            books[page_id % 3] = Book(decode_quality(encode_quality(row)) for row in rows)
        for policy, hold in HOLDS.items():
            recompute(history, policy, (hold + 60) * 1000 if hold else 0, expected)
    ours = Book(row for (_, day), row in added_up(books).items() if day)
    assert differences(ours.rows, expected) == []
    assert sum(Measures(row).edits for row in expected.values()) == len(HOLDS) * sum(map(len, pages.values()))
    protection = {policy: Measures(row).protection for policy, row in summed(expected.values()).items()}
    assert protection["live"] < protection["fast"] < protection["hour"] < protection["day"]


def added_up(books: Sequence[Book]) -> dict[tuple[str, str], Quality]:
    """The partitions' rows of each day in one."""
    days = {key for book in books for key in book.rows}
    return {key: summed(book.rows[key] for book in books if key in book.rows)[key[0]] for key in days}


def recompute(
    history: Sequence[curve.Revision], policy: str, wait_ms: int, rows: dict[tuple[str, str], Quality]
) -> None:
    """What the rows say, from nothing but the rows of the history. wait_ms: hold and grace.

    A revision that has the text of one of the sixteen before it undoes what lies between, at its own time. An edit goes
    out when it has waited, unless it is undone before, or one with a higher id is out (old revisions have ids that do
    not grow with time) that the gate has not forgotten. What another undoes within 30 days after that is taken back.
    """
    undone: list[list[tuple[int, int, bool]]] = [[] for _ in history]
    for at, revision in enumerate(history):
        back = next((b for b in range(at - 1, max(-1, at - 17), -1) if history[b].sha1 == revision.sha1), at)
        for between in range(back + 1, at) if revision.sha1 else ():
            by_self = bool(revision.user) and revision.user == history[between].user
            undone[between].append((revision.at_ms, at, by_self))
    times = [revision.at_ms for revision in history]
    keep_ms = (max(HOLDS.values()) + 60) * 1000 + MONTH_MS
    out_until: dict[int, tuple[int, int, int]] = {}
    for at, revision in enumerate(history):
        key = policy, rfc3339(revision.at_ms)[:10]
        row = rows.setdefault(key, Quality(policy=policy, day=key[1]))
        fire_ms = revision.at_ms + wait_ms
        heard = bisect_right(times, fire_ms) if wait_ms else at + 1
        in_time = next(((at_ms, by_self) for at_ms, _, by_self in undone[at] if at_ms < fire_ms), None)
        if in_time is not None and in_time[1]:
            row.self_reverted += 1
        elif in_time is not None:
            row.withheld["reverted"] = row.withheld.get("reverted", 0) + 1
            row.stood_ms += in_time[0] - revision.at_ms
        elif any(
            history[other].rev_id > revision.rev_id
            and (at_ms > fire_ms if wait_ms else (at_ms, by) > (fire_ms, at))
            and (heard <= forgotten if wait_ms else at < forgotten)
            for other, (at_ms, by, forgotten) in out_until.items()
        ):
            row.superseded += 1
        else:
            row.released += 1
            row.waited_ms += wait_ms
            count(row.waits, wait_ms)
            later = next(((at_ms, by) for at_ms, by, by_self in undone[at] if not by_self), (fire_ms + MONTH_MS + 1, 0))
            lag_ms = later[0] - fire_ms
            # The gate forgets an edit at the first tick after the longest hold and the horizon have passed.
            forgotten = bisect_right(times, revision.at_ms + keep_ms)
            out_until[at] = (*(later if lag_ms <= MONTH_MS else (sys.maxsize, 0)), forgotten)
            if lag_ms <= MONTH_MS:
                row.retracted["reverted"] = row.retracted.get("reverted", 0) + 1
                row.stood_ms += later[0] - revision.at_ms
                row.exposed_ms += lag_ms
                row.taken_waited_ms += wait_ms
                count(row.taken_waits, wait_ms)
                count(row.lags, lag_ms)
        for other in [other for other in islice(out_until, 2) if out_until[other][2] <= at]:
            del out_until[other]


def count(spread: dict[int, int], ms: int) -> None:
    low = int(f"{ms:b}"[:5].ljust(len(f"{ms:b}"), "0"), 2)
    spread[low] = spread.get(low, 0) + 1
