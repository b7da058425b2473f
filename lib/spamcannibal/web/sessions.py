"""Sessions: who is logged in, kept in the drawer `session` under a hash of what the browser holds.

A session ends by idleness, by age, by logout, and as soon as the user's `epoch` is another: his password, role or
second factor changed, or he is gone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from spamcannibal.store.cabinet import Drawer
from spamcannibal.store.env import Env
from spamcannibal.web.users import Role, User, Users, digest

LIMIT = 1000
LAG = 20  # a session's last use is noted this many times within its idle time


class Session(msgspec.Struct, frozen=True):
    """`by_proxy`: a proxy vouched for the user."""

    user: str
    epoch: str
    made_ms: int
    seen_ms: int
    by_proxy: bool = False


@dataclass(frozen=True)
class Visit:
    """Who asks: the secret of his session, the session, and the user as he is now."""

    secret: str
    session: Session
    user: User

    @property
    def name(self) -> str:
        return self.session.user

    @property
    def rank(self) -> Role:
        return self.user.rank


class Sessions:
    """The sessions of a store; times in seconds."""

    def __init__(self, env: Env, token: Callable[[], str], idle_s: float, session_s: float) -> None:
        self._drawer = Drawer(env, "session", Session, LIMIT)
        self._users = Users(env, token)
        self._token, self._idle_s, self._session_s = token, idle_s, session_s

    def begin(self, name: str, user: User, now: float, by_proxy: bool = False) -> Visit:
        """Begin a session under a new secret."""
        secret, now_ms = self._token(), int(now * 1000)
        session = Session(name, user.epoch, now_ms, now_ms, by_proxy)
        self._drawer.put(digest(secret), session, now, self._until(session))
        return Visit(secret, session, user)

    def find(self, secret: str, now: float) -> Visit | None:
        """Return who has this secret, None if nobody has (any more)."""
        if not secret:
            return None
        id_ = digest(secret)
        session = self._drawer.get(id_, now)
        user = self._users.get(session.user) if session else None
        if session is None or user is None:
            return None
        if user.epoch != session.epoch:
            self._drawer.take(id_, now)
            return None
        return Visit(secret, self._seen(id_, session, now), user)

    def end(self, secret: str, now: float) -> None:
        self._drawer.take(digest(secret), now)

    def _seen(self, id_: str, session: Session, now: float) -> Session:
        if now * 1000 - session.seen_ms < self._idle_s * 1000 / LAG:
            return session
        seen = replace(session, seen_ms=int(now * 1000))
        # One that was ended meanwhile stays so.
        self._drawer.change(id_, lambda old: seen if old else None, now, self._until(seen))
        return seen

    def _until(self, session: Session) -> float:
        return min(session.seen_ms / 1000 + self._idle_s, session.made_ms / 1000 + self._session_s)
