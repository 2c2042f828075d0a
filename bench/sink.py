"""A receiver of events that costs little: ``python -m bench.sink`` prints its address.

Answers every POST with 202; a GET tells how many of each type came.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import requests


class Sink:
    """A sink in a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def taken(self, kind: str) -> int:
        """Return how many events came whose type ends with ``kind``."""
        found: dict[str, int] = requests.get(self.url, timeout=30).json()
        return sum(number for name, number in found.items() if name.endswith(kind))


@contextmanager
def sink() -> Iterator[Sink]:
    """Run a sink."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.sink"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout:
        try:
            yield Sink(process.stdout.readline().strip())
        finally:
            process.kill()


class _Receiver:
    def __init__(self) -> None:
        self._types: Counter[str] = Counter()

    async def serve(self) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
        await server.serve_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
            except asyncio.IncompleteReadError:
                writer.close()
                return
            length = int(_header(head, b"content-length") or 0)
            await reader.readexactly(length)
            if head.startswith(b"get"):
                body = json.dumps(self._types).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            else:
                self._types[_header(head, b"ce-type").decode()] += 1
                writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")


def _header(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n" + name + b":")[2].partition(b"\r\n")[0].strip()


if __name__ == "__main__":
    asyncio.run(_Receiver().serve())
