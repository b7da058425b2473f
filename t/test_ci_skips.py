"""CI's rule about skipped tests, and that it really fails a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ci_skips import EXPECTED, parse_expected, unexpected

SKIPS = [("t/test_a.py::test_one[x-1]", "no network"), ("t/live/test_b.py::test_two", "no queue")]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", 2),
        ("t/test_a.py::test_one[x-1] | why\n", 1),
        ("# comment\n\nt/live/* | no kernel queue\nt/test_a.py::test_one[*] | why\n", 0),
        ("t/live/test_b.py | a prefix is no match\n", 2),
        ("t/test_a?py::* | only * is special\n", 2),
    ],
)
def test_what_is_not_named_is_unexpected(text: str, left: int) -> None:
    assert len(unexpected(SKIPS, parse_expected(text))) == left


@pytest.mark.parametrize("line", ["t/test_a.py", "t/test_a.py |", "t/test_a.py | "])
def test_a_reason_is_required(line: str) -> None:
    with pytest.raises(ValueError, match="no reason"):
        parse_expected(line)


def test_the_shipped_file_is_well_formed() -> None:
    parse_expected(EXPECTED.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("body", "code"), [("pytest.skip('because')", 1), ("pass", 0)])
def test_a_run_with_an_unexpected_skip_fails(tmp_path: Path, body: str, code: int) -> None:
    (tmp_path / "test_it.py").write_text(f"import pytest\ndef test_it():\n    {body}\n")
    argv = [sys.executable, "-m", "pytest", "-p", "ci_skips", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        argv, cwd=tmp_path, env={"PYTHONPATH": str(EXPECTED.parent)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout
    assert ("not named" in done.stdout) == bool(code)
