"""The database for who only looks: nothing is created, though one that nobody has open is made ready (recovered)."""

from pathlib import Path

from spamcannibal.commands.common import open_store
from spamcannibal.doctor.finding import Untold, Wrong
from spamcannibal.errors import SpamCannibalError, Unavailable
from spamcannibal.settings import Settings
from spamcannibal.store.stores import Store

MAKE = "spamcannibal db check (as the daemons' user) makes it, in a directory that exists"
Opened = Store | Untold | Wrong


def opened_for_reading(settings: Settings, wait_s: float) -> Opened:
    """Return the database, to be closed; others may have it for up to `wait_s` before we do."""
    path = Path(settings.store.path)
    try:
        if not (path / "meta").exists():
            return Wrong(f"store.path: no database in {path} yet", MAKE)
        return open_store(settings, readonly=True, wait_s=wait_s)
    except Unavailable as error:
        reason = str(error)
    except SpamCannibalError as error:
        return Wrong(str(error))
    except PermissionError:
        return Untold(f"store.path: we may not look into {path}")
    try:
        return open_store(settings, wait_s=wait_s)
    except SpamCannibalError:
        return Untold(reason)
