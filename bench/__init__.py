"""Benchmarks, run by ``make bench``; docs/benchmarks.rst explains the numbers."""
