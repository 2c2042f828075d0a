"""Runs a program under strace and tells, in order, what it did to the files of one directory.

``-shm`` is left out: it is memory of SQLite's connections, mapped and never synced, and made anew
from the log by whoever opens the file after a power cut.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

_CALLS = (
    "openat,open,creat,write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate,fallocate,"
    "rename,renameat,renameat2,link,linkat,unlink,unlinkat,fsync,fdatasync,sync_file_range,"
    "copy_file_range,sendfile,pread64,read"
)
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")
_LINE = re.compile(r"(?P<pid>\d+) +(?P<moment>\d+\.\d+) (?:<\.\.\. \w+ resumed>)?")
"""How a line begins; some are megabytes long, so that the rest is not searched."""
_UNFINISHED = " <unfinished ...>"
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(.*)$", re.DOTALL)
_STRING = re.compile(r'"([^"]*)"')
_FILE = re.compile(r"^\d+<([^>]*)>(\(deleted\))?")
_TOLD = re.compile(r"write\(1<")


@dataclass(frozen=True, slots=True)
class Create:
    """A directory entry for a new, empty file."""

    name: str
    file: int


@dataclass(frozen=True, slots=True)
class Rename:
    """A file gets another name, and takes it from whichever has it."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Unlink:
    """A directory entry goes."""

    name: str


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes of a file are replaced or added."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file is cut, or grows by zeros."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A file, or the directory where ``file`` is None, is on the disk; or that failed."""

    file: int | None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What was asked for or answered: a line of JSON on the program's output, or a note."""

    words: list[Any]


Step = Create | Rename | Unlink | Write | Truncate | Sync | Told


@dataclass(slots=True)
class Recording:
    """What a directory held before the program, and what the program did to it."""

    before: dict[str, bytes]
    steps: list[Step]
    injected: int = 0
    """How many calls strace had fail."""


def record(
    command: Sequence[str], directory: Path, trace: Path, *options: str, timeout: float = 100
) -> Recording:
    """Run ``command`` under strace with ``options``.

    Fails where the program does, or changes a file in a way that is not known here.
    """
    before = contents(directory)
    trace.unlink(missing_ok=True)
    done = subprocess.run(
        traced(command, trace, *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return recorded(directory, before, trace)


def traced(command: Sequence[str], trace: Path, *options: str) -> list[str]:
    """Return ``command`` run under strace with ``options``; it adds what it sees to ``trace``."""
    return [
        *("strace", "--follow-forks", "--seccomp-bpf", "--decode-fds=path", "-xx"),
        *("--string-limit=1000000", "--signal=none", "--quiet=all", "--timestamps=unix,us"),
        *("--output-append-mode", f"--output={trace}", f"--trace={_CALLS}", *options, *command),
    ]


def recorded(
    directory: Path,
    before: dict[str, bytes],
    trace: Path,
    notes: Sequence[tuple[float, list[Any]]] = (),
) -> Recording:
    """Read what strace saw; ``notes`` are by their time, in seconds since the epoch."""
    reader = _Reader(directory, before)
    steps = list(reader.steps(trace, notes))
    return Recording(before, steps, reader.injected)


def contents(directory: Path) -> dict[str, bytes]:
    """Return what the files of ``directory`` hold, without the shared memory and the lock."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if _counts(path.name)}


def _counts(name: str) -> bool:
    return not name.endswith(("-shm", ".lock"))


class _Reader:
    """Reads strace's lines; knows files by number, since names come and go."""

    def __init__(self, directory: Path, before: dict[str, bytes]) -> None:
        self._directory = str(directory)
        self._names = {name: number for number, name in enumerate(before)}
        self._next = len(before)
        self.injected = 0

    def steps(self, trace: Path, notes: Sequence[tuple[float, list[Any]]]) -> Iterator[Step]:
        """A call counts once it is over; a line that was told as soon as it is begun.

        What is noted of a moment is before the calls that are begun, or end, after it.
        """
        begun: dict[str, str] = {}
        told: set[str] = set()
        waiting = deque(sorted(notes, key=itemgetter(0)))
        with trace.open() as lines:
            for line in lines:
                parts = _LINE.match(line)
                assert parts is not None, line[:200]
                while waiting and waiting[0][0] < float(parts["moment"]):
                    yield Told(waiting.popleft()[1])
                pid, text = parts["pid"], line[parts.end() :].rstrip("\n")
                unfinished = text.endswith(_UNFINISHED)
                self.injected += text.endswith("(INJECTED)")
                text = begun.pop(pid, "") + text.removesuffix(_UNFINISHED)
                if _TOLD.match(text) and pid not in told:
                    yield from self._told(text)
                    told.add(pid)
                if unfinished:
                    begun[pid] = text
                    continue
                told.discard(pid)
                yield from self._step(text)
        for _, words in waiting:
            yield Told(words)

    def _told(self, text: str) -> Iterator[Step]:
        for line in b"".join(_strings(text)).splitlines():
            yield Told(json.loads(line))

    def _step(self, text: str) -> Iterator[Step]:
        call = _CALL.match(text)
        if call is None or _TOLD.match(text):
            return
        name, arguments, result, rest = call.groups()
        if name in ("fsync", "fdatasync"):
            yield from self._sync(arguments, failed=int(result) < 0)
        elif int(result) >= 0:
            yield from self._change(name, arguments, int(result), rest)

    def _change(self, name: str, arguments: str, result: int, rest: str) -> Iterator[Step]:
        if name in ("open", "openat", "creat"):
            yield from self._opened(arguments, rest)
        elif name == "pwrite64":
            file, (data,) = self._file(arguments), _strings(arguments)
            if file is not None:
                yield Write(file, int(arguments.rsplit(", ", 1)[1]), data[:result])
        elif name == "ftruncate":
            file = self._file(arguments)
            if file is not None:
                yield Truncate(file, int(arguments.rsplit(", ", 1)[1]))
        elif name in ("rename", "renameat", "renameat2"):
            old, new = (self._name(path.decode()) for path in _strings(arguments)[:2])
            if old is not None and new is not None:
                self._names[new] = self._names.pop(old)
                yield Rename(old, new)
        elif name in ("unlink", "unlinkat"):
            gone = self._name(_strings(arguments)[0].decode())
            if gone is not None:
                del self._names[gone]
                yield Unlink(gone)
        elif name not in ("read", "pread64"):
            assert self._file(arguments) is None, f"the recorder does not know {name}"

    def _opened(self, arguments: str, rest: str) -> Iterator[Step]:
        paths = _FILE.match("0" + rest)
        name = self._name(_decoded(paths[1])) if paths else None
        if name is None or "O_CREAT" not in arguments:
            assert name is None or "O_TRUNC" not in arguments
        elif name not in self._names:
            self._names[name] = self._next
            self._next += 1
            yield Create(name, self._names[name])

    def _sync(self, arguments: str, *, failed: bool) -> Iterator[Step]:
        path = _FILE.match(arguments)
        if path is not None and _decoded(path[1]) == self._directory:
            yield Sync(None, failed)
        elif (file := self._file(arguments)) is not None:
            yield Sync(file, failed)

    def _file(self, arguments: str) -> int | None:
        path = _FILE.match(arguments)
        if path is None or path[2]:
            return None
        name = self._name(_decoded(path[1]))
        return None if name is None else self._names[name]

    def _name(self, path: str) -> str | None:
        directory, _, name = path.rpartition("/")
        return name if directory == self._directory and _counts(name) else None


def _strings(arguments: str) -> list[bytes]:
    return [bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(arguments)]


def _decoded(text: str) -> str:
    return _HEX.sub(lambda found: bytes.fromhex(found[0].replace("\\x", "")).decode(), text)
