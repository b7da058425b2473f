"""Apache by conf/web/apache.conf, as a proxy and with CGI; and nginx, which counts visitors where CGI can't."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gather_kit import free_port
from live.nets import run
from live.test_cgi_web import (
    LISTED,
    OWNER,
    adapted,
    as_user,
    ask,
    check_pages,
    house,  # noqa: F401 (a fixture)
    is_open,
    is_served,
    nginx,
    removal,
    running,
)

MODULES = Path("/usr/lib/apache2/modules")
# What Debian's own configuration loads, and a2enmod as the file says.
LOADED = ("mpm_event", "authz_core", "alias", "env", "setenvif", "headers", "ssl", "proxy", "proxy_http", "cgid")


def apache(folder: Path, text: str, port: int) -> list[object]:
    """Write Apache's configuration with a site's file; return the command that runs it."""
    (folder / "site.conf").write_text(text)
    (folder / "run").mkdir()
    os.chown(folder / "run", OWNER, OWNER)
    modules = "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in LOADED)
    (folder / "apache.conf").write_text(
        f"{modules}ServerRoot {folder}\nPidFile {folder}/run/pid\nScriptSock {folder}/run/cgid\n"
        f"Listen 127.0.0.1:{port}\nServerName localhost\nErrorLog {folder}/run/error.log\n"
        'LogFormat "%h %l %u %t \\"%r\\" %>s %O" combined\nMutex sem\n'
        f"DocumentRoot {folder}/run\nInclude {folder}/site.conf\n"
    )
    return [
        *as_user(OWNER),
        "env",
        f"APACHE_LOG_DIR={folder}/run",
        "apache2",
        "-D",
        "FOREGROUND",
        "-f",
        folder / "apache.conf",
    ]


def site(folder: Path, port: int, is_cgi: bool) -> str:
    """Return conf/web/apache.conf with this test's certificate and places, as one of its two ways."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ("-subj", "/CN=bl.example.net", "-days", "1", "-nodes")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", *subject, "-keyout", key, "-out", certificate)
    os.chown(key, OWNER, OWNER)
    changes = {
        "*:443": f"127.0.0.1:{port}",
        "/etc/ssl/bl.example.net.pem": str(certificate),
        "/etc/ssl/bl.example.net.key": str(key),
        "/run/spamcannibal-web/http": str(folder / "http"),
    }
    text = adapted("apache.conf", folder, **changes)
    if not is_cgi:
        return text
    lines = [line for line in text.splitlines() if "ProxyPass" not in line]
    at = next(number for number, line in enumerate(lines) if line.startswith("</VirtualHost>"))
    commented = [line[1:] for line in lines[at:] if line.startswith("#    ")]
    return "\n".join([*lines[:at], *commented, lines[at], ""])


def test_apache_with_tls_before_the_socket_of_the_service(house: Path) -> None:  # noqa: F811
    port = free_port()
    command = apache(house, site(house, port, is_cgi=False), port)
    service = (shutil.which("spamcannibal") or "", "-c", house / "spamcannibal.toml", "web")
    with running(*service, ready=lambda: is_served(house / "http")), running(*command, ready=lambda: is_open(port)):
        base = f"https://127.0.0.1:{port}"
        assert "This address is listed" in ask(f"{base}/lookup/{LISTED}").text
        # What a visitor says about who he is counts for nothing: he comes from 127.0.0.1.
        assert "127.0.0.1" in ask(f"{base}/", **{"X-Forwarded-For": LISTED}).text
        assert removal(base).status == 400
        assert ask(f"{base}/removal", b"x" * 300_000).status == 413
        ask(f"{base}/removal/request/secret-of-somebody")
        assert ask(f"{base}/policy").status == 200
    logged = (house / "run/spamcannibal.log").read_text()
    assert "/lookup/" in logged
    assert "secret-of-somebody" not in logged


def test_cgi_under_apache(house: Path) -> None:  # noqa: F811
    port = free_port()
    with running(*apache(house, site(house, port, is_cgi=True), port), ready=lambda: is_open(port)):
        check_pages(f"https://127.0.0.1:{port}/cgi-bin")
        path = "/cgi-bin/cannibal.cgi/removal/request/secret-of-somebody"
        assert ask(f"https://127.0.0.1:{port}{path}").status == 404
    logged = (house / "run/spamcannibal.log").read_text()
    assert "/lookup/" in logged
    assert "secret-of-somebody" not in logged


def test_nginx_counts_visitors_for_processes_that_can_not(house: Path) -> None:  # noqa: F811
    port = free_port()
    changes = {
        "listen 80": f"listen 127.0.0.1:{port}",
        "rate=240r/m": "rate=1r/m",
        "burst=40": "burst=2",
        "/var/log/nginx/access.log": f"{house}/access.log",
        "unix:/run/fcgiwrap.socket": f"unix:{house}/nobody-there",
    }
    with nginx(house, adapted("nginx-cgi.conf", house, **changes), port):
        url = f"http://127.0.0.1:{port}/cgi-bin/cannibal.cgi/policy"
        assert [ask(url).status for _ in range(5)] == [502, 502, 502, 429, 429]
