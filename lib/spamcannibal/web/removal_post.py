"""The mails and log lines of removals; neither a recipient nor the world gets more mails than so many a day."""

from spamcannibal.errors import SpamCannibalError
from spamcannibal.removal import Declined, Request
from spamcannibal.store.removals import Removals
from spamcannibal.web.removal_mail import House, outcome_mail, waiting_mail
from spamcannibal.web.site import Site
from spamcannibal.web.turn import away

LATER = "Too many requests of late; try again tomorrow."


def removals(site: Site) -> Removals:
    return Removals(site.store.env, site.settings.removal.requests, site.settings.removal.kept_s)


def house(site: Site) -> House | None:
    """Return who writes our mails; None if the settings name no sender."""
    settings = site.settings
    sender = settings.removal.sender or settings.web.contact or settings.complaint.sender
    return House(sender, settings.web.name, settings.web.url) if sender else None


def tell(site: Site, id_: str, request: Request) -> None:
    by, now = house(site), site.clock()
    if by is None:
        return
    proven = [request.place] if request.way == "mail" else []
    for recipient in dict.fromkeys([*proven, *([request.reply] if request.reply else [])]):
        post(site, recipient, outcome_mail(by, recipient, id_, request, now), is_vital=False)
    for recipient in site.settings.removal.notify if request.state == "queued" else ():
        post(site, recipient, waiting_mail(by, recipient, id_, request, now), is_vital=False)


def post(site: Site, recipient: str, mail: bytes, is_vital: bool = True) -> None:
    """Send a mail, if neither its recipient nor all together got too many within a day."""
    settings, now, kept = site.settings.removal, site.clock(), removals(site)
    most = settings.mails_per_day if recipient in settings.notify else settings.per_recipient
    try:
        if not kept.allow("mail", recipient, most, now) or not kept.allow("mails", "all", settings.mails_per_day, now):
            raise Declined(LATER)
        with away():
            site.send("", [recipient], mail)
    except SpamCannibalError as error:
        site.log.emit("REMOVAL", what="mail not sent", to=recipient, why=str(error))
        if is_vital:
            raise error if isinstance(error, Declined) else Declined("Mail can't be sent now; try later.") from None


def say(site: Site, what: str, id_: str, request: Request) -> None:
    why = "; ".join(request.why)
    place = request.place if request.state != "asked" else ""
    site.log.emit("REMOVAL", what=what, src=request.addr, id=id_, way=request.way, at=place or None, why=why or None)
