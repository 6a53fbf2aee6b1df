"""The demo's picture of the line: 80 columns and 24 lines of a terminal, and single lines where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
SIGNS = {State.RELEASED: "✔", State.WITHHELD: "✘", State.SUPERSEDED: "–", State.RETRACTED: "↩"}
WORDS = {
    State.RELEASED: "released",
    State.WITHHELD: "withheld",
    State.SUPERSEDED: "superseded",
    State.RETRACTED: "taken back",
}
LAST_SHOWN = 6
BAR_CELLS = 12
COLUMNS = 79


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the picture shows. edits: heard so far. behind: records that a step has not finished.

    clock_ms, heard_ms: world time, and until when everything is heard. done: share of the demo, 0 to 1. said: what
    happened last to the steps or the source, "" in fair weather.
    """

    policies: Sequence[Policy]
    tally: Tally
    edits: int
    finished: Mapping[Step, int]
    behind: Mapping[Step, int]
    clock_ms: int
    heard_ms: int
    done: float
    left_seconds: float
    said: str = ""


def picture(view: View) -> RenderableType:
    last = [line(verdict) for verdict in view.tally.verdicts[-LAST_SHOWN:]]
    last += [Text()] * (LAST_SHOWN - len(last))
    parts: list[RenderableType] = [_head(view), *_line_of_steps(view), Text(), _windows(view), Text()]
    parts += [Text(" the last verdicts", style="bold"), *last, Text()]
    if view.said:
        parts.append(Text(f" {view.said}", style="yellow", no_wrap=True, overflow="ellipsis"))
    return Group(*parts, _foot())


def line(verdict: Verdict) -> Text:
    """One verdict in 80 columns."""
    d = verdict.decision
    text = Text(" ", overflow="ellipsis", no_wrap=True)
    text.append(f"{SIGNS[d.state]} {WORDS[d.state]:<11}", style=COLOURS[d.state])
    text.append(f"{d.policy:<8} ", style="dim")
    text.append(f"{d.wiki:<7} ")
    title = Text(verdict.title)
    title.truncate(16, overflow="ellipsis", pad=True)
    text.append_text(title)
    text.append(f" {verdict.why}", style="dim")
    text.truncate(COLUMNS, overflow="ellipsis")
    return text


def _head(view: View) -> Text:
    text = Text(" Wikipedia edits, held back until they have settled", style="bold", no_wrap=True)
    left = f" {view.left_seconds:.0f} s to go"
    cells = round(BAR_CELLS * min(1.0, view.done))
    text.append(" " * max(1, COLUMNS - text.cell_len - BAR_CELLS - len(left)))
    text.append("█" * cells, style="cyan").append("░" * (BAR_CELLS - cells), style="dim").append(left, style="dim")
    return text


def _line_of_steps(view: View) -> list[Text]:
    """The line as it is: content above, verdicts below, joined by publish."""
    n = view.finished
    upper = Text(no_wrap=True)
    upper.append(f"  {view.edits} edits", style="bold").append(" ▸ source ").append(str(n[Step.SOURCE]), style="cyan")
    upper.append(" ┬▸ fetch ").append(str(n[Step.FETCH]), style="cyan")
    upper.append(" ▸ enrich ").append(str(n[Step.ENRICH]), style="cyan")
    joint = upper.cell_len + 1
    upper.append(" ┬▸ publish ").append(str(n[Step.PUBLISH]), style="cyan").append(" ▸ partners")
    fork = upper.plain.index("┬")
    lower = Text(" " * fork, no_wrap=True)
    lower.append("└▸ gate ").append(str(n[Step.GATE]), style="cyan").append(" verdicts ")
    lower.append("─" * max(1, joint - lower.cell_len) + "┘")
    waits = ", ".join(f"{step} {count}" for step, count in view.behind.items() if count) or "nobody"
    heard = f"{max(0, view.clock_ms - view.heard_ms) / 1000:.1f} s ago" if view.heard_ms >= 0 else "not yet"
    state = Text(f"  behind: {waits} · everything heard until {heard}", style="dim", no_wrap=True, overflow="ellipsis")
    return [Text(), upper, lower, state]


def _windows(view: View) -> Table:
    table = Table(box=None, padding=(0, 0, 0, 1), header_style="bold")
    table.add_column("window", no_wrap=True)
    table.add_column("waiting", justify="right", no_wrap=True)
    for state in WORDS:
        heading = f"{SIGNS[state]} {WORDS[state]}"
        table.add_column(heading, justify="right", header_style=COLOURS[state], no_wrap=True, min_width=11)
    for policy in view.policies:
        seen = view.tally.counts(policy.name)
        waits = max(0, view.edits - sum(seen.values()))
        cells = [Text(str(seen[state]), style=COLOURS[state]) for state in WORDS]
        table.add_row(f"{policy.name}: {_hold(policy)}", str(waits), *cells)
    return table


def _hold(policy: Policy) -> str:
    return f"wait {policy.hold_seconds:g} s" if policy.hold_seconds else "at once"


def _foot() -> Text:
    return Text(
        " ✔ partners get it   ✘ partners never saw it   ↩ sent, then bad: told to drop it", style="dim", no_wrap=True
    )
