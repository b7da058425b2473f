"""`pip install .` of this checkout: the files land, the entry points run, the units and READMEs are what they say.

The Debian package is tested in live/test_deb.py.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UNITS = sorted((ROOT / "conf" / "systemd").glob("*.service"))
TIMERS = sorted((ROOT / "conf" / "systemd").glob("*.timer"))
NOBODY = pwd.getpwnam("nobody").pw_uid
EXPORTS = sorted((ROOT / "conf" / "export").iterdir())


def run(*argv: object, cwd: Path | None = None, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in argv], cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **env}
    )
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done


class Builder:
    """Whoever installs: nobody, if we are root and he may read our libraries; a folder of his, and the source."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.source = folder, folder / "source"
        self.libraries = sysconfig.get_path("purelib")
        skipped = shutil.ignore_patterns(".?*", "build", "t", "*.so", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT, self.source, ignore=skipped, symlinks=True)
        self.prefix: tuple[str, ...] = ()
        nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        if os.geteuid() == 0 and run(*nobody, "test", "-r", f"{self.libraries}/click", check=False).returncode == 0:
            self.prefix = nobody
            run("chown", "-R", f"{NOBODY}:{NOBODY}", folder)

    def run(self, *argv: object, **env: str) -> None:
        run(*self.prefix, *argv, cwd=self.folder, HOME=str(self.folder), TMPDIR=str(self.folder), **env)


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    with tempfile.TemporaryDirectory(prefix="sc-install-") as folder:
        Path(folder).chmod(0o755)
        yield Builder(Path(folder))


@pytest.fixture(scope="module")
def wheel(builder: Builder) -> Path:
    words = ("wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir")
    builder.run(sys.executable, "-m", "pip", *words, "-w", builder.folder, builder.source)
    (made,) = builder.folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(builder: Builder, wheel: Path) -> Path:
    """Install it into a fresh virtual environment that borrows our dependencies; its directory."""
    venv = builder.folder / "venv"
    builder.run(sys.executable, "-m", "venv", "--without-pip", venv)
    site = venv / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (site / "borrowed.pth").write_text(builder.libraries + "\n")
    words = ("install", "--quiet", "--no-index", "--no-deps")
    builder.run(sys.executable, "-m", "pip", "--python", venv / "bin/python", *words, wheel)
    return venv


def test_installing_needs_no_root(builder: Builder, installed: Path) -> None:
    if os.geteuid() == 0 and not builder.prefix:
        pytest.skip("only root may read this checkout")
    assert (installed / "bin/spamcannibal").stat().st_uid != 0


def test_it_installs_for_one_user(builder: Builder, wheel: Path) -> None:
    home = builder.folder / "user"
    env = {"PYTHONUSERBASE": str(home), "PYTHONPATH": builder.libraries}
    words = ("install", "--quiet", "--user", "--break-system-packages", "--ignore-installed", "--no-index", "--no-deps")
    builder.run(Path(sys.executable).resolve(), "-m", "pip", *words, wheel, **env)
    assert "Refuse mail" in run(home / "bin/spamcannibal", "--help", cwd=home, **env).stdout
    assert (home / "share/spamcannibal/conf/spamcannibal.toml").exists()


def test_what_the_program_reads_beside_its_code_is_packed(wheel: Path) -> None:
    lib = ROOT / "lib"
    files = subprocess.run(["git", "ls-files", "lib"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    names = files.split() or [str(path.relative_to(ROOT)) for path in lib.rglob("*") if path.is_file()]
    wanted = {name.removeprefix("lib/") for name in names if "/core/" not in name and (ROOT / name).exists()}
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in wanted if "egg-info" not in name and not name.endswith((".so", ".pyc"))} <= packed


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
def test_units_are_well_formed(unit: Path, tmp_path: Path) -> None:
    for one in (*UNITS, *TIMERS):  # a timer wants its service beside it
        (tmp_path / one.name).write_text(one.read_text().replace("/opt/spamcannibal/bin/spamcannibal", "/bin/true"))
    copy = tmp_path / unit.name
    done = run("systemd-analyze", "verify", copy, check=False)
    complaints = [line for line in done.stderr.splitlines() if copy.name in line]
    assert not complaints


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_is_exposed_at_3_0_at_most(unit: Path) -> None:
    done = run("systemd-analyze", "security", "--offline=yes", "--threshold=30", "--no-pager", unit, check=False)
    assert done.returncode == 0, done.stdout


def test_users_and_folders_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("root:x:0:\nadm:x:4:\n")
    run("systemd-sysusers", f"--root={tmp_path}", ROOT / "conf/sysusers.d/spamcannibal.conf")
    group = (tmp_path / "etc/group").read_text()
    assert re.search("^adm:x:4:spamcannibal-follow$", group, re.MULTILINE)
    ids = {line.split(":")[0]: int(line.split(":")[2]) for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    run("systemd-tmpfiles", f"--root={tmp_path}", "--create", ROOT / "conf/tmpfiles.d/spamcannibal.conf")
    made = {path.name: path.stat() for path in (tmp_path / "var/lib").iterdir()}
    assert {name: (made[name].st_uid, made[name].st_mode & 0o7777) for name in made} == {
        "spamcannibal": (ids["spamcannibal"], 0o750),
        "spamcannibal-robot": (ids["spamcannibal"], 0o700),
        "spamcannibal-share": (ids["spamcannibal"], 0o750),
        "spamcannibal-follow": (ids["spamcannibal-follow"], 0o750),
    }


def test_a_log_is_turned_while_somebody_writes_it(tmp_path: Path) -> None:
    text = (ROOT / "conf/logrotate/spamcannibal").read_text()
    told, log = tmp_path / "told", tmp_path / "up.log"
    told.write_text(text.replace("/var/log/spamcannibal", str(tmp_path)).replace("su spamcannibal adm", "su root root"))
    with log.open("w") as writer:
        print("before", file=writer, flush=True)
        run("logrotate", "--force", "--state", tmp_path / "state", told)
    assert (tmp_path / "up.log.1").read_text() == "before\n"
    assert log.read_text() == ""


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
