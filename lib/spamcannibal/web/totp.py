"""One-time passwords by time (RFC 6238), as authenticator programs make them: 6 digits, 30 seconds. Pure.

A code counts in its own step and the ones beside it, and never again: whoever takes one must keep the step it was of,
and give it as `last`.
"""

import re

STEP_S = 30
BESIDE = 1


def step_of(secret: str, code: str, last: int, now: float) -> int | None:
    """Return the step that a code is of, if that is past `last`; None if it is wrong or was used."""
    import pyotp

    digits = re.sub("[ -]", "", code[:16])
    if not re.fullmatch("[0-9]{6}", digits):
        return None
    totp, found = pyotp.TOTP(secret), None
    at = int(now // STEP_S)
    for step in range(at - BESIDE, at + BESIDE + 1):
        # All are compared, so that the time taken tells nothing.
        if pyotp.utils.strings_equal(digits, totp.at(step * STEP_S)) and step > last:
            found = step
    return found


def new_secret() -> str:
    """Return a secret of 160 random bits, in base 32."""
    import pyotp

    return pyotp.random_base32()


def uri(secret: str, name: str, issuer: str) -> str:
    """Return what authenticator programs read: otpauth://totp/..."""
    import pyotp

    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=issuer)


def picture(text: str) -> str:
    """Return a text as a QR code, an SVG element without any style."""
    import segno

    svg: str = segno.make(text, error="m").svg_inline(scale=5, dark="#000", light="#fff")
    return svg
