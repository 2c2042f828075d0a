"""The manifest of a build's Job: a YAML template, read and checked once, filled in per build.

Placeholders are put into strings that are parsed already, so that no value can change the
manifest's structure. Kubernetes' own ``$(NAME)`` is taken out of values too, where it would read
``NAME`` from the container's environment. docs/job-templates.rst is for who writes templates.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any

import yaml

from lambda_builder import strict_yaml
from lambda_builder.builds import BuildRequest, job_name, netstring_digest
from lambda_builder.errors import BootError
from lambda_builder.kube import labels
from lambda_builder.manifest.allowed import AllowedSources
from lambda_builder.manifest.composing import composed, setting_text
from lambda_builder.manifest.placeholders import FIELDS
from lambda_builder.manifest.schema import problems
from lambda_builder.manifest.tree import Tree, TreeError, Values, plain_tree
from lambda_builder.settings import PREFIX, Settings

BUILT_IN = "kaniko.yaml"
_LEFT_OUT_WHEN_EMPTY = tuple(labels.ANNOTATIONS[field] for field in ("traceparent", "accepted_at"))
_MOST_REQUEST_BYTES = 65_536
"""Annotations together may have 256 KiB; a longer request is built again only where it is known."""

Manifest = dict[str, Any]


class JobTemplate:
    """What the Job of a build looks like. Immutable and thread-safe; knows no I/O after boot."""

    def __init__(self, manifest: Manifest, settings: Settings) -> None:
        """Take a parsed template; raises ``BootError`` with all that is wrong, one a line."""
        known = frozenset(FIELDS) | {"namespace"}
        namespace = settings.namespace
        self._fields: dict[str, Callable[[BuildRequest], str]] = {
            **FIELDS,
            "namespace": lambda build: namespace,
            "context_url": self.context_url,
            "image": self.image,
            "cache_repo": self._cache_repo,
        }
        self._context_url = setting_text("CONTEXT_URL", settings.context_url, known)
        self._image = setting_text("IMAGE", settings.image, known)
        self._allowed = AllowedSources(settings)
        cache = settings.cache_repo if settings.cache_secret else ""
        self._cache = setting_text("CACHE_REPO", cache, known)
        self._tree = Tree(composed(manifest, settings, known), frozenset(self._fields))
        for sample in (_hostile_build(), _minimal_build()):
            found = problems(self.render(sample))
            if found:
                where = f" (of a build with third_party_id {sample.third_party_id!r})"
                raise BootError("\n".join(problem + where for problem in found))

    @classmethod
    def from_settings(cls, settings: Settings) -> JobTemplate:
        """Read ``JOB_TEMPLATE``: a file, or the name of a template that comes with the package.

        Raises ``BootError`` that says what to change.
        """
        name = str(settings.job_template or BUILT_IN)
        try:
            return cls(_parse(_read(name), name), settings)
        except (OSError, UnicodeError, yaml.YAMLError, TreeError, BootError) as error:
            if str(error).startswith(PREFIX):
                raise
            lines = "\n  ".join(str(error).splitlines())
            raise BootError(
                f"{PREFIX}JOB_TEMPLATE={name} is no Job template:\n  {lines}"
            ) from error

    def image(self, request: BuildRequest) -> str:
        """Return the image that the build pushes: the event's, else what ``IMAGE`` makes."""
        return request.image or self._image.fill(self._values(request, self._image.names))

    def context_url(self, request: BuildRequest) -> str:
        """Return the build context: the event's, else what ``CONTEXT_URL`` makes."""
        text = self._context_url
        return request.context_url or text.fill(self._values(request, text.names))

    def judge(self, request: BuildRequest) -> None:
        """Raise ``Refused`` where the build's context or image is not allowed."""
        if self._allowed:
            self._allowed.judge(request, self.context_url(request), self.image(request))

    def _cache_repo(self, request: BuildRequest) -> str:
        return self._cache.fill(self._values(request, self._cache.names))

    def render(self, request: BuildRequest) -> Manifest:
        """Return the build's Job manifest, which shares nothing mutable with any other.

        Raises ``Permanent`` where a value would be read as an option.
        """
        fields = self._values(request, self._tree.names)
        arguments = [f"{key}={value}" for key, value in request.build_args.items()]
        manifest = self._tree.fill(Values(fields, arguments))
        annotations = manifest["metadata"]["annotations"]
        for name in _LEFT_OUT_WHEN_EMPTY:
            if not annotations[name]:
                del annotations[name]
        asked = request.to_json(with_event=False)
        if len(asked.encode()) <= _MOST_REQUEST_BYTES:
            annotations[labels.REQUEST] = asked
        return manifest

    def sample(self) -> Manifest:
        """Return the manifest of a made-up build, to be tried against the API."""
        return self.render(_minimal_build())

    def _values(self, request: BuildRequest, names: frozenset[str]) -> dict[str, str]:
        return {name: self._fields[name](request) for name in names}


def _read(name: str) -> str:
    packaged = {
        entry.name: entry
        for entry in (resources.files("lambda_builder.manifest") / "templates").iterdir()
        if entry.name.endswith(".yaml")
    }
    try:
        with open(name, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError as error:
        if name in packaged:
            return packaged[name].read_text(encoding="utf-8")
        known = ", ".join(sorted(packaged))
        raise BootError(f"there is no such file (templates of the package: {known})") from error


def _parse(text: str, name: str) -> Manifest:
    manifest = plain_tree(strict_yaml.load(text, name))
    found = problems(manifest)
    if found:
        raise TreeError("\n".join(found))
    parsed: Manifest = manifest
    return parsed


def _sample_build(identifier: str, **fields: Any) -> BuildRequest:
    digest = netstring_digest(identifier, identifier)
    return BuildRequest(
        event_id=identifier,
        event_source=identifier,
        event_type=identifier,
        parser_id=identifier,
        third_party_id=identifier,
        correlation_id=identifier,
        event_hash=digest,
        job_name=job_name(identifier, identifier, digest),
        **fields,
    )


def _hostile_build() -> BuildRequest:
    return _sample_build("_Ünfit For_a label/" + 60 * "a", build_args={"A": "1", "B": "$(C)"})


def _minimal_build() -> BuildRequest:
    return _sample_build("check-of-the-template")
