"""Prefect's server for this machine's own pages and programs alone.

Prefect answers any Host and any Origin. So a web page that someone has open could start runs: by requests to the
loopback address, or under a name of its own that it has the browser look up there (DNS rebinding). Here every request,
and every WebSocket before it opens, must name the server's own address as its Host and, if a page sends it, as its
Origin. Programs such as Prefect's client send no Origin.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from flows.settings import HOST, NAMES
from ream.machine.parent import end_with_parent

PORT_VARIABLE = "REAM_SERVER_PORT"  # how `flows.server` tells `create_app` the port
HTTP_PORT = 80  # the port that a Host leaves out
FORBIDDEN, MISDIRECTED, POLICY_VIOLATION = 403, 421, 1008  # two HTTP statuses, and the code that closes a WebSocket
FRAMES = [(b"x-frame-options", b"SAMEORIGIN"), (b"content-security-policy", b"frame-ancestors 'self'")]
PLAIN = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def create_app() -> App:
    """Prefect's application, guarded; what uvicorn is started with."""
    from prefect.server.api.server import create_app as unguarded

    end_with_parent()
    return guarded(unguarded(), int(os.environ[PORT_VARIABLE]))


def origins(port: int) -> list[str]:
    """The origins of the UI's own pages."""
    return [f"http://{host}" for host in _hosts(port)]


def guarded(app: App, port: int) -> App:
    """An ASGI application that passes on what is meant for it, and forbids other pages to show its pages in a frame.

    Args:
        app: the application.
        port: at which it is served.
    """

    async def guard(scope: Message, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        if refused := refusal(scope["headers"], port):
            return await _refuse(scope, receive, send, *refused)

        async def unframed(message: Message) -> None:
            """Send a message; the start of a response with the headers on frames."""
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *FRAMES]}
            await send(message)

        return await app(scope, receive, unframed)

    return guard


def refusal(headers: Iterable[tuple[bytes, bytes]], port: int) -> tuple[int, str] | None:
    """Why a request is refused: HTTP status and a line for people; None if it is not.

    Args:
        headers: names in lower case, and values.
        port: at which the server is.
    """
    values: dict[bytes, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value.decode("latin-1"))
    hosts, from_pages = values.get(b"host", []), values.get(b"origin", [])
    if len(hosts) != 1 or hosts[0].lower() not in _hosts(port):
        return MISDIRECTED, f"this is not the server of {hosts}; open http://{HOST}:{port}"
    if len(from_pages) > 1 or not {origin.lower() for origin in from_pages} <= set(origins(port)):
        return FORBIDDEN, f"pages of {from_pages} cannot use this server; open http://{HOST}:{port}"
    # A page's request for an image or a script has no Origin, but says that it comes from elsewhere.
    elsewhere = {"cross-site", "same-site"} & set(values.get(b"sec-fetch-site", []))
    if not from_pages and elsewhere and values.get(b"sec-fetch-mode", []) != ["navigate"]:
        return FORBIDDEN, f"other pages cannot use this server; open http://{HOST}:{port}"
    return None


def _hosts(port: int) -> list[str]:
    """What a Host can be."""
    return [f"{name}:{port}" for name in NAMES] + (list(NAMES) if port == HTTP_PORT else [])


async def _refuse(scope: Message, receive: Receive, send: Send, status: int, line: str) -> None:
    """Answer a request with a status and a line, or close a WebSocket before it opens."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": line[:100]})
        return
    await send({"type": "http.response.start", "status": status, "headers": PLAIN})
    await send({"type": "http.response.body", "body": f"{line}\n".encode()})
