"""The jobs in earnest: unbound as the resolver, rbldnsd as other people's lists, our DNS server, real processes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from live.nets import ROOT, Host, Lab, wait_for
from spamcannibal.addr import format_addr, parse_addr, parse_key, reversed_name
from spamcannibal.commands import running
from spamcannibal.config import load
from spamcannibal.guard import parse_never_list
from spamcannibal.jobs import blcheck
from spamcannibal.record import Action
from spamcannibal.store import examine
from spamcannibal.store.env import Env
from spamcannibal.store.stores import NewListing, Store
from storekit import check_whole, everything

pytestmark = pytest.mark.skipif(
    not (shutil.which("unbound") and shutil.which("rbldnsd")), reason="needs unbound and rbldnsd"
)

BAD4, TOLD4, SPARED4, GENERIC4, NAMELESS4 = "203.0.113.7", "203.0.113.8", "203.0.113.9", "203.0.113.10", "203.0.113.11"
BAD6, SPARED6 = "2001:db8:1::7", "2001:db8:2::7"
NOW = time.time()
SETTINGS = """\
[store]
path = "store"
cache_bytes = "4MiB"
[guard]
never_list = "never-list"
[remote]
lists = [{lists}]
resolvers = ["{resolver}"]
canary = ["canary.example A"]
timeout_s = {timeout_s}
[jobs]
generic_ptr = "{root}/conf/generic-ptr"
{jobs}
[dnsbl]
listen = ["127.0.0.1:5353"]
[[dnsbl.zone]]
name = "bl.example.org"
[[dnsbl.zone]]
name = "all.example.org"
promiscuous = true
"""
LISTS = """\
[[list]]
zone = "a.example"
families = ["ip4", "ip6"]
error = "see https://a.example/?"
[[list.accept]]
codes = "127.0.0.2-127.0.0.9"
[[list]]
zone = "mad.example"
any = true
[[list]]
zone = "slow.example"
any = true
per_s = 20
"""
ZONE4 = ":127.0.0.2:spam source\n127.0.0.2\n{entries}\n"
ZONE6 = ":127.0.0.2:six\n::ffff:127.0.0.2\n{entries}\n"
UNBOUND = """\
server:
    interface: 127.0.0.1
    do-not-query-localhost: no
    module-config: "iterator"
    cache-max-ttl: 0
    cache-max-negative-ttl: 0
    chroot: ""
    username: ""
    directory: "{path}"
    pidfile: ""
    logfile: "{path}/unbound.log"
    use-syslog: no
    local-zone: "canary.example." static
    local-data: "canary.example. A 192.0.2.1"
    local-zone: "in-addr.arpa." static
    local-zone: "ip6.arpa." static
    local-data-ptr: "{generic} {embedded}.dyn.provider.example"
    local-data-ptr: "198.41.0.4 a.root.example"
{names}
remote-control:
    control-enable: no
{stubs}
"""
STUB = 'stub-zone:\n    name: "{zone}"\n    stub-addr: 127.0.0.1@5300\n'


class Site:
    """One host with resolver, lists and a store of its own."""

    def __init__(self, host: Host, path: Path) -> None:
        self.host, self.path = host, path
        path.chmod(0o755)
        (path / "lists.d").mkdir()
        (path / "lists.d" / "test.toml").write_text(LISTS)
        (path / "never-list").write_text("@special\n192.0.2.0/24\n")
        self.configure()
        self.publish([BAD4, TOLD4], [BAD6])
        self._start()
        self.store = Store(Env(path / "store", cache_bytes=4 << 20), parse_never_list("@special\n", (), "never-list"))

    def configure(self, lists: str = "a.example", resolver: str = "127.0.0.1", jobs: str = "") -> None:
        names = ", ".join(f'"{name}"' for name in lists.split())
        # A resolver that is there may take long on a busy machine.
        timeout_s = 8 if resolver == "127.0.0.1" else 1
        text = SETTINGS.format(lists=names, resolver=resolver, jobs=jobs, root=ROOT, timeout_s=timeout_s)
        (self.path / "spamcannibal.toml").write_text(text)

    def publish(self, v4: list[str], v6: list[str]) -> None:
        """Write a.example anew; rbldnsd reads it within a second."""
        for name, text in (("a4", ZONE4.format(entries="\n".join(v4))), ("a6", ZONE6.format(entries="\n".join(v6)))):
            partial = self.path / f"{name}.new"
            partial.write_text(text)
            partial.rename(self.path / name)

    def _start(self) -> None:
        (self.path / "mad").write_text(":127.0.0.2:all\n0.0.0.0/1\n128.0.0.0/1\n")
        (self.path / "slow").write_text(":127.0.0.2:slow\n127.0.0.2\n")
        data = ["a.example:ip4set:a4", "a.example:ip6trie:a6", "mad.example:ip4trie:mad", "slow.example:ip4set:slow"]
        quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        options = ("-n", "-u", "nobody", "-c", "1", "-t", "1:1:1", "-w", str(self.path), "-b", "127.0.0.1/5300")
        self.host.start("rbldnsd", *options, *data, **quiet)
        stubs = "".join(STUB.format(zone=zone) for zone in ("a.example", "mad.example", "slow.example"))
        named = (BAD4, TOLD4, SPARED4, BAD6, SPARED6, *(f"198.51.100.{n}" for n in range(256)))
        names = "".join(f'    local-data-ptr: "{addr} mail.net{n}.example"\n' for n, addr in enumerate(named))
        embedded = GENERIC4.replace(".", "-")
        text = UNBOUND.format(path=self.path, names=names, stubs=stubs, generic=GENERIC4, embedded=embedded)
        (self.path / "unbound.conf").write_text(text)
        self.host.start("unbound", "-d", "-c", self.path / "unbound.conf", **quiet)
        wait_for(lambda: self.dig("2.0.0.127.a.example") == "127.0.0.2", "resolver and list answer", 30)

    def dig(self, name: str, *words: str) -> str:
        argv = ("dig", "+short", "+tries=1", "+time=2", "@127.0.0.1", *words, name)
        return self.host.run(*argv, check=False).stdout.strip()

    def argv(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "spamcannibal", "-c", str(self.path / "spamcannibal.toml"), *map(str, words)]

    def command(self, *words: object) -> subprocess.CompletedProcess[str]:
        return self.host.run(*self.argv(*words), check=False, env=ENVIRONMENT)

    def job(self, *words: object) -> dict[str, Any]:
        done = self.command(*words, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def knock(self, *texts: str) -> None:
        now_ms = int(time.time() * 1000)
        self.store.archive([(parse_addr(text), 1, now_ms, now_ms) for text in texts])

    def archived(self) -> set[bytes]:
        return {key for key, _ in self.store.page("archive", None, 10**6)}

    def empty(self) -> None:
        """Forget everything but the journal's number."""
        self.store.forget(list(self.archived()))
        while page := self.store.page("tarpit", None, 1000):
            self.store.unlist([key for key, _ in page], "admin:test", "", NOW)
        env = self.store.env
        env.run(lambda txn: env.db("checked").truncate(txn))
        env.run(lambda txn: env.db("meta").delete(examine.HITS_KEY, txn) if examine.hits_inside(self.store) else None)


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}


@pytest.fixture(scope="module")
def shared() -> Iterator[Site]:
    # Not below pytest's own directory, which is closed to nobody, whom rbldnsd becomes.
    with TemporaryDirectory(prefix="scjobs-") as name, Lab("jobs") as lab:
        made = Site(lab.host("mx"), Path(name))
        yield made
        made.store.close()


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    shared.empty()
    shared.configure()
    yield shared
    check_whole(shared.store)


def blacklist(text: str, zone: str) -> str:
    return f"{reversed_name(parse_addr(text))}.{zone}"


def test_from_a_knock_to_a_listing_and_off_again_when_the_list_says_so(site: Site) -> None:
    site.configure(jobs="missing_ptr = true")
    site.knock(BAD4, TOLD4, SPARED4, GENERIC4, NAMELESS4, BAD6, SPARED6, "192.0.2.77")
    report = site.job("blcheck")
    assert report["counts"] == {"never_listed": 1, "passed": 2, "listed": 5}
    assert report["zones"] == {"a.example": 3, "genericPTR": 1, "in-addr.arpa": 1}
    assert site.archived() == set()
    assert {key for key, _ in site.store.page("tarpit", None, 99)} == {
        *map(parse_addr, (BAD4, TOLD4, GENERIC4, NAMELESS4)), parse_key("2001:db8:1::/64"),
    }  # fmt: skip
    assert site.store.contrib(parse_key("2001:db8:1::/64")).causes[0].addr == parse_addr(BAD6)

    server = site.host.start(*site.argv("dnsbl"), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    ask = ("-p", "5353")
    wait_for(lambda: site.dig(blacklist(BAD4, "all.example.org"), *ask) == "127.0.0.3", "hearsay is shown on request")
    assert site.dig(blacklist(BAD4, "all.example.org"), *ask, "TXT") == f'"spam source, see https://a.example/?{BAD4}"'
    assert site.dig(blacklist(BAD6, "all.example.org"), *ask) == "127.0.0.3"
    assert site.dig(blacklist(NAMELESS4, "all.example.org"), *ask) == "127.0.0.4"
    assert site.dig(blacklist(BAD4, "bl.example.org"), *ask) == ""

    shown = json.loads(site.command("stats", "--json").stdout)
    assert shown["zones"][0] == {"zone": "a.example", "hits": 3}
    assert (shown["passed"], shown["never_listed"]) == (2, 1)

    site.publish([TOLD4], [])
    wait_for(lambda: site.dig(blacklist(BAD4, "a.example")) == "", "the list has taken them off")
    wait_for(lambda: site.dig(blacklist(BAD6, "a.example")) == "", "in IPv6 too")
    try:
        assert site.job("blpreen")["counts"] == {"not_due": 0, "refreshed": 3, "removed": 2}
        assert site.store.get_key(parse_addr(BAD4)) is None
        assert site.store.get_key(parse_key("2001:db8:1::/64")) is None
        wait_for(lambda: site.dig(blacklist(BAD4, "all.example.org"), *ask) == "", "and the DNS knows")
        assert site.dig(blacklist(TOLD4, "all.example.org"), *ask) == "127.0.0.3"
    finally:
        server.terminate()
        site.publish([BAD4, TOLD4], [BAD6])
        wait_for(lambda: site.dig(blacklist(BAD4, "a.example")) != "", "as it was")
        wait_for(lambda: site.dig(blacklist(BAD6, "a.example")) != "", "as it was")


@pytest.mark.parametrize("job", ["blcheck", "blpreen"])
def test_without_a_resolver_it_ends_with_75_and_changes_nothing(site: Site, job: str) -> None:
    site.knock(BAD4)
    assert site.command("blcheck").returncode == 0
    site.knock(SPARED4)
    before = everything(site.store)
    site.configure(resolver="127.0.0.1:5999", jobs="missing_ptr = true")
    done = site.command(job, *(["--all"] if job == "blpreen" else []))
    assert (done.returncode, everything(site.store) == before) == (75, True), done.stderr
    assert "remote.resolvers" in done.stderr
    assert done.stdout == ""


def test_a_list_gone_mad_lists_nobody(site: Site) -> None:
    site.configure(lists="mad.example")
    site.knock(SPARED4)
    done = site.command("blcheck", "--json")
    assert (done.returncode, json.loads(done.stdout)["counts"]) == (0, {"unsure": 1})
    assert (site.store.counts()["tarpit"], site.archived()) == (0, {parse_addr(SPARED4)})
    assert "mad.example" in done.stderr


def test_a_second_one_says_so_and_leaves_all_to_the_first(site: Site) -> None:
    site.configure(lists="slow.example")
    site.knock(*(f"198.51.100.{n}" for n in range(200)))
    lock = site.path / "store" / "blcheck.lock"
    lock.unlink(missing_ok=True)
    first = site.host.start(*site.argv("blcheck"), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lock.exists, "the first one runs")
    second = site.command("blcheck")
    assert (second.returncode, second.stdout) == (0, "")
    assert second.stderr == "blcheck: it runs already; nothing done\n"
    first.send_signal(signal.SIGTERM)
    out, err = first.communicate(timeout=30)
    assert (first.returncode, out) == (0, b""), err
    found = examine.hits(site.store)
    assert 0 < len(site.archived()) == 200 - (found.passed if found else 0)


def test_a_dry_run_in_earnest_leaves_no_trace(site: Site) -> None:
    site.knock(BAD4, SPARED4, GENERIC4, BAD6, "192.0.2.77")
    site.command("blcheck", "--dry-run")  # what opening the store writes, is written
    site.store.env.checkpoint()
    before = everything(site.store)
    files = {name: (site.path / "store" / name).read_bytes() for name in before}
    dry = site.job("blcheck", "--dry-run")
    for job in ("blpreen", "cleanup"):
        site.job(job, "--dry-run")
    assert everything(site.store) == before
    assert {name: (site.path / "store" / name).read_bytes() for name in before} == files
    real = site.job("blcheck")
    for report in (dry, real):  # answers come in any order
        report["rows"] = sorted(report["rows"], key=lambda row: row["key"])
    assert {**dry, "dry_run": False} == real


def test_the_launchers_of_old_take_the_settings_in_front(site: Site) -> None:
    site.knock(BAD4)
    for name in ("sc_BLcheck", "sc_BLpreen", "sc_cleanup"):
        argv = (sys.executable, ROOT / "cron" / name, "-c", site.path / "spamcannibal.toml")
        done = site.host.run(*argv, env=ENVIRONMENT)
        assert done.stdout == ("blcheck: listed 1\n" if name == "sc_BLcheck" else done.stdout)
    assert site.store.get_key(parse_addr(BAD4)) is not None


def _examine(site: Site) -> None:
    """One run of blcheck in this process, in small steps, until it is killed or done."""
    blcheck.PAGE_LIMIT, blcheck.SETTLE_LIMIT = 40, 10
    settings = load(site.path / "spamcannibal.toml")
    store = Store(Env(site.path / "store", cache_bytes=4 << 20), parse_never_list("@special\n", (), "never-list"))
    rules = running.load_rules(settings, store)
    breaker = running.listing_breaker(settings.guard, store, time.time())
    with running.asker(settings, rules, lambda: False, count=0) as asker:
        blcheck.BlCheck(store, rules, asker, breaker, blcheck.Plan(unknown_runs=1000)).run()
    store.close()


def _forked(site: Site) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
            _examine(site)
            status = 0
        finally:
            os._exit(status)
    return pid


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def test_killed_at_any_moment_nobody_is_lost_and_nobody_listed_twice(site: Site) -> None:
    chance = random.Random(11)
    texts = [f"198.51.{n}.{m}" for n in range(100, 110) for m in range(1, 60)]
    bad = set(chance.sample(texts, 250))
    site.configure(jobs=f'block_list = "{site.path}/block"')
    (site.path / "block").write_text("\n".join(sorted(bad)[::5]))
    site.publish(sorted(bad), [])
    wait_for(lambda: site.dig(blacklist(sorted(bad)[0], "a.example")) != "", "the list has them")
    seq = site.store.last_seq()
    site.knock(*texts)
    kills = 0
    try:
        with site.host.entered():
            while site.archived():
                enough = site.store.counts()["archive"] - chance.randrange(70)
                pid = _forked(site)
                while site.store.counts()["archive"] > enough and not _has_ended(pid):
                    time.sleep(0.001)
                time.sleep(chance.uniform(0, 0.02))
                os.kill(pid, signal.SIGKILL)
                kills += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    finally:
        site.publish([BAD4, TOLD4], [BAD6])
        wait_for(lambda: site.dig(blacklist(BAD4, "a.example")) != "", "as it was")
    changes = site.store.read(seq, 10**6)
    assert sorted(format_addr(change.key) for change in changes) == sorted(bad)
    assert {change.action for change in changes} == {Action.LIST}
    passed = {format_addr(key) for key, checked in site.store.page("checked", None, 10**6) if not checked.unknown}
    assert passed - bad == set(texts) - bad
    hits = examine.hits(site.store)
    assert (sum(hits.zones.values()), hits.passed) == (len(bad), len(texts) - len(bad))
    assert kills > 3
    print(f"killed {kills} times")


def test_a_run_beside_another_writer_lists_nobody_twice(site: Site) -> None:
    seq = site.store.last_seq()
    site.knock(BAD4, TOLD4)
    with site.host.entered():
        pids = [_forked(site) for _ in range(3)]
    site.store.list([NewListing(parse_addr(TOLD4), text="proven", evidence=b"mail")], time.time())
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    changes = [change.action for change in site.store.read(seq, 99) if change.key == parse_addr(BAD4)]
    assert changes == [Action.LIST]
    assert examine.hits(site.store).zones["a.example"] <= 2
    assert len(site.store.evidence(parse_addr(TOLD4))) == 1
