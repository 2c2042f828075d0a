"""The WSGI application, configured by the environment."""

from lambda_builder.server.app import create_app_from_environment

app = create_app_from_environment()
