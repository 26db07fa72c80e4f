"""The command `tandem` against both services."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from ci import ROOT
from tandem_client.cli.app import run
from tandem_client.cli.trigger import ACTIONS
from tandem_client.values import WebhookEventType
from tests.support.eventually import eventually
from tests.support.pair import Pair
from tests.support.proxy import Proxy
from tests.support.settings import KEY, OTHER_KEY, READONLY_KEY
from tests.support.webhook_receiver import Receiver, status

PLACE = ["orders", "place", "--item", "tea-100:2:450:Green tea", "--currency", "EUR", "--payment-method"]


@pytest.fixture
def settings(pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    values = {"ORDER_URL": pair.order.url, "PAYMENT_URL": pair.payment.url, "API_KEY": KEY}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return values


Tandem = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def tandem(settings: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Tandem:
    """A function that runs the command: it returns the exit code, the lines of JSON, and standard error."""

    def tandem(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
        capsys.readouterr()
        code = run(list(arguments))
        output = capsys.readouterr()
        return code, [json.loads(line) for line in output.out.splitlines()], output.err

    return tandem


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def command(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    """Start the command as a process."""
    return subprocess.Popen([str(ROOT / "tandem"), *arguments], text=True, **more)


def test_orders_are_placed_shown_listed_captured_canceled_and_refunded(tandem: Tandem) -> None:
    code, (order,), _ = tandem(*PLACE, "pm_ok", "--metadata", "cart=9", "--customer", "cus_17")
    assert (code, order["status"], order["total_amount"], order["metadata"]) == (0, "paid", 900, {"cart": "9"})
    assert tandem("orders", "show", order["id"])[:2] == (0, [order])
    _, (held,), _ = tandem(*PLACE, "pm_ok", "--capture", "manual")
    _, (other,), _ = tandem(*PLACE, "pm_ok", "--capture", "manual")
    code, (captured,), _ = tandem(
        "orders", "capture", held["id"], "--amount", "450", "--if-match", str(held["version"])
    )
    assert (code, captured["paid_amount"]) == (0, 450)
    _, (shipped,), _ = tandem(*PLACE, "pm_ok", "--capture", "manual")
    for options, expected in ((("300", "--not-final"), "authorized"), (("0",), "paid")):
        code, (part,), _ = tandem("orders", "capture", shipped["id"], "--amount", *options)
        assert (code, part["status"], part["paid_amount"]) == (0, expected, 300)
    code, (canceled,), _ = tandem("orders", "cancel", other["id"])
    assert (code, canceled["status"]) == (0, "canceled")
    code, (refund,), _ = tandem("orders", "refund", order["id"], "--amount", "300", "--reason", "a broken cup")
    assert (code, refund["status"], refund["amount"]) == (0, "succeeded", 300)
    assert tandem("orders", "wait", order["id"], "paid")[0] == 0
    _, listed, _ = tandem("orders", "list", "--status", "canceled", "--status", "paid", "--limit", "2")
    assert [each["id"] for each in listed] == [shipped["id"], other["id"]]
    _, listed, _ = tandem("orders", "list", "--metadata", "cart=9", "--created-after", "1h")
    assert [each["id"] for each in listed] == [order["id"]]


def test_an_order_has_a_reference_and_lines_of_all_kinds(tandem: Tandem, capsys: pytest.CaptureFixture[str]) -> None:
    place = [*PLACE[:2], "--item", "tea-100:2:1190/380:Green tea: loose", "--shipping", "dhl:1:595/95"]
    place += ["--tax", "vat:1:100", "--discount", "WELCOME:1:-595/-95", "--currency", "EUR", "--reference", "A-1001"]
    code, (order,), _ = tandem(*place, "--payment-method", "pm_ok")
    assert (code, order["reference"], order["total_amount"]) == (0, "A-1001", 2480)
    assert [(line["kind"], line["name"], line["amount"], line["tax_amount"]) for line in order["items"]] == [
        ("item", "Green tea: loose", 2380, 380),
        ("shipping", None, 595, 95),
        ("tax", None, 100, None),
        ("discount", None, -595, -95),
    ]
    assert tandem("orders", "list", "--reference", "A-1001")[1] == [order]
    code, lines, error = tandem(*place, "--payment-method", "pm_ok")
    assert (code, lines) == (1, [])
    assert order["id"] in error
    code, (shown,), _ = tandem("orders", "show", order["id"])
    assert shown == order
    assert run(["--output", "table", "orders", "show", order["id"]]) == 0
    table = capsys.readouterr().out
    for line in ("reference   A-1001", "shipping    1 x dhl", "-5.95 EUR", "2 x tea-100  Green tea: loose  23.80 EUR"):
        assert line in table


def test_on_a_terminal_there_are_tables(settings: dict[str, str], tandem: Tandem) -> None:
    _, (order,), _ = tandem(*PLACE, "pm_ok", "--customer", "cus_17")
    shown = {}
    for arguments in (("orders", "list"), ("orders", "show", order["id"]), ("events",)):
        terminal, end = pty.openpty()
        process = command(
            *arguments, stdout=end, stdin=end, stderr=subprocess.PIPE, env={**os.environ, "COLUMNS": "120"}
        )
        os.close(end)
        text = b""
        try:
            while chunk := os.read(terminal, 65536):
                text += chunk
        except OSError:  # Linux: the other end is closed
            pass
        assert process.wait(30) == 0
        shown[arguments[-1]] = text.decode()
    assert "TOTAL" in shown["list"]
    assert " 9.00 EUR" in shown["list"]
    assert order["id"] in shown["list"]
    assert "order.paid" in shown[order["id"]]
    assert "order.placed" in shown["events"]
    assert "{" not in "".join(shown.values())


@pytest.mark.parametrize(
    ("arguments", "code", "advice"),
    [
        (("orders", "show", "0198c5f0-0000-7000-8000-000000000001"), 4, "Check the id"),
        (("orders", "show", ""), 2, "not an id"),
        ((*PLACE, "pm_declined"), 7, "card_declined"),
        (("orders", "place", "--item", "tea", "--currency", "EUR", "--payment-method", "pm_ok"), 2, "SKU:QUANTITY"),
        ((*PLACE, "pm_ok", "--metadata", "cart"), 2, "NAME=VALUE"),
        ((*PLACE, "pm_ok", "--discount", "WELCOME:1"), 2, "WELCOME:1:-500"),
        ((*PLACE, "pm_ok", "--shipping", "dhl:1:5/x"), 2, "dhl:1:595"),
        ((*PLACE, "pm_ok", "--discount", "WELCOME:1:500"), 1, "/items/1/unit_amount"),
        (("orders", "place", "--item", "tea:0:1", "--currency", "EUR", "--payment-method", "pm_ok"), 1, "/quantity"),
        (("orders", "list", "--created-after", "yesterday"), 2, "such as 2h"),
        (("events", "--after", "nonsense"), 1, "/after"),
        (("trigger", "order.expired"), 2, "order.expired"),
        (("listen", "--forward-to", "localhost"), 2, "http://localhost:5000/hook"),
    ],
)
def test_errors_say_what_to_do_and_have_their_own_exit_code(
    tandem: Tandem, arguments: tuple[str, ...], code: int, advice: str
) -> None:
    done, _, message = tandem(*arguments)
    assert (done, advice in message) == (code, True), message
    assert KEY not in message


def test_a_decline_of_a_capture_or_refund_has_exit_code_7(tandem: Tandem) -> None:
    _, (held,), _ = tandem(*PLACE, "pm_capture_declined", "--capture", "manual")
    code, _, message = tandem("orders", "capture", held["id"])
    assert (code, "Declined" in message) == (7, True)
    _, (paid,), _ = tandem(*PLACE, "pm_refund_declined")
    code, (refund,), message = tandem("orders", "refund", paid["id"])
    assert (code, refund["status"], "declined" in message) == (7, "failed", True)
    code, _, message = tandem("orders", "wait", paid["id"], "refunded", "--seconds", "0.2")
    assert (code, "not refunded" in message) == (7, True)


def test_keys_that_are_refused_have_exit_code_3(tandem: Tandem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "tdm_stranger")
    assert tandem("orders", "list")[0] == 3
    monkeypatch.setenv("API_KEY", READONLY_KEY)
    code, _, message = tandem(*PLACE, "pm_ok")
    assert (code, "scope" in message) == (3, True)
    monkeypatch.setenv("API_KEY", OTHER_KEY)
    assert tandem("orders", "list")[:2] == (0, [])


def test_an_unknown_outcome_is_continued_with_the_key_of_the_message(
    pair: Pair, tandem: Tandem, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy("127.0.0.1", int(pair.order.url.rpartition(":")[2])) as proxy:
        proxy.mode = "cut_response"
        monkeypatch.setenv("ORDER_URL", proxy.url)
        code, _, message = tandem("--deadline", "0.5", *PLACE, "pm_ok")
        key = message.partition("--idempotency-key ")[2].partition(":")[0]
        assert (code, len(key)) == (5, 36)
        proxy.mode = "pass"
        assert tandem(*PLACE, "pm_ok", "--idempotency-key", key)[0] == 0
    assert len(pair.databases.query("order", "SELECT id FROM orders")) == 1
    code, _, message = tandem("--deadline", "0.5", *PLACE, "pm_ok")  # the proxy has ended
    assert (code, "make run" in message) == (6, True)


def test_settings_come_from_the_file_of_make_run_in_a_folder_above(
    settings: dict[str, str], tandem: Tandem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".run").mkdir()
    lines = [f"{name}={value}\n" for name, value in settings.items()]
    (tmp_path / ".run" / "env").write_text("".join(lines) + "OTHER=1\nexport ORDER_URL API_KEY\n")
    (tmp_path / "deep" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "folder")
    for name in settings:
        monkeypatch.delenv(name)
    assert tandem("orders", "list")[:2] == (0, [])
    monkeypatch.setenv("API_KEY", KEY)  # the two are not mixed
    code, _, message = tandem("orders", "list")
    assert (code, "ORDER_URL is missing in the environment" in message) == (2, True)


def test_a_table_of_orders_has_whole_lines_and_only_columns_that_are_not_empty(
    tandem: Tandem, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")

    def table() -> list[list[str]]:
        capsys.readouterr()
        assert run(["--output", "table", "orders", "list"]) == 0
        return [re.split(r" {2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]

    _, (first,), _ = tandem(*PLACE, "pm_ok")
    header, *rows = table()
    assert header == ["ID", "STATUS", "TOTAL", "PLACED"]
    assert [row[:3] for row in rows] == [[first["id"], "paid", "9.00 EUR"]]
    reference = "A" * 100
    _, (second,), _ = tandem(*PLACE, "pm_declined", "--customer", "cus_17", "--reference", reference)
    header, newest, *rows = table()
    assert header == ["ID", "STATUS", "TOTAL", "CUSTOMER", "REFERENCE", "PLACED"]
    assert newest[:5] == [second["id"], "payment_failed", "9.00 EUR", "cus_17", reference[:36]]
    assert [row[0] for row in rows[:2]] == [reference[:36], reference[:28]]
    assert rows[2][:3] == [first["id"], "paid", "9.00 EUR"]


def test_ids_of_orders_are_below_each_other_whatever_happened(
    tandem: Tandem, capsys: pytest.CaptureFixture[str]
) -> None:
    _, (order,), _ = tandem(*PLACE, "pm_ok", "--capture", "manual")
    tandem("orders", "capture", order["id"], "--amount", "300", "--not-final")
    capsys.readouterr()
    assert run(["--output", "table", "events", "--order", order["id"]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "payment.capture_requested" in lines[2]
    assert "order.partially_captured" in lines[3]
    assert len({line.index(order["id"]) for line in lines}) == 1


@pytest.mark.parametrize("kind", ACTIONS)
def test_trigger_makes_the_event_happen(tandem: Tandem, kind: str) -> None:
    code, events, message = tandem("trigger", kind)
    assert code == 0, message
    assert [event["type"] for event in events] == [kind]
    assert "position" not in events[0]  # an event by itself has none
    assert events[0]["data"]["metadata"]["tandem"] in ("trigger", "updated")


def test_every_event_that_can_be_requested_can_be_triggered() -> None:
    assert set(get_args(WebhookEventType)) - set(ACTIONS) == {"order.expired"}


def test_the_help_of_trigger_lists_the_events() -> None:
    """docs/client.md says so."""
    shown = command("trigger", "--help", stdout=subprocess.PIPE).communicate()[0]
    assert set(re.findall(r"[a-z]+\.[a-z_]+", shown)) >= set(ACTIONS)


def test_trigger_says_when_the_event_does_not_happen(
    tandem: Tandem, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tandem_client.cli.trigger.WAIT", 1)
    pair.stop_payment()
    code, _, message = tandem("trigger", "order.paid")
    assert (code, "order.paid did not happen" in message, "simulator" in message) == (7, True, True)


def test_events_are_followed_and_continued(tandem: Tandem, settings: dict[str, str]) -> None:
    _, (order,), _ = tandem(*PLACE, "pm_ok")
    _, events, _ = tandem("events", "--order", order["id"], "--limit", "1")
    assert [event["type"] for event in events] == ["order.placed"]
    _, rest, _ = tandem("events", "--after", events[0]["position"], "--type", "order.paid")
    assert [event["data"]["status"] for event in rest] == ["paid"]
    process = command("events", "--follow", "--type", "order.refunded", "--limit", "1", stdout=subprocess.PIPE)
    time.sleep(0.1)
    tandem("orders", "refund", order["id"])
    assert process.stdout is not None

    def again() -> bool:
        """The command may have begun after the first event: make further ones until it has ended."""
        tandem("trigger", "order.refunded")
        return process.poll() is not None

    eventually(again, "the event is shown", 30)
    assert json.loads(process.communicate()[0])["type"] == "order.refunded"


def test_listen_posts_signed_events_to_a_url(tandem: Tandem, receiver: Receiver, tmp_path: Path) -> None:
    def reports() -> list[dict[str, Any]]:
        return [json.loads(line) for line in (tmp_path / "reports").read_text().splitlines()]

    _, (order,), _ = tandem(*PLACE, "pm_ok")
    with (tmp_path / "reports").open("w") as output:
        arguments = ("listen", "--forward-to", receiver.url, "--since", "10m")
        process = command(*arguments, stdout=output, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        secret = process.stderr.readline().split()[-1]
        eventually(lambda: [each["type"] for each in reports()] == ["order.paid"], "the event of before is sent", 30)
        tandem("orders", "refund", order["id"], "--amount", "300")
        eventually(lambda: len(reports()) == 2, "the next one is sent", 30)
        receiver.answer = status(500)
        tandem("orders", "cancel", order["id"])
        eventually(lambda: len(reports()) > 2, "a further one is sent", 30)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    webhooks = {received.id: received.verified(secret) for received in receiver.received}
    assert [each["status_code"] for each in reports()][:3] == [204, 204, 500]
    assert {each["id"] for each in reports()} <= set(webhooks)
    _, feed, _ = tandem("events", "--order", order["id"])
    sent = {event["id"]: event for event in feed}
    for event_id, body in webhooks.items():
        assert (body["type"], body["data"], body.get("refund")) == tuple(
            sent[event_id][name] for name in ("type", "data", "refund")
        )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_completion_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_TANDEM_COMPLETE" in capsys.readouterr().out


def test_the_shell_completes_commands_statuses_and_order_ids(tandem: Tandem, settings: dict[str, str]) -> None:
    _, (order,), _ = tandem(*PLACE, "pm_ok")

    def completions(words: str) -> set[str]:
        env = {**os.environ, "_TANDEM_COMPLETE": "bash_complete", "COMP_WORDS": words}
        env["COMP_CWORD"] = str(len(words.split(" ")) - 1)
        done = subprocess.run([str(ROOT / "tandem")], env=env, capture_output=True, text=True, check=True)
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert completions("tandem orders re") == {"refund"}
    assert completions("tandem trigger refund.f") == {"refund.failed"}
    assert completions(f"tandem orders show {order['id'][:8]}") == {order["id"]}


def test_without_its_packages_the_command_names_the_extra() -> None:
    program = "import sys; sys.modules['click'] = None; from tandem_client.cli import main; main()"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "apps" / "client")}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "tandem-client[cli]" in done.stderr) == (1, True)
