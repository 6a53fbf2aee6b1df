"""The demo as people see it: its screen, and its verdict on what the line did, in fair weather and in a storm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from schemas.decision import Decision, Signal
from schemas.log import Policy
from schemas.reasons import Bar, SignalKind, State, Step
from streams.picture import View, picture
from streams.tally import Tally

POLICIES = tuple(Policy(name=name, hold_seconds=hold) for name, hold in (("live", 0), ("fast", 3), ("careful", 86_400)))


def decision(policy: str, state: State) -> Decision:
    signal = Signal(kind=SignalKind.IDENTITY_REVERT, event_id="event-2", at_ms=2_500, by_rev_id=5_000_000_001)
    barred = state in {State.WITHHELD, State.RETRACTED}
    return Decision(
        policy=policy,
        wiki="zh_classicalwiki",
        page_id=7,
        rev_id=5_000_000_000,
        epoch=0,
        state=state,
        reason=Bar.REVERTED if barred else None,
        event_id="event-1",
        start_ms=0,
        hold_ms=3_000,
        fire_ms=4_000,
        decided_for_ms=4_000,
        signals=(signal,) if barred else (),
        superseded_by=None if barred else 5_000_000_001,
    )


def screen(count: int) -> list[str]:
    tally = Tally(titles={("zh_classicalwiki", 5_000_000_000): "A place of which the name is longer than the screen"})
    tally.hear([decision(p.name, s) for p in POLICIES for s in (State.RELEASED, State.WITHHELD, State.RETRACTED)])
    view = View(
        policies=POLICIES,
        tally=tally,
        edits=count,
        finished=dict.fromkeys(Step, count),
        behind=dict.fromkeys(Step, count),
        clock_ms=5_000,
        heard_ms=3_800,
        done=0.4,
        left_seconds=17,
        said="killed publish with kill -9; it starts again",
    )
    console = Console(width=80, file=StringIO(), force_terminal=True, color_system=None)
    console.print(picture(view))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("count", [0, 7, 1_234, 12_345])
def test_the_picture_fits_80_columns_and_24_lines(count: int) -> None:
    lines = screen(count)
    assert len(lines) <= 23  # one is left for the cursor
    assert all(len(line.rstrip()) <= 80 for line in lines)


def test_the_picture_says_what_happens_to_edits_and_what_its_signs_mean() -> None:
    text = "\n".join(screen(7))
    for said in ("held back until they have settled", "partners get it", "partners never saw it", "told to drop it"):
        assert said in text
    assert re.search(r"live: at once .*\n.*fast: wait 3 s", text)


@pytest.mark.kafka
@pytest.mark.chaos
def test_through_a_storm_the_line_does_what_follows_from_the_ledger(kafka: str, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    # Two kills and two turns of the weather in this time.
    storm = ["--seconds", "9", "--rate", "10", "--random-state", "4", "--faults", "storm"]
    command = [sys.executable, "-m", "streams.cli", "demo", *storm]
    done = subprocess.run(
        [*command, "--pictures", str(tmp_path)],
        env=env | {"SLUICE_KAFKA": kafka},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "holds: the line did exactly what follows from the ledger" in done.stdout
    kills = re.search(r"through (\d+) kills of steps", done.stdout)
    assert kills is not None
    assert int(kills[1]) > 0
    wide = [line for line in done.stdout.splitlines() if len(line) > 80 and not line.startswith("The curve")]
    assert wide == []
    assert (tmp_path / "curve.png").stat().st_size > 10_000
