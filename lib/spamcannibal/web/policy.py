"""The policy: what a list owes the world (RFC 6471), told from the settings that are in force."""

from flask import Blueprint, render_template

from spamcannibal.colours import COLOURS
from spamcannibal.web.app import here

UNITS = ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))
COLOUR_WORDS = {
    "black": "sends spam",
    "white": "sends none, and is never refused",
    "yellow": "sends both, and is never refused",
    "brown": "sends spam, but not yet enough for the list",
    "nobl": "sends not only spam, and is never refused",
}

blueprint = Blueprint("policy", __name__)


@blueprint.get("/policy")
def show() -> str:
    """Show what gets an address onto the list and off it, and how to ask."""
    site = here()
    settings, known = site.settings, site.lists()
    return render_template(
        "policy.html",
        all=settings,
        lists=[(zone, known.get(zone.lower())) for zone in settings.remote.lists],
        colours={name: (".".join(map(str, one.code)), COLOUR_WORDS[name]) for name, one in COLOURS.items()},
    )


@blueprint.app_template_filter("lasting")
def lasting(seconds: float) -> str:
    """Return a span of time in words, in its largest unit that gives a short number."""
    size, unit = next((each for each in UNITS if seconds >= each[0]), UNITS[-1])
    number = f"{seconds / size:.1f}".removesuffix(".0")
    return f"{number} {unit}{'' if number == '1' else 's'}"
