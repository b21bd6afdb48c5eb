"""The page: templates rendered on the server; what moves on it asks the JSON interface.

Everything comes from this origin, no script or style stands inline, and no page is cached.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from rag_app.ask.conversations import Conversation
from rag_app.ingest.formats import KINDS
from rag_app.names import UnknownCollectionError
from rag_app.quality import figures
from rag_app.server import words
from rag_app.server.access import Access, Evaluator, SignedIn
from rag_app.server.errors import ApiError, mapped
from rag_app.server.keys import Principal
from rag_app.server.state import Server, ServerState
from rankgate.errors import RankgateError

_WEB = Path(__file__).resolve().parents[1] / "web"
# Reports bring their style with them, and run nothing; no page of ours may be touched by one.
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
_MAX_FORM = 4096

_templates = Environment(
    loader=PackageLoader("rag_app", "web/templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"ms": words.milliseconds, "percent": words.percent, "when": words.when}
_templates.globals |= {"words": words}


class _PageRoute(APIRoute):
    """Errors as pages; who has to sign in is sent there and comes back."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except ApiError as exc:
                error = exc
            except RankgateError as exc:
                error = mapped(exc)
            if error.status == 401:
                here = request.url.path
                if request.url.query:
                    here += f"?{request.url.query}"
                return RedirectResponse(f"/login?next={quote(here, safe='')}", 303)
            return _page("error.html", status=error.status, code=error.code, message=error.message)

        return handle


async def _body(request: Request) -> bytes:
    return await request.body()


router = APIRouter(include_in_schema=False, route_class=_PageRoute)
Collection = Annotated[str | None, Query()]


@router.get("/")
def chat(server: Server, principal: SignedIn, collection: Collection = None) -> Response:
    """A new conversation; where nothing is ingested, how to begin."""
    context = _context(server, principal, collection)
    return _page("chat.html", here="chat", conversation=None, program=_program(), **context)


@router.get("/c/{conversation}")
def kept(conversation: str, server: Server, principal: SignedIn) -> Response:
    """A kept conversation; its turns are fetched by the page."""
    found = server.conversations.get(conversation, owner=principal.id)
    context = _context(server, principal, found.collection)
    return _page("chat.html", here="chat", conversation=found, program=_program(), **context)


@router.get("/documents")
def documents(server: Server, principal: SignedIn, collection: Collection = None) -> Response:
    """What is in a collection; upload and delete."""
    context = _context(server, principal, collection)
    return _page("documents.html", here="documents", conversation=None, **context)


@router.get("/compare")
def compare(server: Server, principal: Evaluator, collection: Collection = None) -> Response:
    """One question with and without reranking."""
    context = _context(server, principal, collection)
    scorer = server.settings.scorer
    return _page("compare.html", here="compare", conversation=None, scorer=scorer, **context)


@router.get("/judge")
def judge(server: Server, principal: Evaluator, collection: Collection = None) -> Response:
    """Passages labelled by key press."""
    context = _context(server, principal, collection)
    return _page("judge.html", here="judge", conversation=None, **context)


@router.get("/quality")
def measured(server: Server, principal: Evaluator, collection: Collection = None) -> Response:
    """How this server is doing, and the evaluation reports of its data folder."""
    context = _context(server, principal, collection)
    quality = figures.summary(
        server.settings,
        server.metrics.recent,
        server.skip_audit,
        server.traffic,
        server.trial,
        context["collection"],
        principal.collections,
    )
    return _page(
        "quality.html",
        here="quality",
        conversation=None,
        quality=quality,
        feedback_on=server.settings.feedback,
        trial_on=server.trial is not None,
        **context,
    )


@router.get("/quality/reports/{name}")
def report(name: str, server: Server, principal: Evaluator) -> Response:
    """An evaluation report, shut off from everything."""
    found = figures.find_report(Path(server.settings.data_dir), name, principal.collections)
    if found is None:
        raise ApiError(404, "report_not_found", f"there is no report {name!r}")
    return FileResponse(
        found.path,
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": _REPORT_POLICY, "Cache-Control": "no-store"},
    )


@router.get("/login")
def login(request: Request, next: str = "/") -> Response:
    """Asks for a key, where there are any."""
    access: Access = request.app.state.access
    if access.open or access.recognise(request) is not None:
        return RedirectResponse(local_target(next), 303)
    return _page("login.html", next=local_target(next), wrong=False)


@router.post("/login")
def signed_in(request: Request, body: Annotated[bytes, Depends(_body)]) -> Response:
    """Takes the key and gives a cookie."""
    fields = parse_qs(body[:_MAX_FORM].decode("utf-8", "replace"), keep_blank_values=True)
    target = local_target(fields.get("next", ["/"])[0])
    access: Access = request.app.state.access
    response = RedirectResponse(target, 303)
    secure = request.url.scheme == "https"
    found = access.sign_in(fields.get("key", [""])[0], response, secure=secure)
    if found is None and not access.open:
        return _page("login.html", status=401, next=target, wrong=True)
    return response


@router.post("/logout")
def signed_out(request: Request) -> Response:
    """Takes the cookie away."""
    response = RedirectResponse("/login", 303)
    request.app.state.access.sign_out(request, response)
    return response


class _Static(StaticFiles):
    """Asked about again each time, so that an update never mixes old modules with new ones."""

    def file_response(self, full_path: Any, stat_result: Any, scope: Scope, *args: Any) -> Response:
        response = super().file_response(full_path, stat_result, scope, *args)
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_pages(app: FastAPI) -> None:
    """Serve the page and what it is made of."""
    app.include_router(router)
    app.mount("/static", _Static(directory=_WEB / "static"), name="static")


def _context(server: ServerState, principal: Principal, collection: str | None) -> dict[str, Any]:
    """What the frame of every page needs."""
    try:
        name = server.collection(collection, principal)
    except UnknownCollectionError:
        own = principal.visible(server.collections)
        if collection is not None or not own:
            raise
        name = own[0]  # a key for several collections, the usual one not among them
    info = server.collections.info(name)
    return {
        "principal": principal,
        "signed_in": not server.access.open,
        "collection": name,
        "collections": [server.collections.info(n) for n in principal.visible(server.collections)],
        "documents": info.documents,
        "passages": info.passages,
        "history": _by_day(server.conversations.all(principal.id)),
        "feedback": server.settings.feedback,
        "kinds": ", ".join(KINDS),
        "max_upload_mb": server.settings.max_upload_mb,
    }


def _program() -> str:
    """How a terminal in the server's folder calls this program."""
    beside = Path(sys.executable).with_name("rankgate")
    if shutil.which("rankgate") is None and beside.is_file():
        # Such as the `.venv/bin/rankgate` of `make serve`; other paths are nobody's business.
        with contextlib.suppress(ValueError):
            return beside.relative_to(Path.cwd()).as_posix()
    return "rankgate"


def _by_day(conversations: list[Conversation]) -> list[tuple[str, list[Conversation]]]:
    """Today, the last seven days, earlier; those without a question are left out."""
    today = datetime.now(UTC).date()
    groups: dict[str, list[Conversation]] = {}
    for one in conversations:
        if not one.title:
            continue
        days = (today - one.updated.date()).days
        label = "Today" if days <= 0 else "Last seven days" if days < 7 else "Earlier"
        groups.setdefault(label, []).append(one)
    return list(groups.items())


def local_target(target: str) -> str:
    """A path of this server; anything else becomes `/`."""
    parts = urlsplit(target)
    strange = parts.scheme or parts.netloc or not target.startswith("/")
    # A browser reads `//host` and `/\host` as addresses of another host.
    return "/" if strange or target[1:2] in ("/", "\\") or not target.isprintable() else target


def _page(template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    html = _templates.get_template(template).render(status=status, **context)
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})
