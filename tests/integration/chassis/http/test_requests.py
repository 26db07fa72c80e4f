"""Malformed requests are rejected in the same way by both services."""

from __future__ import annotations

import uuid
from urllib.parse import quote, unquote, urlsplit

import pytest

from tests.support.pair import Client, Pair
from tests.support.problems import refused, send

KIB = 1024
PATHS = {"order": "/v1/orders", "payment": "/v1/payments"}


@pytest.fixture(params=["order", "payment"])
def client(request: pytest.FixtureRequest, pair: Pair) -> Client:
    found: Client = getattr(pair, request.param)
    return found


@pytest.fixture
def path(client: Client, pair: Pair) -> str:
    """Return the path that creates a resource."""
    return PATHS["order" if client is pair.order else "payment"]


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b'{"a": 1',
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1E+1000000000000000000}',
        b'{"a": -1E+1000000000000000000}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\x00"}',
        b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b"a=1&b=2",
        b"<order/>",
    ],
)
def test_malformed_json_is_400(client: Client, path: str, data: bytes) -> None:
    refused(send(client, path, data), 400, "malformed-request")


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded", "text/json", "nonsense"])
def test_other_media_types_are_415(client: Client, path: str, media_type: str) -> None:
    refused(send(client, path, b"{}", Content_Type=media_type), 415, "unsupported-media-type")


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"])
def test_every_media_type_of_json_is_accepted(client: Client, path: str, media_type: str) -> None:
    assert send(client, path, b"{}", Content_Type=media_type).status_code == 422


def test_a_missing_body_is_an_empty_object(client: Client, path: str) -> None:
    response = send(client, path, b"", Content_Type="")
    pointers = {error["pointer"] for error in response.json()["errors"]}
    assert response.status_code == 422
    assert {"/currency", "/payment_method"} <= pointers
    refused(send(client, path, b" \n"), 400, "malformed-request")


def test_a_body_of_256_kib_is_read_and_one_byte_more_is_413(client: Client, path: str) -> None:
    largest = b'{"a": "' + b"x" * (256 * KIB - 9) + b'"}'
    assert send(client, path, largest).status_code == 422
    refused(send(client, path, largest + b" "), 413, "content-too-large")
    refused(send(client, path, b'{"a": "' + b"x" * 2_000 * KIB + b'"}'), 413, "content-too-large")


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": "4111 1111 1111 1111"}',
        b'{"a": {"b": ["x", {"c": "pay 4111-1111-1111-1111 now"}]}}',
        b'{"metadata": {"5555555555554444": "x"}}',
        b'{"payment_method": "378282246310005"}',
        b'{"a": "2 4111111111111111"}',
        b'{"a": "4111111111111111 12/27"}',
        b'{"a": "4111\\u00a01111\\u00a01111\\u00a01111"}',
        '{"a": "4111\u20091111\u20091111\u20091111"}'.encode(),
    ],
)
def test_a_card_number_anywhere_in_a_body_is_422_and_not_repeated(client: Client, path: str, data: bytes) -> None:
    response = send(client, path, data)
    assert (response.status_code, urlsplit(response.json()["type"]).path) == (422, "/problems/card-number")
    assert not any(part in response.text for part in ("4111", "5555", "3782"))


@pytest.mark.parametrize("text", [r"\u0000", r"\u001b[31m", r"line\nbreak", r"\u0085", r"\ud800", r"\udc00\ud800"])
def test_control_characters_and_lone_surrogates_are_422(client: Client, path: str, text: str) -> None:
    refused(send(client, path, f'{{"customer": "{text}"}}'.encode()), 422, "validation", "/customer")


@pytest.mark.parametrize("path", ["/x", "/v1", "/v2/orders", "/v1/orders/", "/admin", "/metrics", "/%00", "/é/%ff"])
def test_an_unknown_path_is_404(client: Client, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, urlsplit(response.json()["type"]).path) == (404, "/problems/not-found")
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("text", ["1", "not-an-id", "0" * 32, "00000000-0000-0000-0000-00000000000g", "%20", "a/b"])
def test_a_malformed_id_in_a_path_is_404(client: Client, path: str, text: str) -> None:
    refused(client.get(f"{path}/{text}"), 404, "not-found")


def test_an_unsupported_method_is_405_and_the_others_are_listed(client: Client, path: str) -> None:
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "NONSENSE"):
        response = client.request(method, path)
        refused(response, 405, "method-not-allowed")
        assert "POST" in response.headers["Allow"]
    response = client.request("POST", f"{path}/{uuid.uuid4()}")
    refused(response, 405, "method-not-allowed")
    changes = {"PATCH"} if path == "/v1/orders" else set()
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"} | changes


def test_head_is_get_without_a_body(client: Client, path: str) -> None:
    where = f"{path}/{uuid.uuid4()}"
    head, get = client.request("HEAD", where), client.get(where)
    assert (head.status_code, head.content) == (404, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("request_id", ["mine", "a" * 128, "~!@#$%^&*()"])
def test_a_request_id_is_returned(client: Client, path: str, request_id: str) -> None:
    response = client.get(f"{path}/{uuid.uuid4()}", headers={"X-Request-Id": request_id})
    assert response.headers["X-Request-Id"] == response.json()["request_id"] == request_id


@pytest.mark.parametrize("request_id", ["4111111111111111", "req-4111-1111-1111-1111", "5555555555554444:1"])
def test_a_request_id_with_a_card_number_is_replaced(client: Client, path: str, request_id: str) -> None:
    response = client.get(f"{path}/{uuid.uuid4()}", headers={"X-Request-Id": request_id})
    assert uuid.UUID(response.headers["X-Request-Id"]).version == 7
    assert request_id not in response.text


@pytest.mark.parametrize("request_id", ["", "two words", "a" * 129, b"\xc3\xa9", "tab\there"])
def test_an_invalid_request_id_is_replaced(client: Client, path: str, request_id: str | bytes) -> None:
    response = client.get(f"{path}/{uuid.uuid4()}", headers={"X-Request-Id": request_id})
    assert uuid.UUID(response.headers["X-Request-Id"]).version == 7
    assert response.json()["request_id"] == response.headers["X-Request-Id"]


def test_each_request_gets_its_own_id(client: Client, path: str) -> None:
    ids = {client.get(f"{path}/{uuid.uuid4()}").headers["X-Request-Id"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize("encoding", ["gzip", "identity", "br, gzip", "nonsense"])
def test_an_encoded_body_is_415(client: Client, path: str, encoding: str) -> None:
    response = send(client, path, b"{}", Content_Encoding=encoding)
    refused(response, 415, "unsupported-media-type")
    assert response.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    "request_id",
    [
        *(
            "4539578763621486",
            "4539.5787.6362.1486",
            "CC4539578763621486",
            "4539578763621486a",
            "a:4539/5787/6362/1486",
        ),
        *("%B4539578763621486^DOE/J^2912101", "4-5-3-9-5-7-8-7-6-3-6-2-1-4-8-6"),
    ],
)
def test_a_request_id_with_a_card_number_in_any_notation_is_replaced(
    client: Client, path: str, request_id: str
) -> None:
    response = client.get(f"{path}/{uuid.uuid4()}", headers={"X-Request-Id": request_id})
    assert uuid.UUID(response.headers["X-Request-Id"]).version == 7
    assert request_id not in response.text


@pytest.mark.parametrize(
    "written",
    [
        *("/4539578763621486", "/4539.5787.6362.1486", "/CC4539578763621486", "/4539/5787/6362/1486"),
        *("/%34539578763621486", "/%EF%BC%94539578763621486", "/4539%E2%80%8B5787%E2%80%8B6362%E2%80%8B1486"),
    ],
)
def test_a_card_number_in_a_path_is_not_repeated(client: Client, written: str) -> None:
    response = client.get(written)
    refused_body = response.json()
    assert response.status_code == 404
    assert "5787" not in refused_body["instance"]
    assert "[card ...1486]" in unquote(refused_body["instance"])


@pytest.mark.parametrize("text", ["3-3-3-", "1", "\uff14", "4\u200b", "4000-0000-0000-0001-"])
def test_the_response_to_a_long_path_is_short(client: Client, text: str) -> None:
    response = client.get("/" + quote((text * 4000)[:400] * 4)[:3900])
    assert response.status_code == 404
    assert len(response.content) < 8 * KIB


def test_a_list_that_is_far_too_long_is_refused_with_few_errors(client: Client, path: str) -> None:
    response = send(client, path, b'{"items": [' + b"{}," * 87_000 + b"{}]}")
    refused(response, 422, "validation", "")
    assert len(response.content) < KIB


def test_an_object_with_many_unknown_members_gets_at_most_50_errors(client: Client, path: str) -> None:
    body = b'{"items": [' + b",".join([b'{"x": 1}'] * 90) + b"]}"
    response = send(client, path, body)
    assert response.status_code == 422
    assert len(response.json()["errors"]) <= 50
    assert len(response.content) < 64 * KIB
