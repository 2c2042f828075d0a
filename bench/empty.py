"""What everything is compared with: a Flask view that does nothing, and gunicorn's settings for it.

``gunicorn -c python:bench.empty -b 127.0.0.1:PORT bench.empty:app``; one worker of gunicorn's own
with as many threads as the service has, and the same limits.
"""

from __future__ import annotations

from flask import Flask

from lambda_builder.settings import Settings

workers = 1
worker_class = "gthread"
threads = Settings().http_threads
worker_connections = 1000
keepalive = 75
control_socket_disable = True
loglevel = "warning"

app = Flask(__name__, static_folder=None)


@app.post("/events")
def empty() -> str:
    """Answer with nothing."""
    return ""
