"""What the demo says at its end: how good each window was, one story, one record, the curve, and the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from processors.oracle import Score
from processors.oracle_ledger import Ledger
from processors.oracle_quality import Quality, quality, undone_in
from processors.oracle_story import tell, verdict
from schemas.event import PageChange
from schemas.log import Policy
from schemas.reasons import State
from streams.curve import Window, draw
from streams.tally import EditKey, Tally, Verdict

FITS = 54


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that a demo has to tell. peak_bytes: of the five steps together. said: what the storm did."""

    ledger: Ledger
    score: Score
    tally: Tally
    edits: Mapping[tuple[str, int], PageChange]
    sample: Mapping[str, Any] | None
    policies: Sequence[Policy]
    time_scale: float
    grace_seconds: float
    peak_bytes: int
    kills: int
    said: Sequence[str]


def report(console: Console, seen: Seen, pictures: Path) -> None:
    """Print it all, 80 columns wide, and write `curve.png` and `curve.svg` to the folder `pictures`."""
    judged = {q.policy: q for q in quality(seen.ledger, (made.decision for made in seen.score.decided))}
    console.print()
    console.print(_table(seen, judged))
    _tell_story(console, seen)
    if seen.sample is not None:
        console.print("\n[bold]One record as a partner reads it[/bold] (shortened)")
        console.print_json(orjson.dumps(_shortened(seen.sample)).decode())
    files = _draw(seen, judged, pictures)
    console.print(f"\n[bold]The curve behind it[/bold]: {files[0]}", soft_wrap=True)
    _tell_score(console, seen)
    console.print("\nNext: `make demo FAULTS=storm` kills steps and cuts the stream meanwhile;")
    console.print("`sluice demo --random-state 2` is another world; `make run` is the real one.")


def _table(seen: Seen, judged: Mapping[str, Quality]) -> Table:
    first = next(iter(judged.values()), None)
    bad = first.bad if first else 0
    table = Table(
        title=f"{len(seen.edits)} edits, {bad} of them vandalism. What each window made of it:",
        title_justify="left",
        box=None,
        padding=(0, 1),
    )
    table.add_column("window")
    for name in ("protection", "leak", "exposure", "delay of good edits", "retractions"):
        table.add_column(name, justify="right")
    for policy in seen.policies:
        q = judged.get(policy.name)
        if q is not None:
            delay = "-" if q.delay_median_ms is None else f"{q.delay_median_ms / 1000:.1f} s"
            cells = [_percent(q.protection), _percent(q.leak), _percent(q.exposure), delay, str(q.retractions)]
            table.add_row(f"{policy.name} {policy.hold_seconds:g} s", *cells)
    table.caption = (
        "protection: vandalism that partners never saw. leak: vandalism among what they got.\n"
        "exposure: of the time that it stood on the wikis, how long they showed it."
    )
    table.caption_justify = "left"
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _tell_story(console: Console, seen: Seen) -> None:
    """An edit that one window caught and a shorter one had to take back."""
    withheld = [v for v in seen.tally.verdicts if v.decision.state is State.WITHHELD]
    retracted = {_edit(v) for v in seen.tally.verdicts if v.decision.state is State.RETRACTED}
    # The longer it stood, the more there is to tell.
    told = [v for v in withheld if _edit(v) in retracted] or withheld
    if not told:
        return
    chosen = max(told, key=lambda v: v.decision.decided_for_ms - v.decision.start_ms)
    d = chosen.decision
    change = seen.edits[d.wiki, d.rev_id]
    truth = next((did for did in seen.ledger.did if (did.wiki, did.rev_id) == (d.wiki, d.rev_id)), None)
    kind = f"; in truth {truth.what}{f' ({truth.how})' if truth.how else ''}" if truth is not None else ""
    editor = change.editor.user_text if change.editor else "somebody hidden"
    console.print("\n[bold]One edit's story[/bold]")
    console.print(f"  {d.wiki} “{chosen.title}”, revision {d.rev_id}, by {editor}{kind}")
    for each in seen.tally.verdicts:
        if _edit(each) == _edit(chosen):
            after = (each.decision.decided_for_ms - each.decision.start_ms) / 1000
            console.print(f"  after {after:4.1f} s  {each.decision.policy:<8} {each.decision.state:<10} {each.why}")


def _edit(each: Verdict) -> EditKey:
    return each.decision.wiki, each.decision.rev_id, each.decision.epoch


def _draw(seen: Seen, judged: Mapping[str, Quality], pictures: Path) -> list[Path]:
    pictures.mkdir(parents=True, exist_ok=True)
    files = [pictures / "curve.png", pictures / "curve.svg"]
    stood = {
        (did.wiki, did.rev_id): did.at_ms
        for did in seen.ledger.did
        if did.what == "vandalism" and did.rev_id is not None
    }
    ends = undone_in(seen.ledger)
    undone = [(ends[each][1] - at_ms) / 1000 for each, at_ms in stood.items() if each in ends]
    end_ms = max(did.at_ms for did in seen.ledger.did)
    standing = [(end_ms - at_ms) / 1000 for each, at_ms in stood.items() if each not in ends]
    windows = [
        Window(
            name=policy.name,
            hold_seconds=(policy.hold_seconds + seen.grace_seconds) * seen.time_scale if policy.hold_seconds else 0,
            protection=judged[policy.name].protection or 0.0,
        )
        for policy in seen.policies
        if policy.name in judged
    ]
    draw(undone, standing, windows, files, time_scale=seen.time_scale)
    return files


def _tell_score(console: Console, seen: Seen) -> None:
    console.print("\n[bold]The score[/bold]: all that came out, held against all that the world did")
    for text in tell(seen.ledger, seen.score):
        style = "green" if text.startswith("holds") else "red" if text.startswith("FAILS") else ""
        console.print(text, style=style, soft_wrap=True)
    if seen.said:
        blows = len(seen.said) - seen.kills
        console.print(f"through {seen.kills} kills of steps and {blows} other blows", style="yellow")
    if seen.peak_bytes:
        console.print(f"the five steps together never had more than {seen.peak_bytes / 1e6:.0f} MB", style="dim")
    console.print(verdict(seen.score), style="bold green" if seen.score.perfect else "bold red")


def _shortened(record: Mapping[str, Any]) -> dict[str, Any]:
    change, content, delta = record["change"], record["content"], record["delta"]
    return {
        "meta": {"id": record["meta"]["id"], "stream": record["meta"]["stream"]},
        "change": {
            "kind": change["kind"],
            "page": _cut(change["page"]["title"]),
            "revision": change["revision"]["id"],
            "comment": _cut(change["comment"] or ""),
        },
        "content": {
            "abstract": _cut(content["abstract"] or ""),
            "categories": [_cut(c["title"]) for c in content["categories"][:3]],
        },
        "delta": {"edit_types": delta["edit_types"], "byte_delta": delta["byte_delta"]},
        "integrity": {
            "state": record["integrity"]["state"],
            "hold_seconds": record["integrity"]["hold_seconds"],
            "signals heard": record["integrity"]["signals"]["heard"],
        },
        "rights": {"licence": record["rights"]["licence"], "attribution": _cut(record["rights"]["attribution"])},
    }


def _cut(text: str) -> str:
    """So that it fits into a line of 80 columns with its name."""
    return text if len(text) <= FITS else text[: FITS - 1] + "…"
