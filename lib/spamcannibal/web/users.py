"""Users of the administration: names, roles, passwords, and what else proves them; kept in the drawer `user`.

| role | may |
|---|---|
| viewer | see everything but whole evidence, users and secrets; change nothing but his own password |
| editor | that, see whole evidence, and change the list: add, remove, undo, decide requests |
| owner | that, and change the never-list and users |

A name is 1 to 32 of a-z 0-9 . _ - and begins with a letter, so no two look alike. Whatever changes how a user proves
himself, or what he may, gives him a new `epoch`, and with it ends all his sessions. There is always an owner who can
log in, once there was one.
"""

import hashlib
import re
import secrets
from collections.abc import Callable
from enum import IntEnum

import msgspec
from msgspec.structs import replace

from spamcannibal.errors import SpamCannibalError
from spamcannibal.store.cabinet import Drawer
from spamcannibal.store.env import Env
from spamcannibal.web import passwords, totp

LIMIT = 1000
BROWSERS = 8
NAME_FORM = "1 to 32 of a-z, 0-9, dot, hyphen, underscore, a letter first"


class Role(IntEnum):
    VIEWER = 1
    EDITOR = 2
    OWNER = 3


ROLES = tuple(role.name.lower() for role in Role)


class User(msgspec.Struct, frozen=True):
    """`password` is a hash, `secret` for one-time passwords ("": none), `step` the last one used; `browsers` are hashes
    of what known browsers keep.
    """

    role: str
    password: str
    epoch: str
    made_ms: int
    secret: str = ""
    step: int = 0
    login_ms: int = 0
    browsers: tuple[str, ...] = ()

    @property
    def rank(self) -> Role:
        return Role[self.role.upper()]


class Users:
    """The users of a store."""

    def __init__(self, env: Env, token: Callable[[], str] = secrets.token_urlsafe) -> None:
        self._drawer = Drawer(env, "user", User, LIMIT)
        self._token = token

    def get(self, name: str) -> User | None:
        return self._drawer.get(name, 0.0) if is_name(name) else None

    def all(self) -> list[tuple[str, User]]:
        return self._drawer.page("", LIMIT, 0.0)

    def add(self, name: str, role: str, password: str, now: float) -> User:
        """Make a user; SpamCannibalError if the name is taken or wrong, or the password will not do."""
        if not is_name(name):
            raise SpamCannibalError(f"the user name won't do: want {NAME_FORM}")
        _check_role(role)
        passwords.check(password, name)
        made = User(role, passwords.hashed(password), self._token(), int(now * 1000))

        def add(old: User | None) -> User:
            if old is not None:
                raise SpamCannibalError(f"there is a user {name} already")
            return made

        self._drawer.change(name, add, now)
        return made

    def remove(self, name: str) -> None:
        self._change_rank(name, lambda user: None)

    def set_role(self, name: str, role: str) -> None:
        _check_role(role)
        self._change_rank(name, lambda user: replace(user, role=role, epoch=self._token()))

    def set_password(self, name: str, password: str) -> User:
        passwords.check(password, name)
        made = passwords.hashed(password)
        return self._change(name, lambda user: replace(user, password=made, epoch=self._token(), browsers=()))

    def set_secret(self, name: str, secret: str, step: int = 0) -> User:
        """Take or give up ("") one-time passwords; `step` is the one that proved that he has the secret."""
        return self._change(name, lambda user: replace(user, secret=secret, step=step, epoch=self._token()))

    def rehash(self, name: str, password: str, known: str) -> None:
        """Keep the hash at the costs of now, unless it was changed meanwhile."""
        made = passwords.hashed(password)
        self._change(name, lambda user: replace(user, password=made) if user.password == known else user)

    def use_code(self, name: str, code: str, now: float) -> bool:
        """Tell whether a one-time password counts, and use it up: of two at once one is refused."""
        used: list[bool] = []

        def use(user: User) -> User:
            step = totp.step_of(user.secret, code, user.step, now) if user.secret else None
            used.append(step is not None)
            return replace(user, step=step) if step is not None else user

        self._change(name, use)
        return used[-1]

    def logged_in(self, name: str, browser: str, now: float) -> User:
        """Note a login, and the browser as known: `browser` is what it keeps."""
        mark = digest(browser)

        def note(user: User) -> User:
            known = (*(each for each in user.browsers if each != mark), mark)[-BROWSERS:]
            return replace(user, login_ms=int(now * 1000), browsers=known)

        return self._change(name, note)

    def _change(self, name: str, fn: Callable[[User], User]) -> User:
        def change(old: User | None) -> User:
            if old is None:
                raise _missing(name)
            return fn(old)

        made = self._drawer.change(name, change, 0.0) if is_name(name) else None
        if made is None:
            raise _missing(name)
        return made

    def _change_rank(self, name: str, fn: Callable[[User], User | None]) -> None:
        """Change or remove a user, unless he is the last owner and is none then."""

        def change(users: dict[str, User]) -> User | None:
            if name not in users:
                raise _missing(name)
            made = fn(users[name])
            owners = [other for other, user in users.items() if user.rank is Role.OWNER]
            if owners == [name] and (made is None or made.rank is not Role.OWNER):
                raise SpamCannibalError(f"{name} is the only owner: make another one first")
            return made

        if not is_name(name):
            raise _missing(name)
        self._drawer.change_among(name, change, 0.0)


def is_name(text: str) -> bool:
    return re.fullmatch("[a-z][a-z0-9._-]{0,31}", text) is not None


def digest(secret: str) -> str:
    """Return what is kept of a secret that is random anyway."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise SpamCannibalError(f"no such role, want one of {', '.join(ROLES)}")


def _missing(name: str) -> SpamCannibalError:
    return SpamCannibalError(f"there is no user {name}" if is_name(name) else "there is no such user")
