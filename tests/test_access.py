"""Who is let in: the rules alone; that they stand in front of everything, `test_server` shows."""

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from corpus.errors import InputError
from qa.access import Access

OPEN = Access("127.0.0.1", 7860)
LOCKED = Access("0.0.0.0", 7860, "correct-horse")
PUBLIC = Access("0.0.0.0", 7860)


def verdict(access: Access, **headers: str) -> str | None:
    return access.verdict(Headers({"host": "127.0.0.1:7860", **headers}))


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:9000", "[::1]:7860"])
def test_loopback_knows_its_names(host: str) -> None:
    assert verdict(OPEN, host=host) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil", "192.168.0.7", "", "[::1", "a b"]
)
def test_loopback_knows_no_others(host: str) -> None:
    assert verdict(OPEN, host=host) == "host"


def test_without_a_token_addresses_are_let_in_and_foreign_names_are_not() -> None:
    assert verdict(PUBLIC, host="192.168.0.7:7860") is None
    assert verdict(PUBLIC, host="rebound.example") == "host"


def test_with_a_token_any_name_may_be_ours_but_the_token_is_asked_for() -> None:
    assert verdict(LOCKED, host="library.example") == "token"
    assert verdict(LOCKED, host="library.example", authorization="Bearer correct-horse") is None


def test_origin_must_be_the_very_host() -> None:
    assert verdict(OPEN, origin="http://127.0.0.1:7860") is None
    others = [
        "http://127.0.0.1:7861",
        "http://localhost:7860",
        "null",
        "",
        "https://a.b",
        "http://[",
    ]
    for origin in others:
        assert verdict(OPEN, origin=origin) == "origin", origin


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Bearer ", "Basic correct-horse", "Bearer correct-hors", "Bearer correct-horse1",
     "Bearer CORRECT-HORSE", "correct-horse", "Bearer corréct-horse"],
)  # fmt: skip
def test_nearly_the_token_is_not_the_token(shown: str) -> None:
    assert verdict(LOCKED, authorization=shown) == "token"


def test_the_cookie_is_not_the_token_and_belongs_to_it() -> None:
    assert verdict(LOCKED, cookie=f"x=1; {LOCKED.cookie}={LOCKED.proof}") is None
    assert LOCKED.token not in LOCKED.proof
    for value in ("correct-horse", Access("0.0.0.0", 7860, "other").proof, "", '"'):
        assert verdict(LOCKED, cookie=f"{LOCKED.cookie}={value}") == "token"


@pytest.mark.parametrize(
    "odd", ['prefs={"x":1}', "theme=light dark", "path=/x", "a=b=c", "=", "alone", 'open="', "ü=é"]
)
def test_another_applications_cookie_hides_ours_nowhere(odd: str) -> None:
    own = f"{LOCKED.cookie}={LOCKED.proof}"
    for cookie in (f"{odd}; {own}", f"{own}; {odd}", f"{odd};{own};{odd}"):
        assert verdict(LOCKED, cookie=cookie) is None
    assert verdict(LOCKED, cookie=odd) == "token"


@given(st.text(string.printable, max_size=20) | st.text(max_size=20))
def test_a_token_that_is_taken_opens(token: str) -> None:
    with suppress(InputError):
        access = Access.checked("0.0.0.0", 7860, token, no_auth=False)
        shown = f"Bearer {access.token}".encode("ascii")
        headers = [(b"host", b"127.0.0.1:7860"), (b"authorization", shown)]
        assert access.verdict(Headers(raw=headers)) is None


def test_a_token_ends_where_its_line_ends() -> None:
    assert Access.checked("0.0.0.0", 1, " correct-horse\r\n", no_auth=False).token == LOCKED.token
    for token in ("pässword", "two\nlines", "\x7f"):
        with pytest.raises(InputError, match="printable ASCII"):
            Access.checked("0.0.0.0", 1, token, no_auth=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "library.example"])
def test_strangers_are_let_in_only_when_that_is_said(host: str) -> None:
    with pytest.raises(InputError, match="--token"):
        Access.checked(host, 1, None, no_auth=False)
    Access.checked(host, 1, None, no_auth=True)
    Access.checked(host, 1, "t", no_auth=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert Access.checked(host, 1, None, no_auth=False).token is None
