"""Open pages, in a process of their own: ``python -m bench.readers URL PAGES STREAMS``.

As a browser has them: a few hear of changes in a stream and ask after each, the others ask every
five seconds, all with the tag of what they have.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.processes import ROOT

_POLL_SECONDS = 5.0
_GATHER_SECONDS = 1.0
_READY = "open"
_TAG = re.compile(rb"\r\netag: *([^\r]+)\r", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r", re.IGNORECASE)


@contextlib.contextmanager
def readers(url: str, pages: int, streams: int) -> Iterator[None]:
    """Have ``pages`` open while the block runs, ``streams`` of them on streams."""
    command = [sys.executable, "-m", "bench.readers", url, str(pages), str(streams)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline().strip() != _READY:
                raise RuntimeError(f"the pages of {url} could not be opened")
            yield
        finally:
            process.kill()


class _Page:
    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._tag = b""

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        await self.ask()

    async def ask(self) -> None:
        """Get the page, unless it is what this one has."""
        known = b"If-None-Match: " + self._tag + b"\r\n" if self._tag else b""
        self._writer.write(
            b"GET / HTTP/1.1\r\nHost: bench\r\nAccept: text/html\r\n" + known + b"\r\n"
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        length, tag = _LENGTH.search(head), _TAG.search(head)
        if length is not None and b" 304 " not in head[:16]:
            await self._reader.readexactly(int(length[1]))
        if tag is not None:
            self._tag = tag[1]

    async def poll(self) -> None:
        await asyncio.sleep(_POLL_SECONDS * random.random())
        while True:
            await self.ask()
            await asyncio.sleep(_POLL_SECONDS * random.uniform(0.9, 1.1))

    async def listen(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(b"GET /async-jobs/changes HTTP/1.1\r\nHost: bench\r\n\r\n")
        while await reader.read(65_536):
            await asyncio.sleep(_GATHER_SECONDS)
            await self.ask()


async def _keep_open(url: str, pages: int, streams: int) -> None:
    address = urlsplit(url)
    opened = [_Page(str(address.hostname), address.port or 80) for _ in range(pages)]
    for page in opened:
        await page.open()
    print(_READY, flush=True)
    await asyncio.gather(
        *(page.listen() for page in opened[:streams]), *(page.poll() for page in opened[streams:])
    )


if __name__ == "__main__":
    asyncio.run(_keep_open(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
