"""The section [follow]: logs of mail servers that are read for the gather listener."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from spamcannibal.checks import is_endpoint, is_path, is_user
from spamcannibal.decode import Checks


class FollowSettings(Struct, frozen=True):
    files: tuple[str, ...] = ()
    signs: str = "log-signs.toml"
    mails: str = "log-mails.toml"
    server: str = ""
    key_file: str = ""
    state_file: str = "/var/lib/spamcannibal-follow/places.json"
    oldest_s: Annotated[float, Meta(ge=1, le=31_536_000)] = 3600.0
    addresses: Annotated[int, Meta(ge=100, le=10_000_000)] = 100_000
    user: str = ""


def resolved(follow: FollowSettings, base: Path) -> FollowSettings:
    """Return the settings with absolute paths; an empty one stays so, and so does ADDRESS:PORT."""

    def absolute(path: str) -> str:
        return str(base / path) if path and not is_endpoint(path) else path

    return replace(
        follow,
        files=tuple(map(absolute, follow.files)),
        signs=absolute(follow.signs),
        mails=absolute(follow.mails),
        server=absolute(follow.server),
        key_file=absolute(follow.key_file),
        state_file=absolute(follow.state_file),
    )


CHECKS: Checks = {
    (FollowSettings, "files"): (is_path, "a path"),
    (FollowSettings, "signs"): (is_path, "a path"),
    (FollowSettings, "mails"): (is_path, "a path"),
    (FollowSettings, "server"): (lambda text: text == "" or is_path(text), "ADDRESS:PORT, a socket's path, or empty"),
    (FollowSettings, "key_file"): (lambda text: text == "" or is_path(text), "a path, or empty"),
    (FollowSettings, "state_file"): (lambda text: text == "" or is_path(text), "a path, or empty"),
    (FollowSettings, "user"): (is_user, "a user name, or empty"),
}
