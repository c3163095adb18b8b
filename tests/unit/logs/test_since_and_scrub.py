from __future__ import annotations

import base64
import json
import urllib.parse

import pytest

from devenv.logs.scrub import MASK, Scrubber
from devenv.logs.since import SinceInvalid, since_seconds

NOW = 1_795_328_637.0  # 2026-11-22T06:23:57Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("0.5h", 1800), ("2026-11-22T06:23:47", 10)],
)
def test_a_span_or_a_moment(text: str, seconds: float) -> None:
    assert since_seconds(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "ten minutes", "10m ago", "-5m", "2026-11-23"])
def test_what_is_neither_or_still_to_come(text: str) -> None:
    with pytest.raises(SinceInvalid):
        since_seconds(text, NOW)


def test_a_secret_is_hidden_in_every_form_in_which_it_travels() -> None:
    secret = 'p@ss/w"rd+é'
    scrub = Scrubber([secret])
    forms = [secret, base64.b64encode(secret.encode()).decode(), "p%40ss%2Fw%22rd%2B%C3%A9", 'p@ss/w\\"rd+\\u00e9']
    for form in forms:
        assert scrub(f"uri://user:{form}@host") == f"uri://user:{MASK}@host"


def test_the_longest_secret_goes_first_and_short_values_stay() -> None:
    scrub = Scrubber(["token", "token-of-admin", "abcd"])
    assert scrub("token-of-admin abcd") == f"{MASK} abcd"
    assert Scrubber()("untouched") == "untouched"


def test_each_line_of_a_key_is_a_secret() -> None:
    scrub = Scrubber(["-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----"])
    assert "MIIEvQ" not in scrub("log: MIIEvQIBADANBg")


SECRET = "pä/ß word&7"


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe="").lower(),
        urllib.parse.quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_a_secret_is_blanked_in_every_form_in_which_it_travels(form: str) -> None:
    assert Scrubber([SECRET])(f"got {form!s}, done") == "got ***, done"


def test_the_password_of_a_connection_is_a_secret_of_its_own() -> None:
    password = urllib.parse.quote(SECRET, safe="")
    scrub = Scrubber([f"postgresql://ada:{password}@db.example/shop", '{"conn_type": "aws", "password": "in json"}'])
    assert scrub(f"as {SECRET} or {password} or in json") == "as *** or *** or ***"
    assert scrub("the host db.example stays") == "the host db.example stays"


def test_a_secret_need_not_be_text() -> None:
    raw = b"\xff\xfekey\x80"
    scrub = Scrubber([raw.decode("utf-8", "surrogateescape")])
    assert scrub.of_bytes(b"before " + raw + b" after") == b"before *** after"
    assert scrub(f"shown as {raw.decode('utf-8', 'replace')}") == "shown as ***"
    assert scrub(base64.b64encode(raw).decode()) == "***"
