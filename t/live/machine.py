"""A fresh Debian in a container, to install a package in and to boot: made by mmdebstrap, run by systemd-nspawn.

with Machine(folder) as machine:              the folder gets a minimal Debian 12 with systemd, as from the installer
    machine.install(package)                  by apt, with the host's network
    machine.boot()                            with a network namespace of its own; systemd is process 1
    machine.run("systemctl", "start", "x")
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter")
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}
NSPAWN = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit")


def lacking() -> str | None:
    """Say what is missing to make a machine, None if nothing is."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"needs {', '.join(missing)}" if missing else None


class Machine:
    """The container; `root` is its file system, which is made while the caller does something else."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._log = folder / "machine.log"
        self._init = 0
        self._nspawn: subprocess.Popen[bytes] | None = None
        argv = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=systemd,systemd-sysv,dbus", "bookworm"]
        argv += ["--dpkgopt=force-unsafe-io", self.root, *([SOURCES] if SOURCES.exists() else [])]
        with self._log.open("wb") as log:
            self._maker = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._maker.poll() is None:
            self._maker.terminate()
            self._maker.wait()
        self.halt()

    def install(self, package: Path) -> str:
        """Install a package with what it depends on; what was printed."""
        assert self._maker.wait(timeout=600) == 0, self._log.read_text()
        shutil.copy(package, self.root / "root")
        # mmdebstrap leaves no package lists behind.
        script = f"apt-get -q update && apt-get -q -y --no-install-recommends install /root/{package.name}"
        argv = [*NSPAWN, "--pipe", "-D", self.root, *(f"--setenv={key}={value}" for key, value in ENV.items())]
        argv += ["sh", "-c", script]
        done = subprocess.run(argv, input="", capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def boot(self) -> None:
        """Start systemd in it and return when it is up."""
        argv = [*NSPAWN, "--private-network", "--console=pipe", "--boot", "-D", self.root]
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self._nspawn.poll() is None, self._log.read_text()
            self._init = int((children.read_text().split() or ["0"])[0])
            if self._init and self.run("systemctl", "is-system-running", check=False).stdout.strip() == "running":
                return
            time.sleep(0.1)
        raise AssertionError(self._log.read_text())

    def halt(self) -> None:
        """End it, if it runs."""
        if self._nspawn is not None:
            self._nspawn.terminate()
            try:
                self._nspawn.wait(timeout=90)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
            self._nspawn = None

    def run(self, *argv: object, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root, with this on its standard input."""
        words = ["nsenter", f"--target={self._init}", "--all", *map(str, argv)]
        done = subprocess.run(
            words, env=ENV, input=text or "", capture_output=True, text=True, timeout=360, check=False
        )
        assert done.returncode == 0 or not check, f"{argv}\n{done.stdout}{done.stderr}"
        return done
