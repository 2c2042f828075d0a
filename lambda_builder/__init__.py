"""CloudEvents in, Kubernetes image-build Jobs out."""

__version__ = "0.1.0"
