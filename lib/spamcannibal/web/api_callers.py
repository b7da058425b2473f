"""Who calls: the token of a request, its net and its rate. A request without one counts for its address.

Secrets come in header fields only. Who has no token, or a wrong one, shares the rate of his address's visitors.
"""

import math

from flask import current_app, g, request

from spamcannibal.web import visitor
from spamcannibal.web.api_call import Caller
from spamcannibal.web.api_problem import Problem
from spamcannibal.web.app import here
from spamcannibal.web.limits import Limiter
from spamcannibal.web.tokens import Token, Tokens

NOBODY = Caller()
RATE = 60  # the limiter's own; a request costs by its token's


def bearer() -> str:
    """Return the secret of "Authorization: Bearer SECRET", "" without one; Problem if the field is something else."""
    field = request.headers.get("Authorization", "")
    scheme, _, secret = field.partition(" ")
    if field and scheme.lower() != "bearer":
        raise _unknown("want Authorization: Bearer SECRET")
    return secret.strip()


def caller(secret: str, *scopes: str, unknown: int = 401) -> Caller:
    """Return who calls; Problem if there must be a token with one of the scopes and is not, or its rate is spent.

    `unknown` is the status that whoever answers gives to a secret that nobody has, for the log.
    """
    site = here()
    found = Tokens(site.store.env).find(secret, site.clock()) if secret else None
    if found is None:
        _spend(visitor.neighbourhood(g.visitor), current_app.extensions["limiter"])
        if secret or scopes:
            raise _unknown("the token is not known, or its time is over" if secret else "a token is needed", unknown)
        return NOBODY
    name, token = found
    _spend(name.encode(), _limiter(), _cost(token))
    if not token.is_from(g.visitor):
        raise Problem("forbidden", f"token {name}: may not be used from this address")
    if scopes and not token.may(*scopes):
        raise Problem("forbidden", f"token {name}: lacks the scope {' or '.join(scopes)}")
    return Caller(name, token.scopes)


def _limiter() -> Limiter:
    """Return the limiter of tokens, which all parts of the application share."""
    limiter: Limiter = current_app.extensions.setdefault("token_limiter", Limiter(RATE, 2000))
    return limiter


def _cost(token: Token) -> float:
    return RATE / (token.per_minute or here().settings.api.per_minute)


def _spend(who: bytes, limiter: Limiter, cost: float = 1.0) -> None:
    wait_s = limiter.wait_s(who, here().clock(), cost)
    if wait_s:
        raise Problem("too-many", "Too many requests.", {"Retry-After": str(math.ceil(wait_s))})


def _unknown(why: str, status: int = 401) -> Problem:
    here().log.emit("API", path=request.path, status=status, why=why)
    return Problem("unauthorized", why, {"WWW-Authenticate": 'Bearer realm="spamcannibal"'})
