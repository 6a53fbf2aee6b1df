"""The bench's windows in a Bytewax flow from Kafka to Kafka, run by a Python that has it. Prints CPU seconds and MB.

Run: `python peer_bytewax_kafka.py BOOTSTRAP SOURCE OUT STORE NAME=HOLD_MS...`. It ends at the end of the log. At least
once: with a recovery store, which gets the state and the offsets at the end of each epoch of 10 s; without one (STORE
is empty) it would begin anew. Keyed by partition, as the log is: a tick concerns every page of its partition.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from windows import Windows, peak_mb


def main() -> None:
    bootstrap, source, out, store = sys.argv[1:5]
    windows = [(name, int(hold_ms)) for name, _, hold_ms in (each.partition("=") for each in sys.argv[5:])]
    flow = Dataflow("windows")
    log = op.input("log", flow, KafkaSource([bootstrap], [source], tail=False))
    keyed = op.key_on("partition", log, lambda message: str(message.partition))

    def decide(state: Windows | None, message: KafkaSourceMessage) -> tuple[Windows, list[KafkaSinkMessage]]:
        state = state or Windows(windows)
        kind = message.headers[0][1]
        if kind == b"control":
            return state, []
        made = state.tick(message.value) if kind == b"tick" else state.edit(message.value)
        return state, [KafkaSinkMessage(message.key, body) for body in made]

    decided = op.key_rm("decisions", op.stateful_flat_map("decide", keyed, decide))
    op.output("out", decided, KafkaSink([bootstrap], out))
    recovery = None
    if store:
        Path(store).mkdir()
        init_db_dir(Path(store), 1)
        recovery = RecoveryConfig(Path(store))
    began = time.process_time()
    run_main(flow, recovery_config=recovery)
    print(time.process_time() - began, peak_mb())


if __name__ == "__main__":
    main()
