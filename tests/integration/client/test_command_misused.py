"""The command `tandem` with clumsy arguments, and with an output that cannot be written: a message, no traceback."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ci import ROOT
from tandem_client.cli.app import run
from tandem_client.client import Client
from tests.integration.client.test_command import PLACE
from tests.support.pair import Pair
from tests.support.settings import KEY

ORDER = "01a22cf4-098e-7231-910e-fbe5d0dc474e"
NUMBERS = ("", "１２", "1_0", " 5", "+5", "nan", "inf", "1e400", "9" * 5000, "x" * 100_000)


def tandem(
    pair: Pair, *arguments: str | bytes, streams: str = "", stdout: int = subprocess.PIPE, **env: str
) -> subprocess.CompletedProcess[str]:
    settings = {"ORDER_URL": pair.order.url, "PAYMENT_URL": pair.payment.url, "API_KEY": KEY, "PYTHONUNBUFFERED": ""}
    call = ["/bin/sh", "-c", f'"$0" "$@" {streams}', str(ROOT / "tandem"), *arguments]
    return subprocess.run(
        call,
        env={**os.environ, **settings, **env},
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | bytes) -> str:
    """Run a command that is wrong usage, and return its message. Bytes are as the shell passes them."""
    capsys.readouterr()
    code = run([os.fsdecode(each) for each in arguments])
    output = capsys.readouterr()
    assert (code, output.out, len(output.err) < 900) == (2, "", True), (arguments, output.err)
    return output.err


@pytest.fixture
def settings(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ORDER_URL": pair.order.url, "PAYMENT_URL": pair.payment.url, "API_KEY": KEY}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_has_only_digits(settings: None, capsys: pytest.CaptureFixture[str], number: str) -> None:
    for command in (
        ["orders", "list", "--limit", number],
        ["orders", "refund", ORDER, "--amount", number],
        ["orders", "cancel", ORDER, "--if-match", number],
        ["orders", "wait", ORDER, "paid", "--seconds", number],
        ["--deadline", number, "orders", "list"],
        [*PLACE, "pm_ok", "--item", f"tea:{number}:450"],
        [*PLACE, "pm_ok", "--item", f"tea:1:{number}"],
    ):
        assert "Invalid value for '--" in refused(capsys, *command)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_utc_does_not_have(settings: None, capsys: pytest.CaptureFixture[str], time: str) -> None:
    assert "'--created-after'" in refused(capsys, "orders", "list", "--created-after", time)
    assert "'--since'" in refused(capsys, "events", "--since", time)


def test_arguments_that_are_not_text_and_secrets_without_bytes(
    settings: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not text in UTF-8" in refused(capsys, "orders", "list", "--customer", b"\xff")
    assert "not text in UTF-8" in refused(capsys, "orders", "show", b"\xff")
    assert "whsec_" in refused(capsys, "listen", "--forward-to", "http://127.0.0.1:1", "--secret", "whsec_")


def test_output_that_cannot_be_written_has_exit_code_8(pair: Pair) -> None:
    """With exit code 1, a caller would correct the order and place it again."""
    for form in ("json", "table"):
        done = tandem(pair, "--output", form, *PLACE, "pm_ok", streams="> /dev/full")
        assert (done.returncode, done.stderr.count("\n")) == (8, 1), done.stderr
        assert "the output cannot be written: No space left on device" in done.stderr
    assert tandem(pair, "--help", streams="> /dev/full").returncode == 8
    reader, writer = os.pipe()
    os.close(reader)
    gone = tandem(pair, *PLACE, "pm_ok", stdout=writer)
    os.close(writer)
    assert (gone.returncode, gone.stderr) == (8, "")
    closed = tandem(pair, *PLACE, "pm_ok", streams=">&-")
    assert (closed.returncode, "nothing was done" in closed.stderr) == (2, True)
    assert tandem(pair, "orders", "show", ORDER, streams="2> /dev/full").returncode == 4


def test_a_name_that_the_terminal_cannot_show_does_not_hide_that_an_order_was_placed(pair: Pair) -> None:
    done = tandem(pair, "--output", "table", *PLACE, "pm_ok", "--customer", "Zoë", PYTHONIOENCODING="ascii")
    assert (done.returncode, "Zo\\xeb" in done.stdout) == (0, True), done.stderr


def test_a_folder_that_was_deleted(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "DELETED": str(tmp_path), "TANDEM": str(ROOT / "tandem")}
    call = 'cd "$DELETED" && rmdir "$DELETED" && "$TANDEM" orders list'
    done = subprocess.run(["/bin/sh", "-c", call], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "The current folder does not exist" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("deadline", [float("nan"), float("inf"), -1.0])
def test_a_deadline_is_a_finite_number(pair: Pair, deadline: float) -> None:
    with (
        Client(pair.order.url, api_key=KEY) as client,
        pytest.raises(ValueError, match="at least 0 and finite"),
    ):
        client.wait_until(ORDER, "paid", deadline=deadline)
