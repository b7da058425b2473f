"""Run atheris on everything that reads mail, from the header blocks and messages of the other tests.

Longer by hand: SPAMCANNIBAL_FUZZ_RUNS=5000000 bin/selftest t/test_fuzz_mail.py
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from test_message import SAMPLES
from test_received import TABLE

TARGET = Path(__file__).parent / "fuzz" / "fuzz_mail.py"
LONG_RUNS = os.environ.get("SPAMCANNIBAL_FUZZ_RUNS")
EXTENT = [f"-runs={LONG_RUNS}"] if LONG_RUNS else ["-runs=30000", "-max_total_time=10"]


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed: it has wheels for x86-64 only"
)
def test_no_mail_breaks_a_reader(tmp_path: Path) -> None:
    corpus = tmp_path / "seeds"
    corpus.mkdir()
    headers = [header.encode() + b"body\n" for *_, header in TABLE]
    for number, raw in enumerate((*headers, *SAMPLES.values())):
        (corpus / str(number)).write_bytes(raw)
    argv = [sys.executable, TARGET, *EXTENT, "-seed=1", "-max_len=4096", "-timeout=20", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run([*argv, corpus], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
