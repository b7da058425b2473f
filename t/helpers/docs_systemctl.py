#!/usr/bin/python3
"""What pages need of systemctl, without systemd: units' own command lines, READY=1, the signals of stop and reload."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

RUN = Path("/run/units")
PLACES = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
READY_S = 30
OTHERS = {
    "postfix": {"start": "postfix start", "stop": "postfix stop", "reload": "postfix reload"},
    "nginx": {"reload": "nginx -s reload"},
}


def settings(unit):
    """The unit's file as key -> values."""
    path = next((Path(place, unit) for place in PLACES if Path(place, unit).exists()), None)
    if path is None:
        sys.exit(f"Unit {unit} not found.")
    found = {}
    for line in path.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def main_pid(name):
    path = RUN / f"{name}.pid"
    pid = int(path.read_text()) if path.exists() else 0
    return (
        pid if pid and Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text() else 0
    )


def start(name):
    if main_pid(name):
        return
    unit = settings(f"{name}.service")
    for folder in unit.get("RuntimeDirectory", []):
        Path("/run", folder).mkdir(exist_ok=True)
    with (RUN / f"{name}.log").open("ab") as log:
        for command in unit.get("ExecStartPre", []):
            subprocess.run(shlex.split(command), check=True, stdout=log, stderr=log)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            where = f"/run/units/{name}.notify"
            Path(where).unlink(missing_ok=True)
            notices.bind(where)
            Path(where).chmod(0o777)  # for services that become another user first
            notices.settimeout(0.2)
            environment = {**os.environ, "NOTIFY_SOCKET": where}
            process = subprocess.Popen(
                shlex.split(unit["ExecStart"][0]), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                start_new_session=True,
            )  # fmt: skip
            if unit.get("Type") == ["oneshot"]:
                sys.exit(process.wait())
            (RUN / f"{name}.pid").write_text(str(process.pid))
            if unit.get("Type") == ["notify"]:
                await_ready(process, notices, log.name)


def await_ready(process, notices, log):
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(TimeoutError):
            if b"READY=1" in notices.recv(4096):
                return
    sys.exit(f"not ready, exit {process.poll()}:\n{Path(log).read_text()}")


def end(name):
    if pid := main_pid(name):
        os.kill(pid, signal.SIGTERM)
        while main_pid(name):
            time.sleep(0.02)


def reload(name):
    if pid := main_pid(name):
        os.kill(pid, signal.SIGHUP)
    else:
        sys.exit(f"{name}.service is not active, cannot reload.")


def main():
    RUN.mkdir(exist_ok=True)
    verb, *words = [word for word in sys.argv[1:] if not word.startswith("-")]
    now = "--now" in sys.argv
    for name in (word.removesuffix(".service") for word in words):
        if name in OTHERS:
            subprocess.run(shlex.split(OTHERS[name][verb]), check=True)
        elif name.endswith((".timer", ".socket")):
            settings(name)
        elif verb in ("start", "enable"):
            settings(f"{name}.service")
            if verb == "start" or now:
                start(name)
        elif verb in ("stop", "disable"):
            if verb == "stop" or now:
                end(name)
        elif verb == "restart":
            end(name)
            start(name)
        elif verb == "reload":
            reload(name)
        elif verb == "is-active":
            print("active" if main_pid(name) else "inactive")
        else:
            sys.exit(f"{sys.argv[0]}: what is {verb}?")


main()
