"""How fast bad edits are undone: the table of the gate's decisions against one computed from the rows alone."""

from __future__ import annotations

import bisect
import csv
import gzip
import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import pytest
from conftest import shared_data

from streams.cli import main

WINDOW_SECONDS = 172_800


def by_definition(path: Path) -> dict[tuple[str, int], tuple[bool, float | None]]:
    """(page, rev_id) → (bad, seconds until its first revert), from the words of the definition."""
    pages: dict[str, dict[int, dict[str, str]]] = defaultdict(dict)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            pages[row["page"]].setdefault(int(row["rev_id"]), row)
    judged = {}
    for page, rows in pages.items():
        revisions = sorted(rows.values(), key=lambda r: (datetime.fromisoformat(r["ts"]), int(r["rev_id"])))
        times = [datetime.fromisoformat(r["ts"]).timestamp() for r in revisions]
        places: dict[str, list[int]] = defaultdict(list)
        reverter: dict[int, int] = {}
        for i, revision in enumerate(revisions):
            if revision["sha1"]:
                same = places[revision["sha1"]]
                at = bisect.bisect_left(same, i) - 1
                if at >= 0 and 1 <= i - same[at] - 1 <= 15:
                    for x in range(same[at] + 1, i):
                        reverter.setdefault(x, i)
                same.append(i)
        for x, revision in enumerate(revisions):
            i = reverter.get(x)
            bad = (
                i is not None
                and revisions[i]["user"] != revision["user"]
                and not (i in reverter and times[reverter[i]] - times[i] <= WINDOW_SECONDS)
            )
            judged[page, int(revision["rev_id"])] = (bad, None if i is None else times[i] - times[x])
    return judged


@pytest.mark.parametrize(
    ("name", "edits", "bad"), [("enwiki_sha1.csv.gz", 17_624, 2_553), ("wikidata_sha1.csv.gz", 8_218, 624)]
)
def test_the_curve_equals_the_definition_edit_by_edit(name, edits, bad, tmp_path, capsys):
    path, out = shared_data() / "histories" / name, tmp_path / "edits.ndjson"
    assert main(["curve", str(path), "--decisions", str(out)]) == 0
    lines = [json.loads(line) for line in out.read_bytes().splitlines()]
    ours = {(d["page"], d["rev_id"]): (d["bad"], d["seconds_to_revert"]) for d in lines}
    assert (len(lines), sum(d["bad"] for d in lines)) == (edits, bad)
    assert ours == by_definition(path)
    all_row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("all"))
    assert [f"{edits:,}", f"{bad:,}"] == all_row.split()[1:3]


def test_a_history_without_sha1_says_that_it_shows_no_reverts(capsys):
    assert main(["curve", str(shared_data() / "histories" / "enwiki_fires_size.csv.gz")]) == 0
    said = capsys.readouterr().out
    assert "no content identity" in said
    assert "page activity only" in said
    assert said.splitlines()[1].split()[:3] == ["all", "4,621", "0"]


def history(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "h.csv"
    path.write_text("page,rev_id,ts,user,kind,sha1\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize(
    ("again", "bad"),
    [
        ("", True),
        ("P,4,2026-01-03T00:20:00Z,v,anon,b", False),  # 48 h after the revert, to the second
        ("P,4,2026-01-03T00:20:01Z,v,anon,b", True),
    ],
)
def test_an_edit_is_bad_unless_its_revert_is_itself_reverted_within_48_hours(again, bad, tmp_path):
    rows = ["P,1,2026-01-01T00:00:00Z,a,registered,a", "P,2,2026-01-01T00:10:00Z,v,anon,b",
            "P,3,2026-01-01T00:20:00Z,c,registered,a", again]  # fmt: skip
    out = tmp_path / "out.ndjson"
    assert main(["curve", str(history(tmp_path, *rows)), "--decisions", str(out)]) == 0
    second = [json.loads(line) for line in out.read_bytes().splitlines()][1]
    assert second == {"page": "P", "rev_id": 2, "bad": bad, "seconds_to_revert": 600.0}


def test_a_wrong_history_is_refused_with_its_line(tmp_path, capsys):
    assert main(["curve", str(history(tmp_path, "P,x,2026-01-01T00:00:00Z,a,anon,a"))]) != 0
    assert "line 2" in capsys.readouterr().err
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert main(["curve", str(tmp_path / "other.csv")]) != 0
    assert "no column page" in capsys.readouterr().err
