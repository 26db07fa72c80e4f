"""Keys in a service's own database: the commands for them, and requests with them."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from click.testing import Result
from flask import Flask, request

from chassis.auth import keyring, stored_keys
from chassis.auth.stored_keys import Keys
from chassis.postgres.database import Database
from tests.support.applications import SERVICES, get, make, refused
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.proxy import Proxy
from tests.support.settings import KEY


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def app(databases: Databases, service: str) -> Flask:
    databases.query(service, "TRUNCATE api_keys RESTART IDENTITY")
    return make(databases, service, KEY_CACHE_SECONDS="0.1")


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["keys", *arguments])


def created(app: Flask, *arguments: str, merchant: str = "demo") -> str:
    scopes = [f"--scope={app.name}s:read", f"--scope={app.name}s:write"]
    result = run(app, "create", f"--merchant={merchant}", *scopes, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def states(app: Flask) -> list[str]:
    return [line.split()[-1] for line in run(app, "list").output.splitlines()[1:] if line[0].isdigit()]


def test_a_new_key_is_printed_once_and_works_at_once(app: Flask) -> None:
    result = run(app, "create", "--merchant", "demo", "--scope", f"{app.name}s:read", "--name", "web shop")
    key = result.stdout.removesuffix("\n")
    assert re.fullmatch("tandem_[0-9A-Za-z]{46}", key)
    assert "This is key 1." in result.stderr
    assert key not in result.stderr
    refused(get(app, key), 404, f"{app.name}-not-found")
    listed = run(app, "list").output
    assert key not in listed
    assert key[7:40] not in listed
    for shown in (f"…{key[-4:]}", "web shop", "demo", f"{app.name}s:read", "never", "active"):
        assert shown in listed


def test_only_a_digest_is_stored(app: Flask, databases: Databases) -> None:
    key = created(app)
    rows = databases.query(app.name, "SELECT k::text AS row, digest FROM api_keys AS k")
    assert bytes(rows[0]["digest"]).hex() == keyring.digest(key)
    assert key not in rows[0]["row"]
    assert key[7:-4] not in rows[0]["row"]


def test_a_key_acts_for_its_merchant_and_no_other(app: Flask) -> None:
    key = created(app, merchant="other")
    refused(get(app, key), 404, f"{app.name}-not-found")
    denied = get(app, key, Tandem_Merchant="demo")
    refused(denied, 403, "forbidden")
    assert denied.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="merchants:any"'


def test_a_key_without_the_scope_is_403_and_the_scope_is_named(app: Flask) -> None:
    key = run(app, "create", "--merchant=demo", f"--scope={app.name}s:write").stdout.strip()
    denied = get(app, key)
    refused(denied, 403, "forbidden")
    assert denied.headers["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{app.name}s:read"'


def test_a_revoked_key_stops_working_when_the_cache_expires(app: Flask) -> None:
    key, other = created(app), created(app)
    refused(get(app, key), 404, f"{app.name}-not-found")
    assert run(app, "revoke", "1").exit_code == 0
    eventually(lambda: get(app, key).status_code == 401, "the key is rejected")
    refused(get(app, other), 404, f"{app.name}-not-found")
    assert run(app, "revoke", "1").exit_code == 0, "repeating it changes nothing"
    assert states(app) == ["revoked", "active"]
    missing = run(app, "revoke", "9")
    assert (missing.exit_code, "no key 9" in missing.output) == (1, True)


def test_the_response_does_not_reveal_why_a_key_is_invalid(app: Flask, databases: Databases) -> None:
    revoked, expired, unknown = created(app), created(app), stored_keys.generate()
    run(app, "revoke", "1")
    databases.query(app.name, "UPDATE api_keys SET expires_at = now() WHERE id = 2")
    told = set()
    for key in (revoked, expired, unknown, "tdm_nonsense", "a.b.c"):
        response = get(app, key)
        told.add((refused(response, 401, "unauthorized")["detail"], response.headers["WWW-Authenticate"]))
    assert told == {("The key is not valid.", 'Bearer error="invalid_token"')}
    assert states(app) == ["revoked", "expired"]


def test_a_key_can_have_an_expiry(app: Flask, databases: Databases) -> None:
    created(app, "--expires-in", "30")
    row = databases.query(app.name, "SELECT expires_at - created_at AS valid FROM api_keys")[0]
    assert abs(row["valid"] - timedelta(days=30)) < timedelta(minutes=1)


def test_rotation_leaves_both_keys_valid_for_the_overlap(app: Flask, databases: Databases) -> None:
    old = created(app, "--name=shop", "--expires-in=90", merchant="other")
    result = run(app, "rotate", "1", "--overlap", "48")
    new = result.stdout.strip()
    assert result.exit_code == 0
    assert new != old
    for key in (old, new):
        refused(get(app, key), 404, f"{app.name}-not-found")
    rows = databases.query(
        app.name, "SELECT name, merchant, scopes, expires_at - clock_timestamp() AS left FROM api_keys ORDER BY id"
    )
    assert {(row["name"], row["merchant"], tuple(row["scopes"])) for row in rows} == {
        ("shop", "other", (f"{app.name}s:read", f"{app.name}s:write"))
    }
    for row, left in zip(rows, (timedelta(hours=48), timedelta(days=90)), strict=True):
        assert abs(row["left"] - left) < timedelta(minutes=1)
    assert run(app, "rotate", "1", "--overlap", "72").exit_code == 0, "an old key can be rotated again"
    ends = databases.query(
        app.name, "SELECT expires_at < now() + interval '49 hours' AS kept FROM api_keys WHERE id = 1"
    )
    assert ends[0]["kept"], "but it does not expire later"
    successor = databases.query(app.name, "SELECT lifetime FROM api_keys WHERE id = 3")[0]
    assert successor["lifetime"] == timedelta(days=90)


def test_rotation_without_overlap_invalidates_the_old_key(app: Flask) -> None:
    old = created(app)
    new = run(app, "rotate", "1", "--overlap", "0").stdout.strip()
    refused(get(app, old), 401, "unauthorized")
    refused(get(app, new), 404, f"{app.name}-not-found")
    for key_id in ("1", "9"):
        result = run(app, "rotate", key_id)
        assert (result.exit_code, f"no valid key {key_id}" in result.output) == (1, True)
    assert states(app) == ["expired", "active"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "--merchant=demo"],
        ["create", "--scope=merchants:any"],
        ["create", "--merchant=demo", "--scope=orders:all"],
        ["create", "--merchant=a b", "--scope=merchants:any"],
        ["create", "--merchant=demo", "--scope=merchants:any", "--expires-in=0"],
        ["create", "--merchant=demo", "--scope=merchants:any", f"--name={'x' * 65}"],
        ["create", "--merchant=demo", "--scope=merchants:any", "--name=\x1b[31m"],
        ["rotate", "1", "--overlap=-1"],
        ["rotate", "1", "--overlap=nan"],
        ["rotate", "1", "--overlap=inf"],
        ["revoke", "nonsense"],
        ["revoke", str(2**31)],
    ],
)
def test_invalid_arguments_are_rejected(app: Flask, arguments: list[str]) -> None:
    assert run(app, *arguments).exit_code == 2
    assert states(app) == []


def test_a_key_can_have_every_scope_of_the_service_and_none_of_another_service(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").get_json()
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    security = [each for operation in operations if isinstance(operation, dict) for each in operation["security"]]
    scopes = {scope for each in security for names in each.values() for scope in names}
    assert f"{app.name}s:write" in scopes
    result = run(app, "create", "--merchant=demo", *(f"--scope={scope}" for scope in scopes))
    assert result.exit_code == 0, result.output
    other = "payments:read" if app.name == "order" else "orders:read"
    assert run(app, "create", "--merchant=demo", f"--scope={other}").exit_code == 2


def test_the_table_fits_a_terminal_of_80_columns(app: Flask, databases: Databases) -> None:
    scopes = app.extensions["tandem"].settings.scopes
    run(app, "create", f"--merchant={'m' * 64}", f"--name={'n' * 64}", *(f"--scope={each}" for each in scopes))
    databases.query(app.name, "UPDATE api_keys SET revoked_at = now(), expires_at = now()")
    created(app)
    lines = run(app, "list").output.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert lines[0].split() == ["id", "key", "name", "merchant", "scopes", "created", "expires", "state"]
    assert "".join(lines).count("m" * 12) >= 5
    for scope in scopes:
        assert sum(scope in line for line in lines) >= 1


def test_keys_in_the_settings_work_too(app: Flask) -> None:
    created(app)
    refused(get(app, KEY), 404, f"{app.name}-not-found")
    assert states(app) == ["active"]


def test_keys_are_not_logged(app: Flask, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = created(app)
    get(app, key)
    get(app, key[:-1] + "!")
    out, err = capfd.readouterr()
    assert key[7:40] not in out + err + caplog.text


def find(database: Database, known: Keys, key: str) -> tuple[str | None, str | None]:
    """Return the merchant of a key as the cache and as the database have it."""
    row = stored_keys.find(database.session(), keyring.digest(key))
    found = known.find(key)
    return (found.merchant if found else None, row["merchant"] if row else None)


def test_known_and_unknown_keys_are_cached(databases: Databases) -> None:
    clock = [0.0]
    database = Database(databases.order, "test")
    known = Keys(database, 5.0, clock=lambda: clock[0])
    key_id, key = stored_keys.create(database.session(), "demo", ["orders:read"])
    unknown = stored_keys.generate()
    assert find(database, known, key) == ("demo", "demo")
    assert known.find(unknown) is None
    stored_keys.revoke(database.session(), key_id)
    database.session().execute(
        """INSERT INTO api_keys (digest, last_four, name, merchant, scopes)
           VALUES (decode(%s, 'hex'), '', '', 'x', '{}')""",
        (keyring.digest(unknown),),
    )
    clock[0] = 4.9
    assert find(database, known, key) == ("demo", None)
    assert find(database, known, unknown) == (None, "x")
    clock[0] = 5.1
    assert find(database, known, key) == (None, None)
    assert find(database, known, unknown) == ("x", "x")


def test_a_key_is_not_cached_past_its_expiry(databases: Databases) -> None:
    clock = [0.0]
    database = Database(databases.order, "test")
    known = Keys(database, 3600.0, clock=lambda: clock[0])
    _, key = stored_keys.create(database.session(), "demo", [], lifetime=timedelta(seconds=60))
    assert known.find(key) is not None
    database.session().execute("UPDATE api_keys SET expires_at = now()")
    clock[0] = 59.0
    assert known.find(key) is not None
    clock[0] = 60.1
    assert known.find(key) is None


def test_a_flood_of_guesses_evicts_no_valid_key_and_memory_is_bounded(databases: Databases) -> None:
    database = Database(databases.order, "test")
    known = Keys(database, 3600.0)
    key_id, key = stored_keys.create(database.session(), "demo", [])
    assert known.find(key) is not None
    stored_keys.revoke(database.session(), key_id)
    for _ in range(3000):
        assert known.find(stored_keys.generate()) is None
    assert known.find(key) is not None
    assert len(known._unknown) <= 2048


def test_without_the_database_cached_keys_work_and_others_are_503(databases: Databases, service: str) -> None:
    parts = urlsplit(getattr(databases, service))
    assert parts.hostname
    assert parts.port
    with Proxy(parts.hostname, parts.port) as proxy:
        where = parts._replace(netloc=f"{parts.username}:{parts.password}@{urlsplit(proxy.url).netloc}").geturl()
        app = make(databases, service, url=where, KEY_CACHE_SECONDS="3600")
        key, other = created(app), created(app)
        refused(get(app, key), 404, f"{service}-not-found")
        proxy.mode = "refuse"
        for unsure in (other, stored_keys.generate()):
            response = get(app, unsure)
            refused(response, 503, "unavailable")
            assert int(response.headers["Retry-After"]) >= 1
            assert "WWW-Authenticate" not in response.headers
        refused(get(app, "tdm_no_key_of_ours"), 401, "unauthorized")
        listed = run(app, "list")
        assert (listed.exit_code, "database does not respond" in listed.output) == (2, True)
        with app.test_request_context(headers={"Authorization": f"Bearer {key}"}):
            assert app.extensions["tandem"].guard.admit(request, f"{service}s:read") == "demo"
        proxy.mode = "pass"
        for again in (key, other):
            refused(get(app, again), 404, f"{service}-not-found")
