"""The pages under real web servers, by the files of conf/web: CGI under lighttpd and fcgiwrap, a proxy before a socket.

The servers run as a user who is not the database's: one in its group reads, its owner writes too.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from helpers.faulty_dns import FaultyDns
from live.nets import run, wait_for
from ports import free_port
from spamcannibal.addr import parse_key
from spamcannibal.commands.common import open_store
from spamcannibal.config import load
from spamcannibal.record import PUBLISHED
from spamcannibal.store.gate import FILE_NAME
from spamcannibal.store.stores import NewListing

ROOT = Path(__file__).parents[2]
OWNER, READER = 64301, 64302  # numbers that no user has
LISTED = "203.0.114.7"
SETTINGS = """\
[store]
path = "store"
cache_bytes = "1MiB"
[guard]
never_list = "never-list"
[remote]
resolvers = ["127.0.0.1:{dns}"]
[web]
listen = ["{folder}/http"]
socket_mode = "666"
[removal]
visit = true
quiet_s = 0
named = false
"""


class Answer(NamedTuple):
    status: int
    headers: Any
    text: str


def ask(url: str, data: bytes | None = None, **headers: str) -> Answer:
    """Ask without following redirects, trusting any certificate."""
    context = ssl._create_unverified_context()

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *args: Any) -> None:
            return None

    opener = urllib.request.build_opener(Stay, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(urllib.request.Request(url, data, headers), timeout=30) as answer:
            return Answer(answer.status, answer.headers, answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read().decode())


@pytest.fixture
def house() -> Iterator[Path]:
    """A folder that everybody may read, as pytest's are not, with a database of OWNER's that holds one listing."""
    with FaultyDns() as dns:  # which knows no name: a page is not to wait for one that does not answer
        yield from made(dns.port)


def made(dns: int) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sc-web-"))
    folder.chmod(0o755)
    (folder / "never-list").write_text("@special\n")
    (folder / "spamcannibal.toml").write_text(SETTINGS.format(folder=folder, dns=dns))
    (folder / "store").mkdir(mode=0o770)
    os.chown(folder / "store", OWNER, OWNER)
    store = open_store(load(str(folder / "spamcannibal.toml"), {}))
    store.list([NewListing(parse_key(LISTED), text="spam", source="trap:main", flags=PUBLISHED)], time.time() - 86400)
    yield folder  # with the database open for writing, as by a daemon: who only reads needs one that is
    store.close()
    shutil.rmtree(folder)


@contextlib.contextmanager
def running(*argv: object, ready: Callable[[], bool]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([str(word) for word in argv], stderr=subprocess.PIPE)
    try:
        wait_for(lambda: ready() or process.poll() is not None, f"{argv[0]} is ready")
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield process
    finally:
        process.terminate()
        process.wait(10)
        assert process.stderr
        process.stderr.close()


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def as_user(uid: int, *groups: int) -> list[object]:
    kept = ",".join(map(str, groups or (uid,)))
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={kept}"]


def adapted(name: str, folder: Path, **changes: str) -> str:
    """Return a file of conf/web with the paths of this test instead of its own; each must stand in it."""
    text = (ROOT / "conf/web" / name).read_text()
    usual = {
        "/etc/spamcannibal/spamcannibal.toml": str(folder / "spamcannibal.toml"),
        "/opt/spamcannibal/share/spamcannibal/cgi-bin/": f"{ROOT}/cgi-bin/",
        "/opt/spamcannibal/bin/python": sys.executable,
    }
    for old, new in {**({} if changes.pop("proxy", "") else usual), **changes}.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def lighttpd(folder: Path, uid: int, *groups: int) -> Iterator[str]:
    port = free_port()
    (folder / "spamcannibal.conf").write_text(adapted("lighttpd.conf", folder))
    conf = folder / "lighttpd.conf"
    conf.write_text(
        f'server.document-root = "{folder}"\nserver.port = {port}\nserver.bind = "127.0.0.1"\n'
        f'include "{folder}/spamcannibal.conf"\n'
    )
    with running(*as_user(uid, *groups), "lighttpd", "-D", "-f", conf, ready=lambda: is_open(port)):
        yield f"http://127.0.0.1:{port}/cgi-bin"


@contextlib.contextmanager
def nginx(folder: Path, text: str, port: int) -> Iterator[None]:
    """Run nginx with a file of conf.d, all it writes in the folder."""
    (folder / "site.conf").write_text(text)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = folder / "nginx.conf"
    conf.write_text(
        f"daemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\nuser root;\nevents {{}}\n"
        f"http {{\naccess_log {folder}/access.log;\n{temporary}include {folder}/site.conf;\n}}\n"
    )
    with running("nginx", "-e", "stderr", "-p", folder, "-c", conf, ready=lambda: is_open(port)):
        yield


@contextlib.contextmanager
def fcgiwrap(folder: Path, uid: int) -> Iterator[str]:
    port, wrap = free_port(), folder / "run"
    wrap.mkdir()
    os.chown(wrap, uid, uid)
    text = adapted(
        "nginx-cgi.conf",
        folder,
        **{
            "listen 80": f"listen 127.0.0.1:{port}",
            "unix:/run/fcgiwrap.socket": f"unix:{wrap}/socket",
            "/var/log/nginx/access.log": f"{folder}/access.log",
        },
    )
    argv = (*as_user(uid), "fcgiwrap", "-s", f"unix:{wrap}/socket")
    with running(*argv, ready=lambda: is_served(wrap / "socket")), nginx(folder, text, port):
        yield f"http://127.0.0.1:{port}/cgi-bin"


def check_pages(base: str) -> None:
    """Look at what every CGI server must give: pages whose links stay below the script."""
    page = ask(f"{base}/cannibal.cgi/lookup/{LISTED}")
    assert page.status == 200
    assert "This address is listed" in page.text
    links = re.findall(r'(?:href|src|action)="([^"#]*)"', page.text)
    assert {"/cgi-bin/cannibal.cgi/policy", "/cgi-bin/cannibal.cgi/static/style.css"} <= set(links)
    assert all(link.startswith("/cgi-bin/cannibal.cgi/") for link in links)
    assert not [link for link in links if link.count("lookup") > 1]
    report = ask(f"{base}/spam_report.cgi")
    assert report.status == 200
    assert 'href="/cgi-bin/spam_report.cgi/' in report.text
    assert "<title>Activity" in report.text


def check_paths(base: str) -> None:
    """Look at what a server may do to the path behind a script's name."""
    assert ask(f"{base}/spam_report.cgi/lookup/{LISTED}.txt").text.startswith(f"{LISTED} listed")
    assert ask(f"{base}/cannibal.cgi").text.count("Is an address listed here?")
    assert ask(f"{base}/cannibal.cgi/lookup?q=203.0.114.0%2F24").headers["Location"].endswith("/lookup/203.0.114.0/24")
    assert ask(f"{base}/cannibal.cgi/lookup/203.0.114.0/24.json").status == 200
    assert ask(f"{base}/cannibal.cgi/static/style.css").headers["Content-Type"].startswith("text/css")
    assert ask(f"{base}/cannibal.cgi/nothing").status == 404
    assert ask(f"{base}/cannibal.cgi/lookup/%3Cb%3E").status == 400


def check_broken(base: str, folder: Path) -> None:
    (folder / "spamcannibal.toml").write_text("[web]\nnothing = 1\n")
    answer = ask(f"{base}/cannibal.cgi/")
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert "Traceback" not in answer.text
    assert "nothing" not in answer.text


def removal(base: str, **headers: str) -> Answer:
    """Make a request by coming from the address."""
    return ask(f"{base}/removal", f"address={LISTED}&how=visit".encode(), **{"X-Forwarded-For": LISTED, **headers})


def test_cgi_under_lighttpd_for_a_user_who_may_only_read(house: Path) -> None:
    with lighttpd(house, READER, READER, OWNER) as base:
        check_pages(base)
        check_paths(base)
        assert removal(f"{base}/cannibal.cgi").status == 503
        check_broken(base, house)


def test_a_server_that_ends_the_program_when_it_has_its_answer_does_not_hurt_the_database(house: Path) -> None:
    environ = {
        **os.environ,
        "SPAMCANNIBAL_CONFIG": f"{house}/spamcannibal.toml",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/cannibal.cgi",
        "PATH_INFO": f"/lookup/{LISTED}.txt",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "203.0.113.99",
    }
    argv = [sys.executable, ROOT / "cgi-bin/cannibal.cgi"]
    # Read by another process: to close the file would end our own locks on it.
    read = ("od", "-t", "x1", house / "store" / FILE_NAME)
    gate = run(*read).stdout
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b"Status: 200")
        process.terminate()
        assert b"listed" in process.stdout.read()
    assert process.returncode == 0
    assert run(*read).stdout == gate  # nobody died inside, and who opened it closed it


def test_cgi_under_nginx_and_fcgiwrap_for_one_who_may_write(house: Path) -> None:
    with fcgiwrap(house, OWNER) as base:
        check_pages(base)
        answer = removal(f"{base}/cannibal.cgi")
        assert answer.status == 303
        path = answer.headers["Location"]
        assert path.startswith("/cgi-bin/cannibal.cgi/removal/request/")
        url = base.removesuffix("/cgi-bin") + path
        assert ask(url, b"").status == 409
        assert ask(url, b"", **{"X-Forwarded-For": LISTED}).status == 303
        assert "This address is not listed" in ask(f"{base}/cannibal.cgi/lookup/{LISTED}").text
        # The server's own limit, and ours where it has none.
        assert ask(f"{base}/cannibal.cgi/removal", b"x" * 300_000).status == 413
        logged = (house / "access.log").read_text()
        assert "/lookup/" in logged
        assert "/removal/request/" not in logged
        check_broken(base, house)


def test_a_user_who_may_nothing_gets_a_page_that_says_so(house: Path) -> None:
    with lighttpd(house, READER) as base:
        answer = ask(f"{base}/cannibal.cgi/lookup/{LISTED}")
        assert answer.status == 503
        assert "not available now" in answer.text


def test_nginx_with_tls_before_the_socket_of_the_service(house: Path) -> None:
    port, plain = free_port(), free_port()
    key, certificate = house / "key.pem", house / "certificate.pem"
    subject = ("-subj", "/CN=bl.example.net", "-days", "1", "-nodes")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", *subject, "-keyout", key, "-out", certificate)
    text = adapted(
        "nginx.conf",
        house,
        proxy="yes",
        **{
            "    listen [::]:80;\n": "",
            "    listen [::]:443 ssl http2;\n": "",
            "listen 443": f"listen 127.0.0.1:{port}",
            "listen 80": f"listen 127.0.0.1:{plain}",
            "/etc/ssl/bl.example.net.pem": str(certificate),
            "/etc/ssl/bl.example.net.key": str(key),
            "/run/spamcannibal-web/http": str(house / "http"),
        },
    )
    spamcannibal = shutil.which("spamcannibal") or ""
    service = (spamcannibal, "-c", house / "spamcannibal.toml", "web")
    with running(*service, ready=lambda: is_served(house / "http")), nginx(house, text, port):
        base = f"https://127.0.0.1:{port}"
        assert ask(f"http://127.0.0.1:{plain}/policy").headers["Location"] == "https://bl.example.net/policy"
        assert "This address is listed" in ask(f"{base}/lookup/{LISTED}").text
        # What a visitor says about who he is counts for nothing: he comes from 127.0.0.1.
        assert "127.0.0.1" in ask(f"{base}/", **{"X-Forwarded-For": LISTED}).text
        assert removal(base).status == 400
        assert ask(f"{base}/removal", b"x" * 300_000).status == 413
        ask(f"{base}/removal/request/secret-of-somebody")
        assert "secret-of-somebody" not in (house / "access.log").read_text()
