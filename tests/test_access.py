"""Who is let in: the rules alone; that they stand in front of everything, `test_server` shows."""

import pytest
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
    for origin in ("http://127.0.0.1:7861", "http://localhost:7860", "null", "", "https://a.b"):
        assert verdict(OPEN, origin=origin) == "origin", origin


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Bearer ", "Basic correct-horse", "Bearer correct-hors", "Bearer correct-horse1",
     "Bearer CORRECT-HORSE", "correct-horse"],
)  # fmt: skip
def test_nearly_the_token_is_not_the_token(shown: str) -> None:
    assert verdict(LOCKED, authorization=shown) == "token"


def test_the_cookie_is_not_the_token_and_belongs_to_it() -> None:
    assert verdict(LOCKED, cookie=f"x=1; {LOCKED.cookie}={LOCKED.proof}") is None
    assert LOCKED.token not in LOCKED.proof
    for value in ("correct-horse", Access("0.0.0.0", 7860, "other").proof, "", '"'):
        assert verdict(LOCKED, cookie=f"{LOCKED.cookie}={value}") == "token"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "library.example"])
def test_strangers_are_let_in_only_when_that_is_said(host: str) -> None:
    with pytest.raises(InputError, match="--token"):
        Access.checked(host, 1, None, no_auth=False)
    Access.checked(host, 1, None, no_auth=True)
    Access.checked(host, 1, "t", no_auth=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert Access.checked(host, 1, None, no_auth=False).token is None
