"""Debian's CrowdSec firewall bouncer fills its sets from our store; and the journal's stream from the real server."""

import http.client
import json
import re
import signal
import sys
import time
from contextlib import closing

import pytest

from live.nets import ROOT, Lab, wait_for
from spamcannibal.commands.common import open_store
from spamcannibal.config import load
from spamcannibal.web.bouncer_decisions import LEASE_S
from spamcannibal.web.bouncer_feed import Pulled, drawer

PORT = 8025
HOSTS = ["192.0.2.7", "2001:db8::7"]
SETTINGS = """
[store]
path = "{path}/store"
[guard]
never_list = "{path}/never-list"
[[dnsbl.zone]]
name = "bl.example.net"
[web]
listen = ["127.0.0.1:8025"]
threads = 3
[api]
streams = 1
stream_s = 60
heartbeat_s = 1
"""
CONFIG = """
mode: {mode}
pid_dir: {path}
update_frequency: 1s
log_mode: stdout
log_level: info
api_url: http://127.0.0.1:8025/
api_key: {secret}
disable_ipv6: false
deny_action: DROP
supported_decisions_types: [ban]
blacklists_ipv4: bans4
blacklists_ipv6: bans6
ipset_type: nethash
iptables_chains: [INPUT]
nftables:
  ipv4: {{enabled: true, set-only: false, table: crowdsec, chain: crowdsec-chain}}
  ipv6: {{enabled: true, set-only: false, table: crowdsec6, chain: crowdsec6-chain}}
prometheus: {{enabled: false}}
"""


class Place:
    """A namespace with the web server of a store; `command` runs `spamcannibal`."""

    def __init__(self, lab, path):
        self.host = lab.host("bouncer")
        self.path = path
        self.config = path / "spamcannibal.toml"
        self.config.write_text(SETTINGS.format(path=path))
        (path / "never-list").write_text("198.51.100.0/24\n")
        (path / "store").mkdir()
        self.argv = [sys.executable, "-m", "spamcannibal", "-c", str(self.config)]
        self.env = {"PYTHONPATH": str(ROOT / "lib"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        self.server = self.host.start(*self.argv, "web", env=self.env)
        wait_for(lambda: self.ask("/api/v1/openapi.json")[0] == 200, "the web server answers")

    def command(self, *argv):
        return self.host.run(*self.argv, *argv, env=self.env).stdout

    def connection(self):
        with self.host.entered():
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=15)
            connection.connect()
        return connection

    def ask(self, path, secret="", **fields):
        try:
            connection = self.connection()
        except OSError:
            return 0, b""
        headers = {name.replace("_", "-"): text for name, text in fields.items()}
        connection.request(
            "GET", path, headers={**headers, **({"Authorization": f"Bearer {secret}"} if secret else {})}
        )
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            connection.close()

    def token(self, name, *scopes):
        wanted = [word for scope in scopes for word in ("--scope", scope)]
        return json.loads(self.command("token", "add", name, *wanted, "--json"))[0]["secret"]

    def banned(self, mode):
        """The elements of the bouncer's sets."""
        return set(self.left_s(mode))

    def left_s(self, mode):
        """The elements of the bouncer's sets, and for how long they are banned."""
        if mode == "iptables":
            told = "".join(self.host.run("ipset", "list", name, check=False).stdout for name in ("bans4", "bans6"))
            return {each[1]: int(each[2]) for each in re.finditer(r"^(\S+) timeout (\d+)", told, re.MULTILINE)}
        found = {}
        for family, table, name in (("ip", "crowdsec", "bans4"), ("ip6", "crowdsec6", "bans6")):
            done = self.host.run("nft", "-j", "list", "set", family, table, name, check=False)
            for thing in json.loads(done.stdout)["nftables"] if done.returncode == 0 else ():
                elements = [each["elem"] for each in thing.get("set", {}).get("elem", ())]
                found |= {each["val"]: each["expires"] for each in elements}
        return found

    def week_passes(self, name):
        """Let the last time when this bouncer was told all be long ago; then wait until it was told again."""
        with closing(open_store(load(str(self.config), {}))) as store:
            kept, now = drawer(store.env), time.time()
            kept.change(name, lambda old: Pulled(old.seq, old.time_ms, 0, old.agent), now)
            wait_for(lambda: kept.get(name, now).whole_ms, "all was told again")


def is_renewed(ends, now, left_s):
    """Tell whether the same is banned, and ends later than it did: it was banned for some seconds by then."""
    return set(ends) == set(left_s) and all(now + left_s[value] > end for value, end in ends.items())


@pytest.fixture
def place(tmp_path):
    with Lab("bouncer") as lab:
        place = Place(lab, tmp_path)
        yield place
        place.server.send_signal(signal.SIGTERM)
        assert place.server.wait(15) == 0


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_the_firewall_bouncer_follows_the_list(place, mode):
    listed = {*HOSTS, "203.0.113.0/24", "2001:db8:1::/64"}
    place.command("list", "add", "192.0.2.7", "203.0.113.0/24", "2001:db8::7/128", "2001:db8:1::1", "--text", "spam")
    config = place.path / "bouncer.yaml"
    config.write_text(CONFIG.format(mode=mode, path=place.path, secret=place.token("fw1", "bouncer")))
    config.chmod(0o600)
    with (place.path / "bouncer.log").open("w") as log:
        command = ("crowdsec-firewall-bouncer", "-c", config)
        bouncer = place.host.start(*command, stdout=log, stderr=log)
        # In nft's sets it keeps a range's first address only; ipset knows ranges.
        wanted = listed if mode == "iptables" else {text.partition("/")[0] for text in listed}
        wait_for(lambda: place.banned(mode) == wanted, "the sets hold the list")

        place.command("list", "add", "192.0.2.8", "2001:db8::8/128", "--text", "spam")
        wait_for(lambda: place.banned(mode) == wanted | {"192.0.2.8", "2001:db8::8"}, "what was listed is there")

        place.command("list", "remove", "192.0.2.8", "2001:db8::8/128", "2001:db8::7/128", "203.0.113.0/24")
        left = wanted - {"2001:db8::7", "203.0.113.0/24", "203.0.113.0"}
        wait_for(lambda: place.banned(mode) == left, "what was removed is gone")

        place.command("list", "add", "192.0.2.9", "2001:db8::9/128", "--expires", "3s")
        wait_for(lambda: place.banned(mode) == left | {"192.0.2.9", "2001:db8::9"}, "what ends soon is there")
        wait_for(lambda: place.banned(mode) == left, "what is over is gone")

        left_s = place.left_s(mode)
        assert max(left_s.values()) <= LEASE_S
        ends = {value: time.time() + seconds for value, seconds in left_s.items()}
        place.week_passes("fw1")
        wait_for(lambda: is_renewed(ends, time.time(), place.left_s(mode)), "its bans begin anew")
        assert bouncer.poll() is None

        bouncer.kill()
        bouncer.wait(10)
        place.command("list", "remove", "192.0.2.7")
        assert "192.0.2.7" in place.banned(mode)
        bouncer = place.host.start(*command, stdout=log, stderr=log)
        wait_for(lambda: place.banned(mode) == left - {"192.0.2.7"}, "what was removed meanwhile is gone")
        bouncer.terminate()
        bouncer.wait(10)


def test_the_journal_is_streamed_and_who_hangs_up_gives_his_place_back(place):
    secret = place.token("reader", "read")
    connections = [place.connection() for _ in range(2)]
    responses = []
    for connection in connections:  # one after the other, as the first is to have the place
        connection.request("GET", "/api/v1/journal/stream?after=0", headers={"Authorization": f"Bearer {secret}"})
        responses.append(connection.getresponse())
    first, second = responses
    assert (first.status, first.getheader("Content-Type")) == (200, "text/event-stream")
    assert b"retry:" in second.read()  # there is one place: this one ends at once
    place.command("list", "add", "192.0.2.7", "--text", "spam")
    lines = iter(first.readline, b"")
    data = next(line for line in lines if line.startswith(b"data: "))
    assert json.loads(data[6:])["key"] == "192.0.2.7"
    assert json.loads(place.ask("/api/v1/status", secret)[1])["waiting"] == 1
    first.close()
    connections[0].close()
    wait_for(lambda: json.loads(place.ask("/api/v1/status", secret)[1])["waiting"] == 0, "the place is free")
    again = place.connection()
    again.request("GET", "/api/v1/journal/stream", headers={"Authorization": f"Bearer {secret}", "Last-Event-ID": "0"})
    answer = again.getresponse()  # still open when the server stops: it ends all streams
    assert any(b"192.0.2.7" in line for line in iter(answer.readline, b""))
