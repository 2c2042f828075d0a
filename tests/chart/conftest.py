"""One engine for all tests of the chart: what is rendered once need not be rendered again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from lambda_builder.journal import NoJournal
from lambda_builder.pipeline.collector import PipelineCollector
from lambda_builder.pipeline.stats import Stats
from lambda_builder.telemetry.metrics import Metrics
from tests.chart.rendering import ChartEngine


@pytest.fixture(scope="session")
def chart() -> Iterator[ChartEngine]:
    engine = ChartEngine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def exported() -> Mapping[str, frozenset[str]]:
    """Every series that the service exports, with its labels, as the metrics endpoint has them."""
    metrics = Metrics(event_types=["network.notifi.lambda.build.start"])
    metrics.registry.register(PipelineCollector(Stats, NoJournal()))
    return {
        sample.name: frozenset(sample.labels)
        for family in metrics.registry.collect()
        for sample in family.samples
    }
