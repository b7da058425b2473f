"""How Hypothesis works here: no example has a deadline, as other tests, or other runs, may have the processors.

In CI its examples are the same each time (bin/selftest --ci takes its profile "ci"), elsewhere new ones are tried.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")
