"""Ask RDAP over HTTP, strictly bounded: so many redirects, so many bytes, so long, and never from https to http."""

import time
from http.client import HTTPException
from urllib import error, request

from spamcannibal.addr import format_addr
from spamcannibal.errors import Unavailable

DOCUMENT_LIMIT_BYTES = 1 << 20
REDIRECTS_LIMIT = 5
_PIECE_BYTES = 16384


class _Careful(request.HTTPRedirectHandler):
    """urllib offers no other way to say where redirects may lead."""

    max_redirections = REDIRECTS_LIMIT

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        if not newurl.startswith("https://" if req.full_url.startswith("https://") else ("http://", "https://")):
            raise error.URLError(f"redirected to {newurl[:100]!r}, want https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def ask(base: str, addr: bytes, wait_s: float) -> bytes | None:
    """Return what the server says about an address, None if it knows nothing; Unavailable if it can't be had."""
    url = f"{base.rstrip('/')}/ip/{format_addr(addr)}"
    wanted = request.Request(url, headers={"Accept": "application/rdap+json", "User-Agent": "SpamCannibal"})
    deadline = time.monotonic() + wait_s
    try:
        with request.build_opener(_Careful()).open(wanted, timeout=wait_s) as stream:
            document = bytearray()
            while piece := stream.read1(_PIECE_BYTES):
                document += piece
                if len(document) > DOCUMENT_LIMIT_BYTES:
                    raise Unavailable(f"{url}: more than {DOCUMENT_LIMIT_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise Unavailable(f"{url}: not whole within {wait_s:g} s")
            return bytes(document)
    except error.HTTPError as problem:
        problem.close()
        if problem.code == 404:
            return None
        raise Unavailable(f"{url}: HTTP {problem.code}") from None
    except (OSError, HTTPException, ValueError) as problem:
        raise Unavailable(f"{url}: {problem}") from None
