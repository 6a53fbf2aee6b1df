"""The broker's jars: pinned by sha256, fetched once, used without network from then on.

`kafka-jars.txt` lists the runtime closure of Apache Kafka 4.3.0. Each coordinate is resolved by itself: resolved
together, the resolver picks other versions. A shorter list seems to work and fails late, at the first lz4 batch.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

KAFKA_VERSION = "4.3.0"
# Told after each jar: bytes that are there, bytes in all, the jar's file name.
Progress = Callable[[int, int, str], None]


class BrokerError(RuntimeError):
    """The broker cannot run; the message is one line that says why and what to do."""


class NoNetwork(BrokerError):
    """A jar is neither in the cache nor to be had."""


class WrongChecksum(BrokerError):
    """A jar is not the one that is pinned. It was not kept."""


class DiskFull(BrokerError):
    """No space left for jars or data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """One line of the list."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def pinned() -> tuple[Jar, ...]:
    """The list that comes with the package."""
    text = files("streams").joinpath("kafka-jars.txt").read_text(encoding="utf-8")
    return tuple(_jar(line) for line in text.splitlines() if line.strip() and not line.startswith("#"))


def ensure(cache: Path, *, jars: tuple[Jar, ...] | None = None, progress: Progress | None = None) -> list[Path]:
    """Every jar as a verified file in `cache/kafka-4.3.0`, fetched where it is missing.

    Each is checked each time: 46 MB take a tenth of a second. Raises `NoNetwork`, `WrongChecksum`, `DiskFull`.
    """
    jars = pinned() if jars is None else jars
    folder = cache / f"kafka-{KAFKA_VERSION}"
    paths = [folder / jar.file_name for jar in jars]
    missing = [jar for jar, path in zip(jars, paths, strict=True) if not _is(path, jar.sha256)]
    if missing:
        with full_disk_as_error(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as staging:
                _fetch_all(missing, folder, Path(staging), progress)
    return paths


@contextlib.contextmanager
def full_disk_as_error(folder: Path) -> Iterator[None]:
    """Turn the system's "no space left" into `DiskFull`."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise DiskFull(f"no space left for {folder}: free some, or choose another place") from exc


def _fetch_all(missing: list[Jar], folder: Path, staging: Path, progress: Progress | None) -> None:
    total = sum(jar.size_bytes for jar in missing)
    with _shown(total) if progress is None else _as_is(progress) as tell:
        done = 0
        for jar in missing:
            _fetch(jar, folder / jar.file_name, staging)
            done += jar.size_bytes
            tell(done, total, jar.file_name)


def _fetch(jar: Jar, target: Path, staging: Path) -> None:
    """Put one jar in its place: fetched to `staging`, checked there, then renamed."""
    found = _resolve(jar, staging / "all", local=_maven_repository())
    if not _is(found, jar.sha256):
        # What another tool left in the user's Maven repository may be half a file: ask for it anew, once.
        with contextlib.suppress(NoNetwork):
            found = _resolve(jar, staging / "anew", local=None)
    checked = staging / jar.file_name
    shutil.copyfile(found, checked)
    seen = _sha256(checked)
    if seen != jar.sha256:
        raise WrongChecksum(
            f"{jar.file_name} has sha256 {seen}, pinned is {jar.sha256}: it was not kept. A proxy or mirror may change "
            f"files: try from another network, or put the right file into {target.parent}"
        )
    checked.replace(target)


def _resolve(jar: Jar, repository: Path, *, local: Path | None) -> Path:
    # Imported here: once the cache is filled, nothing of it is needed any more.
    import requests
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=repository, local_repos=[local] if local else [], timeout=30)
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact(packaging="jar")
    try:
        return Path(artifact.resolve())
    except (requests.RequestException, RuntimeError) as exc:
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise NoNetwork(
            f"cannot fetch {jar.file_name} ({reason[:200]}): the first start needs network once; or copy the folder "
            f"kafka-{KAFKA_VERSION} from the cache of a machine that has it"
        ) from exc


def _maven_repository() -> Path | None:
    """The user's Maven repository, from which a machine without network can be served. It is only read."""
    folder = Path(os.environ.get("M2_REPO") or Path.home() / ".m2" / "repository")
    return folder if folder.is_dir() else None


def _is(path: Path, sha256: str) -> bool:
    try:
        return _sha256(path) == sha256
    except FileNotFoundError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _jar(line: str) -> Jar:
    coordinate, sha256, size = line.split()
    group, artifact, version = coordinate.split(":")
    return Jar(group=group, artifact=artifact, version=version, sha256=sha256, size_bytes=int(size))


@contextlib.contextmanager
def _as_is(progress: Progress) -> Iterator[Progress]:
    yield progress


@contextlib.contextmanager
def _shown(total: int) -> Iterator[Progress]:
    """A bar if a person looks at stderr, else a line at the start and one at the end."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("Apache Kafka {task.fields[name]}"), BarColumn(), DownloadColumn())
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("jars", total=total, name="")
            yield lambda done, _total, name: bar.update(task, completed=done, name=name)
    else:
        sys.stderr.write(f"fetching Apache Kafka {KAFKA_VERSION}, {total / 1e6:.0f} MB, once\n")
        yield lambda done, total, _name: None
        sys.stderr.write("Apache Kafka is there\n")
