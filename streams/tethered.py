"""Child processes that end when their parent is gone, however it ended: nothing is left behind by a kill -9.

The child holds the reading end of a pipe, of which the parent has the other end for life. A watcher beside the child
reads it; when it closes, the child is asked to end, and killed half a minute later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

# 3 = the reading end of the pipe; other descriptors are inherited under their own numbers. The watcher is of the
# child's process group, so that the number it kills cannot have gone to a stranger.
_LAUNCH = """
exec 3<&0 </dev/null
{ read -r gone; kill -TERM $$; n=0
  while kill -0 $$ && [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done; kill -KILL $$
} <&3 3<&- >/dev/null 2>&1 &
exec "$@" 3<&-
"""


class Tethered:
    """A running child. output: gets what it says. pass_fds: descriptors that child and watcher inherit."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        output: IO[bytes],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        reading, writing = os.pipe()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - the command is ours
                ["/bin/sh", "-c", _LAUNCH, "sluice", *command],
                cwd=cwd,
                env=env,
                stdin=reading,
                stdout=output,
                stderr=output,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self._pipe: int | None = writing

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """As `subprocess` has it: minus the signal that ended it, None while it runs."""
        return self.process.poll()

    def end(self, how: signal.Signals = signal.SIGTERM, patience_seconds: float = 30.0) -> int:
        """Send `how`, kill it if that takes longer than its patience; returns the exit code. May be called again."""
        self.process.send_signal(how)
        return self.end_within(patience_seconds)

    def end_within(self, patience_seconds: float) -> int:
        """Wait for it to end, as it was asked to; kill it when patience ends. Returns the exit code."""
        try:
            self.process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self.wait()

    def wait(self) -> int:
        """Return the exit code when it has ended and its watcher is gone too."""
        code = self.process.wait()
        give_up = time.monotonic() + 1
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < give_up:
                os.killpg(self.pid, signal.SIGKILL)
                time.sleep(0.002)
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        return code
