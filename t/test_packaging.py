"""`pip install .` of this checkout: the files land, the entry points run, the units and READMEs are what they say."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UNITS = sorted((ROOT / "conf" / "systemd").glob("*.service"))
TIMERS = sorted((ROOT / "conf" / "systemd").glob("*.timer"))
EXPORTS = sorted((ROOT / "conf" / "export").iterdir())


def run(*argv: object, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(word) for word in argv], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy of the checkout into a fresh virtual environment that borrows our dependencies; its directory."""
    base = tmp_path_factory.mktemp("install")
    source, venv = base / "source", base / "venv"
    skipped = shutil.ignore_patterns(".git", ".venv", "build", "*.so", "__pycache__", "*.egg-info", ".*_cache")
    shutil.copytree(ROOT, source, ignore=skipped, symlinks=True)
    run(sys.executable, "-m", "venv", venv)
    site = venv / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(venv / "bin/pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", source, cwd=base)
    return venv


def test_the_command_runs_and_lists_its_subcommands(installed: Path) -> None:
    shown = run(installed / "bin/spamcannibal", "--help", cwd=installed).stdout
    for name in ("up", "tarpit", "dnsbl", "firewall", "list", "db", "config"):
        assert re.search(rf"^  {name} ", shown, re.MULTILINE), shown


def test_what_runs_is_the_installed_package_with_its_extension(installed: Path) -> None:
    program = "import spamcannibal._core as core; print(core.__file__)"
    assert run(installed / "bin/python", "-P", "-c", program, cwd=installed).stdout.startswith(str(installed))


def test_launchers_and_data_files_land(installed: Path) -> None:
    share = installed / "share" / "spamcannibal"
    for path in (ROOT / "conf").rglob("*"):
        if path.is_file():
            assert (share / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    for launcher in (*(ROOT / "bin").glob("db*"), *(ROOT / "bin").glob("sc_*"), *(ROOT / "cron").glob("sc_*")):
        run(installed / "bin" / launcher.name, "--help", cwd=installed)


def test_the_shipped_settings_are_valid_where_they_land(installed: Path) -> None:
    settings = installed / "share/spamcannibal/conf/spamcannibal.toml"
    assert run(installed / "bin/spamcannibal", "-c", settings, "config", "check").stdout == "ok\n"


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_name_commands_that_exist(unit: Path, installed: Path) -> None:
    commands = re.findall(r"^Exec\w+=/opt/spamcannibal/bin/(spamcannibal .*)$", unit.read_text(), re.MULTILINE)
    assert commands
    for command in commands:
        run(installed / "bin" / "spamcannibal", *command.split()[1:], "--help")


@pytest.mark.parametrize("unit", [*UNITS, *TIMERS], ids=lambda path: path.name)
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on this machine")
def test_units_are_well_formed(unit: Path, tmp_path: Path) -> None:
    for one in (*UNITS, *TIMERS):  # a timer wants its service beside it
        (tmp_path / one.name).write_text(one.read_text().replace("/opt/spamcannibal/bin/spamcannibal", "/bin/true"))
    copy = tmp_path / unit.name
    done = run("systemd-analyze", "verify", copy, check=False)
    complaints = [line for line in done.stderr.splitlines() if copy.name in line]
    assert not complaints


@pytest.mark.parametrize("sample", EXPORTS, ids=lambda path: path.name)
@pytest.mark.parametrize("unit", ["export", "drift"])
def test_the_sample_exports_are_command_lines_of_their_units(sample: Path, unit: str) -> None:
    from spamcannibal.commands import export

    text = (ROOT / "conf/systemd" / f"spamcannibal-{unit}@.service").read_text()
    (line,) = re.findall(r"^ExecStart=/opt/spamcannibal/bin/spamcannibal export (.*)$", text, re.MULTILINE)
    told = dict(re.findall(r'^([A-Z]+)="(.*)"$', sample.read_text(), re.MULTILINE))
    told["METRICS_DIR"] = re.findall(r"^Environment=METRICS_DIR=(.*)$", text, re.MULTILINE)[0]
    words = [word for part in line.split() for word in expanded(part.replace("%i", sample.name), told)]
    params = export.command.make_context("export", words).params
    export._refuse_nonsense(params.pop("name"), export.Options(**params))
    assert params["follow"] == (unit == "export") and params["check_drift"] == (unit == "drift")
    assert params["metrics"].name == f"spamcannibal-{unit}-{sample.name}.prom"


def expanded(word: str, told: dict[str, str]) -> list[str]:
    """A word of a unit's command line as systemd.service(5) says: `$NAME` alone is split, `${NAME}` is not."""
    if re.fullmatch(r"\$[A-Z]+", word):
        return shlex.split(told[word[1:]])
    return [re.sub(r"\$\{([A-Z_]+)\}", lambda found: told[found[1]], word)]


def test_the_readme_shows_the_two_commands_and_subcommands_that_exist() -> None:
    from spamcannibal.commands import COMMANDS

    text = (ROOT / "README").read_text(encoding="utf-8")
    assert "sudo bin/quickstart" in text
    assert "sudo bin/selftest" in text
    assert (ROOT / "README.md").resolve() == ROOT / "README"
    blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"^\s*(?:sudo )?spamcannibal (\w+)", "\n".join(blocks), re.MULTILINE))
    assert named
    assert named <= set(COMMANDS)
