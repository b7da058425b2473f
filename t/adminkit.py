"""What the tests of the administration share: users at cheap hashes, and a browser that is logged in."""

import re
from contextlib import contextmanager
from html import unescape

from spamcannibal.web import passwords
from spamcannibal.web.app import create_app
from spamcannibal.web.csrf import token
from spamcannibal.web.sessions import Sessions
from spamcannibal.web.users import Users

PASSWORD = "correct horse battery"
HOST = "127.0.0.1"
COOKIE = "spamcannibal"


@contextmanager
def cheap_hashes():
    """Hash at the least costs there are: what they cost else is not what is tested."""
    known, passwords.COSTS = passwords.COSTS, {"time_cost": 1, "memory_cost": 8, "parallelism": 1}
    passwords.nobody.cache_clear()
    try:
        yield
    finally:
        passwords.COSTS = known
        passwords.nobody.cache_clear()


class Browser:
    """A client of the site's application that keeps cookies and finds the token of its session."""

    def __init__(self, site, secret=""):
        if not hasattr(site, "application"):
            site.application = create_app(site)
        self.web = site.application.test_client()
        if secret:
            self.web.set_cookie(COOKIE, secret, domain=HOST)

    @property
    def secret(self):
        cookie = self.web.get_cookie(COOKIE, domain=HOST)
        return cookie.value if cookie else ""

    def get(self, path, **options):
        return self.web.get(path, base_url=f"http://{HOST}", **options)

    def post(self, path, data=None, **options):
        given = {"token": token(self.secret), **(data or {})}
        return self.web.post(path, data=given, base_url=f"http://{HOST}", **options)

    def log_in(self, name, password=PASSWORD, **data):
        self.get("/admin/login")
        return self.post("/admin/login", {"user": name, "password": password, **data})


def users(site):
    return Users(site.store.env, site.token)


def logged_in(site, role, name=None):
    """Make a user of a role, unless there is one, and return his browser, without the way through the form."""
    name, now = name or role, site.clock()
    admin = site.settings.admin
    user = users(site).get(name) or users(site).add(name, role, PASSWORD, now)
    sessions = Sessions(site.store.env, site.token, admin.idle_s, admin.session_s)
    return Browser(site, sessions.begin(name, user, now).secret)


def hidden(page, name):
    """Return the value of a hidden field of a page."""
    return unescape(re.search(rf'name="{name}" value="([^"]*)"', page)[1])


def events(site, verb):
    """Return the lines of a verb that were logged."""
    return [line for line in site.log._stream.getvalue().splitlines() if line.startswith(f"{verb} ")]
