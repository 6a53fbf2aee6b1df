"""Writes what deploy/ repeats from the code: `python -m deploy.generate`, in the repository's root.

It writes the dashboard, env.example and the tables in README.md. With `--check` it writes nothing and fails if one of
them is not what it would write.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.dashboards import generate as dashboard
from streams.metrics import REGISTRY, initialise
from streams.settings import Settings
from streams.topics import DAY_MS, MEGABYTE, Topic, Topics

HERE = Path(__file__).parent
ENV_HEADER = """\
# Every setting of sluice with its default. Copy it, change what you need, and hand it to compose (ENV_FILE) or to your
# service manager. Written by deploy/generate.py from streams/settings.py: change the text there.
"""


def env_example() -> str:
    """Every setting as a line that `Settings.from_env` reads back as its default."""
    return ENV_HEADER + "".join(f"\n# {about}\n{name}={value}\n" for name, value, about in Settings().described())


def metrics_table() -> list[str]:
    """Name, type, labels with the number of their values, and the whole help text."""
    initialise()
    lines = ["| metric | type | labels | what it says |", "|---|---|---|---|"]
    for family in REGISTRY.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        values: dict[str, set[str]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                values.setdefault(label, set()).add(value)
        labels = ", ".join(f"{label} ({len(found)})" for label, found in values.items() if label != "le")
        lines.append(f"| `{name}` | {family.type} | {labels} | {cell(family.documentation)} |")
    return lines


def settings_table() -> list[str]:
    """Variable, default, meaning."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {f'`{value}`' if value else ''} | {cell(about)} |"
              for name, value, about in Settings().described()]  # fmt: skip
    return lines


def topics_table() -> list[str]:
    """Topic, what it carries, and how it is kept, for the default settings."""
    lines = [
        "| topic | carries | key | partitions by | cleanup | kept | largest record |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{topic.name}` | {cell(topic.about)} | `{cell(topic.key)}` | {topic.partitioned_by} ({topic.partitions}) "
        f"| {topic.cleanup} | {kept(topic)} | {topic.max_record_bytes // MEGABYTE} MB |"
        for topic in Topics(Settings()).table()
    ]
    return lines


def kept(topic: Topic) -> str:
    """How long a record stays."""
    return "the newest per key" if topic.retention_ms < 0 else f"{topic.retention_ms // DAY_MS} days"


def cell(words: str) -> str:
    """Text that does not end a Markdown table's cell."""
    return words.replace("|", "\\|")


def readme(old: str) -> str:
    """README.md with the lines between its markers written anew. Raises `ValueError` if a marker is missing."""
    for name, table in (("metrics", metrics_table), ("settings", settings_table), ("topics", topics_table)):
        begin, end = f"<!-- {name}: written by deploy/generate.py -->\n", f"<!-- end of {name} -->"
        head, found, rest = old.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"README.md lacks the markers of {name}")
        old = head + begin + "\n".join(table()) + "\n" + end + tail
    return old


def files() -> dict[Path, str]:
    """Path → the text it should have."""
    page = HERE / "README.md"
    return {
        HERE / "dashboards" / "sluice.json": dashboard.render(),
        HERE / "env.example": env_example(),
        page: readme(page.read_text(encoding="utf-8")),
    }


def main(arguments: list[str]) -> str | None:
    """What to exit with: None when all is well, else a sentence."""
    texts = files()
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        names = ", ".join(str(path.relative_to(HERE.parent)) for path in stale)
        return f"not what the code says: {names}; run python -m deploy.generate" if stale else None
    for path in stale:
        path.write_text(texts[path], encoding="utf-8")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
