"""gunicorn: its settings, worker and application; booting; the server for development.

Importing it, which is the first that a server's process does, keeps libraries from loading what
the server never uses: a tenth of the time of a start, and 4 MiB.
"""

import os
import sys
from importlib import import_module

# Else pydantic reads what every installed package says of itself, for plugins.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

if "structlog" not in sys.modules:
    # It would load rich wherever that is installed, which is for the command line. None means
    # that a module cannot be imported: https://docs.python.org/3/library/sys.html#sys.modules
    sys.modules["rich"] = None  # type: ignore[assignment]
    import_module("structlog")
    del sys.modules["rich"]
