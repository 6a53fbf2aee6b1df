"""`sluice what-if POLICY…`: the core over the log or a capture under other policies, side by side, and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import orjson

from processors import whatif
from schemas.event import milliseconds
from schemas.lessons import Seed
from schemas.log import KIND_EVENT, KIND_TICK, Policies, decode_tick
from schemas.policy import Policy
from streams.capture import read_capture
from streams.kafka import header, read_partition
from streams.settings import Settings
from streams.topics import Topics


async def from_topic(settings: Settings) -> list[whatif.Record]:
    """Everything that `sluice.source.v1` holds now."""
    records: list[whatif.Record] = []
    for partition in range(settings.partitions):
        found = await read_partition(settings, Topics(settings).source, partition)
        records += [(partition, header(r, "kind") or b"", r.value) for r in found if r.value is not None]
    return records


def from_capture(path: Path) -> Iterator[whatif.Record]:
    """Raises `InvalidCapture` and `OSError`."""
    return ((record.partition, record.kind, record.value) for record in read_capture(path))


def between(records: Iterable[whatif.Record], from_ms: int, to_ms: int) -> Iterator[whatif.Record]:
    """The records of that span of event time. Time itself goes on to its end: ticks beyond it are left out."""
    for partition, kind, value in records:
        if kind == KIND_EVENT:
            at_ms = milliseconds(orjson.loads(value)["meta"]["dt"])
        elif kind == KIND_TICK:
            at_ms = min(decode_tick(value).heard_ms.values(), default=from_ms)
        else:
            continue
        if from_ms <= at_ms < to_ms:
            yield partition, kind, value


def compare(
    records: Iterable[whatif.Record], policies: Sequence[Policy], grace_seconds: float, seed: Seed
) -> list[whatif.Outcome]:
    """What each policy would have done. What cannot be read is passed over, as the gate passes it over.

    seed: what is known at the begin, for policies that ask for protection.
    """
    rules = Policies(policies=tuple(policies), grace_seconds=grace_seconds)
    return whatif.outcomes(whatif.over_log(records, rules, seed), rules)


def draw(outcomes: Sequence[whatif.Outcome], path: Path) -> None:
    """Protection against delay, one point per policy. The end of the name says what it becomes: .png or .svg."""
    import matplotlib as mpl  # a second of imports that no other command needs

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    # The same outcomes give the same bytes.
    mpl.rcParams["svg.hashsalt"] = "sluice"
    figure, axes = plt.subplots(figsize=(7, 4.5), dpi=150)
    shown = [(o, o.mean_delay_s, o.protection) for o in outcomes]
    for outcome, delay_s, protection in shown:
        if delay_s is None or protection is None:
            continue
        axes.scatter(max(delay_s, 1.0), 100 * protection, s=50, color="#3366cc", zorder=3)
        label = f"{outcome.policy}\n{len(outcome.lags_s)} taken back"
        axes.annotate(
            label, (max(delay_s, 1.0), 100 * protection), xytext=(8, -4), textcoords="offset points", fontsize=8
        )
    axes.set_xscale("log")
    axes.set_xlim(0.7, 200 * 86_400)
    axes.set_ylim(-4, 106)
    ticks = {1: "at once", 60: "1 min", 3600: "1 h", 86_400: "1 d", 604_800: "7 d"}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.set_xlabel("mean delay of what was released")
    axes.set_ylabel("bad edits that never got out, %")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})
    plt.close(figure)
