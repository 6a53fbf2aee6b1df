"""The embedded broker: what it survives, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import http.server
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import produce, read_all

from streams import cluster, jars
from streams.broker import Broker, FolderInUse, PortInUse
from streams.jars import BrokerError, DiskFull, NoNetwork, WrongChecksum, ensure, pinned
from streams.kafka import Out
from streams.settings import Settings, cache_folder
from streams.topics import Topics

ROOT = Path(__file__).parents[1]
CACHE = cache_folder(os.environ)
SMALLEST = min(pinned(), key=lambda jar: jar.size_bytes)
LARGEST = max(pinned(), key=lambda jar: jar.size_bytes)
PATIENCE_SECONDS = 90.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), cache=CACHE, heap_mb=128) as running:
        yield running


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Maven repository on loopback that stands for the public one; the test fills the folder."""
    from jgo.maven import _core

    folder = tmp_path / "repository"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setitem(_core.DEFAULT_REMOTE_REPOS, "central", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("M2_REPO", str(tmp_path / "no-local-repository"))
        yield folder
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def publish(repository: Path, jar: jars.Jar, content: bytes) -> None:
    folder = repository / jar.group.replace(".", "/") / jar.artifact / jar.version
    folder.mkdir(parents=True)
    (folder / jar.file_name).write_bytes(content)


@pytest.fixture(scope="module")
def real() -> dict[str, bytes]:
    """Artifact → the bytes of the real jar, for the smallest and the largest."""
    ensure(CACHE)
    folder = CACHE / f"kafka-{jars.KAFKA_VERSION}"
    return {jar.artifact: (folder / jar.file_name).read_bytes() for jar in (SMALLEST, LARGEST)}


@contextmanager
def in_process(
    code: str, *arguments: object, prefix: tuple[str, ...] = (), **env: str
) -> Iterator[subprocess.Popen[str]]:
    """Run `code` in a Python of its own, with pipes; it is killed where the block ends before it does."""
    with subprocess.Popen(
        [*prefix, sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_gone(pid: int) -> None:
    """Return when no process has the id. Raises after a while."""
    if not hasattr(os, "pidfd_open"):
        pytest.skip("only Linux tells of the end of a process that is not our child")
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([descriptor], [], [], PATIENCE_SECONDS)
        assert ready, f"process {pid} still runs"
    finally:
        os.close(descriptor)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of `size_bytes` at `folder`; the test is skipped where it cannot be made."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", folder], capture_output=True)
    if made.returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.kafka
async def test_records_survive_a_stop_and_a_crash_and_the_address_stays(tmp_path: Path) -> None:
    with Broker(tmp_path / "data", cache=CACHE, heap_mb=128) as broker:
        settings = Settings(kafka=broker.bootstrap, partitions=1)
        await cluster.create(settings)
        for key, end in ((b"0", broker.stop), (b"1", functools.partial(crash, broker))):
            await produce(settings, [Out(topic=Topics(settings).source, key=key, value=b"kept")])
            end()
            broker.start()
        assert settings.kafka == broker.bootstrap
        assert [record.key for record in await read_all(settings, Topics(settings).source)] == [b"0", b"1"]


def crash(broker: Broker) -> None:
    """Kill Java from outside, and see that the broker knows."""
    os.kill(broker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, broker.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(BrokerError, match="Java ended with -9"):
        broker.check()


@pytest.mark.kafka
def test_a_second_broker_on_the_same_folder_is_refused_and_told_who_has_it(broker: Broker) -> None:
    with pytest.raises(FolderInUse, match=f"in use by process {os.getpid()}"):
        Broker(broker.folder, cache=CACHE).start()
    broker.check()


@pytest.mark.kafka
def test_a_port_that_is_in_use_is_refused(broker: Broker, tmp_path: Path) -> None:
    port = int(broker.bootstrap.rpartition(":")[2])
    with pytest.raises(PortInUse, match=rf"{broker.bootstrap} is in use"):
        Broker(tmp_path, cache=CACHE, port=port).start()


@pytest.mark.kafka
def test_the_broker_is_out_of_reach_of_ctrl_c_on_our_terminal(broker: Broker) -> None:
    assert os.getsid(broker.pid) == os.getpgid(broker.pid) == broker.pid
    assert os.getsid(0) != broker.pid


@pytest.mark.kafka
def test_the_broker_goes_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from streams.broker import Broker\n"
        "print(Broker(Path(sys.argv[1]), cache=Path(sys.argv[2]), heap_mb=128).start().pid, flush=True)\n"
        "time.sleep(600)"
    )
    with in_process(code, tmp_path, CACHE) as parent:
        assert parent.stdout is not None
        java = int(parent.stdout.readline())
        parent.kill()
    wait_until_gone(java)
    # And the folder is free again: the next start waits for the rest of the last one, if there is any.
    with Broker(tmp_path, cache=CACHE, heap_mb=128) as again:
        again.check()


@pytest.mark.kafka
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_it_prints_its_address_and_ends_well_when_told(tmp_path: Path, how: signal.Signals) -> None:
    code = (
        "import sys; from pathlib import Path; from streams.broker import run_foreground\n"
        "sys.exit(run_foreground(Path(sys.argv[1]), cache=Path(sys.argv[2]), port=0, heap_mb=128))"
    )
    with in_process(code, tmp_path, CACHE) as command:
        assert command.stdout is not None
        assert command.stdout.readline().startswith("127.0.0.1:")
        command.send_signal(how)
        assert command.wait(PATIENCE_SECONDS) == 0
    # A clean stop leaves this mark, a killed broker does not.
    assert (tmp_path / "data" / ".kafka_cleanshutdown").exists()


def test_jars_are_fetched_checked_and_then_used_without_asking_again(
    repository: Path, real: dict[str, bytes], tmp_path: Path
) -> None:
    publish(repository, SMALLEST, real[SMALLEST.artifact])
    told: list[tuple[int, int, str]] = []
    (path,) = ensure(tmp_path / "cache", jars=(SMALLEST,), progress=lambda *seen: told.append(seen))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SMALLEST.sha256
    assert told == [(SMALLEST.size_bytes, SMALLEST.size_bytes, SMALLEST.file_name)]
    shutil.rmtree(repository)
    assert ensure(tmp_path / "cache", jars=(SMALLEST,), progress=lambda *seen: told.append(seen)) == [path]
    assert len(told) == 1
    assert [entry.name for entry in path.parent.iterdir()] == [SMALLEST.file_name]


def test_with_a_filled_cache_the_fetching_library_is_not_even_imported(real: dict[str, bytes]) -> None:
    code = (
        "import sys; from pathlib import Path; from streams.jars import ensure\n"
        "ensure(Path(sys.argv[1])); print(sorted({'jgo', 'requests'} & set(sys.modules)))"
    )
    with in_process(code, CACHE) as command:
        output, error = command.communicate()
    assert (output, error) == ("[]\n", "")


def test_a_jar_with_another_checksum_is_refused_by_name_and_not_kept(repository: Path, tmp_path: Path) -> None:
    publish(repository, SMALLEST, b"not the jar")
    with pytest.raises(WrongChecksum) as refusal:
        ensure(tmp_path / "cache", jars=(SMALLEST,))
    for part in (SMALLEST.file_name, SMALLEST.sha256, hashlib.sha256(b"not the jar").hexdigest()):
        assert part in str(refusal.value)
    assert list((tmp_path / "cache" / f"kafka-{jars.KAFKA_VERSION}").iterdir()) == []


def test_half_a_jar_in_the_cache_or_in_the_users_maven_repository_is_fetched_anew(
    repository: Path, real: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = real[SMALLEST.artifact]
    publish(repository, SMALLEST, whole)
    publish(tmp_path / "m2", SMALLEST, whole[:100])
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    (path,) = ensure(tmp_path / "cache", jars=(SMALLEST,))
    assert path.read_bytes() == whole
    path.write_bytes(whole[:100])
    ensure(tmp_path / "cache", jars=(SMALLEST,))
    assert path.read_bytes() == whole


def test_without_network_and_with_an_empty_cache_one_line_says_what_to_do(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode != 0:
        pytest.skip("only root can take the network away from a process")
    code = (
        "import sys; from pathlib import Path; from streams.broker import Broker, BrokerError\n"
        "try: Broker(Path(sys.argv[1]), cache=Path(sys.argv[2])).start()\n"
        "except BrokerError as exc: print(type(exc).__name__, exc)"
    )
    arguments = (tmp_path / "data", tmp_path / "cache")
    with in_process(code, *arguments, prefix=("unshare", "-n"), HOME=str(tmp_path), M2_REPO="") as command:
        output, _ = command.communicate()
    assert output.startswith(NoNetwork.__name__)
    assert "needs network once" in output
    assert output.count("\n") == 1


def test_a_disk_that_fills_while_jars_come_is_named_and_left_clean(
    repository: Path, real: dict[str, bytes], tmp_path: Path
) -> None:
    publish(repository, LARGEST, real[LARGEST.artifact])
    with small_disk(tmp_path / "cache", 2_000_000) as cache:
        with pytest.raises(DiskFull, match="no space left"):
            ensure(cache, jars=(LARGEST,))
        assert list((cache / f"kafka-{jars.KAFKA_VERSION}").iterdir()) == []


@pytest.mark.kafka
@pytest.mark.parametrize("size_bytes", [12_288, 28_672])
def test_a_broker_without_space_to_begin_says_so(tmp_path: Path, size_bytes: int) -> None:
    with small_disk(tmp_path / "data", size_bytes) as folder, pytest.raises(DiskFull, match="no space left"):
        Broker(folder, cache=CACHE, heap_mb=128).start()


@pytest.mark.kafka
async def test_a_broker_whose_disk_fills_ends_and_says_why(tmp_path: Path) -> None:
    with small_disk(tmp_path / "data", 2_000_000) as folder, Broker(folder, cache=CACHE, heap_mb=128) as broker:
        settings = Settings(kafka=broker.bootstrap, partitions=1)
        noise = random.Random(7).randbytes
        outs = [Out(topic=Topics(settings).source, key=b"%d" % n, value=noise(100_000)) for n in range(40)]
        await cluster.create(settings)
        filling = asyncio.create_task(produce(settings, outs))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.to_thread(os.waitid, os.P_PID, broker.pid, os.WEXITED | os.WNOWAIT)
        filling.cancel()
        await asyncio.wait([filling])
        with pytest.raises(DiskFull, match="no space left"):
            broker.check()
