"""The service as it is shipped, but its journal has something to tidy up within seconds.

``python service.py [next]``; with ``next`` it is of a version whose schema is one step ahead.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gunicorn.app.wsgiapp import run

sys.path.insert(0, str(Path(__file__).parents[2]))

from lambda_builder.journal.sqlite import housekeeping, schema
from tests.crash.schema import NEXT_MIGRATION

if __name__ == "__main__":
    housekeeping._ROUND_SECONDS = 0.3
    housekeeping._KEPT_FREE_PAGES = 0
    housekeeping._LOG_BYTES = 1 << 18
    if "next" in sys.argv:
        schema.MIGRATIONS += (NEXT_MIGRATION,)
    sys.argv = ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
    run()
