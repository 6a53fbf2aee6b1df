"""Page histories as files, and `sluice curve` over them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO, cast

from processors import curve, realised
from schemas.event import milliseconds
from schemas.lessons import Seed, encode_seed

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


def run_learn(files: Iterable[str], out: Path, target: float) -> str:
    """Write what histories teach to `out`, for SLUICE_LEARNED; returns what it comes to for a protection.

    files: each `wiki=FILE`, or FILE, which is then learned for all wikis. Raises `InvalidHistory` and `OSError`.
    """
    known: list[tuple[str, curve.Edit]] = []
    for each in files:
        wiki, _, name = each.rpartition("=")
        revisions = list(read_history(Path(name)))
        if not any(revision.sha1 for revision in revisions):
            raise InvalidHistory(f"{name}: no sha1, so nobody can tell from it which edits were undone")
        known += [(wiki, edit) for history in curve.pages(revisions).values() for edit in curve.judged(history)]
    learner, until_ms = realised.taught(known)
    table = learner.table((target,), until_ms)
    out.write_bytes(encode_seed(Seed(until_ms=until_ms, windows=list(learner.windows))))
    holds = [f"{stratum}: {curve.span(row.hold_ms / 1000)}, from {row.cases} cases of {row.stratum}"
             for (stratum, _), row in sorted(table.rows.items())]  # fmt: skip
    return "\n".join([f"holds that keep {100 * target:g} % of bad edits away:", *(holds or ["too few cases"])])


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8", newline=""))
    return path.open(encoding="utf-8", newline="")
