"""The ledger: one object a line, keys in order, what was served as it was served."""

from __future__ import annotations

import base64
import io

import orjson

from streams.ledger import Did, Ledger


def lines(*acts: str) -> list[bytes]:
    file = io.BytesIO()
    ledger = Ledger(file)
    made = {
        "world": lambda: ledger.world(
            random_state=1, begin_ms=2, end_ms=3, rate=4.0, time_scale=60.0, wikis=["enwiki", "dewiki"]
        ),
        "did": lambda: ledger.did(Did(at_ms=5, wiki="enwiki", page_id=6, title="Ä", what="undo", undoes=(7, 8))),
        "offered": lambda: ledger.offered(9, "eqiad.x", 10, b'{"z": 1,"a":[2.50]}'),
        "torn": lambda: ledger.offered(9, "eqiad.x", 11, b'{"z": \xff'),
        "served": lambda: ledger.served(12, "en.wikipedia.org", 13, "text", "né", "wikitext"),
        "missing": lambda: ledger.served(12, "en.wikipedia.org", 14, "missing", None, "html"),
        "opened": lambda: ledger.opened(15, 1, ["a", "b"], None),
        "closed": lambda: ledger.closed(16, 1, events=17, torn=False),
        "refused": lambda: ledger.refused(18, 2, 429),
    }
    for act in acts or made:
        made[act]()
    return file.getvalue().splitlines(keepends=True)


def test_each_line_is_one_object_whose_keys_are_in_alphabetical_order():
    kinds = []
    for line in lines():
        doc = orjson.loads(line)
        assert line.endswith(b"}\n")
        assert list(doc) == sorted(doc)
        kinds.append(doc["kind"])
    assert kinds == ["world", "did", "offered", "offered", "served", "served", "opened", "closed", "refused"]


def test_an_event_stands_in_the_ledger_in_the_very_bytes_in_which_it_is_served():
    (line,) = lines("offered")
    assert line == b'{"at_ms":9,"event":{"z": 1,"a":[2.50]},"kind":"offered","offset":10,"topic":"eqiad.x"}\n'


def test_bytes_that_are_no_json_object_are_kept_in_base64():
    doc = orjson.loads(lines("torn")[0])
    assert base64.b64decode(doc["bytes_base64"]) == b'{"z": \xff'
    assert "event" not in doc


def test_what_an_act_has_not_is_null_and_not_absent():
    doc = orjson.loads(lines("did")[0])
    assert doc == {
        "at_ms": 5, "how": None, "kind": "did", "page_id": 6, "parent_id": None, "rev_id": None, "sha1": None,
        "size_bytes": None, "title": "Ä", "undoes": [7, 8], "user": None, "what": "undo", "wiki": "enwiki",
    }  # fmt: skip


def test_a_served_text_is_counted_in_utf8_bytes_and_a_missing_one_has_neither_size_nor_hash():
    text, missing = (orjson.loads(line) for line in lines("served", "missing"))
    assert text["size_bytes"] == 3
    assert text["sha256"] == "82b5c347493f76b114b701be8bf9205789f699075946fdf09051bf799d9cc117"
    assert (missing["sha256"], missing["size_bytes"], missing["form"]) == (None, None, "html")
