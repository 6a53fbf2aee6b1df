"""The demo's picture of the line, for a terminal of 80 columns, and the same in plain lines where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.log import Policy
from schemas.reasons import State, Step
from streams.tally import Tally, Verdict

COLOURS = {
    State.PENDING: "dim",
    State.RELEASED: "green",
    State.WITHHELD: "red",
    State.SUPERSEDED: "yellow",
    State.RETRACTED: "magenta",
}
LAST_SHOWN = 9


def picture(
    tally: Tally, policies: Sequence[Policy], steps: Mapping[Step, int], edits: int, left: float
) -> RenderableType:
    """steps: records that each has finished. edits: in the world so far. left: seconds until the demo ends."""
    counts = "  ▸  ".join(f"{step} {steps[step]}" for step in (Step.SOURCE, Step.FETCH, Step.ENRICH, Step.PUBLISH))
    head = Text(f" {counts}      gate {steps[Step.GATE]}", style="bold")
    windows = Table(box=None, padding=(0, 2), header_style="dim")
    windows.add_column("window")
    for name in ("waits", "released", "withheld", "superseded", "retracted"):
        windows.add_column(name, justify="right")
    for policy in policies:
        seen = tally.counts(policy.name)
        waits = max(0, edits - sum(seen.values()))
        states = (State.RELEASED, State.WITHHELD, State.SUPERSEDED, State.RETRACTED)
        cells = [Text(str(seen[state]), style=COLOURS[state]) for state in states]
        windows.add_row(f"{policy.name} {policy.hold_seconds:g} s", str(waits), *cells)
    last = [line(verdict) for verdict in tally.verdicts[-LAST_SHOWN:]]
    foot = Text(f" {edits} edits so far; about {left:.0f} s to go", style="dim")
    return Group(head, Text(), windows, Text(), *last, Text(), foot)


def line(verdict: Verdict) -> Text:
    """One verdict in 80 columns."""
    d = verdict.decision
    text = Text(" ", overflow="ellipsis", no_wrap=True)
    text.append(f"{d.state:<11}", style=COLOURS[d.state])
    text.append(f"{d.policy:<8} ", style="dim")
    text.append(f"{d.wiki:<7}")
    title = Text(verdict.title)
    title.truncate(18, overflow="ellipsis", pad=True)
    text.append_text(title)
    text.append(f" {verdict.why}", style="dim")
    text.truncate(79, overflow="ellipsis")
    return text
