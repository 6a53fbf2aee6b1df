"""Page histories as files, and `sluice curve` over them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

from processors import curve, realised
from schemas.event import milliseconds

COLUMNS = ("page", "rev_id", "ts", "user", "kind", "sha1")


class InvalidHistory(ValueError):
    """A file that is no history; the message names the line."""


def read_history(path: Path) -> Iterator[curve.Revision]:
    """The rows of a history: CSV with the columns page, rev_id, ts (RFC 3339), user, kind, sha1; `.gz` is unpacked.

    Raises `InvalidHistory` and `OSError`.
    """
    with _opened(path) as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise InvalidHistory(f"{path}: no column {', '.join(missing)}")
        for number, row in enumerate(reader, start=2):
            try:
                yield curve.Revision(
                    page=row["page"],
                    rev_id=int(row["rev_id"]),
                    at_ms=milliseconds(row["ts"]),
                    user=row["user"],
                    kind=row["kind"],
                    sha1=row["sha1"],
                )
            except (ValueError, TypeError) as exc:
                raise InvalidHistory(f"{path}, line {number}: {exc}") from exc


def run_curve(path: Path, decisions: Path | None, protect: float | None = None) -> str:
    """The table of one history, from the gate's decisions; one line per edit goes to `decisions`.

    protect: also the table of what holds chosen for this protection, 0 to 1, would have given.
    """
    revisions = list(read_history(path))
    edits = [edit for history in curve.pages(revisions).values() for edit in curve.judged(history)]
    if decisions is not None:
        decisions.write_bytes(b"".join(curve.line(edit) + b"\n" for edit in edits))
    text = curve.table(edits)
    if protect is not None and edits:
        text += "\n\n" + realised.table(realised.held_online(edits, protect), protect)
    if not any(revision.sha1 for revision in revisions):
        text += (
            f"\n{path.name} has no sha1, so no content identity: nobody can tell from it which edits were undone."
            "\nIt serves page activity only."
        )
    return text


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8", newline=""))
    return path.open(encoding="utf-8", newline="")
