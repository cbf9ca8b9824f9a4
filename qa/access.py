"""Who may speak to the server: one ASGI middleware in front of every route.

A request goes through these checks, in this order, before anything else sees it:

    Host      is a name of this machine       else 421: a foreign name that resolves here
                                              (DNS rebinding) reads nothing
    Origin    is this very server, if given   else 403: another site's page posts nothing
    token     as bearer or in the cookie      else 401, or for a page the form that asks for it
    path      is one that is open             else 404
    size      is within the path's limit      else 413

Every response says what the page may load: from this server, and nothing else.
"""

import asyncio
import base64
import hashlib
import hmac
import html
import ipaddress
import re
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from corpus.errors import InputError
from corpus.log import event, failure

__all__ = ["Access", "Guard", "bug", "is_loopback", "problem"]

_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
_LOGIN = "/login"
_FORM_BYTES = 4096
_REFUSAL_SECONDS = 0.5
"""How long a wrong token waits for its answer, so that guessing is slow."""
_DRAIN_BYTES = 1 << 30
_DRAIN_SECONDS = 30
_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # With none at all, a form's Origin would be null.
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'{hashes}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'self';"
    " media-src 'none'; object-src 'none'; frame-src 'none'; worker-src 'self' blob:;"
    " base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""Gradio builds functions of its own templates ('unsafe-eval'). Inline scripts run only where their
hash is named, which is done for those that a page is sent with; attributes such as `onerror=`,
wherever they come from, never run."""

_Verdict: TypeAlias = Literal["host", "origin", "token"] | None


@dataclass(frozen=True, slots=True)
class Access:
    """Who is let in."""

    host: str
    """The address or name that the server is bound to."""
    port: int
    token: str | None = None
    """What must be shown; None lets everybody in."""

    @classmethod
    def checked(cls, host: str, port: int, token: str | None, *, no_auth: bool) -> "Access":
        """The access that was asked for.

        Raises:
            InputError: strangers could come in, and that was not asked for in so many words; or
                nobody could, since no header carries such a token.
        """
        if token is not None and no_auth:
            raise InputError("use just one of --token and --no-auth")
        if token is not None and not token.strip():
            raise InputError(f"the token {token!r} is blank; expected some secret characters")
        token = token and token.strip()  # Such as the end of the line that it was read from.
        if unsayable := re.search(r"[^ -~]", token or ""):
            raise InputError(
                f"the token has {unsayable[0]!r} in it, which visitors cannot send in a header;"
                " expected printable ASCII characters, such as `openssl rand -hex 16` makes"
            )
        if token is None and not no_auth and not is_loopback(host):
            raise InputError(
                f"--host {host} can be reached from other machines; give a --token (or set"
                " CITESPAN_TOKEN), or say --no-auth to let everybody read and change the index"
            )
        return cls(host, port, token)

    @property
    def cookie(self) -> str:
        """The cookie's name: cookies do not tell ports apart."""
        return f"citespan-{self.port}"

    @property
    def proof(self) -> str:
        """What the cookie holds: made of the token, which cannot be told from it."""
        assert self.token is not None
        return hmac.new(self.token.encode(), b"citespan cookie", hashlib.sha256).hexdigest()

    def shows_token(self, shown: str) -> bool:
        """Whether this is the token, in a time that does not tell how nearly."""
        assert self.token is not None
        return hmac.compare_digest(shown.strip().encode(), self.token.encode())

    def verdict(self, headers: Headers) -> _Verdict:
        """Which check the request fails first; None if none."""
        host = headers.get("host", "")
        if not self._is_own(host):
            return "host"
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host.lower():
            return "origin"
        return None if self.token is None or self._is_known(headers) else "token"

    def _is_own(self, host: str) -> bool:
        """Whether a request to this Host is meant for this server."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in _LOCAL_NAMES:
            return True
        if is_loopback(self.host) or not name:
            return False
        if self.token is not None or _is_address(name):
            # With a token a foreign name gains nothing: the cookie belongs to our name. And a
            # page under a bare address cannot have come from elsewhere.
            return True
        own = socket.gethostname().lower()
        return name in {self.host.lower(), own, f"{own}.local", socket.getfqdn().lower()}

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.shows_token(shown):
            return True
        # Other applications of this machine set cookies that the standard library's parser, which
        # then knows none, does not understand.
        kept = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        return hmac.compare_digest(kept.encode(), self.proof.encode())


class Guard:
    """The middleware."""

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        *,
        is_open: Callable[[str], bool] = lambda _: True,
        most_bytes: Callable[[str], int] = lambda _: 1 << 20,
    ) -> None:
        """The guard in front of an application.

        Args:
            app: what is guarded.
            access: who is let in.
            is_open: whether there is anything at this path.
            most_bytes: how large the body of a request to this path may be.
        """
        self._app = app
        self._access = access
        self._is_open = is_open
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            request_id = secrets.token_hex(8)
            scope.setdefault("state", {})["request_id"] = request_id
            if "text/html" in Headers(scope=scope).get("accept", ""):
                # A page's scripts can be hashed only where they are not compressed.
                kept = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
                scope = {**scope, "headers": kept}
            sealed, started = _Sealed(send, request_id), time.monotonic()
            try:
                await self._answer(scope, receive, sealed)
            except Exception as error:
                response = bug(error, scope)
                if sealed.status is None:
                    await response(scope, receive, sealed)
            event(
                "request",
                id=request_id,
                method=scope["method"],
                path=scope["path"],
                status=sealed.status,
                seconds=time.monotonic() - started,
            )
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        verdict = self._access.verdict(headers)
        if verdict in (None, "token") and path == _LOGIN and self._access.token is not None:
            response = await self._log_in(scope, receive)
        elif verdict is not None:
            response = await self._refused(verdict, scope, headers)
        elif not self._is_open(path):
            response = problem(404, "not_found", f"there is nothing at {path}", scope)
        else:
            await self._passed_on(scope, receive, send)
            return
        await response(scope, receive, send)

    async def _refused(self, verdict: _Verdict, scope: Scope, headers: Headers) -> Response:
        if verdict == "host":
            seen = headers.get("host", "")
            return problem(
                421,
                "foreign_host",
                f"the request is for host {seen!r}, which is no name of this server",
                scope,
            )
        if verdict == "origin":
            return problem(
                403,
                "foreign_origin",
                f"the request comes from {headers.get('origin')!r}, another site; only this"
                " server's own page may ask",
                scope,
            )
        if "text/html" in headers.get("accept", "") and scope["method"] in ("GET", "HEAD"):
            return _login_page(401)
        if "authorization" in headers or "cookie" in headers:
            await asyncio.sleep(_REFUSAL_SECONDS)
        return problem(
            401,
            "no_token",
            "this server asks for its token; send it as `Authorization: Bearer TOKEN`",
            scope,
            {"www-authenticate": 'Bearer realm="citespan"'},
        )

    async def _log_in(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] != "POST":
            return RedirectResponse("/", status_code=303)
        body = b""
        while len(body) <= _FORM_BYTES:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        shown = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        if len(body) > _FORM_BYTES or not self._access.shows_token(shown):
            await asyncio.sleep(_REFUSAL_SECONDS)
            return _login_page(401, "That is not the token of this server.")
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(
            self._access.cookie,
            self._access.proof,
            httponly=True,
            samesite="strict",
            secure=scope.get("scheme") == "https",
        )
        return response

    async def _passed_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer, or 413 when the body is larger than its path allows."""
        most = self._most_bytes(scope["path"])
        received = 0
        started = too_large = False

        async def counted() -> Message:
            nonlocal received, too_large
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                too_large = True
                return {"type": "http.disconnect"}
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if too_large and not started:
                return
            started = True
            await send(message)

        declared = Headers(scope=scope).get("content-length", "0")
        if not (declared.isascii() and declared.isdigit() and int(declared) <= most):
            too_large = True
        else:
            try:
                await self._app(scope, counted, watched)
            except Exception:
                if not too_large:
                    raise
        if too_large and not started:
            with suppress(TimeoutError):
                await asyncio.wait_for(_drained(receive), _DRAIN_SECONDS)
            sentence = f"the request has more than {most / 2**20:.3g} MB"
            await problem(413, "too_large", sentence, scope)(scope, receive, send)


async def _drained(receive: Receive) -> None:
    """Read what is still coming, up to a size: who is still sending hears no answer."""
    left = _DRAIN_BYTES
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return


class _Sealed:
    """Sends a response with the headers that every response has."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status: int | None = None
        """Of the answer; None where none has been given yet."""
        self._start: Message | None = None
        self._page = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=list(message["headers"]))
            message = {**message, "headers": headers.raw}
            headers["x-request-id"] = self._request_id
            for name, value in _HEADERS.items():
                headers[name] = value
            kind = headers.get("content-type", "").partition(";")[0]
            if kind in ("text/html", "application/json"):
                headers.setdefault("cache-control", "no-store")
            if kind == "text/html":
                self._start = message  # The policy names the hashes of the page's scripts.
                return
            headers["content-security-policy"] = _POLICY.format(hashes="")
            await self._send(message)
        elif self._start is not None and message["type"] == "http.response.body":
            self._page += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_page(self._start)
        else:
            await self._send(message)

    async def _send_page(self, start: Message) -> None:
        MutableHeaders(raw=start["headers"])["content-security-policy"] = _POLICY.format(
            hashes="".join(f" '{_hash(script)}'" for script in _INLINE_SCRIPT.findall(self._page))
        )
        await self._send(start)
        await self._send({"type": "http.response.body", "body": self._page})


def _hash(script: bytes) -> str:
    # As the browser reads it: it knows no carriage returns.
    digest = hashlib.sha256(script.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to the host.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _place(origin: str) -> str | None:
    """The host and port of an origin; None where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def problem(
    status: int, code: str, sentence: str, scope: Scope, headers: dict[str, str] | None = None
) -> Response:
    """An error as every interface tells it: a code for programs, a sentence for people."""
    request_id = scope.get("state", {}).get("request_id", "")
    event("refused", id=request_id, status=status, code=code, error=sentence)
    return JSONResponse(
        {"code": code, "error": sentence, "request_id": request_id},
        status_code=status,
        headers=headers,
    )


def bug(error: Exception, scope: Scope) -> Response:
    """What nobody expected, in the log once for each request, and as the visitor is told of it."""
    state = scope["state"]
    if not state.get("bug"):
        state["bug"] = failure(error, state["request_id"])
    sentence = "this is a bug in Citespan; its log has it under the request's id"
    return problem(500, "bug", sentence, scope)


def _login_page(status: int, trouble: str = "") -> Response:
    said = f'<p role="alert">{html.escape(trouble)}</p>' if trouble else ""
    return HTMLResponse(_LOGIN_PAGE.replace("<!-- trouble -->", said), status_code=status)


_LOGIN_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Citespan</title>
<style>
:root { color-scheme: light dark; --ink: #23211d; --paper: #faf8f4; --line: #d8d2c6; --go: #275d52;
  --bad: #9a3324; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9e5dc; --paper: #191a1c; --line: #3a3b3e; --go: #8fc7b8; --bad: #ea9a8b; } }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; }
form { width: min(22rem, 88vw); }
h1 { font: 500 1.9rem/1.2 Charter, "Iowan Old Style", Georgia, serif; margin: 0 0 .4rem; }
label { display: block; margin: 1.4rem 0 .4rem; }
input, button { box-sizing: border-box; width: 100%; padding: .7rem .8rem; font: inherit;
  border: 1px solid var(--line); border-radius: .4rem; background: none; color: inherit; }
button { margin-top: .8rem; background: var(--go); color: var(--paper); border-color: transparent;
  cursor: pointer; }
:focus-visible { outline: 2px solid var(--go); outline-offset: 2px; }
[role=alert] { color: var(--bad); }
</style>
<form method="post" action="/login">
<h1>Citespan</h1>
<p>This server asks for its token, once in this browser.</p>
<!-- trouble -->
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Continue</button>
</form>
</html>
"""
