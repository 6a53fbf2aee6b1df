"""Failpoints: named places in the steps at which a test kills the process, as the kernel would when memory ends.

`SLUICE_FAILPOINT=name:n` in the environment of a process ends it with SIGKILL on the n-th pass of the place called
`name`; without it a failpoint costs one comparison. It is no setting: nobody but a test has a use for it.
"""

from __future__ import annotations

import os
import signal

_name, _, _passes = os.environ.get("SLUICE_FAILPOINT", "").partition(":")
_left = int(_passes or 1)


def failpoint(name: str) -> None:
    """End the process here if this is the pass that the environment names. `name`: a literal, unique in the code."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
