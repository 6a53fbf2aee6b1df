"""The command `sluice`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from schemas.policy_file import InvalidPolicy
from streams import commands_line, commands_log, commands_look, logs, metrics, run
from streams.capture import InvalidCapture
from streams.cluster import ClusterRefused
from streams.histories import InvalidHistory
from streams.jars import BrokerError
from streams.settings import InvalidSetting

# What a person can repair: one line says it, and the code is that of a wrong configuration.
REFUSED = (
    InvalidSetting,
    InvalidPolicy,
    InvalidHistory,
    BrokerError,
    ClusterRefused,
    InvalidCapture,
    OSError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    logs.set_up()
    try:
        code: int = arguments.command(arguments, os.environ)
    except BrokenPipeError:  # before OSError, which it is too
        return run.OK
    except REFUSED as exc:
        print(f"sluice: {exc}", file=sys.stderr)
        return run.MISCONFIGURED
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sluice",
        description="Live Wikimedia edits, once the water has settled.",
        epilog="Settings are environment variables; `sluice settings` lists them.",
    )
    parser.add_argument("--version", action="version", version=f"sluice {metrics.own_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    for each in (commands_line, commands_log, commands_look):
        each.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
