"""What the demo says at its end: counts per window, one story, one record, and whether everything holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from schemas.event import PageChange
from schemas.log import Policy
from schemas.reasons import State
from streams.kafka import read_partition
from streams.settings import Settings
from streams.tally import EditKey, Tally, Verdict
from streams.topics import Topics
from streams.world import World

Published = Mapping[str, Sequence[dict[str, Any]]]


async def read_published(settings: Settings) -> Published:
    """Policy → every record of its edits topic, in the order of each partition; tombstones are left out."""
    topics = Topics(settings)
    found: dict[str, list[dict[str, Any]]] = {}
    for policy in topics.policies:
        records = [
            r for p in range(settings.partitions) for r in await read_partition(settings, topics.edits(policy), p)
        ]
        found[policy] = [orjson.loads(r.value) | {"key": r.key.decode()} for r in records if r.value is not None]
    return found


def holds(
    tally: Tally, changes: Mapping[tuple[str, int], PageChange], published: Published, policies: Sequence[Policy]
) -> bool:
    """Whether every check holds."""
    return all(ok for _, ok in checks(tally, changes, published, policies))


def checks(
    tally: Tally, changes: Mapping[tuple[str, int], PageChange], published: Published, policies: Sequence[Policy]
) -> list[tuple[str, bool]]:
    """What must hold of what came out, by ids."""
    decided = all(
        {(wiki, rev_id) for wiki, rev_id, _ in tally.ends.get(policy.name, {})} == set(changes) for policy in policies
    )
    once = all(len({r["meta"]["id"] for r in records}) == len(records) for records in published.values())
    standing = all(_standing(published[policy.name]) == _released(tally, policy.name) for policy in policies)
    rights = all(
        r["rights"]["licence"] and r["rights"]["attribution_url"]
        for records in published.values()
        for r in records
        if r["action"] == "release"
    )
    return [
        ("every edit has a verdict under every window", decided),
        ("no partner got an id twice", once),
        ("what stands on the topics is what the gate let stand", standing),
        ("licence and attribution in every record", rights),
    ]


def report(
    console: Console,
    world: World,
    tally: Tally,
    changes: Mapping[tuple[str, int], PageChange],
    published: Published,
    policies: Sequence[Policy],
) -> None:
    """Print it all, 80 columns wide."""
    console.print()
    console.print(_table(world, tally, policies))
    story = _story(tally, changes)
    if story:
        console.print("\n[bold]One edit's story[/bold]")
        for sentence in story:
            console.print(f"  {sentence}", soft_wrap=False)
    sample = next((r for r in reversed(published[policies[-1].name]) if r["action"] == "release" and r["delta"]), None)
    if sample is not None:
        console.print("\n[bold]One record as a partner reads it[/bold] (shortened)")
        console.print_json(orjson.dumps(_shortened(sample)).decode())
    console.print()
    for text, ok in checks(tally, changes, published, policies):
        console.print(f"  {'[green]holds[/green]' if ok else '[red]FAILS[/red]'}  {text}")
    console.print("\nNext: `sluice demo --random-state 2` is another world, `make run` the live one.")


def _table(world: World, tally: Tally, policies: Sequence[Policy]) -> Table:
    """protection: of the vandalism that was ever undone, how much the window kept from partners."""
    bad = {(t.wiki, t.rev_id) for t in world.truth if t.kind == "vandalism" and t.undone_after_ms is not None}
    never = {(t.wiki, t.rev_id) for t in world.truth if t.kind == "vandalism" and t.undone_after_ms is None}
    table = Table(
        title=f"{len(bad)} vandal edits were undone, {len(never)} never", title_justify="left", box=None, padding=(0, 2)
    )
    table.add_column("window")
    for name in ("released", "withheld", "retracted", "protection", "delay"):
        table.add_column(name, justify="right")
    for policy in policies:
        counts = tally.counts(policy.name)
        ends = tally.ends.get(policy.name, {})
        kept = sum(ends.get((wiki, rev_id, 0)) is State.WITHHELD for wiki, rev_id in bad)
        table.add_row(
            f"{policy.name} {policy.hold_seconds:g} s",
            str(counts[State.RELEASED]),
            str(counts[State.WITHHELD]),
            str(counts[State.RETRACTED]),
            f"{kept / len(bad):.0%}" if bad else "-",
            f"{policy.hold_seconds:g} s",
        )
    return table


def _story(tally: Tally, changes: Mapping[tuple[str, int], PageChange]) -> list[str]:
    """An edit that one window caught and a shorter one had to take back."""
    withheld = [v for v in tally.verdicts if v.decision.state is State.WITHHELD]
    retracted = {_edit(v) for v in tally.verdicts if v.decision.state is State.RETRACTED}
    chosen = next((v for v in withheld if _edit(v) in retracted), None)
    if chosen is None:
        return []
    change = changes[chosen.decision.wiki, chosen.decision.rev_id]
    editor = change.editor.user_text if change.editor else "somebody hidden"
    story = [f"{change.wiki} “{chosen.title}”, rev {change.rev_id}, by {editor}: “{change.comment or ''}”"]
    for verdict in tally.verdicts:
        if _edit(verdict) == _edit(chosen):
            d = verdict.decision
            after = (d.decided_for_ms - d.start_ms) / 1000
            story.append(f"{after:5.1f} s  {d.policy:<8} {d.state:<10} {verdict.why}")
    return story


def _edit(verdict: Verdict) -> EditKey:
    return verdict.decision.wiki, verdict.decision.rev_id, verdict.decision.epoch


def _standing(records: Sequence[dict[str, Any]]) -> set[str]:
    keys = {str(record["key"]) for record in records}
    released = {key.removesuffix(":release") for key in keys if key.endswith(":release")}
    return {_without_page(key) for key in released - {key.removesuffix(":retract") for key in keys}}


def _without_page(key: str) -> str:
    wiki, _, rev_id, epoch = key.split(":")
    return f"{wiki}:{rev_id}:{epoch}"


def _released(tally: Tally, policy: str) -> set[str]:
    ends = tally.ends.get(policy, {})
    return {f"{wiki}:{rev}:{epoch}" for (wiki, rev, epoch), state in ends.items() if state is State.RELEASED}


def _shortened(record: dict[str, Any]) -> dict[str, Any]:
    change, content, delta = record["change"], record["content"], record["delta"]
    return {
        "meta": {"id": record["meta"]["id"], "stream": record["meta"]["stream"]},
        "change": {
            "kind": change["kind"],
            "page": change["page"]["title"],
            "revision": change["revision"]["id"],
            "comment": change["comment"],
        },
        "content": {
            "abstract": content["abstract"][:70] + "…",
            "categories": [c["title"] for c in content["categories"]],
        },
        "delta": {"edit_types": delta["edit_types"], "byte_delta": delta["byte_delta"]},
        "integrity": {
            "state": record["integrity"]["state"],
            "hold_seconds": record["integrity"]["hold_seconds"],
            "signals heard": record["integrity"]["signals"]["heard"],
        },
        "rights": {"licence": record["rights"]["licence"], "attribution": record["rights"]["attribution"]},
    }
