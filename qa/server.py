"""One server: the page, the REST interface and the MCP tools over one library, behind a guard."""

import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from corpus.errors import InputError
from qa.access import Access, Guard
from qa.library import Library
from qa.rest import rest
from qa.tools import tools
from qa.ui import mount

__all__ = ["application", "bound", "serve"]

_BODY_BYTES = 8 * 2**20
"""Of every request but an upload; the page sends its conversation along."""
_API = re.compile(r"/(?:api/|docs$|openapi\.json$|mcp$)")
_PAGE = re.compile(
    r"/(?:$|page\.css$|assets/|static/|svelte/|theme\.css$|favicon\.ico$"
    r"|manifest\.json$|config$"
    r"|gradio_api/(?:queue/(?:join|data)$|heartbeat/|startup-events$|theme\.css$|info$))"
)
"""All of Gradio that the page needs. What else it brings - uploads, a file server, a proxy, runs,
recordings, monitoring - is not reachable."""
_GRACE_SECONDS = 3


def application(library: Library, access: Access) -> ASGIApp:
    """The whole server as one ASGI application, guarded."""
    api = rest(library)
    routes, manager = tools(library, "/mcp")
    api.router.routes.extend(routes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with manager.run():
            yield

    page = FastAPI(openapi_url=None, lifespan=lifespan)
    mount(page, library)

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        # Side by side and not one in the other: Gradio has an answer to every path.
        is_api = scope["type"] == "http" and _API.match(scope["path"])
        await (api if is_api else page)(scope, receive, send)

    uploads = library.limits.request_bytes
    return Guard(
        either,
        access,
        is_open=lambda path: bool(_API.match(path) or _PAGE.match(path)),
        most_bytes=lambda path: uploads if path == "/api/documents" else _BODY_BYTES,
    )


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one.

    Raises:
        InputError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot listen on {host} port {port}: {reason}; choose another with --port"
        ) from error
    return listening


def serve(library: Library, access: Access, listening: socket.socket) -> None:
    """Serve until interrupted."""
    config = uvicorn.Config(
        application(library, access),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])
