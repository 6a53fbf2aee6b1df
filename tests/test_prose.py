"""Prose is held against the code: what a page names must exist, and what exists must be named where people look."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

from streams import cli, metrics
from streams.settings import Settings
from streams.topics import Topics

ROOT = Path(__file__).parents[1]
# A changelog may name what is gone.
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "deploy").rglob("*.md"), *(ROOT / "schemas").rglob("*.md")} - {
    ROOT / "CHANGELOG.md"
})  # fmt: skip
FILES = [*PAGES, *(p for p in sorted((ROOT / "deploy").rglob("*")) if p.suffix in {".yaml", ".json", ".example"})]
VARIABLES = {name for name, _, _ in Settings().described()}
TOPICS = {topic.name for topic in Topics(Settings()).table()}
HELP = {
    f"{family.name}_total" if family.type == "counter" else family.name: family.documentation
    for family in metrics.REGISTRY.collect()
}
SAMPLES = set(HELP) | {f"{name}_{part}" for name in HELP for part in ("bucket", "count", "sum")}


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_in(page: str) -> list[str]:
    """The lines of code blocks, and what stands between single backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\w*\n.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    spans = [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose)]
    return [line.strip() for block in blocks for line in block.splitlines()] + spans


@pytest.mark.parametrize("path", PAGES, ids=by_path)
def test_each_make_target_that_a_page_names_is_in_the_makefile(path):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        word
        for code in code_in(path.read_text(encoding="utf-8"))
        for words in re.findall(r"(?:^|[;&|] ?)make((?: [a-z]+)+)", code)
        for word in words.split()
    }
    assert named <= targets


@pytest.mark.parametrize("path", PAGES, ids=by_path)
def test_each_command_that_a_page_shows_exists(path):
    (commands,) = (action.choices for action in cli._parser()._actions if action.choices)
    code = code_in(path.read_text(encoding="utf-8"))
    named = {word for line in code for word in re.findall(r"^(?:\$ )?(?:\S*/)?sluice ([a-z-]+)", line)}
    assert named <= set(commands)


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_each_setting_that_a_page_or_a_file_of_deploy_names_exists(path):
    named = set(re.findall(r"\bSLUICE_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))
    assert named <= VARIABLES | {"SLUICE_FIELD"}


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_each_topic_that_a_page_or_a_file_of_deploy_names_exists(path):
    assert set(re.findall(r"\bsluice\.[a-z-]+\.v\d+", path.read_text(encoding="utf-8"))) <= TOPICS


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_each_metric_that_a_page_or_a_file_of_deploy_names_exists(path):
    """A name that goes on as a pattern (`^sluice_(a|b)`) is checked with the runbooks."""
    text = path.read_text(encoding="utf-8")
    outside_of_recorded_series = re.sub(r"\w+:sluice_\w+:\w+", "", text)
    named = set(re.findall(r"(?<!\^)\bsluice_[a-z_]*[a-z]\b", outside_of_recorded_series))
    assert named <= SAMPLES


def test_each_setting_is_in_the_example_environment():
    text = (ROOT / "deploy" / "env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^(SLUICE_\w+)=", text, re.MULTILINE)) == VARIABLES


@pytest.mark.parametrize("metric", HELP)
def test_each_metric_is_in_the_table_with_what_its_help_says_first(metric):
    rows = [
        line
        for line in (ROOT / "deploy" / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{metric}` |")
    ]
    assert len(rows) == 1
    first = re.split(r"(?<=\.)\s", HELP[metric])[0]
    assert first in rows[0]


@pytest.mark.parametrize("path", PAGES, ids=by_path)
def test_each_link_to_a_file_of_ours_leads_somewhere(path):
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_examples_in_docstrings_give_what_they_say() -> None:
    tried = failed = 0
    for path in sorted([*ROOT.glob("processors/*.py"), *ROOT.glob("schemas/*.py")]):
        if ">>> " in path.read_text("utf-8"):
            result = doctest.testmod(importlib.import_module(f"{path.parent.name}.{path.stem}"))
            tried, failed = tried + result.attempted, failed + result.failed
    assert tried > 30
    assert failed == 0
