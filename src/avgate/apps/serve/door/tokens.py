"""The token: how it is known again, and the form by which browsers get a cookie for it."""

from __future__ import annotations

import hashlib
import hmac
import html
import re
from collections.abc import Mapping
from urllib.parse import parse_qs

from avgate.apps.serve.door.answers import Answer

COOKIE = "avgate"
"""Name of the cookie that browsers get for the token."""

_SESSION = re.compile(r"[0-9a-f]{64}")

_LOGIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>avgate</title>
<style>:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }} form {{ max-width: 22rem; margin: 15vh
auto; padding: 0 1rem }} input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; margin:
.25rem 0 .75rem }}</style></head>
<body><main><form method="post" action="/login"><h1>avgate</h1><p role="alert">{problem}</p>
<label for="token">This server's token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus
aria-describedby="from"><p id="from">Whoever started the server has it: it is AVGATE_SERVE_TOKEN there, in the
environment, or in the file .env of docker compose.</p>
<button>Open</button></form></main></body></html>
"""


def session(token: str) -> str:
    """What browsers keep in place of the token; it changes with the token, and doesn't tell it."""
    return hmac.new(token.encode(), b"avgate page", hashlib.sha256).hexdigest()


def sessions(cookies: str) -> list[str]:
    """What may be the token's session in a header of cookies.

    Programs on other ports of the same machine set cookies, too, and of any form. So those are left alone, and several
    of this name may be there.

    >>> sessions('other={"a":1}; avgate=' + 32 * "0f" + '; avgate="no"') == [32 * "0f"]
    True
    """
    pairs = (part.strip(" \t").partition("=") for part in cookies.split(";"))
    return [value for name, _, value in pairs if name == COOKIE and _SESSION.fullmatch(value)]


def is_known(headers: Mapping[str, str], token: str) -> bool:
    """Whether a request has the token, or the cookie that is given for it."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return _same(given.strip(), token)
    right = session(token)
    return any(hmac.compare_digest(value, right) for value in sessions(headers.get("cookie", "")))


def log_in(body: bytes, token: str, secure: bool) -> tuple[int, dict[str, str], bytes]:
    """Answer a login form: status, headers and body.

    Args:
        body: the form, urlencoded.
        token: the server's.
        secure: whether the browser speaks TLS with the server.
    """
    given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
    if token and not _same(given.strip(), token):
        answer = login("That isn't the token.")
        return answer.status, answer.headers | {"content-type": answer.kind}, answer.body
    headers = {"location": "/"}
    if token:
        end = "; Secure" if secure else ""
        headers["set-cookie"] = f"{COOKIE}={session(token)}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000{end}"
    return 303, headers, b""


def login(problem: str) -> Answer:
    """The form that asks for the token."""
    answer = Answer(401, problem)
    answer.body, answer.kind = _LOGIN.format(problem=html.escape(problem)).encode(), "text/html; charset=utf-8"
    answer.headers["content-security-policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return answer


def _same(given: str, token: str) -> bool:
    # Digests have one length, and bytes needn't be ASCII.
    def digest(text: str) -> bytes:
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

    return hmac.compare_digest(digest(given), digest(token))
