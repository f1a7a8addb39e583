"""Health: whether the process answers, and whether it could run a job now."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

import dw
from dw.health.host import build
from dw.server.answers import Alive, Health, Unready, WorkerHealth
from dw.server.api_error import RETRY_AFTER_S
from dw.server.service import Service
from dw.server.strict import StrictRoute

WAIT = {"retry-after": str(RETRY_AFTER_S)}
MOST_SILENCE_S = 2.0
"""A worker that has sent no heartbeat for longer takes no work: it is stopped, or hangs."""


def health_api(service: Service) -> APIRouter:
    router = APIRouter(route_class=StrictRoute)

    @router.get("/livez")
    async def livez() -> Alive:
        """The process answers."""
        return {"status": "ok"}

    not_ready: dict[int | str, Any] = {503: {"model": Unready, "description": "None would"}}

    @router.get("/readyz", response_model=Alive, responses=not_ready)
    def readyz() -> Response:
        """Whether a job would be run now."""
        failing = [name for name, state in workers(service).items() if not state["is_ready"]]
        reason = ""
        if service.unfit is not None:
            reason = str(service.unfit)
        elif service.queue.is_draining:
            reason = "draining"
        elif len(failing) == len(service.queue.slots):
            reason = "no worker is ready"
        if reason:
            told: Unready = {"status": "unavailable", "reason": reason, "failing": failing}
            return JSONResponse(told, 503, WAIT)
        return JSONResponse({"status": "ok"})

    @router.get(
        "/ping",
        response_model=Alive,
        responses={
            204: {"description": "Every worker starts"},
            503: {"description": "No worker is ready", "content": {}},
        },
    )
    def ping() -> Response:
        """For load balancers: 200, 204 while every worker starts, 503."""
        states = workers(service).values()
        if any(state["is_ready"] for state in states):
            return JSONResponse({"status": "ok"})
        if all(state["is_starting"] for state in states):
            return Response(status_code=204)
        return Response(status_code=503, headers=WAIT)

    @router.get("/health")
    def health() -> Health:
        """What `/readyz` judges, with versions, the queue and the workers."""
        return {
            "status": "ok" if not service.queue.is_draining else "draining",
            "version": dw.__version__,
            "build": build(),
            "queued": service.queue.store.queued,
            "workers": workers(service),
        }

    return router


def workers(service: Service) -> dict[str, WorkerHealth]:
    """The state of each worker, by the name of its slot."""
    found: dict[str, WorkerHealth] = {}
    for slot in service.queue.slots:
        status = slot.client.status()
        is_silent = (status.silent_s or 0.0) > MOST_SILENCE_S
        found[slot.name] = {
            "state": status.state,
            "pid": status.pid or status.standby_pid,
            "rss": status.rss or status.standby_rss,
            "restarts": status.restarts,
            "cold_start": service.queue.cold_starts[slot.name].stages,
            "is_starting": status.state == "starting",
            "is_ready": status.restarts < status.most_restarts and not is_silent,
        }
    return found
