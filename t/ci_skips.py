"""A pytest plugin for CI: a test that is skipped without being named in t/expected_skips fails the run.

Each line of that file is `test id pattern | reason`, the pattern as of fnmatch with [ and ] meant literally.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

EXPECTED = Path(__file__).with_name("expected_skips")
REPORTS = pytest.StashKey[list[tuple[str, str]]]()


def parse_expected(text: str) -> list[str]:
    """Return the patterns of the file's text; ValueError for a line without a reason."""
    patterns = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pattern, bar, reason = line.partition("|")
        if not bar or not reason.strip():
            raise ValueError(f"{EXPECTED.name}: no reason, got {line!r}, want `test id pattern | reason`")
        patterns.append(pattern.strip())
    return patterns


def unexpected(skips: Iterable[tuple[str, str]], patterns: Iterable[str]) -> list[tuple[str, str]]:
    """Return the (test id, reason) pairs of `skips` that no pattern names."""
    known = [re.compile(".*".join(map(re.escape, pattern.split("*")))) for pattern in patterns]
    return [(test, reason) for test, reason in skips if not any(k.fullmatch(test) for k in known)]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORTS] = []
    config.pluginmanager.register(_Collector(config.stash[REPORTS]), "skip-collector")


class _Collector:
    def __init__(self, skips: list[tuple[str, str]]) -> None:
        self.skips = skips

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        self.skips.append((report.nodeid, reason))


def _surplus(config: pytest.Config) -> list[tuple[str, str]]:
    return unexpected(config.stash[REPORTS], parse_expected(EXPECTED.read_text(encoding="utf-8")))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and _surplus(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if surplus := _surplus(config):
        terminalreporter.section("skipped, but not named in t/expected_skips", red=True)
        for test, reason in surplus:
            terminalreporter.line(f"{test}: {reason}")
