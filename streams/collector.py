"""Python's garbage collector, for a process that keeps much and drops little of it."""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """At its usual pace it looks through pages in use a fifth of a gate's time, and through a world for a third."""
    gc.set_threshold(50_000, 50, 100)
