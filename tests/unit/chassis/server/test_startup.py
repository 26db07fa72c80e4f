from __future__ import annotations

import pytest

from chassis.server import startup


@pytest.mark.parametrize(("text", "number"), [("", 7), ("  ", 7), ("1", 1), ("0009\n", 9), ("128", 128)])
def test_a_setting_that_is_a_number_is_read(text: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_WORKERS", text)
    assert startup.number("WEB_WORKERS", 7, 1, 128) == number


@pytest.mark.parametrize("text", ["0", "129", "-1", "1.5", "1e2", "1_0", "many", "\u0663", "9" * 5000, "0x10", "1 2"])
def test_a_number_that_is_invalid_ends_the_start_with_one_sentence(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEB_WORKERS", text)
    with pytest.raises(SystemExit) as ended:
        startup.number("WEB_WORKERS", 7, 1, 128)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "Error: WEB_WORKERS: must be a whole number from 1 to 128\n"
