"""``python -m lambda_builder.cli``."""

from lambda_builder.cli.commands import main

main(prog_name="lambda-builder")
