"""`sluice why` and `sluice what-if`: what was decided and why, and what other policies would have done."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson
import pytest
from conftest import produce
from histories import FULL, Writer
from test_gate import EPOCH
from test_gate_step import control, decided, edit, run_until, tick

from schemas.event import rfc3339
from schemas.log import KIND_CONTROL, encode_policies
from streams.capture import manifest_path
from streams.cli import main
from streams.settings import Settings

VERSION_BYTES = {".png": b"\x89PNG", ".svg": b"<?xml"}


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A captured log under the full policies: rev 2 is reverted by rev 3, and rev 4 waits when it ends."""
    writer = Writer()
    for rev, text, user, later in ((1, "t0", "u0", 10), (2, "t1", "u1", 30), (3, "t0", "u2", 40)):
        writer.wait(later)
        writer.change("edit", 3, rev, text, user)
    writer.wait(900)
    writer.tick(20)
    writer.wait(10)
    writer.change("edit", 3, 5, "t4", "u0")
    records = [(KIND_CONTROL, encode_policies(FULL), 0), *writer.log]
    path = tmp_path / "log.ndjson"
    path.write_bytes(
        b"".join(
            orjson.dumps({"key": "", "kind": kind.decode(), "offset": n, "partition": 0, "value": value.decode()})
            + b"\n"
            for n, (kind, value, _) in enumerate(records)
        )
    )
    lines = path.read_bytes()
    manifest = {"capture": 1, "records": lines.count(b"\n"), "sha256": hashlib.sha256(lines).hexdigest()}
    manifest_path(path).write_bytes(orjson.dumps(manifest))
    return path


def test_why_names_rule_deadline_signals_with_their_events_and_follows_the_proof(capture, capsys):
    assert main(["why", "enwiki", "2", "--on", str(capture)]) == 0
    said = capsys.readouterr().out
    full = said[said.index("full:") :]
    assert full.startswith("full: enwiki page 3 revision 2, epoch 0: withheld (reverted)")
    assert "announced by event e2; its hold began 2027-01-15T08:00:40.000Z" in full
    assert "rule 0: All other edits: wait 60 s" in full
    assert "fire time 2027-01-15T08:02:40.000Z" in full
    assert "heard: identity_revert by revision 3 at 2027-01-15T08:01:20.000Z, event e3" in full
    assert "listened for and not heard: declared_revert, reverted_tag" in full
    assert said.count("the proof alone leads to the same") == said.count("decided for")


def test_why_says_when_there_is_nothing_yet(capture, capsys):
    assert main(["why", "enwiki", "77", "--on", str(capture)]) != 0
    assert "no decision about enwiki 77" in capsys.readouterr().out


def test_what_if_shows_policies_side_by_side_and_the_end_of_the_log_is_not_the_end_of_time(capture, capsys):
    assert main(["what-if", "live=0", "fast=60", "day=86400", "--on", str(capture)]) == 0
    head, live, fast, day = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[:5] == ["policy", "released", "withheld", "supersed.", "retracted"]
    assert live[1:6] == ["4", "0", "0", "1", "0.0"]
    assert fast[1:6] == ["2", "1", "0", "0", "100.0"]
    assert day[1:5] == ["0", "1", "0", "0"]


def test_what_if_takes_a_span_of_event_time(capture, capsys):
    begin, end = rfc3339(EPOCH + 35_000), rfc3339(EPOCH + 75_000)
    assert main(["what-if", "live=0", "--on", str(capture), "--from", begin, "--to", end]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "1"
    assert main(["what-if", "live=0", "--on", str(capture), "--from", "yesterday"]) != 0
    assert "'yesterday' is no time" in capsys.readouterr().err


def test_the_picture_is_a_png_or_an_svg_and_the_same_each_time(capture, tmp_path):
    for end, magic in VERSION_BYTES.items():
        paths = [tmp_path / f"{n}{end}" for n in (1, 2)]
        assert main(["what-if", "live=0", "fast=60", "--on", str(capture), "--picture", *map(str, paths)]) == 0
        first, second = (path.read_bytes() for path in paths)
        assert first.startswith(magic)
        assert first == second


@pytest.mark.kafka
async def test_why_reads_the_topics_and_says_how_far_everything_was_heard(settings: Settings):
    await produce(settings, [control(settings), edit(settings, 1, 0), tick(settings, 1, 400)])

    async def two() -> bool:
        return len(await decided(settings)) >= 2

    await run_until(settings, two)
    from streams import why

    found = await why.from_topics(settings, "enwiki", 1)
    text, good = why.told("enwiki", 1, found)
    assert good
    assert "when everything was heard until 2027-01-15T08:06:40.000Z" in text
    assert text.count("the proof alone leads to the same") == 2
