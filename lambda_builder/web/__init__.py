"""HTTP in front of the service: thin Flask blueprints that parse, call and answer.

Nothing outside this package and the wiring knows Flask; nothing in it knows Kubernetes.
"""
