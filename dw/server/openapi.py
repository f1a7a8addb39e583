"""The OpenAPI document: what FastAPI finds in the routes, and what the edge adds to each of them.

A route names the errors of its own by `errors`; those that every route may have are added here,
in the shape of the face that the path belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from dw.errors import DwError
from dw.server.api_error import OF_BODY, errors
from dw.server.edge import OPEN_PATHS
from dw.server.faces import FACES, Face, face_of
from dw.server.service import Service
from dw.workflow.inputs import arguments_schema

KEY = "key"
_COMPONENT = re.compile(r"[\w.-]+", re.ASCII)


def describe(app: FastAPI, service: Service) -> None:
    """Make `app` describe itself truly."""
    described: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not described:
            described.update(_described(app, needs_key=bool(service.keys)))
        schemas = described["components"]["schemas"] | _arguments(service)
        return described | {"components": described["components"] | {"schemas": schemas}}

    app.openapi = document  # type: ignore[method-assign]


def _described(app: FastAPI, *, needs_key: bool) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = found["components"]
    for path, operations in found["paths"].items():
        for operation in operations.values():
            _complete(path, operation, needs_key=needs_key)
            components["schemas"] |= _hoist(operation)
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["schemas"] |= {_error(face): dict(face.schema) for face in FACES}
    if needs_key:
        components["securitySchemes"] = {KEY: {"type": "http", "scheme": "bearer"}}
    return found


def _complete(path: str, operation: dict[str, Any], *, needs_key: bool) -> None:
    """Add what the edge answers, and the shapes of errors."""
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own, which becomes a 400
    for status, response in errors(*_everywhere(path, operation, needs_key=needs_key)).items():
        known = responses.setdefault(str(status), {"description": ""})
        texts = f"{known['description']}, {response['description']}".split(", ")
        known["description"] = ", ".join(dict.fromkeys(filter(None, texts)))
    error = {"$ref": f"#/components/schemas/{_error(face_of(path))}"}
    for status, response in responses.items():
        headers = {"x-request-id": _header("the caller's own, or a new one")}
        if int(status) >= 400:
            response.setdefault("content", {"application/json": {"schema": error}})
        if status in ("429", "503"):
            headers["retry-after"] = _header("seconds")
        response["headers"] = headers | response.get("headers", {})
    operation["responses"] = dict(sorted(responses.items()))
    if needs_key and path not in OPEN_PATHS:
        operation["security"] = [{KEY: []}]


def _everywhere(path: str, operation: Mapping[str, Any], *, needs_key: bool) -> Iterable[str]:
    """The error types of each route that has a body, parameters, a key."""
    yield from ("unknown_field", "internal_error")
    if path not in OPEN_PATHS:
        yield "too_many_requests"
        if needs_key:
            yield "invalid_api_key"
    if operation.get("parameters"):
        yield from ("invalid_type", "invalid_value")
    if "{" in path:
        yield "not_found"
    if "requestBody" in operation:
        yield from OF_BODY


def _error(face: Face) -> str:
    return f"{face.name.replace(' ', '')}Error"


def _hoist(operation: dict[str, Any]) -> dict[str, Any]:
    """The definitions that the schemas of a body, which a route declares by itself, bring along."""
    found: dict[str, Any] = {}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        found |= content.get("schema", {}).pop("$defs", {})
    return found


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _arguments(service: Service) -> dict[str, Any]:
    """The schema of each workflow's arguments, `shapes.arguments`."""
    found = {}
    for name in filter(_COMPONENT.fullmatch, service.catalog.names()):
        try:
            found[f"{name}.arguments"] = arguments_schema(service.catalog.document(name))
        except DwError:
            continue  # a file that is wrong: those who ask for it are told
    return found
