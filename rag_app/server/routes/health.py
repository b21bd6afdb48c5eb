"""Is it alive, can it answer, and how is it doing."""

from __future__ import annotations

import asyncio
import logging
import shutil

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from rag_app.ask.pipeline import EmptyIndexError
from rag_app.server.access import need_evaluator
from rag_app.server.state import Server, ServerState
from rankgate.errors import RankgateError

router = APIRouter(tags=["health"])

logger = logging.getLogger("rankgate.server")

_MIN_FREE = 100 * 2**20


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the process answers; looks at nothing else."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request, server: Server) -> JSONResponse:
    """Whether questions can be answered: store, models, disk; 503 with the reasons if not.

    Details go to evaluators and to the log, because they may name folders.
    """
    known = await asyncio.to_thread(server.access.recognise, request)
    checks = await asyncio.to_thread(_checks, server)
    for name, check in checks.items():
        if not check["ok"]:
            logger.error("not ready: %s: %s", name, check["detail"])
        if known is None or not known.evaluator:
            check["detail"] = ""
    ready = all(check["ok"] for check in checks.values())
    return JSONResponse({"ready": ready, "checks": checks}, status_code=200 if ready else 503)


@router.get("/metrics")
async def metrics(request: Request, server: Server) -> Response:
    """Numbers for Prometheus; the server's own, no question or document among them.

    With keys on the server it takes an evaluator's, unless the setting `metrics_open` is on.
    """
    if not server.settings.metrics_open:
        known = await asyncio.to_thread(server.access.recognise, request)
        if known is None:
            raise server.access.unauthorised()
        request.state.principal = known
        need_evaluator(known)
    server.metrics.in_flight.set(server.workers.taken)
    server.metrics.breaker_open.set(server.collections.scorer_is_open())
    return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _checks(server: ServerState) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    name = server.settings.collection
    try:
        server.collections.store(name, create=True).check()
        found["store"] = {"ok": True, "detail": ""}
    except RankgateError as exc:
        found["store"] = {"ok": False, "detail": str(exc)}
    try:
        server.collections.pipeline(name)
        found["models"] = {"ok": True, "detail": ""}
    except EmptyIndexError:
        # Nothing to answer from is a state of the documents, not of the server.
        found["models"] = {"ok": True, "detail": "nothing is ingested yet"}
    except RankgateError as exc:
        found["models"] = {"ok": False, "detail": str(exc)}
    # Questions are answered all the same, in first-stage order and marked `degraded`.
    away = server.collections.scorer_is_open()
    detail = "it failed too often and is left alone for a while" if away else ""
    found["scorer"] = {"ok": True, "detail": detail}
    free = shutil.disk_usage(server.settings.data_dir).free
    found["disk"] = {"ok": free >= _MIN_FREE, "detail": f"{free / 2**30:.1f} GiB free"}
    return found
