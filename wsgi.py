"""The WSGI application, configured by the environment."""

from lambda_builder.settings import load
from lambda_builder.wiring import create_app

app = create_app(load())
