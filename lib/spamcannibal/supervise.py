"""Decide when a service is started, waited for and stopped: a supervisor's rules without processes, clock or signals.

What happened goes in (`start`, `ready`, `beat`, `exited`, `stop`, `tick`), what to do comes out as a list of `Action`s
for the caller to carry out; times are seconds of any clock that never goes back. One service goes through these states:

| state    | means                       | leaves it when                                                          |
|----------|-----------------------------|-------------------------------------------------------------------------|
| IDLE     | not started yet             | `start`                                                                 |
| RUNNING  | its process runs            | the process ends: WAITING, or STOPPED when everything is being stopped  |
| WAITING  | its process ended           | its back-off is over: RUNNING                                           |
| STOPPING | its process was told to end | it ended: STOPPED; the grace is over: it is killed                      |
| STOPPED  | for good                    | never                                                                   |

A service that ends is started again after `initial_s`, doubled with every further end up to `max_s`; one that ran for
`max_s` begins with `initial_s` again. Exit 78 (wrong settings) of a service that was never ready stops everything, and
the supervisor's own exit code is 78: strict at the start. Of one that was ready before, it means that somebody is
editing the settings: it is tried again every `max_s`, and the others go on. Services stop one at a time, the last one
started first. A service that has sent a beat owes one every `watchdog_s`; one that falls silent is killed, and so
started again: a tarpit that stands still holds mail up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple

from spamcannibal.errors import ConfigError


class State(StrEnum):
    """Where a service stands."""

    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Verb(StrEnum):
    """What the caller is to do for a service; WAIT and FATAL are only to be told to the operator."""

    START = "start"
    TERMINATE = "terminate"
    KILL = "kill"
    WAIT = "wait"
    FATAL = "fatal"


class Action(NamedTuple):
    """One thing to do; `after_s` is how long a WAIT takes."""

    verb: Verb
    service: str
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds of the back-off, how long a service may take to stop, and how long it may be silent (all in seconds)."""

    initial_s: float = 0.5
    max_s: float = 30.0
    grace_s: float = 10.0
    watchdog_s: float = 30.0


@dataclass(slots=True)
class Service:
    """What is known of one service; `due` is the time of the next start or of the kill, infinity if there is none."""

    name: str
    state: State = State.IDLE
    is_ready: bool = False
    was_ready: bool = False
    ends: int = 0
    started: float = 0.0
    due: float = inf


class Supervisor:
    """The services in the order of their start."""

    def __init__(self, names: Sequence[str], policy: Policy) -> None:
        self.policy = policy
        self.services = {name: Service(name) for name in names}
        self.exit_code = 0
        self._is_stopping = False

    @property
    def is_done(self) -> bool:
        """Say whether nothing runs and nothing will."""
        return all(service.state is State.STOPPED for service in self.services.values())

    @property
    def is_ready(self) -> bool:
        """Say whether every service runs and has said that it is ready."""
        return all(s.state is State.RUNNING and s.is_ready for s in self.services.values())

    def start(self, now: float) -> list[Action]:
        """Start everything."""
        return [self._start(service, now) for service in self.services.values()]

    def ready(self, name: str) -> None:
        """Note that a service says it is ready."""
        service = self.services[name]
        service.is_ready = service.was_ready = True

    def beat(self, name: str, now: float) -> None:
        """Note that a service says it is alive."""
        service = self.services[name]
        if service.state is State.RUNNING:
            service.due = now + self.policy.watchdog_s

    def exited(self, name: str, code: int, now: float) -> list[Action]:
        """Note that a service's process ended with `code` (negative: by that signal)."""
        service = self.services[name]
        service.is_ready = False
        if self._is_stopping:
            service.state = State.STOPPED
            return self._stop_next(now)
        if code == ConfigError.exit_code and not service.was_ready:
            service.state = State.STOPPED
            self.exit_code = code
            return [Action(Verb.FATAL, name), *self.stop(now)]
        wait_s = self.policy.max_s if code == ConfigError.exit_code else self._back_off(service, now)
        service.state, service.due = State.WAITING, now + wait_s
        return [Action(Verb.WAIT, name, wait_s)]

    def stop(self, now: float) -> list[Action]:
        """Begin to stop everything; asked a second time, kill what still runs."""
        if self._is_stopping:
            alive = (State.RUNNING, State.STOPPING)
            return [Action(Verb.KILL, s.name) for s in self.services.values() if s.state in alive]
        self._is_stopping = True
        for service in self.services.values():
            if service.state in (State.IDLE, State.WAITING):
                service.state = State.STOPPED
        return self._stop_next(now)

    def tick(self, now: float) -> list[Action]:
        """Do what is due by now: starts after a back-off, kills after the grace or of those that fell silent."""
        actions = []
        for service in self.services.values():
            if service.state is State.WAITING and service.due <= now:
                actions.append(self._start(service, now))
            elif service.state in (State.RUNNING, State.STOPPING) and service.due <= now:
                service.due = now + self.policy.grace_s
                actions.append(Action(Verb.KILL, service.name))
        return actions

    def next_due(self) -> float | None:
        """Return when `tick` has something to do; None: never, unless something happens."""
        alive = (State.RUNNING, State.WAITING, State.STOPPING)
        first = min((s.due for s in self.services.values() if s.state in alive), default=inf)
        return None if first == inf else first

    def _back_off(self, service: Service, now: float) -> float:
        if now - service.started >= self.policy.max_s:
            service.ends = 0
        # 2**32 times any initial value is past any maximum; an unbounded power would overflow in a few months.
        wait_s = min(self.policy.max_s, self.policy.initial_s * 2.0 ** min(service.ends, 32))
        service.ends += 1
        return wait_s

    def _start(self, service: Service, now: float) -> Action:
        service.state, service.started, service.due = State.RUNNING, now, inf
        return Action(Verb.START, service.name)

    def _stop_next(self, now: float) -> list[Action]:
        if any(service.state is State.STOPPING for service in self.services.values()):
            return []
        for service in reversed(self.services.values()):
            if service.state is State.RUNNING:
                service.state, service.due = State.STOPPING, now + self.policy.grace_s
                return [Action(Verb.TERMINATE, service.name)]
        return []
