"""Faces: the APIs that the server speaks, each with its own shape of an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dw.server.api_error import ApiError


@dataclass(frozen=True)
class Face:
    """`paths` matches the beginnings of its paths; `error` makes the body of an error, with the id
    of its request; `schema` is the JSON Schema of that body."""

    name: str
    paths: re.Pattern[str]
    error: Callable[[ApiError, str], dict[str, Any]]
    schema: Mapping[str, Any]


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """An object with all of these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


_TEXT = {"type": "string"}
_NAME = {"type": "string", "examples": ["missing_field"]}
_PARAM = {"type": ["string", "null"], "description": "the field at fault"}

OPENAI = Face(
    "OpenAI",
    re.compile("/v1/(images|models|files|batches)"),
    lambda error, _request_id: error.to_openai(),
    _object({"error": _object({"message": _TEXT, "type": _TEXT, "param": _PARAM, "code": _NAME})}),
)
RUNPOD = Face(
    "RunPod",
    re.compile("/v2/"),
    lambda error, _request_id: error.to_runpod(),
    _object({"status": {"const": "error"}, "error": _TEXT, "error_type": _NAME, "message": _TEXT}),
)
HUGGINGFACE = Face(
    "Hugging Face",
    re.compile("/models/"),
    lambda error, request_id: error.to_huggingface(request_id),
    _object({"error": _TEXT, "error_type": _NAME, "param": _PARAM, "request_id": _TEXT}),
)
REPLICATE = Face(
    "Replicate",
    re.compile("/v1/(predictions|models/[^/]+/[^/]+)"),
    lambda error, request_id: error.to_problem(request_id),
    _object(
        {
            "type": _NAME,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "instance": {"type": "string", "description": "the id of the request"},
        }
    ),
)
NATIVE = Face(
    "Native",
    re.compile("/"),
    lambda error, request_id: error.to_json(request_id),
    _object(
        {
            "error": _object(
                {
                    "error_type": _NAME,
                    "message": _TEXT,
                    "param": _PARAM,
                    "retryable": {"type": "boolean"},
                    "request_id": _TEXT,
                    "hints": {"type": "array", "items": _TEXT},
                    "details": {
                        "type": "array",
                        "description": "every problem, where there are several",
                        "items": _object({"error_type": _NAME, "message": _TEXT, "param": _PARAM}),
                    },
                }
            )
        }
    ),
)
FACES = (REPLICATE, OPENAI, RUNPOD, HUGGINGFACE, NATIVE)


def face_of(path: str) -> Face:
    return next(face for face in FACES if face.paths.match(path))
