"""Every fuzz target of t/fuzz builds with sanitizers and survives a short run; longer ones are by hand.

By hand: pytest -k 'fuzz and NAME' leaves the program in its temporary folder; run it with -max_total_time=3600.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "lib/spamcannibal/core"
COMPILER = "clang-14"
SANE = "-fno-sanitize-recover=all"
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-Werror", SANE, f"-I{CORE}"]
LIMITS = ["-seed=1", "-max_total_time=5", "-timeout=20", "-rss_limit_mb=2048"]
TARGETS = sorted(path.stem for path in (ROOT / "t/fuzz").glob("fuzz_*.c"))

pytestmark = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"no {COMPILER}")


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the core without its Python binding, instrumented; the linker takes what a target needs."""
    folder = tmp_path_factory.mktemp("core")
    sources = [path for path in CORE.glob("*.c") if path.name != "module.c" and not path.name.startswith("py_")]
    run([COMPILER, *FLAGS, "-fsanitize=fuzzer-no-link,address,undefined", "-c", *sources], folder)
    run(["ar", "rcs", "core.a", *folder.glob("*.o")], folder)
    return folder / "core.a"


@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run_finds_nothing(target: str, archive: Path, tmp_path: Path) -> None:
    source = ROOT / f"t/fuzz/{target}.c"
    run([COMPILER, *FLAGS, "-fsanitize=fuzzer,address,undefined", source, archive, "-lpthread", "-o", target], tmp_path)
    run([f"./{target}", *LIMITS], tmp_path)


def run(argv: list[str | Path], folder: Path) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, f"{argv[0]} in {folder} ended with {done.returncode}:\n{done.stderr[-4000:]}"
