"""What all tests share: a directory that other users reach, and how Hypothesis works here.

No example has a deadline, as other tests, or other runs, may have the processors.
In CI its examples are the same each time (bin/selftest --ci takes its profile "ci"), elsewhere new ones are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A new directory that other users reach. Those of pytest are not: whoever begins a run closes them all."""
    with TemporaryDirectory(prefix="sc-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
