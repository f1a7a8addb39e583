"""One run of a graph on a ComfyUI server: queued, followed, its files fetched and read.

What happens is told by the server's socket, where there is one; what became of it, by its history
alone.
"""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from dw.engine.comfyui.client import Client
from dw.engine.comfyui.graph import Graph, require_known
from dw.engine.comfyui.socket import Socket
from dw.engine.files.access import FileAccess
from dw.engine.files.download import NoAnswer
from dw.engine.files.inputs import read_audio, read_image, read_video
from dw.errors import RunFailed
from dw.workflow.format.comfyui import ComfyUI
from dw.workflow.media import EXTENSIONS, is_url

POLL_S = 0.5
"""Between two looks at the history, while the socket is silent."""

Progress = Callable[[int, int], None]


class _Lost(RunFailed):
    """The server has forgotten the prompt: it was started again."""


def connected(action: ComfyUI, access: FileAccess) -> Client:
    """The step's server. Raises RunFailed when neither it nor the settings name one."""
    own = access.permissions.comfyui
    url = action.server or own
    if not is_url(url):
        given = f"got {url!r}" if url else "and the setting 'comfyui' is empty"
        raise RunFailed(f"the step needs 'server', the http or https URL of a ComfyUI; {given}")
    return Client(
        url.rstrip("/"),
        private=access.permissions.trust or url.rstrip("/") == own.rstrip("/"),
        is_named=url in access.typed,
        check=access.check,
    )


def stand_in() -> Image.Image:
    """In the place of all results, in a rehearsal."""
    return Image.new("RGB", (64, 64), "grey")


def run_graph(
    client: Client,
    graph: Graph,
    inputs: Mapping[str, Any],
    *,
    outputs: Collection[str],
    progress: Progress,
    warn: Callable[[str], None],
) -> list[Any]:
    """The results of a graph with these inputs, those of the nodes `outputs` or of all. `progress`
    is told how many nodes are done. A server that was started again is asked once more.

    Raises RunFailed, also for a result that does not arrive whole.
    """
    client.wait_ready()
    places = {tuple(name.rsplit(".", 1)): value for name, value in inputs.items()}
    images = {place for place, value in places.items() if isinstance(value, Image.Image)}
    graph = {node: {**what, "inputs": {**what.get("inputs", {})}} for node, what in graph.items()}
    for (node, field), value in places.items():
        if not isinstance(value, Image.Image | str | int | float | list | dict | None):
            kind = type(value).__name__
            raise RunFailed(f"'{node}.{field}' takes an image, text or number, got a {kind}")
        graph[node]["inputs"][field] = value
    require_known(graph, client, but={(node, field) for node, field in images})
    for attempt in (1, 2):
        prompt_id = str(uuid.uuid4())
        try:
            for node, field in images:
                name = client.upload(f"dw-{prompt_id}-{node}.png", _png(places[node, field]))
                graph[node]["inputs"][field] = name
            entry = _outcome(client, _named(graph, prompt_id), prompt_id, progress)
        except _Lost:
            if attempt == 2:
                raise
            warn("the ComfyUI server was started again; the graph is queued once more")
            continue
        return _results(client, entry, outputs, warn)
    raise AssertionError  # the second attempt returns or raises


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _named(graph: Graph, prompt_id: str) -> Graph:
    """The graph with file names of its own: the server runs nothing for a graph that it has run,
    and names the old files, even those that are gone."""
    named = {node: {**what, "inputs": {**what["inputs"]}} for node, what in graph.items()}
    for what in named.values():
        if isinstance(prefix := what["inputs"].get("filename_prefix"), str):
            what["inputs"]["filename_prefix"] = f"{prefix}-{prompt_id}"
    return named


def _outcome(client: Client, graph: Graph, prompt_id: str, progress: Progress) -> Mapping[str, Any]:
    """The history's entry of a graph that was run to its end."""
    client_id = str(uuid.uuid4())
    with closing(Socket(client, client_id)) as socket:
        try:
            client.submit(graph, prompt_id=prompt_id, client_id=client_id)
            done: set[str] = set()
            while True:
                entry = _entry(client, prompt_id)
                if entry is not None:
                    break
                end = time.monotonic() + POLL_S
                while (rest := end - time.monotonic()) > 0 and not socket.has_ended(prompt_id):
                    if node := socket.node(prompt_id, min(rest, 0.1)):
                        done.add(node)
                        progress(min(len(done), len(graph)) - 1, len(graph))
                    client.check()
        except BaseException:
            client.cancel(prompt_id)  # refused, a graph may run for its other outputs
            raise
    _require_success(entry)
    progress(len(graph), len(graph))
    return entry


def _entry(client: Client, prompt_id: str) -> Mapping[str, Any] | None:
    """The history's entry, None while the prompt waits or runs. Raises _Lost."""
    try:
        if entry := client.history(prompt_id):
            return entry
        if client.is_queued(prompt_id):
            return None
        entry = client.history(prompt_id)  # it may have ended in between
    except NoAnswer:
        client.wait_ready()
        if (entry := client.history(prompt_id)) is None and client.is_queued(prompt_id):
            return None
    if entry is None:
        raise _Lost("ComfyUI lost the graph: it is neither in its queue nor in its history")
    return entry


def _require_success(entry: Mapping[str, Any]) -> None:
    status = entry.get("status") or {}
    for kind, data in status.get("messages", ()):
        if kind == "execution_error":
            what = f"{data.get('exception_type')}: {str(data.get('exception_message')).strip()}"
            node = f"node {data.get('node_id')!r} ({data.get('node_type')})"
            raise RunFailed(f"{node} failed in ComfyUI: {what}")
        if kind == "execution_interrupted":
            raise RunFailed(f"ComfyUI was interrupted at node {data.get('node_id')!r}")
    if not status.get("completed"):
        raise RunFailed(f"ComfyUI did not complete the graph: {status.get('status_str')}")


# ------------------------------------------------------------------ results


@dataclass(frozen=True, slots=True, kw_only=True)
class _Downloads(FileAccess):
    """Reads the files of one server."""

    client: Client

    def source(self, place: str) -> io.BytesIO:
        return io.BytesIO(self.client.download(place))


def _results(
    client: Client,
    entry: Mapping[str, Any],
    outputs: Collection[str],
    warn: Callable[[str], None],
) -> list[Any]:
    access = _Downloads(folder=Path(), check=client.check, client=client)
    found: list[Any] = []
    for node, kinds in (entry.get("outputs") or {}).items():
        if outputs and node not in outputs:
            continue
        for values in kinds.values():
            for value in values if isinstance(values, list) else ():
                if isinstance(value, Mapping) and value.get("filename"):
                    found += _read(client.view_url(value), str(value["filename"]), access, warn)
                elif isinstance(value, str):
                    found.append(value)
    if not found:
        raise RunFailed("the graph made no picture, video, audio or text")
    return found


def _read(url: str, name: str, access: FileAccess, warn: Callable[[str], None]) -> list[Any]:
    extension = PurePath(name).suffix[1:].lower()
    if extension == "gif" or extension in EXTENSIONS["video"]:
        return [read_video(url, access)]
    if extension in EXTENSIONS["image"]:
        return [read_image(url, access)]
    if extension in EXTENSIONS["audio"]:
        return [read_audio(url, access)]
    warn(f"ComfyUI made {name!r}, which is no picture, video or audio; it is left there")
    return []
