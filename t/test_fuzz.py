"""Build every fuzz target of t/fuzz under ASan and UBSan and run it briefly from its seeds.

Longer by hand: SPAMCANNIBAL_FUZZ_RUNS=50000000 bin/selftest t/test_fuzz.py
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fuzz.seeds import packets, write
from spamcannibal._core import decode

HERE = Path(__file__).parent
CORE = HERE.parent / "lib/spamcannibal/core"
TARGETS = sorted((HERE / "fuzz").glob("fuzz_*.c"))
CLANG = shutil.which("clang-14") or shutil.which("clang")
LONG_RUNS = os.environ.get("SPAMCANNIBAL_FUZZ_RUNS")
EXTENT = [f"-runs={LONG_RUNS}"] if LONG_RUNS else ["-runs=20000", "-max_total_time=15"]
FLAGS = ["-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-D_GNU_SOURCE", "-fsanitize=fuzzer,address,undefined"]


def sources(target: Path) -> list[Path]:
    """The target and every file of the core that it needs: the .c beside each header included, and theirs in turn."""
    found, open_ends = [target], [target]
    while open_ends:
        for name in re.findall(r'^#include "(\w+)\.h"', open_ends.pop().read_text(), re.MULTILINE):
            for file in (CORE / f"{name}.h", CORE / f"{name}.c"):
                if file.exists() and file not in found:
                    found.append(file)
                    open_ends.append(file)
    return [file for file in found if file.suffix == ".c"]


@pytest.mark.skipif(CLANG is None, reason="clang is not installed: fuzz targets need its libFuzzer")
@pytest.mark.parametrize("target", TARGETS, ids=lambda path: path.stem)
def test_no_input_breaks_it(target: Path, tmp_path: Path) -> None:
    binary = tmp_path / target.stem
    build = [CLANG, *FLAGS, "-fno-sanitize-recover=all", f"-I{CORE}", "-o", binary, *sources(target)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    write(tmp_path / "seeds")
    corpus = tmp_path / "seeds" / target.stem
    corpus.mkdir(exist_ok=True)
    argv = [binary, *EXTENT, "-seed=1", "-max_len=1024", "-timeout=10", f"-artifact_prefix={tmp_path}/", corpus]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_seeds_are_the_packets_they_are_called() -> None:
    kinds = {name: decode(packet)[0] for name, packet in packets().items()}
    assert kinds == {
        "v4": "TCP",
        "v4-data": "TCP",
        "v4-options": "TCP",
        "v4-fragment": "FRAGMENT",
        "v4-udp": "OTHER",
        "v6": "TCP",
        "v6-hops": "TCP",
        "v6-chain": "TCP",
        "v6-fragment": "FRAGMENT",
    }
