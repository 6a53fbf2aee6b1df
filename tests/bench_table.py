"""How the bench prints: a line for each figure, beside its baseline of the same run."""

from __future__ import annotations


def row(what: str, ours: float, baseline: float, unit: str, name: str, goal: str = "") -> None:
    """goal: what the ratio should be, for people."""
    aim = f"; goal {goal}" if goal else ""
    print(
        f"{what:<34}{ours:>8,.0f} {unit:<3}{baseline:>8,.0f} {unit:<3}{ours / baseline:>8.2f}  {name}{aim}", flush=True
    )


def alone(what: str, figure: str, goal: str) -> None:
    """A figure that has a goal and no baseline."""
    print(f"{what:<34}{figure:>12}  goal {goal}", flush=True)
