from __future__ import annotations

import base64
import hashlib
import hmac
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from chassis.messaging import signatures

FIRST = "whsec_" + base64.b64encode(b"the first secret of these tests").decode()
SECOND = "whsec_" + base64.b64encode(b"the second secret of these tests").decode()
BODY = b'{"type": "something.happened"}'


@given(st.text().map(str.encode))
def test_only_the_signed_body_is_genuine_and_only_with_its_secret(body: bytes) -> None:
    headers = signatures.sign(FIRST, "msg_1", body)
    assert signatures.is_genuine([FIRST], headers, body)
    assert not signatures.is_genuine([FIRST], headers, body + b" ")
    assert not signatures.is_genuine([SECOND], headers, body)
    assert not signatures.is_genuine([], headers, body)


@pytest.mark.parametrize("secrets", [[FIRST, SECOND], [SECOND, FIRST], ["not a secret", SECOND]])
def test_a_signature_by_any_of_the_secrets_is_genuine(secrets: list[str]) -> None:
    assert signatures.is_genuine(secrets, signatures.sign(SECOND, "msg_1", BODY), BODY)


def test_each_of_several_secrets_signs() -> None:
    headers = signatures.sign(FIRST, "msg_1", BODY, SECOND)
    for secret in (FIRST, SECOND):
        assert signatures.is_genuine([secret], headers, BODY)
        assert Webhook(secret).verify(BODY, headers) == {"type": "something.happened"}


def test_header_names_are_not_case_sensitive() -> None:
    headers = {name.title(): value for name, value in signatures.sign(FIRST, "msg_1", BODY).items()}
    assert signatures.is_genuine([FIRST], {**headers, "Content-Type": "application/json"}, BODY)


@pytest.mark.parametrize("age", [-3600, -310, 310, 3600])
def test_a_timestamp_more_than_five_minutes_off_is_not_genuine(age: int) -> None:
    signed_at = int(time.time()) - age
    message = b"msg_1." + str(signed_at).encode() + b"." + BODY
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(signed_at),
        "webhook-signature": _signature(FIRST, message),
    }
    assert not signatures.is_genuine([FIRST], headers, BODY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "msg_2"),
        ("webhook-id", ""),
        ("webhook-timestamp", "1"),
        *(("webhook-timestamp", value) for value in ("", "abc", "nan", "inf", "-1", "1e300", "9" * 400, "٣")),
        *(
            ("webhook-signature", value)
            for value in ("", "v1", "v1,", "v1,%%%", "v1,AAAA", "v1,é", "v2,AAAA", ", ,", "v1,a,b c d", "\xff")
        ),
    ],
)
def test_a_changed_header_is_not_genuine_and_raises_nothing(name: str, value: str) -> None:
    headers = signatures.sign(FIRST, "msg_1", BODY)
    assert not signatures.is_genuine([FIRST], {**headers, name: value}, BODY)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_not_genuine(name: str) -> None:
    headers = signatures.sign(FIRST, "msg_1", BODY)
    assert not signatures.is_genuine([FIRST], {key: value for key, value in headers.items() if key != name}, BODY)


def test_a_body_that_is_not_text_is_not_genuine() -> None:
    assert not signatures.is_genuine([FIRST], signatures.sign(FIRST, "msg_1", BODY), b"\xff\xfe")


def test_one_valid_signature_among_others_is_enough() -> None:
    headers = signatures.sign(FIRST, "msg_1", BODY)
    others = f"v1,AAAA v2,BBBB {headers['webhook-signature']}"
    assert signatures.is_genuine([FIRST], {**headers, "webhook-signature": others}, BODY)


def test_the_signature_follows_the_standard() -> None:
    headers = signatures.sign(FIRST, "msg_1", BODY)
    message = b".".join((b"msg_1", headers["webhook-timestamp"].encode(), BODY))
    assert headers["webhook-signature"] == _signature(FIRST, message)
    assert Webhook(FIRST).verify(BODY, headers) == {"type": "something.happened"}


def _signature(secret: str, message: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
