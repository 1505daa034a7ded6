"""The routes of the server."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from stretto.llm.serve.completions import Completions, Limits, Served
from stretto.llm.serve.doors import Doors
from stretto.llm.serve.error import ApiError, Json
from stretto.llm.serve.metrics import Metrics


def serve_app(served: Served, doors: Doors | None = None, limits: Limits | None = None) -> Starlette:
    """An ASGI application that serves one model. Its completions stand under `app.state.metrics`."""
    doors, metrics = doors or Doors(), Metrics()
    card = {"id": served.name, "object": "model", "created": 0, "owned_by": "stretto"}
    card_with_context: dict[str, Any] = card | {"max_model_len": served.context}

    async def healthz(request: Request) -> Response:
        return Json({"ok": True, "model": served.name})

    async def page(request: Request) -> Response:
        doors.check(request.headers)
        return Response(metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(request: Request) -> Response:
        doors.check(request.headers)
        return Json({"object": "list", "data": [card_with_context]})

    async def model(request: Request) -> Response:
        doors.check(request.headers)
        if (name := request.path_params["name"]) != served.name:
            raise ApiError(
                f"there is no model {name[:80]!r} here: ask for {served.name}",
                status=404,
                code="model_not_found",
            )
        return Json(card_with_context)

    completions = Completions(served, doors, limits or Limits(), metrics)
    app = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/metrics", page),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/v1/chat/completions", completions, methods=["POST"]),
        ],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error},
    )
    app.state.metrics = metrics
    return app


def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


def _http_error(request: Request, error: Exception) -> Response:
    """No such path, or no such method."""
    assert isinstance(error, HTTPException)
    told = f"{request.method} {request.url.path[:200]}: {error.detail}"
    if error.status_code == 404:
        told += "; there are /v1/chat/completions, /v1/models, /healthz and /metrics"
    response = ApiError(told, status=error.status_code).response()
    response.headers.update(error.headers or {})
    return response
