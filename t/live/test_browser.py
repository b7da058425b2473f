"""The web pages in a real browser: every page clean and usable by all, removal from form to delisted, administration.

Pictures of the pages are left in build/screenshots.
"""

import re
import time

import pytest

from helpers.faulty_dns import answer, names
from live.browser import CHROMIUM, CLEAR, LISTED, NETWORK, NEVER, browser, running, shoot, violations

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium")

PUBLIC = {
    "home": "/",
    "listed": f"/lookup/{LISTED}",
    "network": f"/lookup/{NETWORK}",
    "clear": f"/lookup/{CLEAR}",
    "never": f"/lookup/{NEVER}",
    "wrong": "/lookup/nonsense",
    "removal": f"/removal?address={LISTED}",
    "policy": "/policy",
    "activity": "/activity",
    "missing": "/nothing",
}
ADMIN = {
    "admin": "/admin/",
    "admin_list": "/admin/list",
    "admin_entry": f"/admin/entry/{LISTED}",
    "admin_net": "/admin/net/203.0.113.0/24",
    "admin_add": "/admin/add",
    "admin_remove": f"/admin/remove?at={LISTED}",
    "admin_journal": "/admin/journal",
    "admin_queue": "/admin/queue/",
    "admin_never": "/admin/never/",
    "admin_health": "/admin/health",
    "admin_users": "/admin/users/",
    "admin_account": "/admin/account/",
}
PASSWORD = "correct horse battery staple"
# Numbers, times and addresses in tables that stand in more than one line.
BROKEN = """[...document.querySelectorAll("td.whole, td.number, td.mono, td .mono")].map(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return range.getBoundingClientRect().height > 36 ? cell.textContent : "";
}).filter(text => text)"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("web")) as server:
        server.dns.on("7.113.0.203.in-addr.arpa PTR", names("mail.example.org"))
        server.dns.on("mail.example.org A", answer(LISTED))
        server.command("user", "add", "alice", "--role", "owner", "--password-file", "-", input=PASSWORD + "\n")
        yield server


@pytest.fixture(scope="module")
def chromium(server):
    with browser(server.url) as chromium:
        yield chromium


@pytest.fixture
def clean(chromium):
    """The browser; the test fails if a page of it wrote to the console or asked elsewhere."""
    chromium.faults.clear()
    yield chromium
    # The status of a page that was asked for wrongly is told on the console, too.
    assert [fault for fault in chromium.faults if "Failed to load resource" not in fault] == []


def log_in(page, path="/admin/"):
    page.goto(path)
    page.get_by_label("User").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def check(page, name):
    """Assert that a page suits everybody: what axe-core finds, and no scrolling aside."""
    assert violations(page) == [], name
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is too wide"
    assert page.title() != "owned"
    assert page.evaluate(BROKEN) == [], f"{name} breaks what is one word"


@pytest.mark.parametrize(("width", "dark"), [(1100, False), (360, True)], ids=["desk-light", "phone-dark"])
def test_every_public_page_suits_everybody(clean, width, dark):
    with clean.page(width=width, dark=dark) as page:
        for name, path in PUBLIC.items():
            page.goto(path)
            check(page, name)
            shoot(page, f"{name}-{width}")


@pytest.mark.parametrize(("width", "dark"), [(1100, True), (360, False)], ids=["desk-dark", "phone-light"])
def test_every_page_of_administration_suits_everybody(clean, width, dark):
    with clean.page(width=width, dark=dark) as page:
        page.goto("/admin/")
        check(page, "login")
        shoot(page, f"login-{width}")
        log_in(page)
        for name, path in ADMIN.items():
            assert page.goto(path).ok, path
            check(page, name)
            shoot(page, f"{name}-{width}")


@pytest.mark.parametrize("js", [True, False], ids=["scripts", "no-scripts"])
def test_a_search_leads_to_the_address(clean, js):
    with clean.page(js=js) as page:
        page.goto("/")
        page.get_by_role("searchbox").fill(f" {LISTED} ")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/lookup/{LISTED}")
        assert "is listed" in page.get_by_role("main").inner_text()
        # What came from outside is shown, and does nothing.
        assert "<script>" in page.get_by_role("main").inner_text()
        assert page.locator("main script, main img").count() == 0


def test_the_keyboard_reaches_the_content_first(clean):
    with clean.page() as page:
        page.goto("/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"


def test_administration_adds_after_a_preview_and_takes_it_back(clean, server):
    with clean.page() as page:
        log_in(page, "/admin/add")
        page.locator("textarea").first.fill("192.0.2.66\n127.0.0.1\n")
        page.get_by_label("Why, as shown to the world").fill("by hand")
        page.get_by_role("button", name="Preview").click()
        check(page, "preview")
        shoot(page, "preview-1100")
        assert server.command("list", "show", "192.0.2.66", check=False).returncode == 1
        page.get_by_role("button", name=re.compile("List 1 now")).click()
        check(page, "done")
        assert "by hand" in server.command("list", "show", "192.0.2.66").stdout
        page.get_by_role("link", name="What you changed").click()
        page.get_by_role("checkbox").first.check()
        page.get_by_label("Why take the marked ones back").fill("a mistake")
        page.get_by_role("button", name="Preview the undo").first.click()
        check(page, "undo preview")
        page.get_by_role("button", name="Take back now").click()
        assert server.command("list", "show", "192.0.2.66", check=False).returncode == 1
        page.goto("/admin/")
        page.get_by_role("button", name="Log out").click()
        assert page.goto("/admin/journal").url.startswith(f"{server.url}/admin/login")


@pytest.mark.parametrize("js", [False], ids=["no-scripts"])
def test_removal_from_the_form_by_a_mail_to_delisted(clean, server, js):
    with clean.page(js=js) as page:
        page.goto(f"/lookup/{LISTED}")
        page.get_by_role("link", name="ask for removal").click()
        page.get_by_label(re.compile("postmaster@mail.example.org")).check()
        page.get_by_role("button", name="Ask for removal").click()
        shoot(page, "removal_asked-1100")
        assert "is still missing" in page.get_by_role("main").inner_text()
        link = link_of(server)
        page.goto(link)
        assert server.command("list", "show", LISTED).returncode == 0, "opening the link changes nothing"
        page.get_by_role("button", name=re.compile("Yes")).click()
        assert "was taken off the list" in page.get_by_role("main").inner_text()
        shoot(page, "removal_done-1100")
        assert page.goto(link).status >= 400, "the link works once"
        page.goto(f"/lookup/{LISTED}")
        assert "This address is listed" not in page.get_by_role("main").inner_text().replace(NETWORK, "")
    assert any("taken off" in mail for mail in server.mails()[1:]), "the outcome comes by mail"


def link_of(server):
    """Return the link of the first mail, once it is there."""
    for _ in range(100):
        found = [re.search(r"http://\S+", mail.replace("=\n", "")) for mail in server.mails()]
        if found and found[0]:
            return found[0][0]
        time.sleep(0.05)
    raise AssertionError("no mail came")
