"""CloudEvents out: which events tell of a build, and their delivery from the outbox."""
