"""Tools for clients of the Model Context Protocol.

Each tool is one request to the server's own HTTP interface, sent with the caller's key, so that
roles, collections and limits are those of everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import Field
from starlette.routing import BaseRoute

from rankgate import __version__

_ABOUT = (
    "Searches and answers from the user's own documents. `status` refused means that no passage "
    "is relevant enough: say so, do not answer from memory. `band` weak: the passages may not "
    "hold the answer."
)
_READ_ONLY = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_Question = Annotated[str, Field(min_length=1, max_length=4000, description="In plain words.")]
_Collection = Annotated[
    str | None, Field(description="One that list_collections names; none: the usual one.")
]


def mcp_server(http: httpx.AsyncClient) -> MCPServer[Any]:
    """The tools search, ask, compare, list_collections and list_documents.

    Args:
        http: reaches the server's HTTP interface. A client that came over HTTP has its own
            `Authorization` sent along, none included.
    """
    # Its constructor sets up the root logger, which may be somebody else's: errors alone.
    server: MCPServer[Any] = MCPServer(
        "rankgate", instructions=_ABOUT, version=__version__, log_level="ERROR"
    )

    async def call(ctx: Context[Any, Any], method: str, path: str, **sent: Any) -> dict[str, Any]:
        headers = {}
        if ctx.headers is not None:
            headers["Authorization"] = ctx.headers.get("authorization", "")
        given = {k: v for k, v in sent.items() if v is not None}
        body: dict[str, Any] = {"params": given} if method == "GET" else {"json": given}
        try:
            got = await http.request(method, path, headers=headers, **body)
            found: dict[str, Any] = got.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise ToolError(f"rankgate at {http.base_url} does not answer: {exc}") from exc
        if got.is_error:
            raise ToolError(str(found.get("message", got.reason_phrase)))
        return found

    @server.tool(annotations=_READ_ONLY)
    async def search(
        query: _Question,
        ctx: Context[Any, Any],
        collection: _Collection = None,
        top_n: Annotated[int | None, Field(ge=1, le=100)] = None,
    ) -> dict[str, Any]:
        """The passages that may hold the answer, best first; empty where none is relevant."""
        return await call(
            ctx, "POST", "/v1/search", query=query, collection=collection, top_n=top_n
        )

    @server.tool(annotations=_READ_ONLY)
    async def ask(
        question: _Question, ctx: Context[Any, Any], collection: _Collection = None
    ) -> dict[str, Any]:
        """An answer with verbatim quotes and their sources, or a refusal."""
        found = await call(
            ctx,
            "POST",
            "/v1/chat/completions",
            model="rankgate" if collection is None else f"rankgate:{collection}",
            messages=[{"role": "user", "content": question}],
        )
        shape: dict[str, Any] = found["rankgate"]
        return {k: v for k, v in shape.items() if k != "html"}

    @server.tool(annotations=_READ_ONLY)
    async def compare(
        question: _Question, ctx: Context[Any, Any], collection: _Collection = None
    ) -> dict[str, Any]:
        """The same question with and without the reranker; for an evaluator's key."""
        return await call(ctx, "POST", "/v1/compare", question=question, collection=collection)

    @server.tool(annotations=_READ_ONLY)
    async def list_collections(ctx: Context[Any, Any]) -> dict[str, Any]:
        """The collections that may be asked, with their sizes."""
        return await call(ctx, "GET", "/v1/collections")

    @server.tool(annotations=_READ_ONLY)
    async def list_documents(
        ctx: Context[Any, Any],
        collection: _Collection = None,
        after: Annotated[str | None, Field(description="`last_id` of the page before.")] = None,
    ) -> dict[str, Any]:
        """Documents of a collection by name; ask again with `after` while `has_more` is true."""
        return await call(ctx, "GET", "/v1/documents", collection=collection, after=after)

    return server


@asynccontextmanager
async def mcp_routes(http: httpx.AsyncClient) -> AsyncIterator[list[BaseRoute]]:
    """The route /mcp of an application, which serves while the block lasts.

    Nothing is kept between two requests, so that any replica may answer; which hosts and origins
    may ask is for the application to say.
    """
    inner = mcp_server(http).streamable_http_app(
        stateless_http=True,
        json_response=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    begun, end = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with inner.router.lifespan_context(inner):
            begun.set()
            await end.wait()

    # A task of its own: it has to be left in the one that it was entered in.
    task = asyncio.create_task(serve())
    task.add_done_callback(lambda _: begun.set())
    await begun.wait()
    if task.done():  # it could not begin, and says why
        task.result()
    try:
        yield inner.routes
    finally:
        end.set()
        await task
