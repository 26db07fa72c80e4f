"""The documentation page, used by keyboard: enter a key, place an order, see that it is paid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.support.accessibility import violations
from tests.support.browser import Visitor
from tests.support.settings import KEY
from tests.support.stack import Stack


def operation(visitor: Visitor, name: str) -> Locator:
    return visitor.page.locator(f"[id$='-{name}']")


def open_operation(visitor: Visitor, name: str) -> Locator:
    found = operation(visitor, name)
    visitor.press(found.locator(".opblock-summary-control"))
    found.get_by_role("button", name="Execute").wait_for()
    return found


def execute(visitor: Visitor, found: Locator) -> tuple[int, Any]:
    """Send the request of an operation. Return status and JSON body of the response."""
    with visitor.page.expect_response(re.compile("/v1/")) as answer:
        visitor.press(found.get_by_role("button", name="Execute"))
    status = answer.value.status
    expect(found.locator(".live-responses-table .response-col_status").last).to_contain_text(str(status))
    shown = found.locator(".live-responses-table .response-col_description pre").first
    return status, json.loads(shown.inner_text())


def type_key(visitor: Visitor, key: str) -> None:
    visitor.press(visitor.page.get_by_role("button", name="Authorize", exact=True))
    visitor.write(visitor.page.get_by_label("auth-bearer-value"), key)
    visitor.press(visitor.page.get_by_role("button", name="Apply credentials").first)
    visitor.press(visitor.page.get_by_role("button", name="Close").last)


@pytest.mark.parametrize("visitor", ["light", "dark"], indirect=True)
def test_an_order_is_placed_and_seen_paid_by_keyboard_alone(stack: Stack, visitor: Visitor, artifacts: Path) -> None:
    visitor.page.goto(f"{stack.order.url}/docs")
    type_key(visitor, KEY)
    placing = open_operation(visitor, "placeOrder")
    status, order = execute(visitor, placing)
    assert status == 201
    visitor.screenshot(artifacts, "docs-order-placed", placing.locator(".live-responses-table"))

    looking = open_operation(visitor, "getOrder")
    visitor.write(looking.get_by_placeholder("order_id"), order["id"])
    status, seen = execute(visitor, looking)
    assert (status, seen["id"], seen["status"], seen["paid_amount"]) == (200, order["id"], "paid", 900)
    visitor.screenshot(artifacts, "docs-order-paid", looking.locator(".live-responses-table"))
    assert visitor.complaints == []
    assert len(stack.databases.charges(order["id"])) == 1
    assert visitor.page.locator("html.dark-mode").count() == (visitor.scheme == "dark")


def test_a_new_idempotency_key_follows_a_success_but_not_a_failure(stack: Stack, visitor: Visitor) -> None:
    visitor.page.goto(f"{stack.order.url}/docs")
    placing = open_operation(visitor, "placeOrder")
    key = placing.get_by_placeholder("Idempotency-Key")
    first = key.input_value()
    assert execute(visitor, placing)[0] == 401
    assert key.input_value() == first
    type_key(visitor, KEY)
    _, one = execute(visitor, placing)
    expect(key).not_to_have_value(first)
    _, other = execute(visitor, placing)
    assert one["id"] != other["id"]


def test_the_api_key_is_stored_only_in_the_page(stack: Stack, visitor: Visitor) -> None:
    visitor.page.goto(f"{stack.order.url}/docs")
    type_key(visitor, KEY)
    stored = visitor.page.evaluate(
        "[document.cookie, ...Object.values(localStorage), ...Object.values(sessionStorage)]"
    )
    assert not any(KEY in str(kept) for kept in stored)
    visitor.page.reload()
    assert execute(visitor, open_operation(visitor, "placeOrder"))[0] == 401


@pytest.mark.parametrize("service", ["order", "payment"])
def test_every_operation_can_be_opened_without_browser_errors(
    stack: Stack, visitor: Visitor, artifacts: Path, service: str
) -> None:
    page = visitor.page
    page.goto(f"{getattr(stack, service).url}/docs")
    controls = page.locator(".opblock-summary-control")
    controls.first.wait_for()
    assert controls.count() >= 15
    visitor.screenshot(artifacts, f"docs-{service}")
    opened = page.locator(".opblock.is-open")
    for control in controls.all():
        control.click()
        expect(opened.locator(".responses-table").first).to_be_visible()
        control.click()
        expect(opened).to_have_count(0)
    assert visitor.complaints == []


@pytest.mark.parametrize(("visitor", "service"), [("light", "order"), ("dark", "payment")], indirect=["visitor"])
def test_the_page_is_accessible(stack: Stack, visitor: Visitor, service: str) -> None:
    """Both services have the same page and the same colors, with other operations."""
    page = visitor.page
    page.goto(f"{getattr(stack, service).url}/docs")
    page.locator(".opblock-summary-control").first.wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Authorize", exact=True).click()
    expect(page.get_by_label("auth-bearer-value")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Close").last.click()
    kinds = [page.locator(f".opblock-{kind}").first for kind in ("get", "post", "put", "patch", "delete", "deprecated")]
    for kind in kinds:
        if kind.count():
            if not kind.locator(".responses-table").count():
                kind.locator(".opblock-summary-control").click()
            expect(kind.locator(".responses-table").first).to_be_visible()
    assert violations(page) == []
    assert page.locator("main").count() == 1


def test_the_browser_blocks_other_origins_and_inline_scripts(stack: Stack, visitor: Visitor) -> None:
    visitor.page.goto(f"{stack.order.url}/docs")
    visitor.page.locator(".opblock").first.wait_for()
    for attempt in (
        f"fetch('{stack.payment.url}/livez', {{mode: 'no-cors'}})",
        """new Promise((done, fail) => {
             const script = document.createElement('script');
             script.textContent = 'window.ran = true';
             document.head.append(script);
             window.ran ? done() : fail(new Error('blocked'));
           })""",
    ):
        blocked = visitor.page.evaluate(f"{attempt}.then(() => false, () => true)")
        assert blocked, attempt
