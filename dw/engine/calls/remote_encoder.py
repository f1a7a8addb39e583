"""Remote text encoders: another machine encodes the prompt; no text encoder is loaded here."""

from __future__ import annotations

import io
import json
import pickle
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import torch
from huggingface_hub import get_token
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from dw.engine.files.access import FileAccess
from dw.engine.files.download import fetch
from dw.errors import RunFailed
from dw.workflow.hub_address import HOSTS

Tensors = dict[str, torch.Tensor]


def encoded(arguments: Mapping[str, Any], url: str, access: FileAccess) -> dict[str, Any]:
    """The arguments with the tensors that the service at `url` makes of their prompt instead of it.

    Raises RunFailed when the request fails or the answer is not tensors.
    """
    headers = {"Content-Type": "application/json"}
    if is_hub(url) and (token := get_token()) is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        answer = fetch(
            url,
            private=access.permissions.trust,
            is_named=url in access.typed,
            check=access.check,
            post=json.dumps({"prompt": arguments["prompt"]}).encode(),
            headers=headers,
        )
    except RunFailed as error:
        message = f"the request to the text encoder at {url!r} failed: {error.message}"
        raise RunFailed(message, hints=error.hints) from error
    rest = {name: value for name, value in arguments.items() if name != "prompt"}
    return {**rest, **_tensors(answer, url)}


def is_hub(url: str) -> bool:
    """Whether the user's token may be sent there: to the hub, encrypted, and nowhere else.
    Endpoints and Spaces of others have other hosts."""
    split = urlsplit(url)
    host = split.hostname or ""
    return split.scheme == "https" and any(host == h or host.endswith(f".{h}") for h in HOSTS)


def _tensors(answer: bytes, url: str) -> Tensors:
    """Safetensors by name, or a file of torch.save: one tensor, or tensors by name. A pickle of
    anything else is not read."""
    try:
        if answer[8:9] == b"{":  # after the length of its header
            found: Any = load_safetensors(answer)
        else:
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # of odd pickles
                found = torch.load(io.BytesIO(answer), map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, SafetensorError, ValueError, pickle.UnpicklingError) as error:
        raise RunFailed(f"the text encoder at {url!r} did not answer with tensors") from error
    named = {"prompt_embeds": found} if isinstance(found, torch.Tensor) else found
    is_right = isinstance(named, Mapping) and named
    if not is_right or not all(isinstance(each, torch.Tensor) for each in named.values()):
        raise RunFailed(f"the text encoder at {url!r} did not answer with tensors")
    return dict(named)
