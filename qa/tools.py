"""The MCP tools `ask` and `list_documents`, for assistants that want to quote."""

from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations
from pydantic import Field
from starlette.routing import BaseRoute

from corpus.errors import CitespanError
from corpus.log import event, failure
from qa import render
from qa.library import Library
from qa.rest import MOST_ANSWERS, MOST_CHARS, Result, Summary

__all__ = ["tools"]

_INSTRUCTIONS = (
    "Answers questions from the user's own documents with exact quotes. Every answer is a span of a"
    " document's text; nothing is generated. Ask short, direct questions (who, when, how many,"
    " which). Where `answered` is false, the documents do not say."
)


def tools(library: Library, path: str) -> tuple[Sequence[BaseRoute], StreamableHTTPSessionManager]:
    """The routes that serve the tools at the path, and what has to run while they do."""
    server = MCPServer(
        "citespan",
        title="Citespan",
        version=version("citespan"),
        instructions=_INSTRUCTIONS,
        log_level="ERROR",
    )
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)

    @server.tool(annotations=reads)
    async def ask(
        question: Annotated[str, Field(min_length=1, max_length=MOST_CHARS)],
        answers: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] = 5,
        min_confidence: Annotated[float | None, Field(ge=0, le=1)] = None,
    ) -> Result:
        """Answer a question with exact quotes from the user's documents, each with its place."""
        result = await _told(
            lambda: library.ask(question, answers=answers, min_confidence=min_confidence)
        )
        return Result.model_validate(render.as_json(result))

    @server.tool(annotations=reads)
    async def list_documents() -> list[Summary]:
        """List the documents that questions are answered from."""
        found = await _told(lambda: anyio.to_thread.run_sync(library.documents))
        return [Summary.model_validate(render.summary_json(summary)) for summary in found]

    # The guard in front of every route has checked host, origin and token.
    unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    mounted = server.streamable_http_app(
        streamable_http_path=path, stateless_http=True, transport_security=unchecked
    )
    return mounted.routes, server.session_manager


async def _told(work: Callable[[], Awaitable[Any]]) -> Any:
    """The work's result; its errors, which the tool's caller can mend, in their own words."""
    try:
        return await work()
    except CitespanError as error:
        event("refused", act="tool", error=str(error))
        raise ToolError(str(error)) from error
    except Exception as error:
        sentence = f"this is a bug in Citespan; its log has it as {failure(error)}"
        raise ToolError(sentence) from error
