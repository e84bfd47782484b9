"""What Prefect's server is asked by others than its own pages and this machine's programs is refused."""

import asyncio

import pytest

from flows.guard import FORBIDDEN, MISDIRECTED, guarded, origins, refusal

PORT = 4200
OWN, UI = ("host", f"127.0.0.1:{PORT}"), ("origin", f"http://127.0.0.1:{PORT}")


def refused(*headers):
    answer = refusal([(name.encode(), value.encode()) for name, value in headers], PORT)
    return answer and answer[0]


@pytest.mark.parametrize(
    "headers",
    [
        [OWN],  # Prefect's client
        [("host", f"LocalHost:{PORT}")],
        [OWN, UI],
        [OWN, ("origin", f"http://localhost:{PORT}"), ("sec-fetch-site", "cross-site")],  # the UI under its other name
        [OWN, ("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "no-cors")],
        [OWN, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],  # a link to the UI
        [OWN, ("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
    ],
)
def test_own_pages_and_programs_pass(headers):
    assert refused(*headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("host", "")],
        [("host", "127.0.0.1")],
        [("host", f"127.0.0.1:{PORT + 1}")],
        [("host", f"evil.example:{PORT}")],  # DNS rebinding: the name leads to 127.0.0.1
        [("host", f"127.0.0.1.evil.example:{PORT}")],
        [("host", f"localhost.evil.example:{PORT}")],
        [("host", f"evil.example@127.0.0.1:{PORT}")],
        [("host", f"evil.example:{PORT}"), ("origin", f"http://evil.example:{PORT}")],
        [OWN, OWN],
        [OWN, ("host", "evil.example")],
    ],
)
def test_another_host(headers):
    assert refused(*headers) == MISDIRECTED


@pytest.mark.parametrize(
    "headers",
    [
        [("origin", "http://evil.example")],
        [("origin", f"http://evil.example:{PORT}")],
        [("origin", f"https://127.0.0.1:{PORT}")],
        [("origin", "http://127.0.0.1")],
        [("origin", f"http://127.0.0.1:{PORT + 1}")],  # another program's page on this machine
        [("origin", f"http://127.0.0.1:{PORT}.evil.example")],
        [("origin", "null")],
        [("origin", "")],
        [UI, ("origin", "http://evil.example")],
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],  # <img src>
        [("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")],
    ],
)
def test_another_page(headers):
    assert refused(OWN, *headers) == FORBIDDEN


def test_without_a_port_on_the_port_of_http():
    assert refusal([(b"host", b"localhost"), (b"origin", b"http://localhost")], 80) is None
    assert origins(PORT) == [f"http://127.0.0.1:{PORT}", f"http://localhost:{PORT}"]


def ask(kind, *headers):
    """The messages that are sent, and whether the application saw the request."""
    sent, seen = [], []

    async def app(scope, receive, send):
        seen.append(scope["type"])
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
            await send({"type": "http.response.body", "body": b"ok"})

    async def receive():
        return {"type": f"{kind}.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": [(name.encode(), value.encode()) for name, value in headers]}
    asyncio.run(guarded(app, PORT)(scope, receive, send))
    return sent, bool(seen)


def test_an_application_sees_only_what_is_meant_for_it():
    sent, seen = ask("http", OWN)
    assert seen
    assert (b"x-frame-options", b"SAMEORIGIN") in sent[0]["headers"]
    assert (b"x-own", b"1") in sent[0]["headers"]
    assert ask("websocket", OWN, UI) == ([], True)
    assert ask("lifespan") == ([], True)


def test_a_refusal_is_a_status_and_a_line_and_the_application_sees_nothing():
    sent, seen = ask("http", OWN, ("origin", "http://evil.example"))
    assert not seen
    assert sent[0]["status"] == FORBIDDEN
    assert sent[1]["body"] == b"pages of ['http://evil.example'] cannot use this server; open http://127.0.0.1:4200\n"
    sent, seen = ask("websocket", ("host", "evil.example:4200"))
    assert not seen
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]
    assert len(sent[0]["reason"].encode()) <= 123  # RFC 6455
