"""Which build contexts and images an event may name: ``ALLOWED_*``, compared after parsing. Pure.

What an allowed entry and an event's value say is taken apart first, by rules narrower than any
builder's, and compared segment by segment. A value that could be read in two ways is none: user
information, dot segments, empty segments, percent-encoding in a path, another port, a host that
only begins like an allowed one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lambda_builder.builds import BuildRequest
from lambda_builder.errors import BootError, FieldProblem, RefusalCode, Refused
from lambda_builder.manifest.composing import setting_text
from lambda_builder.manifest.placeholders import FIELDS, Text
from lambda_builder.settings import PREFIX, Settings

_DOCKER_HUB = "index.docker.io"
_HUB_NAMES = frozenset({_DOCKER_HUB, "docker.io", "registry-1.docker.io"})
_OFFICIAL = "library"
# github.com/distribution/reference, in lower case only.
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?")
_PATH = re.compile(r"[a-z0-9._-]+(?:/[a-z0-9._-]+)*")
_NAMED = re.compile(r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*(?::[0-9]{1,5})?)"
    r"(?P<path>/[^?#%\\\x00-\x1f\x7f]*)?(?:[?#].*)?"
)
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something is: scheme, host with port, and the segments of the path."""

    root: tuple[str, str]
    segments: tuple[str, ...]


_LIKE = {
    "ALLOWED_CONTEXT_PREFIXES": "s3://bucket/${third_party_id}/",
    "ALLOWED_REGISTRIES": "registry.example.com/builds/${third_party_id_repository}/",
}
"""What each list may hold."""


class AllowedSources:
    """Judges events; immutable and thread-safe."""

    def __init__(self, settings: Settings) -> None:
        """Read the lists; raises ``BootError`` that names the entry that cannot be meant."""
        self._contexts = [
            _Entry("ALLOWED_CONTEXT_PREFIXES", each, _context_place)
            for each in settings.allowed_context_prefixes
        ]
        self._images = [
            _Entry("ALLOWED_REGISTRIES", each, _registry_place)
            for each in settings.allowed_registries
        ]

    def __bool__(self) -> bool:
        """Whether there is anything that is not allowed."""
        return bool(self._contexts or self._images)

    def judge(self, request: BuildRequest, context_url: str, image: str) -> None:
        """Raise ``Refused`` where a build's context or image is not in its list.

        ``context_url`` and ``image`` are what it is built with. Those that the settings made have
        to be unambiguous only, as an event's ids are in them.
        """
        self._judge(
            RefusalCode.CONTEXT_NOT_ALLOWED, "context_url", self._contexts,
            request, _context_place(context_url), own=request.context_url is not None,
        )  # fmt: skip
        self._judge(
            RefusalCode.IMAGE_NOT_ALLOWED, "image", self._images,
            request, _image_place(image), own=request.image is not None,
        )  # fmt: skip

    @staticmethod
    def _judge(
        code: RefusalCode,
        field: str,
        entries: Sequence[_Entry],
        request: BuildRequest,
        place: _Place | None,
        *,
        own: bool,
    ) -> None:
        if not entries:
            return
        if place is not None and (not own or any(each.allows(place, request) for each in entries)):
            return
        # The value is the sender's, and may hold a secret of a signed URL: it is not repeated.
        detail = f"{field} is not one of those that this service builds"
        raise Refused(code, detail, errors=[FieldProblem(field, "is not allowed")])


class _Entry:
    """One entry of a list, taken apart before its placeholders are filled in."""

    def __init__(self, setting: str, text: str, parse: Callable[[str], _Place | None]) -> None:
        texts: list[str] = []

        def stand_in(found: re.Match[str]) -> str:
            texts.append(found[0])
            return f"zqzq{len(texts) - 1}zqzq"

        place = parse(_PLACEHOLDER.sub(stand_in, text).rstrip("/"))
        if place is None:
            raise BootError(
                f"{PREFIX}{setting}: {text!r} is nothing that could be allowed; give entries like "
                f"{_LIKE[setting]}"
            )

        def read(part: str) -> Text:
            source = re.sub(r"zqzq(\d+)zqzq", lambda found: _again(found, texts), part)
            return setting_text(setting, source, frozenset(FIELDS))

        self._root = tuple(read(part) for part in place.root)
        self._segments = tuple(read(part) for part in place.segments)
        self._names = frozenset[str]().union(
            *(part.names for part in (*self._root, *self._segments))
        )

    def allows(self, place: _Place, request: BuildRequest) -> bool:
        """Whether ``place`` is this entry's, or below it, for the tenant of ``request``."""
        values = {name: FIELDS[name](request) for name in self._names}
        root = tuple(part.fill(values) for part in self._root)
        wanted = tuple(part.fill(values) for part in self._segments)
        return root == place.root and wanted == place.segments[: len(wanted)]


def _again(found: re.Match[str], texts: Sequence[str]) -> str:
    number = int(found[1])
    return texts[number] if number < len(texts) else found[0]


def _context_place(url: str) -> _Place | None:
    found = _URL.fullmatch(url)
    if found is None:
        return None
    path = (found["path"] or "").strip("/")
    segments = tuple(path.split("/")) if path else ()
    if any(segment in ("", ".", "..") for segment in segments):
        return None
    return _Place((found["scheme"], found["host"].lower()), segments)


def _registry_place(entry: str) -> _Place | None:
    """Read an entry: a host, or one with a path below it; Docker Hub is to be named."""
    host, _, path = entry.partition("/")
    return _place(host, path) if "." in host or ":" in host else None


def _image_place(image: str) -> _Place | None:
    host, slash, rest = image.partition("/")
    if not slash or not ("." in host or ":" in host):
        # For some builders localhost is a host here, for others a user of Docker Hub.
        if slash and host == "localhost":
            return None
        official = "" if slash else f"{_OFFICIAL}/"
        host, rest = _DOCKER_HUB, official + image
    return _place(host, _NAMED.sub("", rest, count=1)) if rest else None


def _place(host: str, path: str) -> _Place | None:
    host = host.lower()
    if not _HOST.fullmatch(host) or (path and not _PATH.fullmatch(path)):
        return None
    segments = tuple(path.split("/")) if path else ()
    if not all(_COMPONENT.fullmatch(segment) for segment in segments):
        return None
    return _Place(("", _DOCKER_HUB if host in _HUB_NAMES else host), segments)
