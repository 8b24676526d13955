"""The real worker, with the models that come with the program taken from the folder that `WEIGHTS` names."""

from __future__ import annotations

import os
from pathlib import Path

from app.web.jobs import worker
from scenegen import shipped

WEIGHTS = "FIELDSCAPE_TEST_WEIGHTS"

if __name__ == "__main__":
    shipped.SHIPPED = Path(os.environ.get(WEIGHTS) or shipped.SHIPPED)
    worker.main()
