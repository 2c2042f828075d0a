"""gunicorn's configuration, from the settings: ``-c python:lambda_builder.server.config``.

One process, one queue: ``workers`` is 1, nothing is preloaded and no worker is recycled. gunicorn
tells no hook of SIGTERM until the last connection is done, so its handler is wrapped.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

from lambda_builder.server.affinity import Linux, OneCore
from lambda_builder.server.boot import (
    APP_LOAD_ERROR,
    CONFIG_ERROR,
    load_settings,
    refusing_to_boot,
)
from lambda_builder.server.listening import check_address
from lambda_builder.server.signals import ignore_in_worker, keep_one_process
from lambda_builder.settings import HTTP_TAIL_SECONDS, Settings
from lambda_builder.telemetry import logs

_loaded = load_settings()

bind = f"{_loaded.host}:{_loaded.port}"
workers = 1
worker_class = "lambda_builder.server.worker.Worker"
threads = _loaded.http_threads
worker_connections = 1000
keepalive = 75
preload_app = False
max_requests = 0
graceful_timeout = _loaded.graceful_timeout
# A worker that is not recycled is still watched; while it drains it may be silent.
timeout = max(60, graceful_timeout + 10)
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
proc_name = "lambda-builder"
limit_request_line = 8190
limit_request_field_size = 65_536
# gunicorn believes a peer on loopback. There a sidecar passes on what anybody sent to it.
forwarded_allow_ips = ""


def on_starting(server: Any) -> None:
    """Check what the command line may have changed, before any worker is forked."""
    _use_our_logs()
    problems = config_problems(server.cfg, _loaded)
    if problems:
        sys.stderr.write("lambda-builder: gunicorn cannot run like this:\n")
        sys.stderr.writelines(f"  {problem}\n" for problem in problems)
        sys.exit(CONFIG_ERROR)
    keep_one_process(server)
    if "LISTEN_FDS" not in os.environ:  # else systemd has bound them
        with refusing_to_boot(CONFIG_ERROR):
            for address in server.cfg.address:
                if isinstance(address, tuple):
                    check_address(*address)


def config_problems(cfg: Any, settings: Settings) -> list[str]:
    """Return what in gunicorn's configuration would lose builds; empty is good."""
    problems = []
    if cfg.workers != 1:
        problems.append("workers must be 1: each worker would have a queue of its own")
    if cfg.preload_app:
        problems.append("preload_app must be off: threads do not survive the fork")
    if cfg.max_requests:
        problems.append("max_requests must be 0: a recycled worker interrupts builds")
    if cfg.worker_class_str != worker_class:
        problems.append(f"worker_class must be {worker_class}")
    if cfg.is_ssl:
        problems.append("certfile must be empty: TLS ends before the service")
    least = HTTP_TAIL_SECONDS + settings.drain_seconds
    if cfg.graceful_timeout <= least:
        problems.append(
            f"graceful_timeout ({cfg.graceful_timeout} s) must be above HTTP tail + "
            f"DRAIN_SECONDS ({least:g} s)"
        )
    if cfg.timeout <= settings.drain_seconds:
        problems.append(f"timeout ({cfg.timeout} s) must be above DRAIN_SECONDS")
    return problems


def post_worker_init(worker: Any) -> None:
    """Start the service in the worker, and let SIGTERM begin the drain at once."""
    # Here, because the master reads this file too and must not load the application.
    from lambda_builder.wiring import PRECEDENCE, SERVICE  # noqa: PLC0415

    _use_our_logs()
    worker.max_body_bytes = _loaded.max_body_bytes
    worker.streams_max = _loaded.streams_max
    worker.precedence = worker.wsgi.extensions[PRECEDENCE]
    worker.begins = getattr(worker.wsgi.wsgi_app, "begins", worker.begins)
    ignore_in_worker()
    service = worker.service = worker.wsgi.extensions[SERVICE]
    with refusing_to_boot(APP_LOAD_ERROR):
        service.start()
    if _loaded.cpu_affinity == "auto" and (system := Linux.if_here()):
        OneCore(system).start()

    def drain_at_once(signum: int, frame: FrameType | None) -> None:
        service.begin_shutdown()
        worker.handle_exit(signum, frame)

    signal.signal(signal.SIGTERM, drain_at_once)
    signal.siginterrupt(signal.SIGTERM, False)
    if not worker.alive:  # SIGTERM came while the service started
        service.begin_shutdown()


def worker_int(worker: Any) -> None:
    """SIGINT or SIGQUIT: begin the drain."""
    service = getattr(worker, "service", None)
    if service is not None:
        service.begin_shutdown()


def worker_exit(server: Any, worker: Any) -> None:
    """Wait for the end of the drain; may also run in the arbiter, which has no service."""
    del server
    service = getattr(worker, "service", None)
    if service is not None:
        service.shutdown()


def _use_our_logs() -> None:
    logs.configure(json_lines=_loaded.log_format == "json", level=_loaded.log_level)
    for name in ("gunicorn.error", "gunicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
