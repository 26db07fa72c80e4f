"""Health, metrics, and requests while the database is unavailable. Each application is called in one thread."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import psycopg
import pytest
from flask import Flask
from psycopg import sql
from werkzeug.test import Client as Caller

import order
import payment
from ci.laptop.postgres import Postgres
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import ORDER
from tests.support.settings import KEY, environment

SERVICES: dict[str, Callable[[], Flask]] = {"order": order.create_app, "payment": payment.create_app}
BODIES: dict[str, dict[str, Any]] = {
    "order": ORDER,
    "payment": {"amount": 900, "currency": "EUR", "payment_method": "pm_ok"},
}


@pytest.fixture(params=["order", "payment"])
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def application(service: str, url: str) -> Flask:
    peers = {"PAYMENT_URL": "http://127.0.0.1:9", "ORDER_URL": "http://127.0.0.1:9"}
    with mock.patch.dict(os.environ, environment(url, peers)):
        return SERVICES[service]()


@pytest.fixture
def url(databases: Databases, service: str) -> str:
    found: str = getattr(databases, service)
    return found


@pytest.fixture
def app(service: str, url: str) -> Iterator[Flask]:
    app = application(service, url)
    yield app
    app.extensions["tandem"].database.close()


def admin(app: Flask) -> Caller:
    return Caller(app.extensions["tandem"].admin)


def create(app: Flask, service: str) -> Any:
    body = BODIES[service] if service == "order" else {**BODIES[service], "order_id": str(uuid.uuid4())}
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": str(uuid.uuid4())}
    return app.test_client().post(f"/v1/{service}s", json=body, headers=headers)


def close_connections(server: Postgres, url: str) -> None:
    """Close all connections to a database, and wait until they are closed."""
    name = urlsplit(url).path.removeprefix("/")
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        rows = administrator.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", (name,)).fetchall()
        pids = [pid for (pid,) in rows]
        administrator.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid", (pids,))
        left = "SELECT FROM pg_stat_activity WHERE datname = %s AND pid = ANY(%s)"
        eventually(lambda: not administrator.execute(left, (name, pids)).fetchall(), "the connections are closed")


@contextmanager
def unavailable(server: Postgres, url: str) -> Iterator[None]:
    """Let nothing connect to a database during the block."""
    change = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    name = sql.Identifier(urlsplit(url).path.removeprefix("/"))
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        administrator.execute(change.format(name, sql.SQL("false")))
        close_connections(server, url)
        try:
            yield
        finally:
            administrator.execute(change.format(name, sql.SQL("true")))


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics"])
def test_the_admin_port_can_only_be_read(app: Flask, path: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO"):
        answer = admin(app).open(path, method=method)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
        assert (answer.json or {})["type"].endswith("/problems/method-not-allowed")
    options = admin(app).options(path)
    assert (options.status_code, options.headers["Allow"], options.data) == (204, "GET, HEAD, OPTIONS", b"")
    assert (admin(app).head(path).status_code, admin(app).get(path).status_code) == (200, 200)
    assert admin(app).post("/nowhere").status_code == 404


def test_a_service_with_its_database_is_alive_and_ready(app: Flask) -> None:
    for caller in (app.test_client(), admin(app)):
        assert caller.get("/livez").status_code == 200
        ready = caller.get("/readyz")
        assert (ready.status_code, ready.get_json()["database"]) == (200, "ok")


def test_metrics_are_on_the_admin_port_only(app: Flask) -> None:
    assert app.test_client().get("/metrics").status_code == 404
    metrics = admin(app).get("/metrics")
    assert metrics.status_code == 200
    assert metrics.headers["Content-Type"].startswith("text/plain")
    elsewhere = admin(app).get("/v1/orders")
    assert (elsewhere.status_code, elsewhere.content_type) == (404, "application/problem+json")


def test_metrics_count_waiting_rows_and_responses(app: Flask, service: str) -> None:
    assert create(app, service).status_code == 201
    text = admin(app).get("/metrics").get_data(as_text=True)
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    topic = {"order": "payment.create", "payment": "payment.updated"}[service]
    mine = f'tandem="{service}"'
    assert lines[f"database_up{{{mine}}}"] == "1.0"
    assert float(lines[f'outbox_depth{{{mine},topic="{topic}"}}']) >= 1
    assert float(lines[f'outbox_oldest_seconds{{{mine},topic="{topic}"}}']) > 0
    assert float(lines[f'http_requests_total{{method="POST",route="/v1/{service}s",status="201",{mine}}}']) >= 1
    assert float(lines[f'http_request_duration_seconds_count{{method="POST",route="/v1/{service}s",{mine}}}']) >= 1
    assert any(name.startswith(f'state_transitions_total{{from="",kind="{service}"') for name in lines)
    assert any(name.startswith("build_info{") and mine in name for name in lines)
    assert any(name.startswith("breaker_open{destination=") and mine in name for name in lines)
    assert float(lines[f'database_connections{{application="{service}",state="idle",{mine}}}']) >= 1
    if service == "payment":
        assert float(lines[f"operations_pending{{{mine}}}"]) == 0
        assert float(lines[f"operations_oldest_seconds{{{mine}}}"]) == 0
    else:
        assert float(lines[f'orders_waiting{{status="pending_payment",{mine}}}']) == 1
        assert float(lines[f'orders_oldest_seconds{{status="pending_payment",{mine}}}']) > 0
        assert float(lines[f'orders_waiting{{status="canceling",{mine}}}']) == 0
        assert float(lines[f"refunds_pending{{{mine}}}"]) == 0


def test_an_unreadable_gauge_is_left_out_and_the_database_stays_up(app: Flask, service: str, url: str) -> None:
    assert create(app, service).status_code == 201
    with psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        metrics = admin(app).get("/metrics").get_data(as_text=True)
    assert f'database_up{{tandem="{service}"}} 1.0' in metrics
    assert "\noutbox_depth{" not in metrics
    assert "\ndatabase_connections{" in metrics
    assert "\noutbox_depth{" in admin(app).get("/metrics").get_data(as_text=True)


def test_metrics_have_routes_and_never_ids(app: Flask, service: str) -> None:
    wanted = str(uuid.uuid4())
    headers = {"Authorization": f"Bearer {KEY}"}
    app.test_client().get(f"/v1/{service}s/{wanted}", headers=headers)
    app.test_client().get(f"/{wanted}", headers=headers)
    app.test_client().open(f"/v1/{service}s", method="NONSENSE")
    text = admin(app).get("/metrics").get_data(as_text=True)
    assert f'method="GET",route="/v1/{service}s/<uuid:{service}_id>",status="404"' in text
    assert 'method="GET",route="unmatched",status="404"' in text
    assert 'method="OTHER"' in text
    assert wanted not in text
    assert "NONSENSE" not in text


def test_without_migrations_a_service_is_alive_but_not_ready(server: Postgres, service: str) -> None:
    url = server.create_database(f"bare_{uuid.uuid4().hex[:12]}")
    app = application(service, url)
    for caller in (app.test_client(), admin(app)):
        assert caller.get("/livez").status_code == 200
        ready = caller.get("/readyz")
        assert (ready.status_code, ready.get_json()["database"]) == (503, "not migrated")
    answer = create(app, service)
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    app.extensions["tandem"].database.close()


def test_the_first_request_after_all_connections_were_closed_succeeds(
    app: Flask, service: str, server: Postgres, url: str
) -> None:
    for _ in range(3):
        assert create(app, service).status_code == 201
        close_connections(server, url)
    assert create(app, service).status_code == 201
    close_connections(server, url)
    assert app.test_client().get("/readyz").status_code == 200


def test_requests_are_503_while_the_database_is_unavailable(
    app: Flask, service: str, server: Postgres, url: str
) -> None:
    assert create(app, service).status_code == 201
    with unavailable(server, url):
        answer = create(app, service)
        assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
        assert urlsplit(answer.get_json()["type"]).path == "/problems/unavailable"
        assert int(answer.headers["Retry-After"]) >= 1
        for caller in (app.test_client(), admin(app)):
            assert caller.get("/livez").status_code == 200
            ready = caller.get("/readyz")
            assert (ready.status_code, ready.get_json()["database"]) == (503, "does not answer")
        metrics = admin(app).get("/metrics").get_data(as_text=True)
        assert f'database_up{{tandem="{service}"}} 0.0' in metrics
        assert "\noutbox_depth{" not in metrics
    assert create(app, service).status_code == 201
    assert admin(app).get("/readyz").status_code == 200
    assert f'database_up{{tandem="{service}"}} 1.0' in admin(app).get("/metrics").get_data(as_text=True)


def test_a_service_starts_without_its_database(service: str) -> None:
    app = application(service, "postgresql://nobody@127.0.0.1:9/nothing")
    assert app.test_client().get("/livez").status_code == 200
    assert create(app, service).status_code == 503
    assert app.test_client().get("/readyz").status_code == 503


def test_an_unexpected_error_is_500_and_reveals_no_internals(app: Flask) -> None:
    def broken() -> str:
        raise RuntimeError("the inside")

    app.add_url_rule("/broken", view_func=broken)
    answer = app.test_client().get("/broken", headers={"X-Request-Id": "mine"})
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert urlsplit(answer.get_json()["type"]).path == "/problems/internal-error"
    assert answer.get_json()["request_id"] == answer.headers["X-Request-Id"] == "mine"
    assert "the inside" not in answer.get_data(as_text=True)
    assert "Traceback" not in answer.get_data(as_text=True)
