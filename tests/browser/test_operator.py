"""The operator's pages, used by keyboard: sign in, follow an order, switch a fault on and off, redeliver a webhook."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.support.accessibility import violations
from tests.support.browser import Visitor
from tests.support.dead_webhooks import kill, states
from tests.support.eventually import eventually
from tests.support.pair import ORDER
from tests.support.settings import INTERNAL_KEY, OPERATOR_KEY
from tests.support.stack import Stack
from tests.support.webhook_receiver import Receiver, path_of, register, status

PAGES = ("Orders", "Pending", "Dead letters", "Ledger", "Provider", "Audit")


@pytest.fixture
def operator(stack: Stack, visitor: Visitor) -> Iterator[Visitor]:
    """A user who has signed in. Afterwards all faults are switched off."""
    page = visitor.page
    page.goto(f"{address(stack)}/operator")
    visitor.write(page.get_by_label("API key"), OPERATOR_KEY)
    visitor.press(page.get_by_role("button", name="Sign in"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Orders")
    yield visitor
    authorization = {"Authorization": f"Bearer {INTERNAL_KEY}"}
    requests.put(f"{stack.payment.url}/v1/simulator/faults", json={}, headers=authorization, timeout=10)


def address(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.admin_ports[0]}"


def open_page(visitor: Visitor, name: str) -> None:
    visitor.press(visitor.page.get_by_role("navigation").get_by_role("link", name=name))
    expect(visitor.page.locator("nav [aria-current=page]")).to_have_text(name)


def place(stack: Stack, **change: Any) -> dict[str, Any]:
    answer = stack.order.post("/v1/orders", {**ORDER, **change}, Prefer="wait=5")
    assert answer.status_code == 201, answer.text
    order: dict[str, Any] = answer.json()
    return order


@pytest.mark.parametrize("visitor", ["light", "dark"], indirect=True)
def test_the_journey_of_an_order_is_shown(stack: Stack, operator: Visitor, artifacts: Path) -> None:
    order = place(stack, payment_method="pm_timeout_charged", customer="cus_17")
    eventually(lambda: stack.order.get(f"/v1/orders/{order['id']}").json()["status"] == "paid", "it is paid")
    stack.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 450, "reason": "one was wet"}, Prefer="wait=5")
    page = operator.page
    open_page(operator, "Orders")
    operator.screenshot(artifacts, "operator-orders")
    operator.press(page.get_by_role("link", name=order["id"]))
    expect(page.get_by_role("heading", level=1)).to_contain_text(order["id"])
    picture = page.get_by_role("img", name="The journey as a diagram")
    for text in ("order.placed", "payment.create", "sale ×2", "ledger", "order.paid", "refund.succeeded"):
        expect(picture.get_by_text(text).first).to_be_visible()
    rows = page.get_by_role("table", name="All steps").get_by_role("row")
    assert rows.count() == page.locator("svg g").count() + 1
    expect(rows.filter(has_text="debit provider_clearing 9.00 EUR, credit merchant_payable 9.00 EUR")).to_have_count(1)
    operator.screenshot(artifacts, "operator-order", page.get_by_role("heading", name="Journey"))
    assert operator.complaints == []


@pytest.mark.parametrize("visitor", ["light", "dark"], indirect=True)
def test_a_fault_delays_an_order_until_it_is_switched_off(stack: Stack, operator: Visitor, artifacts: Path) -> None:
    page = operator.page
    open_page(operator, "Provider")
    expect(page.get_by_text("no faults")).to_be_visible()
    operator.write(page.get_by_label("Requests lost, %"), "100")
    operator.press(page.get_by_role("button", name="Apply"))
    expect(page.get_by_text("100 % of requests are lost")).to_be_visible()
    operator.screenshot(artifacts, "operator-fault")

    order = stack.order.post("/v1/orders", ORDER).json()
    link = page.get_by_role("link", name=order["id"])
    eventually(
        lambda: stack.databases.query("payment", "SELECT FROM payments WHERE order_id = %s", order["id"]),
        "payment knows the order",
    )
    open_page(operator, "Pending")
    operator.screenshot(artifacts, "operator-pending")
    operator.press(link)
    expect(page.get_by_text("Waiting for sale, from payment to provider")).to_be_visible()
    operator.screenshot(artifacts, "operator-waits")

    open_page(operator, "Provider")
    operator.press(page.get_by_role("button", name="Turn all off"))
    expect(page.get_by_text("no faults")).to_be_visible()
    eventually(lambda: stack.order.get(f"/v1/orders/{order['id']}").json()["status"] == "paid", "it is paid", 60)
    open_page(operator, "Orders")
    operator.write(page.get_by_label("Order id"), order["id"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("paid")
    expect(page.get_by_text("Waiting for")).to_have_count(0)
    assert len(stack.databases.charges(order["id"])) == 1
    assert operator.complaints == []


def test_a_dead_webhook_is_redelivered(stack: Stack, operator: Visitor, artifacts: Path) -> None:
    page = operator.page
    with Receiver() as receiver:
        endpoint = register(stack.order, receiver.url, events=["order.paid"])
        receiver.answer = status(500)
        order = place(stack)
        kill(stack.databases, endpoint)
        receiver.answer = status(204)
        open_page(operator, "Dead letters")
        row = page.get_by_role("row").filter(has_text=order["id"])
        operator.screenshot(artifacts, "operator-dead-letters")
        operator.press(row.get_by_role("button", name="Redeliver"))
        expect(page.get_by_role("status")).to_have_text("Redelivery requested.")
        eventually(lambda: states(stack.databases, endpoint) == ["delivered"], "it is delivered")
        stack.order.request("DELETE", path_of(endpoint))
    expect(row).to_have_count(0)
    assert operator.complaints == []


def test_the_page_says_that_payment_is_unreachable(stack: Stack, operator: Visitor, artifacts: Path) -> None:
    order = place(stack)
    page = operator.page
    names = ("payment-web", "payment-relay")
    stack.held |= set(names)
    try:
        for name in names:
            stack.processes[name].kill()
        open_page(operator, "Orders")
        expect(page.get_by_text("unavailable", exact=True)).to_be_visible()
        operator.press(page.get_by_role("link", name=order["id"]))
        expect(page.get_by_role("alert")).to_contain_text("Data from the payment service is missing below")
        expect(page.get_by_role("img").get_by_text("order.paid")).to_be_visible()
        operator.screenshot(artifacts, "operator-payment-away")
    finally:
        stack.held -= set(names)
    eventually(lambda: stack.payment.get("/readyz").status_code == 200 if is_up(stack) else False, "it is back", 60)
    assert operator.complaints == []


def is_up(stack: Stack) -> bool:
    try:
        return stack.payment.get("/livez").ok
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("visitor", ["light", "dark"], indirect=True)
def test_pages_fit_narrow_and_wide_windows_and_are_accessible(
    stack: Stack, operator: Visitor, artifacts: Path, width: int
) -> None:
    page = operator.page
    with Receiver() as receiver:
        endpoint = register(stack.order, receiver.url, events=["order.paid"])
        receiver.answer = status(500)
        order = place(stack, customer="W" * 60, items=[{"sku": "s" * 60, "quantity": 1, "unit_amount": 10**12}])
        kill(stack.databases, endpoint)
        page.set_viewport_size({"width": width, "height": 1000})
        for name in PAGES:
            open_page(operator, name)
            check_page(page)
            operator.screenshot(artifacts, f"operator-{name.lower().replace(' ', '-')}-{width}")
        its_page = f"{address(stack)}/operator/orders/{order['id']}"
        for path in ("", "/refund?merchant=demo", "/cancel?merchant=demo"):
            page.goto(its_page + path)
            check_page(page)
            operator.screenshot(artifacts, f"operator-order{path.partition('?')[0].replace('/', '-')}-{width}")
        page.goto(f"{address(stack)}/operator/endpoints/{endpoint['id']}?merchant=demo")
        check_page(page)
        operator.screenshot(artifacts, f"operator-endpoint-{width}")
        stack.order.request("DELETE", path_of(endpoint))
    assert operator.complaints == []


@pytest.mark.parametrize("visitor", ["light", "dark"], indirect=True)
def test_an_order_is_refunded_by_keyboard_after_a_confirmation(
    stack: Stack, operator: Visitor, artifacts: Path
) -> None:
    order = place(stack)
    page = operator.page
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(f"{address(stack)}/operator/orders/{order['id']}?merchant=demo")
    operator.press(page.get_by_role("link", name="Refund"))
    operator.write(page.get_by_label("Amount in EUR"), "4.50")
    operator.write(page.get_by_label("Reason"), "4111 1111 1111 1111")
    operator.press(page.get_by_role("button", name="Continue"))
    expect(page.get_by_role("alert")).to_have_text("The reason must not hold a card number.")
    check_page(page)
    operator.write(page.get_by_label("Reason"), "one was wet")
    operator.press(page.get_by_role("button", name="Continue"))
    expect(page.get_by_text("4.50 EUR is returned to the customer")).to_be_visible()
    check_page(page)
    operator.screenshot(artifacts, "operator-refund-confirmed")
    operator.press(page.get_by_role("button", name="Refund"))
    expect(page.get_by_text("Refund requested.")).to_be_visible()
    expect(page.get_by_role("table", name="Actions of operators").get_by_text("one was wet")).to_be_visible()
    eventually(
        lambda: stack.order.get(f"/v1/orders/{order['id']}").json()["refunded_amount"] == 450, "it is refunded", 30
    )
    expect(page.get_by_role("table", name="Refunds of the order").get_by_text("succeeded")).to_be_visible()
    check_page(page)
    assert [text for text in operator.complaints if "422" not in text] == []


def test_a_list_updates_itself_and_keeps_the_readers_place(stack: Stack, operator: Visitor) -> None:
    page = operator.page
    page.set_viewport_size({"width": 700, "height": 500})
    first = place(stack)
    page.goto(f"{address(stack)}/operator")
    operator.write(page.get_by_label("Customer"), "half writ")
    region = page.get_by_role("region", name="Orders of all merchants")
    region.evaluate("element => { element.scrollLeft = 60 }")
    link = page.get_by_role("link", name=first["id"])
    operator.tab_to(link)
    left = region.evaluate("element => element.scrollLeft")
    second = place(stack)
    expect(page.get_by_role("link", name=second["id"])).to_be_attached()
    assert link.evaluate("element => element === document.activeElement")
    assert region.evaluate("element => element.scrollLeft") == left
    expect(page.get_by_label("Customer")).to_have_value("half writ")
    ids = [text for text in page.locator("tbody a.id").all_inner_texts() if text in (first["id"], second["id"])]
    assert ids == [second["id"], first["id"]]
    assert operator.complaints == []


def test_updates_pause_with_the_button_and_the_choice_is_kept(stack: Stack, operator: Visitor) -> None:
    page = operator.page
    open_page(operator, "Pending")
    page.clock.install()
    page.goto(f"{address(stack)}/operator/pending")
    requests_seen: list[str] = []
    page.on("request", lambda request: requests_seen.append(request.resource_type))
    with page.expect_response(lambda answer: answer.url.endswith("/operator/pending")):
        page.clock.run_for(6000)
    operator.press(page.get_by_role("button", name="Pause updates"))
    expect(page.get_by_text("Updates are paused.")).to_be_visible()
    requests_seen.clear()
    page.clock.run_for(60_000)
    page.reload()
    expect(page.get_by_role("button", name="Resume updates")).to_be_visible()
    page.clock.run_for(60_000)
    assert "fetch" not in requests_seen
    operator.press(page.get_by_role("button", name="Resume updates"))
    with page.expect_response(lambda answer: answer.request.resource_type == "fetch"):
        page.clock.run_for(6000)
    assert operator.complaints == []


def test_a_reader_who_prefers_reduced_motion_starts_updates(stack: Stack, operator: Visitor) -> None:
    page = operator.page
    page.emulate_media(reduced_motion="reduce")
    page.goto(f"{address(stack)}/operator/pending")
    expect(page.get_by_text("Updates are paused.")).to_be_visible()
    operator.press(page.get_by_role("button", name="Resume updates"))
    expect(page.get_by_text("Updated at")).to_be_visible()


def test_updates_stop_when_the_session_has_ended(stack: Stack, operator: Visitor) -> None:
    page = operator.page
    page.goto(f"{address(stack)}/operator/pending")
    page.context.clear_cookies()
    expect(page.get_by_text("Your session has ended. Reload the page to sign in.")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Pending")


def check_page(page: Page) -> None:
    """Assert that the page is not wider than the window, has one heading and labels, and violates no rule of axe."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page.url
    assert page.locator("h1").count() == 1
    unnamed = page.evaluate(
        """[...document.querySelectorAll('input:not([type=hidden]), select')]
             .filter(field => !field.labels.length).map(field => field.name)"""
    )
    assert unnamed == []
    assert page.locator("table:not(:has(caption)), th:not([scope]), img:not([alt])").count() == 0
    assert violations(page) == [], page.url


def test_the_keyboard_can_skip_to_the_content_and_the_focus_is_visible(stack: Stack, operator: Visitor) -> None:
    page = operator.page
    page.goto(f"{address(stack)}/operator/ledger")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Merchant")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_signing_out_removes_the_session(stack: Stack, operator: Visitor) -> None:
    page = operator.page
    assert page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
    operator.press(page.get_by_role("button", name="Sign out"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert page.context.cookies() == [] or OPERATOR_KEY not in str(page.context.cookies())
    page.goto(f"{address(stack)}/operator/pending")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert operator.complaints == []


def test_the_browser_runs_no_script_and_sends_no_form_elsewhere(stack: Stack, operator: Visitor) -> None:
    page = operator.page
    ran = page.evaluate(
        """() => {
             const script = document.createElement('script');
             script.textContent = 'window.ran = true';
             document.head.append(script);
             return Boolean(window.ran);
           }"""
    )
    assert not ran
    # A page of another origin can submit a form, but without the cookie and with another Origin.
    page.goto(f"{stack.order.url}/docs")
    with page.expect_response(lambda answer: answer.url.endswith("/operator/provider")) as answer:
        page.route(f"{stack.order.url}/lure", lambda route: route.fulfill(content_type="text/html", body=lure(stack)))
        page.goto(f"{stack.order.url}/lure")
        page.get_by_role("button").click()
    assert answer.value.status == 403


def lure(stack: Stack) -> str:
    return f"""<form method=post action="{address(stack)}/operator/provider">
        <input name=decline value=on><button>Win a prize</button></form>"""
