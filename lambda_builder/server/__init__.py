"""gunicorn: its settings, worker and application; booting; the server for development."""
