"""Strict routes: what a request says beside what its route takes is refused by name, never ignored,
and its JSON is JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pydantic_core
from fastapi import Request, Response, params
from fastapi._compat import ModelField
from fastapi.routing import APIRoute

from dw.errors import did_you_mean
from dw.server.api_error import ApiError
from dw.server.edge import Refused

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

FORM = "multipart/form-data"


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            strict = _StrictRequest(request.scope, request.receive)
            _refuse_unknown("parameter", strict.query_params, self.dependant.query_params)
            if self.body_field is not None:
                is_form = isinstance(self.body_field.field_info, params.Form)
                require_content_type(strict, FORM if is_form else "application/json")
                if is_form:
                    form = await strict.form()
                    try:
                        _refuse_unknown("field", form, self.dependant.body_params)
                    except ApiError:
                        await form.close()
                        raise
            return await handle(strict)

        return strict


def _refuse_unknown(what: str, given: Iterable[str], fields: Iterable[ModelField]) -> None:
    known = [field.alias for field in fields]
    for name in given:
        if name not in known:
            message = f"unknown {what} {name!r}{did_you_mean(name, known)}"
            raise ApiError("unknown_field", message, param=name)


class _StrictRequest(Request):
    async def json(self) -> Any:
        """JSON as its standard has it: no NaN, no half of a surrogate pair, no number beyond a
        float, no nesting without end. Raises Refused."""
        try:
            value = pydantic_core.from_json(await self.body(), allow_inf_nan=False)
            _require_finite(value)
        except ValueError as error:
            raise Refused(ApiError("invalid_request", f"invalid JSON: {error}")) from None
        return value


def _require_finite(value: Any) -> None:
    """Raises ValueError for a number such as 1e999, which became infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("number out of range")
    if isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            _require_finite(each)


def require_content_type(request: Request, wanted: str) -> None:
    """Raises ApiError for a body of another type than a route takes."""
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return  # there is none
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != wanted:
        message = f"the body is of the type {given or 'none'!r}, and must be {wanted}"
        raise ApiError("unsupported_media_type", message)
