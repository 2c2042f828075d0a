"""gunicorn -c gunicorn.conf.py wsgi:app; the settings and hooks are in the package."""

from lambda_builder.server.config import *  # noqa: F403
