"""The five steps as processes of their own, as they are run in production: for the demo and for tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from schemas.reasons import Step
from streams.settings import Settings
from streams.tethered import Tethered

STOP_SECONDS = 30.0


class StepProcesses:
    """What each says goes to `<step>.log` in `folder`. running: those started and not ended through this object."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self.running: dict[Step, Tethered] = {}

    def start(self, step: Step, *, failpoint: str = "") -> None:
        """failpoint: `name:n`, where the process kills itself on its n-th pass."""
        env = env_of(self._settings) | ({"SLUICE_FAILPOINT": failpoint} if failpoint else {})
        with self._log_file(step).open("ab") as log:
            self.running[step] = Tethered([sys.executable, "-m", "streams.cli", step], output=log, env=env)

    def kill(self, step: Step) -> None:
        """As the kernel does it when memory ends: no warning, no last word."""
        self.running.pop(step).end(signal.SIGKILL)

    def start_ended(self) -> list[Step]:
        """Start those that ended by themselves; returns them."""
        ended = [step for step, process in list(self.running.items()) if process.exit_code is not None]
        for step in ended:
            self.running.pop(step).wait()
            self.start(step)
        return ended

    def stop(self, steps: Iterable[Step] = tuple(Step), how: signal.Signals = signal.SIGTERM) -> dict[Step, int]:
        """Ask all to end at the same time; returns their exit codes. Those that are not running are left out."""
        ending = {step: self.running.pop(step) for step in steps if step in self.running}
        for process in ending.values():
            process.process.send_signal(how)
        # Asked once: a signal that meets a process on its way out, without its handlers, would be its end.
        return {step: process.end_within(STOP_SECONDS) for step, process in ending.items()}

    def end(self) -> None:
        """Kill whatever still runs."""
        for step in list(self.running):
            self.kill(step)

    def log(self, step: Step) -> str:
        """All that the step's processes said."""
        return self._log_file(step).read_text("utf-8", "replace")

    def resident_bytes(self) -> int:
        """Memory of all of them together, now; 0 where the system does not say."""
        return sum(_resident(process.pid) for process in self.running.values())

    def _log_file(self, step: Step) -> Path:
        return self._folder / f"{step}.log"


def env_of(settings: Settings) -> dict[str, str]:
    """The environment of a process with these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return kept | {name: value for name, value, _ in settings.described()}


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGESIZE")
