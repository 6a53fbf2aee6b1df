"""`sluice reconcile`: hours of the log held against the recent changes of chosen wikis, and what is missing put in.

It reads the log and asks the wikis, and writes to `sluice.control.v1` alone: the source puts what comes there into the
log, since nobody else writes it. What the source sends after all, late, is the same revision again and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

from processors.pace import Budget
from processors.reconcile import InvalidRow, Listed, event_of, listed
from schemas.control import Reconciled, encode_reconciled
from schemas.event import PAGE_CHANGE, InvalidEvent, decode_event, rfc3339
from schemas.log import KIND_EVENT, KIND_SKELETON
from streams.clock import now_ms
from streams.content_api import ContentApi
from streams.kafka import Out, header, reading, send_all
from streams.queries import ask
from streams.settings import Settings
from streams.topics import Topics

# An event can come this long after its edit; what is younger is not missing yet.
SETTLED_MS = 300_000
CLOCKS_MS = 600_000
PAGE_ROWS = 500
FIELDS = "ids|timestamp|title|flags|sizes|sha1|user|userid|comment|redirect|tags"

log = logging.getLogger("sluice.reconcile")


@dataclass(slots=True, kw_only=True)
class Report:
    """Of one wiki: how many revisions the API lists, and those that the log lacks, oldest first."""

    wiki: str
    listed: int = 0
    missing: list[Listed] = field(default_factory=list)


async def reconcile(
    settings: Settings, wikis: Mapping[str, str], begin_ms: int, end_ms: int, *, inject: bool
) -> list[Report]:
    """One report per wiki for what was edited from `begin_ms` on and before `end_ms`, or before it has settled.

    wikis: name → domain, "" = as the log has it. inject: hand what is missing to the source. Raises `Trouble` if a wiki
    does not answer, `UnknownSite` and `KafkaError`, and `LookupError` for a wiki whose domain nobody knows.
    """
    end_ms = min(end_ms, now_ms() - SETTLED_MS)
    known, domains = await _logged(settings, set(wikis), begin_ms)
    reports = []
    budget = Budget(settings.requests_per_minute)
    async with ContentApi(settings) as api:
        for wiki, given in wikis.items():
            domain = given or domains.get(wiki, "")
            if not domain:
                raise LookupError(f"the log has no event of {wiki}: say {wiki}=its.domain.org")
            report = Report(wiki=wiki)
            async for row in _recent_changes(api, budget, (wiki, domain), begin_ms, end_ms):
                change = listed(row, wiki, domain)
                if change is not None:
                    report.listed += 1
                    report.missing += [change] if (wiki, change.rev_id) not in known else []
            reports.append(report)
    if inject:
        await _inject(settings, [change for report in reports for change in report.missing])
    return reports


async def _logged(settings: Settings, wikis: set[str], begin_ms: int) -> tuple[set[tuple[str, int]], dict[str, str]]:
    """The revisions that the log has of these wikis, and their domains."""
    topic = Topics(settings).source
    partitions = [TopicPartition(topic, partition) for partition in range(settings.partitions)]
    known: set[tuple[str, int]] = set()
    domains: dict[str, str] = {}
    async with reading(settings) as reader:
        reader.assign(partitions)
        first, end = await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)
        # What was edited then cannot have been written before, but for the difference of two clocks.
        found = await reader.offsets_for_times(dict.fromkeys(partitions, max(0, begin_ms - CLOCKS_MS)))
        for tp in partitions:
            reader.seek(tp, first[tp] if found.get(tp) is None else found[tp].offset)
            while await reader.position(tp) < end[tp]:
                for record in (await reader.getmany(tp, timeout_ms=1000)).get(tp, ()):
                    if header(record, "stream") != PAGE_CHANGE.encode():
                        continue
                    wiki, _, rev, _ = record.key.decode().split(":", 3)
                    if wiki in wikis and header(record, "kind") in {KIND_EVENT, KIND_SKELETON}:
                        known.add((wiki, int(rev)))
                        if wiki not in domains:
                            domains |= _domain(wiki, record.value)
    return known, domains


def _domain(wiki: str, value: bytes | None) -> dict[str, str]:
    try:
        return {wiki: decode_event(value or b"").meta.domain}
    except InvalidEvent:
        return {}


async def _recent_changes(
    api: ContentApi, budget: Budget, site: tuple[str, str], begin_ms: int, end_ms: int
) -> AsyncIterator[Mapping[str, Any]]:
    params = {
        "list": "recentchanges",
        "rctype": "edit|new",
        "rcprop": FIELDS,
        "rcdir": "newer",
        "rcstart": rfc3339(begin_ms),
        "rcend": rfc3339(end_ms),
        "rclimit": str(PAGE_ROWS),
    }
    more: dict[str, str] = {}
    while begin_ms < end_ms:
        doc = await ask(api, budget, site, params | more)
        for row in doc.get("query", {}).get("recentchanges", ()):
            yield row
        if "continue" not in doc:
            return
        more = {name: str(value) for name, value in doc["continue"].items()}


async def _inject(settings: Settings, missing: Sequence[Listed]) -> None:
    topic, at_ms = Topics(settings).control, now_ms()
    outs = []
    for change in missing:
        try:
            value = encode_reconciled(Reconciled(event=event_of(change, at_ms)))
        except InvalidRow as exc:
            log.warning("not put in: %s", exc)
            continue
        key = f"reconciled:{change.wiki}:{change.rev_id}".encode()
        outs.append(Out(topic=topic, key=key, value=value, partition=0))
    if outs:
        await send_all(settings, outs)
