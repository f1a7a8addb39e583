"""The server's socket: which node runs. One that breaks is opened again, as the same client; where
none can be had, the history has to do."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpcore2

from dw.engine.comfyui.client import Client
from dw.engine.files.download import HTTP_ERRORS, backend_for
from dw.extras import is_installed

CONNECT_S = 5.0
CONNECTIONS = 4
"""Tries in all for one prompt: a proxy that ends idle connections, not one that lets none pass."""


class Socket:
    """What the server tells one client."""

    def __init__(self, client: Client, client_id: str) -> None:
        self._ended: set[str] = set()
        self._client, self._client_id = client, client_id
        self._opened = ExitStack()
        self._tries = CONNECTIONS if is_installed("websockets") else 0
        self._connection: Any = None
        self._connect()

    def _connect(self) -> None:
        if self._tries:
            self._tries -= 1
            self._connection = _connection(self._client, self._client_id, self._opened)

    def has_ended(self, prompt_id: str) -> bool:
        """Whether the server said so; said once only."""
        was_said = prompt_id in self._ended
        self._ended.discard(prompt_id)
        return was_said

    def node(self, prompt_id: str, timeout_s: float) -> str | None:
        """The node of a prompt that began, waited for at most this long; None for all else."""
        if self._connection is None:
            time.sleep(timeout_s)
            self._connect()
            return None
        from websockets.exceptions import WebSocketException

        try:
            text = self._connection.recv(timeout=timeout_s)
            message = json.loads(text) if isinstance(text, str) else {}  # previews are bytes
            data = message.get("data") or {}
        except TimeoutError:
            return None
        except (WebSocketException, OSError, ValueError):
            self.close()
            return None
        if message.get("type") != "executing" or data.get("prompt_id") != prompt_id:
            return None
        if data.get("node") is None:
            self._ended.add(prompt_id)
        return data.get("node")

    def close(self) -> None:
        self._connection = None
        self._opened.close()


def _connection(client: Client, client_id: str, opened: ExitStack) -> Any:
    """A socket in `opened`, to an address that the client may connect to; None if there is none."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    split = urlsplit(client.url)
    is_safe = split.scheme == "https"
    url = f"{'wss' if is_safe else 'ws'}://{split.netloc}{split.path}/ws?clientId={client_id}"
    backend = backend_for(client.url, private=client.private, is_named=client.is_named)
    try:
        stream = backend.connect_tcp(
            split.hostname or "", split.port or (443 if is_safe else 80), timeout=CONNECT_S
        )
        connecting = connect(
            url,
            sock=stream.get_extra_info("socket"),
            proxy=None,
            open_timeout=CONNECT_S,
            close_timeout=1,
            max_size=2**24,
        )
        return opened.enter_context(connecting)
    except (WebSocketException, httpcore2.ConnectError, *HTTP_ERRORS):
        return None
