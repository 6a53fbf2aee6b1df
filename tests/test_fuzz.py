"""Nothing that anyone may write makes a reader fail: by pieces of markup at random, and by search for new ways."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import fuzz
import orjson
import pytest
import test_html
import test_scan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_data import VALUES

pytestmark = pytest.mark.soak
EXAMPLES = settings(
    max_examples=4_000, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.data_too_large]
)
RUNS = 20_000


def mixed(*pieces: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces) | st.text(max_size=8), max_size=80).map("".join)


WIKITEXT = mixed(*test_scan.HOSTILE, *test_scan.MORE)
TAGS = ("</table>", "</div>", "</a>", "</sup>", "</li>", "</style>", "<tr>", "</tr>", test_html.NOTES)
JSON = VALUES.map(lambda value: orjson.dumps(value).decode())
STARTS = {
    "page": (*test_scan.HOSTILE, *test_scan.MORE),
    "templates": ("|a=b", "|c={{d|e}}", "\n\n", "[[f]]", "url=http://g", "<!--", "=", "{{{h|"),
    "delta": (*test_scan.HOSTILE, *test_scan.MORE),
    "html": (*test_html.HOSTILE.values(), *TAGS),
    "data": ('{"labels":{"en":{"value":"a"}},"claims":{"P1":[{"mainsnak":{"datavalue":{"value":1}}}]}}', "[1]", "{}"),
    "entity": ("{{[{a}}", "{[[{~}1", "~", "{~[~"),
}


@given(WIKITEXT)
@EXAMPLES
def test_no_wikitext_fails_the_scanner(text: str) -> None:
    fuzz.page(text, "")


@given(WIKITEXT, WIKITEXT)
@EXAMPLES
def test_no_two_texts_fail_the_comparison(old: str, new: str) -> None:
    fuzz.delta(old, new)


@given(mixed(*test_html.HOSTILE.values(), *TAGS))
@EXAMPLES
def test_no_html_fails_its_reader(text: str) -> None:
    fuzz.html(text, "")


@given(JSON | mixed("{", "}", '"', "[", "]", '"labels":', '"claims":'), JSON)
@EXAMPLES
def test_no_data_fails_their_readers(old: str, new: str) -> None:
    fuzz.data(old, new)


@given(st.text(alphabet="{[}~1a\u0661", max_size=60), st.text(alphabet="{[}~1a", max_size=60))
@EXAMPLES
def test_no_json_fails_whoever_reads_it(old: str, new: str) -> None:
    fuzz.entity(old, new)


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_nothing_that_a_search_for_new_ways_finds_fails_a_reader(name: str, tmp_path: Path) -> None:
    """A short one; `make fuzz` has the long one, and installs atheris: no dependency, as it is for few versions of
    Python."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: make fuzz")
    for number, piece in enumerate(STARTS[name]):
        (tmp_path / f"start-{number}").write_text(f"{piece}\0{piece}", "utf-8", "replace")
    command = [sys.executable, str(Path(fuzz.__file__)), "--search", name, f"-runs={RUNS}", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
