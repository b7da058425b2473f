"""The way off the list: from the form over proof and terms to the list, mails, the queue, and who tries to abuse it."""

import email
import email.policy
import io
import json
import re
import threading

import pytest
from click.testing import CliRunner

from spamcannibal import removal
from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.commands import main
from spamcannibal.errors import Unavailable
from spamcannibal.record import PUBLISHED, Action, Cause, Piece
from spamcannibal.removal import DAY_S, Declined
from spamcannibal.store.removals import SOURCE, case_of, unlist
from spamcannibal.store.stores import Hearsay, NewListing
from spamcannibal.store.undo import apply, numbered, plan
from spamcannibal.web import removal_desk as desk
from spamcannibal.web.asked import Asked
from spamcannibal.web.removal_post import removals
from storekit import check_whole
from webkit import NOW, Book, Clock, client, make_site

HOST = "203.0.113.7"
ADDR = parse_addr(HOST)
WEB = {"url": "https://bl.example.net/list/", "contact": "op@example.net"}
POSTMASTER = "postmaster@example.com"
BY_MAIL = {"address": HOST, "how": f"mail {POSTMASTER}", "reply": "me@example.org"}


def add(site, key=HOST, source="trap:main", age_s=30 * DAY_S, **keys):
    item = NewListing(parse_key(key), source=source, flags=PUBLISHED, **{"text": "spam", **keys})
    site.store.list([item], site.clock() - age_s)


@pytest.fixture
def site(tmp_path):
    with make_site(tmp_path / "store", web=WEB, removal={"visit": True, "notify": ("ops@example.net",)}) as site:
        add(site)
        name(site, ADDR, "mail.example.com")
        yield site
        check_whole(site.store)


def name(site, addr, *names):
    site.names.ptr[addr] = names
    site.names.a.update(dict.fromkeys(names, (addr,)))


def ask(web, **fields):
    """Make a request and return the path of its page."""
    answer = web.post("/removal", data={**BY_MAIL, **fields})
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def links(site):
    """Return the paths of the links that were mailed."""
    found = re.findall(
        rb"https://bl\.example\.net/list(/removal/confirm/\S+)", b"".join(each[2] for each in site.send.sent)
    )
    return [path.decode() for path in found]


def is_listed(site, addr=ADDR):
    return site.store.get(addr) is not None


def log(site):
    return site.log._stream.getvalue()


def test_from_the_form_by_mail_to_delisted(site):
    web = client(site)
    form = web.get(f"/removal?address={HOST}").text
    assert f'value="mail {POSTMASTER}"' in form
    page = ask(web)
    assert POSTMASTER in web.get(page).text
    (path,) = links(site)
    assert f"Take {HOST} off the list?" in web.get(path).text
    assert "was taken off the list" in web.post(path).text
    assert not is_listed(site)
    assert "was taken off the list" in web.get(page).text
    change = site.store.history(ADDR)[-1]
    assert (change.action, change.source) == (Action.UNLIST, SOURCE)
    assert POSTMASTER in change.text
    assert sorted(each[1] for each in site.send.sent[1:]) == [["me@example.org"], [POSTMASTER]]
    assert "a request for removal" in web.get(f"/lookup/{HOST}").text


def test_a_removal_can_be_taken_back(site):
    web = client(site)
    ask(web)
    web.post(links(site)[0])
    ((key, numbers),) = numbered(site.store, [site.store.last_seq()]).items()
    list(apply(site.store, [plan(site.store, key, numbers, site.clock())], "undo:test", "", site.clock()))
    assert is_listed(site)
    assert site.store.evidence(ADDR)


def test_the_mails_are_what_mail_servers_expect_and_hold_no_word_of_strangers(site):
    web = client(site)
    ask(web, message="buy my pills at http://evil.example")
    web.post(links(site)[0])
    assert len(site.send.sent) == 3
    ids = set()
    for sender, (recipient,), raw in site.send.sent:
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        assert sender == ""
        assert mail["To"] == recipient
        assert mail["From"] == "op@example.net"
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail["Date"].datetime.timestamp() == NOW
        ids.add(mail["Message-ID"])
        assert not mail.defects
        assert b"evil" not in raw
        assert all(len(line) < 998 and b"\r" not in line[:-1] for line in raw.split(b"\n"))
    assert len(ids) == 3


def test_reading_changes_nothing_as_scanners_of_mail_read_links(site):
    web = client(site)
    page = ask(web)
    (path,) = links(site)
    for _ in range(3):
        for method in ("get", "head", "options"):
            assert getattr(web, method)(path).status_code == 200
            getattr(web, method)(page)
    assert is_listed(site)
    assert removals(site).get(desk.find(site, page.rpartition("/")[2])[0], NOW).state == "asked"


def test_a_token_counts_once_and_replays_are_logged(site):
    web = client(site)
    ask(web)
    (path,) = links(site)
    assert web.post(path).status_code == 200
    add(site, age_s=0)
    for method in (web.get, web.post):
        answer = method(path)
        assert answer.status_code == 410
        assert "works once" in answer.text
    assert is_listed(site)
    assert "what=replayed" in log(site)


def test_of_many_that_bring_a_token_at_once_one_is_taken(site):
    web = client(site)
    ask(web)
    token = links(site)[0].rpartition("/")[2]
    done = []

    def bring():
        try:
            done.append(desk.prove_mail(site, token)[1].state)
        except Declined as error:
            done.append(str(error))

    threads = [threading.Thread(target=bring) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(done)[-1] == "removed"
    assert sum(state == "removed" for state in done) == 1
    assert [change.action for change in site.store.history(ADDR)] == [Action.LIST, Action.UNLIST]


def test_a_token_proves_its_own_request_only_and_not_for_ever(site):
    other = parse_addr("203.0.113.8")
    add(site, "203.0.113.8")
    name(site, other, "mx.example.com")
    web = client(site)
    ask(web)
    ask(web, address="203.0.113.8")
    (one, _, first), (two, _, second) = (path.rpartition("/")[2].partition(".") for path in links(site))
    for token in (f"{one}.{second}", f"{two}.{first}", one, f"{one}.", f".{first}", f"{one}.{first}x"):
        assert web.post(f"/removal/confirm/{token}").status_code == 410
    assert "what=forged" in log(site)
    assert is_listed(site) and is_listed(site, other)
    site.clock.now += 3 * DAY_S
    assert web.post(links(site)[0]).status_code == 410
    assert is_listed(site)


def test_what_the_store_keeps_opens_nothing(site):
    page = ask(client(site))
    handle, token = page.rpartition("/")[2], links(site)[0].rpartition(".")[2]
    kept = b"".join(key + data for key, data in site.store.env.read(lambda: site.store.env.db("cabinet").items()))
    assert handle.encode() not in kept
    assert token.encode() not in kept


def test_a_record_in_the_dns_proves_it(site):
    web = client(site)
    page = ask(web, how="dns", reply="")
    shown = web.get(page).text
    value = re.search("spamcannibal-removal=[0-9a-f]{40}", shown)[0]
    assert "_spamcannibal.7.113.0.203.in-addr.arpa" in shown
    assert "_spamcannibal.example.com" in shown
    assert web.post(page).status_code == 409
    other = ask(web, how="dns", reply="")
    site.names.txt["_spamcannibal.example.com"] = ("v=spf1 -all", value)
    assert web.post(other).status_code == 409
    assert is_listed(site)
    assert web.post(page).status_code == 303
    assert not is_listed(site)
    assert "_spamcannibal.example.com" in site.store.history(ADDR)[-1].text
    assert not site.send.sent


def test_who_comes_from_the_address_is_taken_at_his_word_where_that_is_allowed(site):
    web, own = client(site), {"X-Forwarded-For": HOST}
    assert web.post("/removal", data={"address": HOST, "how": "visit"}).status_code == 400
    answer = web.post("/removal", data={"address": HOST, "how": "visit"}, headers=own)
    page = answer.headers["Location"]
    assert is_listed(site)
    assert web.post(page).status_code == 409
    assert web.post(page, headers=own).status_code == 303
    assert not is_listed(site)


def test_where_it_is_not_allowed_it_proves_nothing(tmp_path):
    with make_site(tmp_path / "store", web=WEB) as site:
        add(site)
        answer = client(site).post(
            "/removal", data={"address": HOST, "how": "visit"}, headers={"X-Forwarded-For": HOST}
        )
        assert answer.status_code == 400


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"how": ""}, "Choose how"),
        ({"how": "mail victim@example.org"}, "no address that answers"),
        ({"how": "mail postmaster@example.org"}, "no address that answers"),
        ({"how": f"mail {POSTMASTER}\r\nBcc: victim@example.org"}, "no address that answers"),
        ({"reply": "no mail"}, "no mail address"),
        ({"reply": "a@example.org, b@example.org"}, "no mail address"),
        ({"reply": "a@example.org\r\nBcc: b@example.org"}, "no mail address"),
        ({"message": "x" * 3000}, "too long"),
        ({"address": "203.0.113.0/24"}, "one address"),
        ({"address": "203.0.113.99"}, "not listed"),
        ({"address": ""}, "not an address"),
    ],
)
def test_a_form_that_is_wrong_says_why_and_sends_nothing(site, fields, word):
    answer = client(site).post("/removal", data={**BY_MAIL, **fields})
    assert answer.status_code == 400
    assert word in answer.text
    assert not site.send.sent


def test_we_write_to_domains_only_whose_names_lead_back(site):
    site.names.ptr[ADDR] = ("www.victim.example.org", "mail.example.com")
    site.names.a["www.victim.example.org"] = (parse_addr("192.0.2.1"),)
    page = client(site).get(f"/removal?address={HOST}").text
    assert "victim.example.org" not in page
    assert POSTMASTER in page


def test_without_such_a_name_the_network_s_abuse_contact_is_offered(site):
    site.names.ptr[ADDR] = ()
    site.contacts = lambda addr: ["abuse@provider.example.net"]
    web = client(site)
    assert "abuse@provider.example.net" in web.get(f"/removal?address={HOST}").text
    page = ask(web, how="mail abuse@provider.example.net")
    web.post(links(site)[0])
    assert "is missing, or its name does not lead back" in web.get(page).text
    assert is_listed(site)


def test_names_that_are_not_known_never_delist(site):
    page = ask(client(site))
    site.names.ptr.clear()
    site.clock.now += 61
    assert "waits for the operator" in client(site).post(links(site)[0]).text
    assert is_listed(site)
    assert "not known now" in client(site).get(page).text


def test_what_other_lists_say_can_t_be_asked_off_here(site):
    told = Hearsay((Cause("zen.example.org", b"\x7f\0\0\2"),))
    add(site, "203.0.113.9", "blcheck:zen.example.org", contrib=told)
    web = client(site)
    assert "ask to be taken off there" in web.get("/removal?address=203.0.113.9").text
    assert web.post("/removal", data={"address": "203.0.113.9", "how": "dns"}).status_code == 400
    assert is_listed(site, parse_addr("203.0.113.9"))


def test_new_evidence_holds_a_request_till_it_is_old_without_the_operator(site):
    site.store.add_evidence(ADDR, Piece(int(NOW * 1000), "trap:main", b"again"))
    web = client(site)
    page = ask(web)
    assert "waits for the operator" in web.post(links(site)[0]).text
    assert "evidence that is too new" in web.get(page).text
    assert "2027-01-17T08:00:00Z" in web.get(page).text
    waiting = [each for each in site.send.sent if each[1] == ["ops@example.net"]]
    assert b"spamcannibal removal approve" in waiting[0][2]
    assert web.post(page).status_code == 303
    assert is_listed(site)
    assert len([each for each in site.send.sent if each[1] == ["ops@example.net"]]) == 1
    site.clock.now += 2 * DAY_S + 1
    assert web.post(page).status_code == 303
    assert not is_listed(site)
    assert web.post(page).status_code == 303
    assert [change.action for change in site.store.history(ADDR)] == [Action.LIST, Action.UNLIST]


def test_who_is_listed_again_waits_longer(site):
    web = client(site)
    ask(web)
    web.post(links(site)[0])
    site.clock.now += 10 * DAY_S
    add(site, age_s=3 * DAY_S)
    page = ask(web)
    assert "listed again" in web.post(links(site)[1]).text
    assert is_listed(site)
    site.clock.now += 4 * DAY_S + 1
    web.post(page)
    assert not is_listed(site)


def test_a_network_is_the_operator_s_matter(site):
    site.store.unlist([ADDR], "admin:x", "", NOW)
    add(site, "203.0.113.0/24", "robot:F")
    web = client(site)
    ask(web)
    assert "whole network 203.0.113.0/24" in web.post(links(site)[0]).text
    ((id_, request),) = desk.waiting(site)
    assert request.key == "203.0.113.0/24"
    assert desk.approve(site, id_, "admin:alice", "provider cleaned up").state == "removed"
    assert not is_listed(site)
    assert site.store.history(parse_key("203.0.113.0/24"))[-1].source == "admin:alice"
    with pytest.raises(Declined, match="does not wait"):
        desk.refuse(site, id_, "admin:alice")


def test_a_refusal_is_told_and_holds_for_a_while(site):
    site.store.add_evidence(ADDR, Piece(int(NOW * 1000), "trap:main", b"again"))
    web = client(site)
    page = ask(web)
    web.post(links(site)[0])
    ((id_, _),) = desk.waiting(site)
    desk.refuse(site, id_, "admin:alice", "it sends every day")
    assert "refused" in web.get(page).text
    assert "it sends every day" in web.get(page).text
    assert b"it sends every day" in site.send.sent[-1][2]
    site.clock.now += 5 * DAY_S
    again = ask(web)
    assert "refused an earlier request" in web.post(links(site)[1]).text
    site.clock.now += 26 * DAY_S
    web.post(again)
    assert not is_listed(site)


def test_an_entry_that_changed_since_is_not_removed_by_an_older_look(site):
    found = case_of(site.store, ADDR)
    site.store.add_evidence(ADDR, Piece(int(NOW * 1000), "trap:main", b"while we looked"))
    assert unlist(site.store, found, SOURCE, "", NOW) == 0
    found = case_of(site.store, ADDR)
    add(site, text="another text", age_s=0)
    assert unlist(site.store, found, SOURCE, "", NOW) == 0
    assert is_listed(site)
    assert unlist(site.store, case_of(site.store, ADDR), SOURCE, "", NOW)


def test_a_request_is_about_the_entry_that_it_was_made_for(site):
    web = client(site)
    page = ask(web)
    site.store.unlist([ADDR], "admin:x", "", NOW)
    add(site, "203.0.113.0/24")
    assert "nothing that could be removed" in web.post(links(site)[0]).text
    assert is_listed(site)
    assert "not listed any more" in web.get(page).text


@pytest.mark.parametrize("key", ["per_visitor", "per_address", "per_recipient", "mails_per_day"])
def test_the_form_floods_nobody_whoever_serves_it(tmp_path, key):
    with make_site(tmp_path / "store", web=WEB, removal={key: 2}) as site:
        for number in range(4):
            add(site, f"203.0.113.{number}")
            name(site, parse_addr(f"203.0.113.{number}"), f"m{number}.example.com")
        for number in range(4):
            same = key == "per_address"
            fields = {**BY_MAIL, "address": "203.0.113.0" if same else f"203.0.113.{number}"}
            asks = {"X-Forwarded-For": "192.0.2.1" if key == "per_visitor" else f"192.0.2.{number}"}
            answer = client(site).post("/removal", data=fields, headers=asks)
            assert answer.status_code == (303 if number < 2 else 400), answer.text
        assert "Too many requests" in answer.text
        assert len(site.send.sent) == 2
        site.clock.now += DAY_S + 1
        fields["address"] = "203.0.113.1"
        assert client(site).post("/removal", data=fields).status_code == 303


def test_no_more_are_removed_within_a_day_than_the_settings_say(tmp_path):
    with make_site(tmp_path / "store", web=WEB, removal={"per_day": 1, "visit": True}) as site:
        states = []
        for number in (1, 2):
            text = f"203.0.113.{number}"
            add(site, text)
            name(site, parse_addr(text), f"m{number}.example.com")
            own = {"X-Forwarded-For": text}
            page = (
                client(site).post("/removal", data={"address": text, "how": "visit"}, headers=own).headers["Location"]
            )
            client(site).post(page, headers=own)
            states.append(desk.find(site, page.rpartition("/")[2])[1].state)
        assert states == ["removed", "queued"]


def test_a_mail_that_can_t_be_sent_is_said_and_the_list_stays(site):
    def broken(sender, recipients, message):
        raise Unavailable("no mail server")

    site.send = broken
    answer = client(site).post("/removal", data=BY_MAIL)
    assert answer.status_code == 400
    assert "can&#39;t be sent now" in answer.text
    assert "no mail server" in log(site)


def test_without_an_address_of_the_pages_or_a_sender_no_mail_is_offered(tmp_path):
    for web in ({"url": "https://bl.example.net"}, {"contact": "op@example.net"}):
        with make_site(tmp_path / next(iter(web)), web=web) as site:
            add(site)
            name(site, ADDR, "mail.example.com")
            page = client(site).get(f"/removal?address={HOST}").text
            assert "postmaster@" not in page
            assert 'value="dns"' in page


def test_a_host_header_does_not_get_into_mails(site):
    client(site).post("/removal", data=BY_MAIL, headers={"Host": "evil.example"})
    assert b"evil" not in site.send.sent[0][2]


@pytest.mark.parametrize(
    ("body", "kind", "wanted"),
    [
        (b"address=" + b"x" * (10 << 20), "application/x-www-form-urlencoded", 413),
        (b"x" * (10 << 20), "multipart/form-data; boundary=x", 413),
        (b"address=%ff%fe&how=%00", "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe\x00", "application/x-www-form-urlencoded", 400),
        (b'{"address": 1}', "application/json", 400),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", 400),
        (b"", "text/plain; charset=utf-16", 400),
    ],
)
def test_bodies_that_make_no_sense_are_refused(site, body, kind, wanted):
    answer = client(site).post("/removal", input_stream=io.BytesIO(body), content_type=kind, content_length=len(body))
    assert answer.status_code == wanted
    assert "a fault" not in log(site)


def test_whoever_finds_the_dns_busy_is_not_kept_waiting():
    class Slow(Book):
        asked, go = threading.Event(), threading.Event()

        def pointers(self, addr):
            self.asked.set()
            self.go.wait(20)
            return ("mail.example.com",)

    slow = Slow()
    asked = Asked(slow, Clock(), at_once=1)
    first = threading.Thread(target=asked.pointers, args=(ADDR,))
    first.start()
    assert slow.asked.wait(20)
    assert asked.pointers(parse_addr("203.0.113.8")) is None
    assert asked.has_text(["a"], bool) is None
    slow.go.set()
    first.join()
    assert asked.pointers(ADDR) == ("mail.example.com",)
    assert asked.pointers(parse_addr("203.0.113.8")) == ("mail.example.com",)


@pytest.fixture
def queued(tmp_path):
    """The settings file of a site with one request that waits, and its id."""
    (tmp_path / "never-list").write_text("@special\n")
    path = tmp_path / "spamcannibal.toml"
    path.write_text(
        f'[store]\npath = "{tmp_path}/store"\ncache_bytes = "1MiB"\n'
        '[robot]\nsmtp = "127.0.0.1:9"\n[remote]\nlists_dir = "."\n'
    )
    with make_site(tmp_path / "store", web=WEB) as site:
        add(site, source="admin:bob")
        handle = desk.start(site, desk.Wish(ADDR, "dns"), parse_addr("192.0.2.1"))
        site.names.ptr[ADDR] = ()
        site.names.txt["_spamcannibal.7.113.0.203.in-addr.arpa"] = (removal.dns_value(handle),)
        desk.prove_dns(site, handle, *desk.find(site, handle))
    return path, removal.id_of(handle)


def test_the_queue_on_the_command_line(queued, monkeypatch):
    path, id_ = queued
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setattr("spamcannibal.web.site.time.time", lambda: NOW)

    def run(*args):
        done = CliRunner().invoke(main.cli, ["-c", str(path), "removal", *args], catch_exceptions=False)
        return done.exit_code, done.stdout

    code, out = run("list", "--json")
    (row,) = json.loads(out)
    assert (code, row["id"], row["state"], row["entry"]) == (1, id_, "queued", HOST)
    assert "about entries of this kind the operator decides" in row["why"]
    assert id_ in run("list")[1]
    assert json.loads(run("approve", id_, "--dry-run", "--json")[1])[0]["state"] == "removed"
    assert run("list")[0] == 1
    code, out = run("approve", id_, "--reason", "fixed", "--json")
    assert (code, json.loads(out)[0]["state"]) == (0, "removed")
    assert json.loads(out)[0]["seq"]
    assert run("list") == (0, "id  state  address  entry  way  place  made  why\n")
    assert json.loads(run("list", "--all", "--json")[1])[0]["by"].startswith("admin:")
    assert run("refuse", id_)[0] == 1
    assert run("refuse", "nobody")[0] == 1


def test_a_refusal_on_the_command_line(queued, monkeypatch):
    path, id_ = queued
    monkeypatch.setattr("time.time", lambda: NOW)
    done = CliRunner().invoke(main.cli, ["-c", str(path), "removal", "refuse", id_, "--json"], catch_exceptions=False)
    assert (done.exit_code, json.loads(done.stdout)[0]["state"]) == (0, "refused")


def test_the_log_of_a_fault_names_no_address_of_a_request(tmp_path):
    with make_site(tmp_path / "store") as site:

        def opened():
            raise Unavailable("the disk is full")

        site.opened, log = opened, site.log
        for page in ("request", "confirm"):
            assert client(site).post(f"/removal/{page}/f00dsecret").status_code == 503
        lines = log._stream.getvalue()
        assert lines.count("status=503") == 2
        assert "f00dsecret" not in lines
