"""The bench's windows in a Bytewax flow, run by a Python that has it: FILE in, decisions to another, CPU seconds out.

FILE has a record per line: its kind, a space, its value. Keyed by partition (here there is one), as the log is: a tick
concerns every page of its partition.
"""

from __future__ import annotations

import sys
import time

import bytewax.operators as op
from bytewax.connectors.files import FileSink, FileSource
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main
from windows import Windows


def main() -> None:
    path, out, windows = sys.argv[1], sys.argv[2], [each.split("=") for each in sys.argv[3:]]
    flow = Dataflow("windows")
    lines = op.input("lines", flow, FileSource(path, batch_size=1000))
    keyed = op.map("key", lines, lambda line: ("0", line))

    def decide(state: Windows | None, line: str) -> tuple[Windows, list[str]]:
        state = state or Windows([(name, int(hold_ms)) for name, hold_ms in windows])
        kind, _, value = line.partition(" ")
        made = state.tick(value) if kind == "tick" else state.edit(value)
        return state, [body.decode() for body in made]

    decided = op.flat_map_value("each", op.stateful_map("decide", keyed, decide), lambda made: made)
    op.output("out", decided, FileSink(out))
    began = time.process_time()
    run_main(flow)
    print(time.process_time() - began)


if __name__ == "__main__":
    main()
