"""Logs: one JSON object a line where a machine reads them, one short line where a person does."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

MAX_LINE_BYTES = 8192


class JsonLines(logging.Formatter):
    """One line per record, control characters escaped by JSON, never longer than 8 kB."""

    def format(self, record: logging.LogRecord) -> str:
        doc = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[: MAX_LINE_BYTES // 4],
        }
        if record.exc_info:
            doc["error"] = self.formatException(record.exc_info)[-MAX_LINE_BYTES // 4 :]
        return orjson.dumps(doc).decode()


class ShortLines(logging.Formatter):
    """`12:00:01 warning sluice.source: …` for a terminal; errors keep their last line only."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        message = record.getMessage().replace("\n", " ")
        if record.exc_info and record.exc_info[1] is not None:
            message += f": {record.exc_info[1]!r}"
        return f"{at} {record.levelname.lower()} {record.name}: {message}"


def set_up(level: int = logging.INFO) -> None:
    """Send everything to standard error; other libraries speak only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ShortLines() if sys.stderr.isatty() else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("sluice").setLevel(level)
