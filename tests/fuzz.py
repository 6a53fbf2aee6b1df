"""Fuzzed is all that reads what anyone may write: `python tests/fuzz.py TARGET RUNS FOLDER` lets atheris do so.

atheris looks for inputs that take new ways through the code, from those in the folder on, and puts what it finds there.
It ends with an exit code other than 0 at the first exception.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from processors.data import compare_data, read_data
from processors.delta import compare
from processors.enrich import bounded_delta, page_content
from processors.html import read_html
from processors.namespaces import namespaces_of
from processors.scan import scan
from schemas.enriched import encode_shown

MODELS = ("wikibase-item", "wikibase-mediainfo", "json", "Scribunto", "css")
# A language with spaces, and one without.
WIKIS = ("enwiki", "jawiki")


def page(one: str, _: str) -> None:
    for wiki in WIKIS:
        encode_shown({"content": page_content(scan(one, namespaces_of(wiki)))})


def delta(one: str, other: str) -> None:
    for wiki in WIKIS:
        encode_shown({"delta": bounded_delta(compare(one, other, namespaces_of(wiki)))})


def html(one: str, _: str) -> None:
    encode_shown({"rendered": read_html(one)})


def data(one: str, other: str) -> None:
    for model in MODELS:
        encode_shown({"data": read_data(one, model), "data_delta": compare_data(one, other, model)})


# Each takes two texts, reads them and writes out what it found.
TARGETS: dict[str, Callable[[str, str], None]] = {"page": page, "delta": delta, "html": html, "data": data}


def main(name: str, runs: int, folder: str) -> None:
    import atheris

    def once(payload: bytes) -> None:
        one, _, other = payload.decode("utf-8", "replace").partition("\0")
        TARGETS[name](one, other)

    atheris.instrument_all()
    options = (f"-runs={runs}", "-max_len=4096", "-timeout=10", "-seed=1")
    atheris.Setup([sys.argv[0], *options, folder], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
