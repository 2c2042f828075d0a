"""The WSGI application, configured by the environment."""

from lambda_builder.wiring import create_app_from_environment

app = create_app_from_environment()
