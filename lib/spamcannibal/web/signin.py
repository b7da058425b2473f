"""Logging in: who gets a session, who has to wait, and what is written down of it.

A try is counted as failed before anything is looked at, and forgotten if it succeeds: many at once get no further than
one after the other. Wrong name, wrong password and wrong code are one and the same answer, and take as long.
"""

import hmac
import math
from dataclasses import dataclass

from spamcannibal.addr import format_key, make_key, mask
from spamcannibal.store.cabinet import Drawer
from spamcannibal.store.env import Env
from spamcannibal.web import lockout, passwords
from spamcannibal.web.lockout import Count, Gate, Lock
from spamcannibal.web.sessions import Sessions, Visit
from spamcannibal.web.site import Site
from spamcannibal.web.users import User, Users, digest, is_name

LIMIT = 20_000
PAGE_LIMIT = 100
SHARED = "*"
MARK = 3  # digits that are kept of a name that no user has: it may be a password


@dataclass(frozen=True)
class Try:
    """What a login form held; `browser` is what the browser kept of an earlier login."""

    name: str
    password: str
    code: str
    browser: str
    visitor: bytes


@dataclass(frozen=True)
class Refused:
    """No session, and why; `wait_s` is above zero for who must wait."""

    why: str
    wait_s: int = 0


class SignIn:
    """The door of a site."""

    def __init__(self, site: Site) -> None:
        admin, env = site.settings.admin, site.store.env
        self.users = Users(env, site.token)
        self.sessions = Sessions(env, site.token, admin.idle_s, admin.session_s)
        self._site = site
        self._lock = Lock(admin.tries, admin.lock_s, admin.lock_max_s)
        self._counts = attempts(env)
        self._gate = Drawer(env, "gate", Gate, 1)

    def sign_in(self, tried: Try) -> Visit | Refused:
        """Return the new session of who proves to be a user, or why there is none."""
        now = self._site.clock()
        user = self.users.get(tried.name)
        place, is_known = _place(user, tried)
        mark = self._mark(tried.name)  # of a user, too: it takes as long
        wait_s = self._admit(f"{tried.name if user else mark} {place}", is_known, now)
        if wait_s:
            return self._refuse(tried, user, "locked", wait_s)
        if not self._proves(user, tried, now) or user is None:
            return self._refuse(tried, user, "wrong")
        self._counts.take(f"{tried.name} {place}", now)
        visit = self.sessions.begin(tried.name, self.users.logged_in(tried.name, tried.browser, now), now)
        self._site.log.emit("LOGIN", ok=True, user=tried.name, src=tried.visitor)
        return visit

    def confirm(self, visit: Visit, password: str, visitor: bytes) -> str:
        """Return "" if a password is that of who is logged in already, else why not; counted like a login."""
        now = self._site.clock()
        id_ = f"{visit.name} session:{digest(visit.secret)[:32]}"
        wait_s = self._admit(id_, True, now)
        if wait_s:
            return f"Too many tries. Please wait {wait_s} seconds."
        if not passwords.matches(visit.user.password, password):
            self._site.log.emit("LOGIN", ok=False, user=visit.name, src=visitor, why="wrong password on a page")
            return "That is not your password."
        self._counts.take(id_, now)
        return ""

    def unlock(self, name: str) -> int:
        """Forget all failed tries of a user; return of how many places."""
        return forget_tries(self._counts, name, self._site.clock())

    def _admit(self, id_: str, is_known: bool, now: float) -> int:
        """Count a try as failed, and return 0; or return the seconds to wait, and count nothing."""
        waits: list[float] = []

        def count(old: Count | None) -> Count | None:
            waits.append(lockout.wait_s(old, now))
            return old if waits[-1] else lockout.failed(old, self._lock, now)

        if lockout.wait_s(self._counts.get(id_, now), now) == 0 and not is_known and not self._pass_gate(now):
            return math.ceil(60 / self._site.settings.admin.tries_per_minute)
        self._counts.change(id_, count, now, now + lockout.FORGET_S + self._lock.max_s)
        return math.ceil(waits[-1])

    def _mark(self, name: str) -> str:
        """Return what stands for a name that no user has, so that it is locked as a user's is.

        Too short to tell what was tried; and nobody knows which names share one, who does not know all hashes.
        """
        key = "".join(user.password for _, user in self.users.all()).encode()
        return "?" + hmac.digest(key, name.encode("utf-8", "replace"), "sha256").hex()[:MARK]

    def _pass_gate(self, now: float) -> bool:
        passed: list[bool] = []

        def step(old: Gate | None) -> Gate | None:
            made = lockout.passed(old, self._site.settings.admin.tries_per_minute, now)
            passed.append(made is not None)
            return made or old

        self._gate.change(SHARED, step, now)
        return passed[-1]

    def _proves(self, user: User | None, tried: Try, now: float) -> bool:
        known = user.password if user else None
        if not passwords.matches(known, tried.password) or user is None:
            return False
        if user.secret and not self.users.use_code(tried.name, tried.code, now):
            return False
        if passwords.is_stale(user.password):
            self.users.rehash(tried.name, tried.password, user.password)
        return True

    def _refuse(self, tried: Try, user: User | None, why: str, wait_s: int = 0) -> Refused:
        shown = tried.name if user else "unknown"
        self._site.log.emit("LOGIN", ok=False, user=shown, src=tried.visitor, why=why)
        if wait_s:
            return Refused(f"Too many tries. Please wait {wait_s} seconds.", wait_s)
        return Refused("User, password or code are wrong.")


def attempts(env: Env) -> Drawer[Count]:
    """Return the counts of failed tries of a store, by `USER PLACE`."""
    return Drawer(env, "attempt", Count, LIMIT)


def forget_tries(counts: Drawer[Count], name: str, now: float) -> int:
    """Take the counts of a user away; return how many there were."""
    if not is_name(name):
        return 0
    gone = 0
    while rows := [id_ for id_, _ in counts.page(f"{name} ", PAGE_LIMIT, now) if id_.startswith(f"{name} ")]:
        for id_ in rows:
            counts.take(id_, now)
        gone += len(rows)
    return gone


def _place(user: User | None, tried: Try) -> tuple[str, bool]:
    """Return where a try comes from, and whether that user logged in from there before."""
    mark = digest(tried.browser)
    if user is not None and tried.browser and mark in user.browsers:
        return f"browser:{mark[:32]}", True
    return f"net:{net_of(tried.visitor)}", False


def net_of(visitor: bytes) -> str:
    """Return the network that failures are counted for: an IPv4 /24, an IPv6 /48."""
    plen = 24 if len(visitor) == 4 else 48
    return format_key(make_key(mask(visitor, plen), plen))
