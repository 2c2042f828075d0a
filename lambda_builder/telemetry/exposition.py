"""Exposition: a registry's metrics as text, as ``prometheus_client`` writes them, but faster.

Most of a line is the same in each scrape, so it is put together once. No sample here has a time
or is a native histogram, and every name is one that each escaping of names but ``dots`` keeps.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Exemplar, Metric, Sample
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

_APART = ("_created", "_gsum", "_gcount")
"""What the classic format does not know, and has as gauges of their own."""


class Exposition:
    """Writes the metrics of one registry; thread-safe.

    https://prometheus.io/docs/instrumenting/exposition_formats/ has both formats.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._heads: dict[tuple[object, ...], str] = {}
        """The name and labels of each sample; there are few, for none is taken from outside."""

    def answer(self, accept: str) -> tuple[bytes, str]:
        """Return the text in the format that an ``Accept`` header asks for, and its type."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):
            # A version in Accept that is no version: as if none had been asked for.
            encode, content_type = choose_encoder("")
        if "escaping=dots" in content_type:
            return encode(self._registry), content_type
        if content_type.startswith("application/openmetrics-text"):
            return self.openmetrics(), content_type
        return self.classic(), content_type

    def classic(self) -> bytes:
        """Return the metrics in the text format 0.0.4."""
        lines: list[str] = []
        for metric in self._registry.collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            kind = {"info": "gauge", "unknown": "untyped"}.get(metric.type, metric.type)
            name = f"{metric.name}_info" if metric.type == "info" else name
            text = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
            lines.append(f"# HELP {name} {text}\n# TYPE {name} {kind}\n")
            apart: dict[str, list[str]] = {}
            for sample in metric.samples:
                suffix = sample.name[len(metric.name) :]
                where = apart.setdefault(suffix, []) if suffix in _APART else lines
                where.append(f"{self._head(sample)} {_number(sample.value)}\n")
            for suffix, those in sorted(apart.items()):
                name = metric.name + suffix
                lines.append(f"# HELP {name} {text}\n# TYPE {name} gauge\n")
                lines += those
        return "".join(lines).encode()

    def openmetrics(self) -> bytes:
        """Return the metrics in OpenMetrics 1.0, with their exemplars."""
        return "".join(self._openmetrics()).encode()

    def _openmetrics(self) -> Iterator[str]:
        for metric in self._registry.collect():
            yield _openmetrics_head(metric)
            for sample in metric.samples:
                exemplar = _exemplar(sample.exemplar) if sample.exemplar else ""
                yield f"{self._head(sample)} {_number(sample.value)}{exemplar}\n"
        yield "# EOF\n"

    def _head(self, sample: Sample) -> str:
        key = (sample.name, *sample.labels.items())
        head = self._heads.get(key)
        if head is None:
            labels = _labels(sample.labels)
            head = self._heads[key] = sample.name + (f"{{{labels}}}" if labels else "")
        return head


def _openmetrics_head(metric: Metric) -> str:
    text = _escaped(metric.documentation)
    unit = f"# UNIT {metric.name} {metric.unit}\n" if metric.unit else ""
    return f"# HELP {metric.name} {text}\n# TYPE {metric.name} {metric.type}\n{unit}"


def _exemplar(exemplar: Exemplar) -> str:
    at = "" if exemplar.timestamp is None else f" {exemplar.timestamp}"
    return f" # {{{_labels(exemplar.labels)}}} {_number(exemplar.value)}{at}"


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text
