"""How everything fares: services, jobs, queues, zones, as `spamcannibal status` shows them; and remote lists."""

from flask import Blueprint, render_template

from spamcannibal.standing import lines, remote_lists, standing
from spamcannibal.web.app import here

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def show() -> str:
    """Show it."""
    site = here()
    document = standing(site.settings, site.config, site.store, site.clock())
    return render_template("admin_health.html", lines=list(lines(document)), lists=remote_lists(site.settings))
