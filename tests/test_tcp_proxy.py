"""The proxy that plays a bad network does what its switches say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tcp_proxy import TcpProxy

TEXT = bytes(range(256)) * 40


@pytest.fixture
async def proxy() -> AsyncIterator[TcpProxy]:
    """Before a server that answers each line with `TEXT`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(TEXT)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self) -> bytes:
        self.writer.write(b"more\n")
        return await asyncio.wait_for(self.reader.readexactly(len(TEXT)), 30)


async def connect(proxy: TcpProxy) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", proxy.port))


async def test_it_passes_everything_on_unchanged(proxy: TcpProxy) -> None:
    client = await connect(proxy)
    assert await client.ask() == TEXT
    assert (proxy.opened, proxy.connections, proxy.passed) == (1, 1, len(TEXT))
    client.writer.close()


async def test_it_delays(proxy: TcpProxy) -> None:
    proxy.delay_seconds = 0.3
    client = await connect(proxy)
    began = asyncio.get_running_loop().time()
    assert await client.ask() == TEXT
    assert asyncio.get_running_loop().time() - began >= 0.3
    client.writer.close()


async def test_it_drips(proxy: TcpProxy) -> None:
    proxy.drip_bytes, proxy.drip_seconds = 1024, 0.01
    client = await connect(proxy)
    client.writer.write(b"more\n")
    assert len(await client.reader.read(65_536)) <= 2 * 1024
    client.writer.close()


async def test_it_cuts_at_the_byte(proxy: TcpProxy) -> None:
    proxy.cut_after = 1000
    client = await connect(proxy)
    client.writer.write(b"more\n")
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await client.reader.readexactly(1001)
    assert proxy.passed == 1000
    client.writer.close()


async def test_it_corrupts_one_byte_of_so_many(proxy: TcpProxy) -> None:
    proxy.corrupt_every = 100
    client = await connect(proxy)
    received = await client.ask()
    differing = [at for at, (a, b) in enumerate(zip(TEXT, received, strict=True)) if a != b]
    assert differing == list(range(99, len(TEXT), 100))
    client.writer.close()


async def test_a_frozen_connection_is_silent_and_stands_until_it_thaws(proxy: TcpProxy) -> None:
    client = await connect(proxy)
    assert await client.ask() == TEXT
    proxy.freeze()
    client.writer.write(b"more\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.read(1), 0.3)
    assert proxy.connections == 1
    proxy.thaw()
    assert await asyncio.wait_for(client.reader.readexactly(len(TEXT)), 30) == TEXT
    client.writer.close()


async def test_it_refuses(proxy: TcpProxy) -> None:
    proxy.refuse = True
    client = await connect(proxy)
    with pytest.raises(ConnectionResetError):
        await client.reader.readexactly(1)
    assert proxy.opened == 0
    client.writer.close()
