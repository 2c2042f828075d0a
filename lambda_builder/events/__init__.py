"""CloudEvents in: the HTTP binding, attributes, data, and a reader that makes builds of them.

Knows builds and settings; never Flask, never threads.
"""
