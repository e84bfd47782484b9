"""Attacks by a web page on the real server of `make ui`: requests across origins, DNS rebinding, and WebSockets."""

import asyncio
import socket

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from ream.errors import UserError
from tests.graphs import ROOT

pytestmark = [pytest.mark.flow, pytest.mark.timeout(300)]
EVIL = "http://evil.example"
START = {"name": "x", "flow_id": "00000000-0000-0000-0000-000000000000"}


def answer(server, method, path, **headers):
    return httpx.request(
        method, server.api + path, headers=headers, json=START if method == "POST" else None, timeout=30
    )


def test_own_programs_and_pages_are_answered(server):
    assert answer(server, "GET", "/health").json() is True
    assert answer(server, "POST", "/flows/filter", origin=server.address).status_code == 200
    shown = httpx.get(server.address, timeout=30)
    assert shown.status_code == 200
    assert shown.headers["x-frame-options"] == "SAMEORIGIN"
    assert "access-control-allow-origin" not in shown.headers
    own = f"http://localhost:{server.port}"
    assert answer(server, "GET", "/health", origin=own).headers["access-control-allow-origin"] == own


@pytest.mark.parametrize("origin", [EVIL, "null", "http://127.0.0.1:1"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/flows/"), ("GET", "/health"), ("POST", "/flow_runs/")])
def test_a_page_from_elsewhere_is_refused(server, method, path, origin):
    before = answer(server, "POST", "/flows/count").json()
    refused = answer(server, method, path, origin=origin)
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers
    assert answer(server, "POST", "/flows/count").json() == before


def test_a_preflight_is_refused(server):
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    refused = answer(server, "OPTIONS", "/flow_runs/", origin=EVIL, **asked)
    assert refused.status_code == 403
    assert not [name for name in refused.headers if name.startswith("access-control")]
    own = answer(server, "OPTIONS", "/flow_runs/", origin=server.address, **asked)
    assert own.headers["access-control-allow-origin"] == server.address


@pytest.mark.parametrize("path", ["/", "/api/health", "/api/flow_runs/"])
def test_a_name_that_an_attacker_has_lead_here_is_refused(server, path):
    host = f"evil.example:{server.port}"
    refused = httpx.get(server.address + path, headers={"host": host, "origin": f"http://{host}"}, timeout=30)
    assert refused.status_code == 421
    with socket.create_connection(("127.0.0.1", server.port)) as raw:  # without any Host
        raw.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        assert b" 421 " in raw.recv(100)


def open_websocket(server, path, name="127.0.0.1", origin=None):
    """Open one to the server under a name, and close it."""

    async def open_one():
        there = {"host": "127.0.0.1", "port": server.port, "origin": origin, "subprotocols": ["prefect"]}
        async with connect(f"ws://{name}:{server.port}{path}", **there):
            pass

    asyncio.run(open_one())


@pytest.mark.parametrize("path", ["/api/events/in", "/api/events/out", "/api/logs/out"])
@pytest.mark.parametrize("attack", [{"origin": EVIL}, {"origin": "null"}, {"name": "evil.example"}])
def test_a_websocket_does_not_open(server, path, attack):
    with pytest.raises(InvalidStatus) as refused:
        open_websocket(server, path, **attack)
    assert refused.value.response.status_code == 403
    open_websocket(server, path, origin=server.address)
    open_websocket(server, path)


def test_parameters_of_a_run_cannot_execute_code(tmp_path):
    """As the server hands them to the flow, which ends with the message."""
    from flows.pipeline import up_to_date

    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    with pytest.raises(UserError, match=r"model\.trust_remote_code: a run cannot allow that code is executed"):
        up_to_date(tmp_path, [], {"model.path": "evil/model", "model.trust_remote_code": True}, 2, None, 1, False)
    assert (tmp_path / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()
