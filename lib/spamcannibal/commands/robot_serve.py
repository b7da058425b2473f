"""`spamcannibal robot --lmtp` as a process: settings and store in, mail dealt with, until SIGTERM."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack, closing

import click

from spamcannibal.commands.common import load_settings
from spamcannibal.commands.robot_tools import group_id, open_robot
from spamcannibal.errors import SpamCannibalError, Unavailable
from spamcannibal.events import EventLog
from spamcannibal.robot import lmtp
from spamcannibal.robot.intake import Robot, event
from spamcannibal.robot.outcome import Outcome
from spamcannibal.service import Signals, drop_privileges, notify, watchdog_s
from spamcannibal.settings import Settings

TURN_S = 1.0


def serve(ctx: click.Context) -> None:
    """Serve LMTP until SIGTERM; SIGHUP reads the settings again, or keeps the old ones and says why."""
    settings = load_settings(ctx)
    robot, log = settings.robot, EventLog(sys.stderr, settings.log.format)
    with Signals() as signals, ExitStack() as stack:
        sock = lmtp.bound(robot.lmtp, group_id(robot.lmtp_group))
        stack.callback(sock.close)
        if robot.user:
            drop_privileges(robot.user)
        desk = stack.enter_context(closing(Desk(settings, log)))
        server = lmtp.Server(sock, desk.take, robot.message_limit_bytes, robot.lmtp_connections, robot.lmtp_idle_s)
        server.start()
        stack.callback(server.stop)
        log.emit("START", service="robot", lmtp=robot.lmtp)
        notify("READY=1")
        beat_s = min(watchdog_s() or TURN_S, TURN_S)
        while not signals.stop and server.is_alive:
            if signals.take_reload():
                desk.reload(ctx)
            notify("WATCHDOG=1")
            signals.wait(beat_s)
        notify("STOPPING=1")
    log.emit("STOP", service="robot", **desk.counts)
    log.flush()
    if not signals.stop:
        raise Unavailable("robot: the LMTP loop ended by itself; start it again")


class Desk:
    """The robot of the current settings, and the boundary at which whatever goes wrong leaves the mail where it is."""

    def __init__(self, settings: Settings, log: EventLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self.counts: dict[str, int] = {}
        self._opened, self._robot = self._open(settings)
        self._keeps = settings.robot.refusals == "keep"

    def take(self, raw: bytes) -> Outcome:
        """Deal with one message."""
        robot, keeps = self._robot, self._keeps
        try:
            outcome = robot.take(raw, time.time())
        except SpamCannibalError as error:
            outcome = Outcome("deferred", str(error))
        except Exception as error:
            outcome = Outcome("deferred", f"a fault: {type(error).__name__}: {error}")
        with self._lock:
            self.counts[outcome.kind] = self.counts.get(outcome.kind, 0) + 1
        self._log.emit("ROBOT", **event(outcome))
        return Outcome("refused", outcome.reason, is_told=True) if keeps and outcome.kind == "refused" else outcome

    def reload(self, ctx: click.Context) -> None:
        """Take the settings of the file, except the socket's."""
        try:
            settings = load_settings(ctx)
            opened, robot = self._open(settings)
        except SpamCannibalError as error:
            self._log.emit("RELOAD", ok=False, why=str(error))
            return
        before, self._opened = self._opened, opened
        self._robot, self._keeps = robot, settings.robot.refusals == "keep"
        before.close()  # what is in its hands is deferred, and comes again
        self._log.emit("RELOAD", ok=True)

    def close(self) -> None:
        self._opened.close()

    def _open(self, settings: Settings) -> tuple[ExitStack, Robot]:
        stack = ExitStack()
        return stack, stack.enter_context(open_robot(settings, self._log, "daemon"))
