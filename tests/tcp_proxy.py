"""A TCP proxy for tests that does what networks do: delays, cuts, half-opens, drips and corrupts.

    async with TcpProxy("127.0.0.1", port) as proxy:
        ...connect to proxy.port...
        proxy.delay_seconds = 0.2

What is set holds for connections that stand and for those to come; bytes are changed on their way to the client only.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Self

CHUNK = 65_536
LINGER_0 = struct.pack("ii", 1, 0)


class TcpProxy:
    """Forwards connections to `host`:`port` until it is closed.

    delay_seconds: each piece is passed on that much later. drip_bytes: pieces are no larger, with `drip_seconds` after
    each; 0 = as they come. corrupt_every: of so many bytes the last one is changed; 0 = none. frozen: nothing is
    passed on in either direction and nothing is closed, as when a cable is pulled. refuse: new connections are reset.
    opened: connections so far. passed: bytes sent to clients so far.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self.delay_seconds = 0.0
        self.drip_bytes = 0
        self.drip_seconds = 0.0
        self.corrupt_every = 0
        self.cut_after: int | None = None
        self.refuse = False
        self.opened = 0
        self.passed = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thawed.set()
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        return len(self._pairs)

    def cut(self) -> None:
        """End every connection with a reset, in the middle of whatever is under way."""
        for pair in list(self._pairs):
            for writer in pair:
                _reset(writer)

    def freeze(self) -> None:
        """Half-open: both ends believe that the connection stands, and nothing comes through."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            _reset(writer)
            return
        try:
            from_server, to_server = await asyncio.open_connection(*self._upstream)
        except OSError:
            _reset(writer)
            return
        self.opened += 1
        pair = (writer, to_server)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._up(reader, to_server))
                both.create_task(self._down(from_server, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pairs.discard(pair)
            for each in pair:
                with contextlib.suppress(OSError):
                    each.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._thawed.wait()
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(self.drip_bytes or CHUNK):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            await self._thawed.wait()
            if self.cut_after is not None and self.passed + len(data) >= self.cut_after:
                writer.write(self._corrupted(data[: self.cut_after - self.passed]))
                with contextlib.suppress(OSError):
                    await writer.drain()
                self.passed, self.cut_after = self.cut_after, None
                self.cut()
                return
            writer.write(self._corrupted(data))
            await writer.drain()
            self.passed += len(data)
            if self.drip_bytes:
                await asyncio.sleep(self.drip_seconds)
        writer.write_eof()

    def _corrupted(self, data: bytes) -> bytes:
        if not self.corrupt_every:
            return data
        changed = bytearray(data)
        first = -(self.passed + 1) % self.corrupt_every
        for at in range(first, len(changed), self.corrupt_every):
            changed[at] ^= 0xFF
        return bytes(changed)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, not FIN."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    writer.transport.abort()
