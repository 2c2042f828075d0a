"""Who may do what: identities, policies and limits; asked once, by the rule of a route.

Knows the core and telemetry; nothing of Flask, of builds that run, or of Kubernetes.
"""
