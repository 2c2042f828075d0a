"""Benchmarks, run by ``make bench``; docs/performance.rst explains the numbers."""
