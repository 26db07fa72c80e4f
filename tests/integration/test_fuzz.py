"""A short `make fuzz` with a fixed seed: both services behave as their OpenAPI documents say."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tests.fuzz.campaign import Campaign
from tests.support.pair import Client, Pair
from tests.support.webhook_receiver import Receiver

SEED = 20260314


@pytest.mark.parametrize("service", ["order", "payment"])
def test_generated_requests_get_the_documented_responses(pair: Pair, service: str, tmp_path: Path) -> None:
    with Receiver() as receiver:
        campaign = Campaign(
            service=getattr(pair, service),
            receiver=receiver.url,
            seed=SEED,
            folder=tmp_path,
            per_turn=2,
            phases=("examples", "fuzzing", "stateful"),
        )
        campaign.run()
    assert not campaign.findings, campaign.findings
    assert not campaign.errors
    assert campaign.drawn > 50


def test_an_undocumented_response_is_found(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = functools.wraps(pair.payment_app.view_functions["payments.list_balances"])(
        lambda: {"data": [{"account": 1}]}
    )
    monkeypatch.setitem(pair.payment_app.view_functions, "payments.list_balances", view)
    campaign = Campaign(
        service=Client(pair.payment.url), receiver="http://127.0.0.1/", seed=SEED, folder=tmp_path, phases=("examples",)
    )
    campaign.run()
    assert ("Response violates schema", "GET /v1/ledger/balances") in campaign.findings
    assert not campaign.is_clean
