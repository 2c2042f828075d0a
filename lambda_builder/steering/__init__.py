"""Finding, cancelling and retrying builds, and reading their logs."""
