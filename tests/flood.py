"""Serves made-up page changes of 1.4 KB over SSE, as fast as they are read: `python tests/flood.py COUNT`.

A process of its own, that prints its URL and the size of a frame. All are made before the first request, so that little
of what is measured is its own.
"""

from __future__ import annotations

import asyncio
import sys

import orjson
from sse_server import OPENING, page_change

AT_MS = 1_795_314_219_671
PIECE_BYTES = 256 * 1024


def frames(count: int) -> list[bytes]:
    """The stream in pieces, chunked as HTTP has it."""
    pieces, piece = [], bytearray(b":ok\n\n")
    padding = "Lorem ipsum dolor sit amet, 大小 größe. " * 16
    for n in range(count):
        doc = page_change(n, AT_MS + n * 50, page=n % 5000)
        meta = doc["meta"] | {"partition": 0, "offset": n, "uri": "https://en.wikipedia.org/wiki/Page"}
        doc["revision"] |= {"comment": padding[:600], "rev_sha1": f"{n:031}", "editor": {"user_text": f"User {n % 97}"}}
        entry = [{"topic": meta["topic"], "partition": 0, "timestamp": AT_MS + n * 50 + 1}]
        data = orjson.dumps(doc | {"meta": meta})
        piece += b"event: message\nid: %b\ndata: %b\n\n" % (orjson.dumps(entry), data)
        if len(piece) > PIECE_BYTES:
            pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
            piece = bytearray()
    return [*pieces, b"%x\r\n%b\r\n" % (len(piece), piece)]


async def main(count: int) -> None:
    pieces = frames(count)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OPENING)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        await asyncio.Event().wait()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]} {sum(map(len, pieces)) // count}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
