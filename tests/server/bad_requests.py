"""Bad requests on each face, and how each has to be refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
AS_JSON = {"content-type": JSON}
FORM = "multipart/form-data; boundary=x"
LONG = "9" * 400
PATHS = ("..%2f..%2fetc%2fpasswd", "%00", "%ff%fe", "x" * 3000, "{}", "%0d%0aset-cookie:a=b")
"""Nonsense in the place of an id."""

BAD_JSON = (
    (b"", "invalid_request"),
    (b"{", "invalid_request"),
    (b"{'workflow': 'demo'}", "invalid_request"),
    (b'{"workflow": "demo",}', "invalid_request"),
    (b'{"workflow": NaN}', "invalid_request"),
    (b'{"workflow": -Infinity}', "invalid_request"),
    (b'{"workflow": 1e999}', "invalid_request"),
    (b'{"workflow": "\\ud800"}', "invalid_request"),
    (b'{"workflow": "\xff\xfe"}', "invalid_request"),
    (b"\xef\xbb\xbf{}", "invalid_request"),
    (b'{"workflow": ' + b"9" * 5000 + b"}", "invalid_request"),
    (b"[" * 100_000, "invalid_request"),
    (b"null", "invalid_type"),
    (b"[]", "invalid_type"),
    (b'"demo"', "invalid_type"),
    (b"7", "invalid_type"),
    (b"{}", "missing_field"),
)


@dataclass(frozen=True)
class Bad:
    """`param` is the field at fault, where one is."""

    method: str
    path: str
    status: int
    error_type: str
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    param: str | None = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path[:60]} {self.content[:60]!r} {self.headers}"


def bodies(method: str, path: str) -> Iterator[Bad]:
    for content, error_type in BAD_JSON:
        yield Bad(method, path, 400, error_type, content, {"content-type": JSON})
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "application/jsonx",
        "a/b/c",
    ):
        yield Bad(method, path, 415, "unsupported_media_type", b"{}", {"content-type": kind})


def fields(method: str, path: str, good: dict[str, Any], *bad: tuple[Any, ...]) -> Iterator[Bad]:
    """A good body, with one field after the other replaced by a bad value: rows of the field, the
    value, the error type, and the field at fault if it is another."""
    for name, value, error_type, *param in bad:
        content = json.dumps(good | {name: value}).encode()
        status = 404 if error_type.endswith("not_found") else 400
        at = param[0] if param else name
        headers = {"content-type": JSON}
        yield Bad(method, path, status, error_type, content, headers, at)


def strange_paths(before: str, error_type: str) -> Iterator[Bad]:
    for name in PATHS:
        if "2f" not in name:
            yield Bad("GET", before + name, 404, error_type)
        elif before != "/v1/models/":  # a slash makes it another path, which no other face has
            yield Bad("GET", before + name, 404, "not_found")


JOB = {"workflow": "demo"}
NO_JOB = "/v1/jobs/j_000000000000"

NATIVE = (
    *bodies("POST", "/v1/jobs"),
    *bodies("POST", "/generate"),
    *bodies("PUT", NO_JOB),
    *bodies("POST", "/v1/commands"),
    *fields(
        *("POST", "/v1/jobs", JOB),
        *(("workflow", value, "invalid_type") for value in (7, None, [], {}, True)),
        *(
            ("workflow", value, "workflow_not_found", None)
            for value in (
                "",
                "deom",
                "../demo",
                "/etc/passwd",
                "demo\0",
                "x" * 100_000,
                "demo.json",
            )
        ),
        *(("arguments", value, "invalid_type") for value in ([], "prompt=x", None, 7)),
        ("arguments", {"promt": "x"}, "unknown_field", "promt"),
        ("arguments", {"__class__": "x"}, "unknown_field", "__class__"),
        *(
            ("arguments", {"num_inference_steps": value}, "invalid_type", "num_inference_steps")
            for value in ("many", [1], {}, True, 1.5)
        ),
        *(("arguments", {"prompt": value}, "invalid_type", "prompt") for value in (3, ["x"], {})),
        *(("seed", value, "invalid_value") for value in (-1, 2**32)),
        *(("seed", value, "invalid_type") for value in (1.5, "7", True, [])),
        *(("timeout_s", value, "invalid_value") for value in (0, -1, 1e300)),
        *(("timeout_s", value, "invalid_type") for value in ("5", True)),
        *(("priority", value, "invalid_value") for value in (101, -101, 10**30)),
        *(("priority", value, "invalid_type") for value in ("high", None, 0.5)),
        *((name, "x", "unknown_field") for name in ("sed", "state", "id", "__proto__")),
    ),
    *fields("PUT", "/v1/jobs/mine", JOB, ("seed", 1, "invalid_value", None)),
    *fields("PUT", "/v1/jobs/j_0123456789AB", JOB, ("seed", 1, "invalid_value", None)),
    *fields("PUT", "/v1/jobs/j_0123456789abc", JOB, ("seed", 1, "invalid_value", None)),
    *fields(
        *("POST", "/v1/commands", {"command": {}}),
        ("command", {}, "invalid_value"),
        ("command", {"command": "Quit"}, "invalid_value"),
        ("command", {"command": "Run", "run_id": "x"}, "invalid_value"),
        ("command", [], "invalid_type"),
        ("timeout_s", 0, "invalid_value"),
    ),
    Bad(
        *("POST", "/v1/jobs", 400, "invalid_value", json.dumps(JOB).encode()),
        {"content-type": JSON, "idempotency-key": "k" * 300},
        "idempotency-key",
    ),
    *(
        Bad("GET", f"/v1/jobs?{query}", 400, error_type, param=query.partition("=")[0])
        for query, error_type in (
            ("limit=0", "invalid_value"),
            ("limit=1001", "invalid_value"),
            ("limit=ten", "invalid_value"),
            ("limit=NaN", "invalid_value"),
            (f"limit={LONG}", "invalid_value"),
            ("state=done", "invalid_value"),
            ("stat=queued", "unknown_field"),
        )
    ),
    Bad("GET", "/v1/jobs?after=j_000000000000", 404, "job_not_found"),
    *(
        Bad("GET", f"{NO_JOB}{rest}", 404, "job_not_found")
        for rest in ("", "/events", "/outputs/0")
    ),
    *(Bad("POST", f"{NO_JOB}/{rest}", 404, "job_not_found") for rest in ("cancel", "retry")),
    Bad("GET", f"{NO_JOB}/outputs/first", 400, "invalid_value", param="number"),
    Bad("GET", f"{NO_JOB}/outputs/{LONG}", 404, "job_not_found"),
    *(
        Bad("GET", f"/v1/jobs/{p}", 404, "not_found" if "2f" in p else "job_not_found")
        for p in PATHS
    ),
    *(
        Bad("GET", f"/v1/workflows/{p}", 404, "not_found" if "2f" in p else "workflow_not_found")
        for p in PATHS
    ),
    Bad("GET", "/v1/workflows/none/schema", 404, "workflow_not_found"),
    Bad("GET", "/v1/workers/none/where", 404, "not_found"),
    Bad("POST", "/v1/workers/none/stop", 404, "not_found"),
    *(Bad(m, "/v1/jobs", 405, "method_not_allowed") for m in ("DELETE", "PUT", "PATCH", "OPTIONS")),
    Bad("GET", "/generate", 405, "method_not_allowed"),
    *(
        Bad("GET", p, 404, "not_found")
        for p in ("/nowhere", "/v1/jobs/", "//v1/jobs", "/v1", "/V1/jobs")
    ),
    Bad("GET", "/nowhere", 404, "not_found", b"", {"host": "["}),
    Bad("GET", "/livez?deep=1", 400, "unknown_field", param="deep"),
)

IMAGES = "/v1/images/generations"
MODEL = {"model": "demo", "prompt": "a hen"}


def part(name: str, value: bytes, file: str = "", kind: str = "") -> bytes:
    filename = f'; filename="{file}"' if file else ""
    content_type = f"\r\nContent-Type: {kind}" if kind else ""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{filename}{content_type}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


def sent(path: str, status: int, code: str, content: bytes, param: str | None = None) -> Bad:
    return Bad("POST", path, status, code, content, {"content-type": FORM}, param)


EDITS = "/v1/images/edits"
BAD_FORMS = (
    (b"", {"content-type": "multipart/form-data"}, 400, "invalid_request"),
    (b"--y\r\n", {"content-type": FORM}, 400, "invalid_request"),
    (b"nonsense", {"content-type": FORM}, 400, "invalid_request"),
    (part("model", b"demo")[:30], {"content-type": FORM}, 400, "missing_field"),
    (b"--x\r\nnonsense\r\n\r\n--x--\r\n", {"content-type": FORM}, 400, "invalid_request"),
    (b"{}", {"content-type": JSON}, 415, "unsupported_media_type"),
    (b"a=1", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    (b"a=1", {}, 415, "unsupported_media_type"),
    (
        form(*[part(f"f{n}", b"x") for n in range(1100)]),
        {"content-type": FORM},
        400,
        "invalid_request",
    ),
    (form(part("model", b"d" * 2_000_000)), {"content-type": FORM}, 400, "invalid_request"),
)

OPENAI = (
    *bodies("POST", IMAGES),
    *fields(
        *("POST", IMAGES, MODEL),
        *(("model", value, "invalid_type") for value in (7, None, [], True)),
        *(
            ("model", v, "model_not_found", "model")
            for v in ("", "dall-e-3", "../demo", "m" * 9999)
        ),
        *(("prompt", value, "invalid_type") for value in (3, [], {}, True)),
        *(("n", value, "invalid_value") for value in (0, 11, -1, 10**30)),
        *(("n", value, "invalid_type") for value in ("2", True, 1.5, [])),
        *(
            ("size", v, "invalid_value")
            for v in ("big", "0x0", "64", "-1x5", "9999999x1", "1x1x1", "")
        ),
        *(("size", value, "invalid_type") for value in (64, [64, 64])),
        ("size", "64x64", "unknown_field"),
        *(("response_format", value, "invalid_value") for value in ("png", "", 3)),
        *(("seed", value, "invalid_value") for value in (-1, 2**32)),
        *(("seed", value, "invalid_type") for value in ("7", 1.5)),
        *((name, "hd", "unknown_field") for name in ("quality", "style", "promt", "background")),
        ("num_inference_steps", "many", "invalid_type"),
    ),
    *(
        Bad("POST", EDITS, status, code, content, headers)
        for content, headers, status, code in BAD_FORMS
    ),
    sent(EDITS, 400, "missing_field", form(part("prompt", b"x")), "model"),
    sent(EDITS, 404, "model_not_found", form(part("model", b"none")), "model"),
    *(
        sent(EDITS, 400, code, form(part("model", b"demo"), part(name, value)), name)
        for name, value, code in (
            ("n", b"many", "invalid_type"),
            ("n", b"0", "invalid_value"),
            ("n", LONG.encode(), "invalid_type"),
            ("size", b"huge", "invalid_value"),
            ("seed", b"-1", "invalid_value"),
            ("style", b"x", "unknown_field"),
        )
    ),
    sent(
        EDITS,
        400,
        "unknown_field",
        form(part("model", b"demo"), part("image", b"x", "a.png")),
        "image",
    ),
    sent(
        *(EDITS, 400, "invalid_request"),
        form(part("model", b"demo"), *[part("image[]", b"x", "a.png")] * 12),
    ),
    *strange_paths("/v1/models/", "model_not_found"),
    *(Bad("DELETE", path, 405, "method_not_allowed") for path in ("/v1/models/demo", "/v1/models")),
    *(Bad("GET", path, 405, "method_not_allowed") for path in (IMAGES, EDITS)),
    Bad("GET", "/v1/models?limit=3", 400, "unknown_field", param="limit"),
)

FILES = "/v1/files"
PURPOSE = part("purpose", b"batch")
BATCH = {
    "input_file_id": "file-" + "0" * 24,
    "endpoint": "/v1/images/generations",
    "completion_window": "24h",
}
NO_FILE = "/v1/files/file-000000000000000000000000"
NO_BATCH = "/v1/batches/batch_000000000000000000000000"

FILES_AND_BATCHES = (
    *(
        Bad("POST", FILES, status, code, content, headers)
        for content, headers, status, code in BAD_FORMS[1:]
        if b"ddd" not in content
    ),
    sent(FILES, 400, "missing_field", form(PURPOSE), "file"),
    sent(FILES, 400, "missing_field", form(part("file", b"x", "a.jsonl")), "purpose"),
    sent(
        FILES,
        400,
        "invalid_value",
        form(part("file", b"x", "a"), part("purpose", b"fun")),
        "purpose",
    ),
    sent(FILES, 400, "invalid_value", form(part("file", b"x"), PURPOSE), "file"),
    sent(
        *(FILES, 400, "unknown_field"),
        form(part("file", b"x", "a"), PURPOSE, part("colour", b"red")),
        "colour",
    ),
    *(
        Bad("GET", f"{FILES}?{query}", 400, code, param=query.partition("=")[0])
        for query, code in (
            ("limit=0", "invalid_value"),
            ("limit=x", "invalid_value"),
            (f"limit={LONG}", "invalid_value"),
            ("order=up", "invalid_value"),
            ("porpuse=batch", "unknown_field"),
        )
    ),
    Bad("GET", f"{FILES}?after=file-1", 404, "not_found", param="after"),
    *(Bad("GET", f"{NO_FILE}{rest}", 404, "not_found") for rest in ("", "/content", "/nothing")),
    Bad("DELETE", NO_FILE, 404, "not_found"),
    *(Bad("GET", f"{FILES}/{p}", 404, "not_found") for p in PATHS),
    *(Bad("GET", f"{FILES}/{p}/content", 404, "not_found") for p in PATHS),
    *(Bad("DELETE", f"{FILES}/{p}", 404, "not_found") for p in PATHS),
    Bad("PUT", FILES, 405, "method_not_allowed"),
    *bodies("POST", "/v1/batches"),
    *fields(
        *("POST", "/v1/batches", BATCH),
        ("metadata", {}, "not_found", None),
        *(("input_file_id", value, "invalid_type") for value in (7, None, [])),
        *(("endpoint", value, "invalid_value") for value in ("/v1/chat", 7, None)),
        *(("completion_window", value, "invalid_type") for value in (24, None)),
        *(("metadata", value, "invalid_type") for value in ("x", [])),
        ("metadata", {"a": 1}, "invalid_type", "metadata.a"),
        ("webhook", "http://x", "unknown_field"),
    ),
    *(Bad("GET", f"{NO_BATCH}{rest}", 404, "not_found") for rest in ("", "/nothing")),
    Bad("POST", f"{NO_BATCH}/cancel", 404, "not_found"),
    *(Bad("GET", f"/v1/batches/{p}", 404, "not_found") for p in PATHS),
    Bad("GET", "/v1/batches?limit=101", 400, "invalid_value", param="limit"),
    Bad("GET", "/v1/batches?after=batch_1", 404, "not_found", param="after"),
)

RUN = "/v2/demo/run"
INPUT = {"input": {"prompt": "a hen"}}
NO_RUN = "j_000000000000"

RUNPOD = (
    *bodies("POST", RUN),
    *bodies("POST", "/v2/demo/runsync"),
    *fields(
        *("POST", RUN, INPUT),
        *(("input", value, "invalid_type") for value in (None, [], "x", 7, True)),
        *((name, "x", "unknown_field") for name in ("inputs", "webhook", "s3Config", "id")),
        *(("policy", value, "invalid_type") for value in ([], "x", None)),
        ("policy", {"executionTimeout": 0}, "invalid_value", "policy.executionTimeout"),
        ("policy", {"executionTimeout": -5}, "invalid_value", "policy.executionTimeout"),
        ("policy", {"executionTimeout": 10**30}, "invalid_value", "policy.executionTimeout"),
        ("policy", {"executionTimeout": "9"}, "invalid_type", "policy.executionTimeout"),
        ("policy", {"executionTimeout": 1.5}, "invalid_type", "policy.executionTimeout"),
        ("policy", {"ttl": 0}, "invalid_value", "policy.ttl"),
        ("policy", {"lowPriority": "yes"}, "invalid_type", "policy.lowPriority"),
        ("policy", {"priority": 1}, "unknown_field", "policy.priority"),
    ),
    *(
        Bad(
            "POST", f"/v2/demo/runsync?{query}", 400, code, b'{"input": {}}', {"content-type": JSON}
        )
        for query, code in (
            ("wait=0", "invalid_value"),
            ("wait=x", "invalid_value"),
            (f"wait={LONG}", "invalid_value"),
            ("wiat=1000", "unknown_field"),
        )
    ),
    *fields(*("POST", "/v2/none/run", INPUT), ("input", {}, "workflow_not_found", None)),
    *fields(*("POST", "/v2/..%2fdemo/run", INPUT), ("input", {}, "not_found", None)),
    *(Bad(m, f"/v2/demo/status/{NO_RUN}", 404, "job_not_found") for m in ("GET", "POST")),
    *(Bad(m, f"/v2/demo/stream/{NO_RUN}", 404, "job_not_found") for m in ("GET", "POST")),
    *(
        Bad("POST", f"/v2/demo/{verb}/{NO_RUN}", 404, "job_not_found")
        for verb in ("cancel", "retry")
    ),
    *strange_paths("/v2/demo/status/", "job_not_found"),
    Bad("GET", "/v2/none/health", 404, "workflow_not_found"),
    Bad("POST", "/v2/none/purge-queue", 404, "workflow_not_found"),
    *(Bad("GET", f"/v2/demo/{verb}", 405, "method_not_allowed") for verb in ("run", "runsync")),
    Bad("DELETE", "/v2/demo/health", 405, "method_not_allowed"),
    *(Bad("GET", path, 404, "not_found") for path in ("/v2/demo", "/v2/", "/v2/demo/nowhere")),
)

RUNPOD_INPUTS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"promt": "x"}, "unknown_field"),
    ({"prompt": 3}, "invalid_type"),
    ({"prompt": ["x"]}, "invalid_type"),
    ({"num_inference_steps": "many"}, "invalid_type"),
    ({"num_inference_steps": True}, "invalid_type"),
    *(({"seed": value}, "invalid_value") for value in (-1, 2**32, 1.5, "x", [], {}, True)),
)
"""Inputs that the platform's clients read in the output of a job that has failed."""
