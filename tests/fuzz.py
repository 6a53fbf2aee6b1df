"""Fuzzed is all that reads what anyone may write: `make fuzz`, or `python tests/fuzz.py MINUTES FOLDER [TARGET …]`.

atheris looks for inputs that take new ways through the code, and keeps them in the folder; each run goes on from there.
An exception, or 10 s for one input, ends it with an exit code other than 0. Then all that was kept is made long, and
must not take more than 2.6 times the time when it is twice as long.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

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
# Keys that the readers of entities and of Parsoid's attributes look for.
_KEYS = (
    "labels aliases claims mainsnak property datavalue value id rank m q g snaktype amount unit time latitude text "
    "sitelinks title references qualifiers numeric-id lemmas redirect entity parts template target href params wt "
    "attrs name group 1"
)
KEYS = _KEYS.split()
# A bound on what is copied is met on the way to the first; from there on time grows as length does.
HALF = 100_000
MOST_INPUTS = 150
MOST_GROWTH = 2.6
# Below this the clock says nothing.
LEAST_SECONDS = 0.03


def page(one: str, _: str) -> None:
    for wiki in WIKIS:
        encode_shown({"content": page_content(scan(one, namespaces_of(wiki)))})


def templates(one: str, other: str) -> None:
    """Parameters, infoboxes, citations and maintenance tags: what stands between braces."""
    page("{{Infobox|" + one.replace("\n\n", "\n|") + "}}<ref>{{cite web|" + other + "}}</ref>{{cn|" + one + "}}", "")


def delta(one: str, other: str) -> None:
    for wiki in WIKIS:
        encode_shown({"delta": bounded_delta(compare(one, other, namespaces_of(wiki)))})


def html(one: str, _: str) -> None:
    encode_shown({"rendered": read_html(one)})


def data(one: str, other: str) -> None:
    for model in MODELS:
        encode_shown({"data": read_data(one, model), "data_delta": compare_data(one, other, model)})


def entity(one: str, other: str) -> None:
    """The texts say which JSON is read, as an entity and as what stands behind a template and a reference."""
    data(shaped(one), shaped(other))
    said = shaped(one).replace("&", "&amp;").replace("'", "&#39;")
    html(f"<p typeof='mw:Transclusion' data-mw='{said}'><sup typeof='mw:Extension/ref' data-mw='{said}'>{MARK}", "")


MARK = '<a href="./A#cite_note-1">[1]</a></sup><ol><li id="cite_note-1">x</li></ol>'


def shaped(text: str) -> str:
    """JSON of which each character adds a piece: `{` and `[` nest what follows, `}` ends that, others are values."""
    whole: dict[str, Any] = {}
    stack: list[Any] = [whole]
    for number, character in enumerate(text):
        value: Any = {} if character == "{" else [] if character == "[" else character
        if character == "}":
            stack = stack[:-1] or stack
            continue
        if character.isdigit():
            value = int(character) if character.isascii() else 1e300
        top = stack[-1]
        if isinstance(top, dict):
            top[KEYS[(ord(character) + number) % len(KEYS)]] = value
        else:
            top.append(value)
        # Beyond that orjson does not write: depth is what a text repeated is for.
        if isinstance(value, dict | list) and len(stack) < 250:
            stack.append(value)
    # By how the text begins, so that it is the same when the text is repeated.
    depth = 8 * ord(text[:1] or "a") % 1_020
    deep = b"[" * depth + b"]" * depth
    return orjson.dumps(whole).decode("utf-8").replace('"~"', deep.decode())


# Each takes two texts, reads them and writes out what it found.
TARGETS: dict[str, Callable[[str, str], None]] = {
    "page": page,
    "templates": templates,
    "delta": delta,
    "html": html,
    "data": data,
    "entity": entity,
}


def two(payload: bytes) -> tuple[str, str]:
    one, _, other = payload.decode("utf-8", "replace").partition("\0")
    return one, other


def search(name: str, option: str, folder: Path) -> None:
    """Does not return."""
    import atheris

    def once(payload: bytes) -> None:
        TARGETS[name](*two(payload))

    atheris.instrument_all()
    options = (option, "-max_len=4096", "-timeout=10", "-seed=1", "-print_final_stats=1", "-verbosity=0")
    atheris.Setup([sys.argv[0], *options, str(folder)], once)
    atheris.Fuzz()


def growth(name: str, folder: Path) -> tuple[float, float, int]:
    """How many times as long twice as much takes at most, and seconds of the longest; of how many inputs.

    The work is looked at, without Python's garbage collection, which starts from some size on.
    """

    def seconds(texts: tuple[str, str], length: int) -> float:
        one, other = ((text * (length // len(text) + 1))[:length] if text else "" for text in texts)
        began = time.process_time()
        TARGETS[name](one, other)
        took = time.process_time() - began
        gc.collect()
        return took

    gc.disable()
    most, longest, files = 0.0, 0.0, sorted(folder.iterdir())
    chosen = files[:: 1 + len(files) // MOST_INPUTS]
    for file in chosen:
        texts = two(file.read_bytes())
        half, whole = seconds(texts, HALF), seconds(texts, 2 * HALF)
        times = whole / half if half > LEAST_SECONDS else 0.0
        if times > MOST_GROWTH:
            # Once may have been the machine's fault, or that of memory that is touched for the first time from some
            # size on; what grows with the square does so at each size.
            half, whole, twice = (min(seconds(texts, n * HALF) for _ in range(3)) for n in (1, 2, 4))
            times = min(whole / half, twice / whole)
        most = max(most, times)
        longest = max(longest, whole)
    gc.enable()
    return most, longest, len(chosen)


def main(minutes: float, folder: Path, names: list[str]) -> int:
    failed = False
    for name in names or TARGETS:
        kept = folder / name
        kept.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, "--search", name, f"-max_total_time={round(60 * minutes)}", str(kept)]
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
        runs = next((line.split()[-1] for line in done.stderr.splitlines() if "executed_units" in line), "?")
        most, longest, looked_at = growth(name, kept)
        print(
            f"{name:<10}{runs:>10} runs in {minutes:g} min, exit {done.returncode}; {looked_at} inputs made long: "
            f"{longest:.2f} s at most for {2 * HALF // 1000} KB, {most:.2f} times that of half of it",
            flush=True,
        )
        if done.returncode or most > MOST_GROWTH:
            failed = True
            print(done.stderr[-3_000:])
    return int(failed)


if __name__ == "__main__":
    if sys.argv[1] == "--search":
        search(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        sys.exit(main(float(sys.argv[1]), Path(sys.argv[2]).resolve(), sys.argv[3:]))
