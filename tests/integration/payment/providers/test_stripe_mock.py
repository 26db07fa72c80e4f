"""Tests with stripe-mock, which validates requests against Stripe's OpenAPI description, over an unreliable network.

stripe-mock has no state and answers with examples, so the content of its answers is not checked here. These tests check
that it accepts the requests, and that a network failure is never taken for a decline.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from payment.model import Kind, Outcome, Result
from payment.providers import ProviderFault
from payment.providers.stripe import Stripe
from tests.support.providers.worlds import aged, operation
from tests.support.proxy import Proxy

CACHE = Path(__file__).parents[4] / ".cache" / "go"
PATIENCE = 60.0


@pytest.fixture(scope="session")
def stripe_mock() -> Iterator[int]:
    """The port of a stripe-mock, which is built once per checkout."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("building stripe-mock needs Go, which is not installed")
    program = CACHE / "stripe-mock"
    if not program.exists():
        command = [go, "install", "github.com/stripe/stripe-mock@v0.203.0"]
        subprocess.run(command, check=True, env={**os.environ, "GOBIN": str(CACHE)}, cwd=CACHE.anchor)
    listen = ["-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0"]
    with subprocess.Popen([program, *listen], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            while "Listening for HTTP at" not in (line := lines.get(timeout=PATIENCE)):
                continue
            yield int(line.rpartition(":")[2])
        finally:
            process.terminate()
            reader.join()


def _read(stream: Iterable[str], lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)


class Wire:
    """The network to stripe-mock, and the bytes that were sent over it."""

    def __init__(self, port: int) -> None:
        """`port` is the port of stripe-mock."""
        self.sent = b""
        self.proxy = Proxy("127.0.0.1", port, on_request=self._see)

    def _see(self, data: bytes) -> None:
        self.sent += data

    def provider(self, timeout: float = 20.0) -> Stripe:
        """A new Stripe provider that connects through this network."""
        return Stripe("sk_test_123", api_base=self.proxy.url, timeout=timeout)

    def request(self) -> tuple[str, dict[str, str], dict[str, str]]:
        """The path, headers and form of the first request."""
        head, _, body = self.sent.decode().partition("\r\n\r\n")
        first, *rest = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        form = {name: values[0] for name, values in parse_qs(body[: int(headers["content-length"])]).items()}
        return first.split()[1], headers, form


@pytest.fixture
def wire(stripe_mock: int) -> Iterator[Wire]:
    wire = Wire(stripe_mock)
    with wire.proxy:
        yield wire


def ask(wire: Wire, kind: Kind, timeout: float = 20.0) -> tuple[str, Outcome]:
    """Send an operation. Returns its id and outcome."""
    wanted = operation(kind, 1000, "pm_card_visa", None if kind in (Kind.SALE, Kind.AUTHORIZE) else "pi_1")
    return wanted.id, wire.provider(timeout).send(wanted)


EXPECTED = {
    Kind.SALE: ("payment_intents", {"amount": "1000", "currency": "eur", "capture_method": "automatic"}),
    Kind.AUTHORIZE: ("payment_intents", {"amount": "1000", "currency": "eur", "capture_method": "manual"}),
    Kind.CAPTURE: ("payment_intents/pi_1/capture", {"amount_to_capture": "1000"}),
    Kind.VOID: ("payment_intents/pi_1/cancel", {}),
    Kind.REFUND: ("refunds", {"amount": "1000", "payment_intent": "pi_1"}),
}


@pytest.mark.parametrize("kind", Kind)
def test_requests_match_stripes_openapi_description(wire: Wire, kind: Kind) -> None:
    operation_id, outcome = ask(wire, kind)  # a request that stripe-mock refuses is declined, as the last test shows
    assert outcome.result is not Result.DECLINED
    assert outcome.reference
    path, headers, form = wire.request()
    expected_path, expected = EXPECTED[kind]
    assert path == f"/v1/{expected_path}"
    assert headers["idempotency-key"] == operation_id
    assert headers["authorization"] == "Bearer sk_test_123"
    assert expected.items() <= form.items()
    if kind is not Kind.VOID:  # a cancellation has no metadata
        name = "tandem_capture" if kind is Kind.CAPTURE else "tandem_operation"
        assert (form[f"metadata[{name}]"], form["metadata[tandem_merchant]"]) == (operation_id, "demo")
        assert form["metadata[tandem_payment]"]
    if path == "/v1/payment_intents":
        assert (form["confirm"], form["error_on_requires_action"]) == ("true", "true")
        assert (form["payment_method"], form["allowed_payment_method_types[0]"]) == ("pm_card_visa", "card")


@pytest.mark.parametrize("kind", [Kind.CAPTURE, Kind.VOID, Kind.REFUND])
def test_lookups_match_stripes_openapi_description(wire: Wire, kind: Kind) -> None:
    found = wire.provider().lookup(operation(kind, 1000, "pm_card_visa", "pi_1"))
    assert found is None or found.result is not Result.DECLINED


def test_the_search_matches_stripes_openapi_description(wire: Wire) -> None:
    found = wire.provider().lookup(aged(operation(Kind.SALE, 1000, "pm_card_visa"), 24 * 3600.0))
    assert found is not None
    assert found.result is Result.UNKNOWN
    assert b"GET /v1/payment_intents/search?" in wire.sent


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("mode", ["refuse", "cut_request", "cut_response"])
def test_a_broken_connection_is_a_fault(wire: Wire, kind: Kind, mode: str) -> None:
    wire.proxy.mode = mode
    with pytest.raises(ProviderFault, match="APIConnectionError"):
        ask(wire, kind)


@pytest.mark.parametrize("kind", Kind)
def test_an_answer_after_the_timeout_is_a_fault(wire: Wire, kind: Kind) -> None:
    wire.proxy.mode = "swallow_response"
    with pytest.raises(ProviderFault, match="APIConnectionError"):
        ask(wire, kind, timeout=0.2)


def test_a_slow_network_is_tolerated(wire: Wire) -> None:
    wire.proxy.delay(0.3)
    _, outcome = ask(wire, Kind.SALE)
    assert outcome.reference


def test_stripe_mock_refuses_an_invalid_request(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    # The other tests mean something only if stripe-mock refuses invalid requests.
    monkeypatch.setattr("payment.providers.stripe.to_stripe", lambda amount, currency: "a lot")
    outcome = ask(wire, Kind.SALE)[1]
    assert (outcome.result, outcome.reason) == (Result.DECLINED, "invalid_request")
