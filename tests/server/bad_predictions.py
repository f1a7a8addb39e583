"""Bad requests on the faces of Hugging Face and Replicate, and how each has to be refused."""

from __future__ import annotations

import base64

from tests.server.bad_requests import AS_JSON, NO_RUN, PATHS, Bad, bodies, fields, strange_paths

BAD_ARGUMENTS = (
    ({"promt": "x"}, "unknown_field", "promt"),
    ({"__class__": "x"}, "unknown_field", "__class__"),
    *(({"prompt": value}, "invalid_type", "prompt") for value in (3, ["x"], {}, True)),
    *(
        ({"num_inference_steps": value}, "invalid_type", "num_inference_steps")
        for value in ("many", [1], {}, True, 1.5)
    ),
    *(({"seed": value}, "invalid_value", "seed") for value in (-1, 2**32, 1.5, "x", [], {}, True)),
)
"""Arguments of `demo` that do not fit, with the argument at fault."""

INFERENCE = "/models/demo"
PNG = b"\x89PNG\r\n\x1a\n"

HUGGINGFACE = (
    *bodies("POST", INFERENCE),
    *fields(
        *("POST", INFERENCE, {"inputs": "a hen"}),
        *(("inputs", value, "invalid_type") for value in (3, None, [], {}, True)),
        *(("parameters", value, "invalid_type") for value in (3, None, [], "x", True)),
        *(
            ("parameters", given, error_type, at)
            for given, error_type, at in BAD_ARGUMENTS
            if "prompt" not in given  # which is `inputs`
        ),
        *(
            ("parameters", {"target_size": value}, "invalid_type", "parameters.target_size")
            for value in (3, [64, 64], "64x64")
        ),
        *(
            ("parameters", {"target_size": value}, error_type, f"parameters.target_size.{at}")
            for value, error_type, at in (
                ({"width": 64}, "missing_field", "height"),
                ({"width": "64", "height": 64}, "invalid_type", "width"),
                ({"width": 64, "height": 64, "depth": 64}, "unknown_field", "depth"),
            )
        ),
        ("parameters", {"target_size": {"width": 64, "height": 64}}, "unknown_field", "width"),
        *((name, "x", "unknown_field") for name in ("options", "input", "seed", "__proto__")),
        ("inputs", base64.b64encode(PNG).decode(), "unknown_field", "image"),
    ),
    # An image without more.
    Bad("POST", INFERENCE, 400, "unknown_field", PNG, {"content-type": "image/png"}, "image"),
    *fields("POST", "/models/none", {"inputs": "x"}, ("inputs", "y", "workflow_not_found", None)),
    Bad("POST", "/models/none", 404, "workflow_not_found", PNG),
    *(
        Bad("POST", f"/models/{name}", 404, error_type, b'{"inputs": "x"}', AS_JSON)
        for name in PATHS
        for error_type in ["not_found" if "2f" in name else "workflow_not_found"]
    ),
    Bad("POST", "/models/", 404, "not_found", b'{"inputs": "x"}', AS_JSON),
    *(Bad(verb, INFERENCE, 405, "method_not_allowed") for verb in ("GET", "PUT", "DELETE")),
    Bad("POST", f"{INFERENCE}?x=1", 400, "unknown_field", b'{"inputs": "x"}', AS_JSON, "x"),
)

PREDICTIONS = "/v1/predictions"
OF_MODEL = "/v1/models/dw/demo/predictions"
PREDICTION = {"version": "demo", "input": {"prompt": "a hen"}}
IMAGE_DATA = "data:image/png;base64," + base64.b64encode(PNG).decode()

REPLICATE = (
    *bodies("POST", PREDICTIONS),
    *bodies("POST", OF_MODEL),
    *fields(
        *("POST", PREDICTIONS, PREDICTION),
        *(("version", value, "invalid_type") for value in (7, None, [], {}, True)),
        *(
            ("version", value, "workflow_not_found", None)
            for value in ("", "deom", "a:deom", "../etc/passwd", "x" * 9999)
        ),
        *(("input", value, "invalid_type") for value in (7, None, [], "x", True)),
        *(("input", given, error_type, at) for given, error_type, at in BAD_ARGUMENTS),
        ("input", {"prompt": "data:;base64,?"}, "invalid_value", None),
        ("input", {"prompt": ["data:image/png;base64,AAA"]}, "invalid_value", None),
        # Files that came with what is refused.
        ("input", {"promt": IMAGE_DATA}, "unknown_field", "promt"),
        ("input", {"prompt": [IMAGE_DATA, IMAGE_DATA]}, "invalid_type", "prompt"),
        ("input", {"prompt": IMAGE_DATA, "seed": -1}, "invalid_value", "seed"),
        ("stream", True, "invalid_value"),
        *((name, "x", "unknown_field") for name in ("webhook", "inputs", "id", "__proto__")),
    ),
    *fields("POST", OF_MODEL, {"input": {}}, ("version", "demo", "unknown_field")),
    *fields(
        *("POST", "/v1/models/dw/none/predictions", {"input": {}}),
        ("input", {"prompt": IMAGE_DATA}, "workflow_not_found", None),
    ),
    *strange_paths("/v1/predictions/", "job_not_found"),
    *strange_paths("/v1/models/dw/", "workflow_not_found"),
    *(
        Bad("GET", f"/v1/predictions/{NO_RUN}{rest}", 404, code)
        for rest, code in (("", "job_not_found"), ("/nothing", "not_found"))
    ),
    Bad("POST", f"/v1/predictions/{NO_RUN}/cancel", 404, "job_not_found"),
    Bad("GET", f"/v1/predictions?cursor={NO_RUN}", 404, "job_not_found"),
    Bad("GET", "/v1/predictions?after=x", 400, "unknown_field", param="after"),
    Bad("GET", "/v1/models/dw/none/versions", 404, "workflow_not_found"),
    Bad("GET", "/v1/models/dw/demo/versions/2", 404, "not_found"),
    *(Bad(verb, PREDICTIONS, 405, "method_not_allowed") for verb in ("PUT", "DELETE")),
    Bad("GET", OF_MODEL, 405, "method_not_allowed"),
)
