"""One ComfyUI server, over HTTP: each call is bounded, can be cancelled, and its answer is checked.

An answer of ComfyUI 0.3 says less than it seems to: 200 for a prompt of which a part will not run,
200 and nothing for a prompt that it does not know.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import httpx2

from dw.engine.files.download import Answer, NoAnswer, send
from dw.errors import RunFailed
from dw.workflow.json_path import spell_value

READY_S = 60.0
"""For a server to start, in all: one without models is up after 13 s."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
CANCEL_S = 3.0  # for the server to take a cancel; the run has 10 s to stop


@dataclass(frozen=True, slots=True)
class Client:
    """`check` raises when the run was cancelled. `private`: the server may be in this network;
    `is_named`: the user typed its URL."""

    url: str
    private: bool
    is_named: bool
    check: Callable[[], None]
    ready_s: float = READY_S

    # ------------------------------------------------------------------ is it there

    def wait_ready(self) -> None:
        """Until the server lists a device. Raises RunFailed when that takes more than `ready_s`."""
        end, pause = time.monotonic() + self.ready_s, FIRST_PAUSE_S
        while True:
            try:
                if self._object(self._send("GET", "/system_stats", until=end)).get("devices"):
                    return
                reason = "it lists no device"
            except NoAnswer as error:
                reason = error.message
            if time.monotonic() + pause > end:
                message = f"the ComfyUI server at {self.url} is not ready: {reason}"
                raise NoAnswer(f"{message} (waited {self.ready_s:g} s)")
            self.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(rest, 0.1))

    # ------------------------------------------------------------------ what it has

    def node_class(self, name: str) -> Mapping[str, Any]:
        """What the server says of a class; empty where it has none of that name."""
        found = self._object(self._send("GET", f"/object_info/{quote(name, safe='')}"))
        return dict(found.get(name, {}))

    def node_classes(self) -> list[str]:
        return list(self._object(self._send("GET", "/object_info")))

    # ------------------------------------------------------------------ prompts

    def submit(self, graph: Mapping[str, Any], *, prompt_id: str, client_id: str) -> None:
        """Queue a graph. Raises RunFailed unless all of it will run; some of it may then."""
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id}
        answer = self._send("POST", "/prompt", body)
        said = self._object(answer)
        problems = [
            _node_error(node, what.get("class_type"), each)
            for node, what in (said.get("node_errors") or {}).items()
            for each in what.get("errors", ())
        ]
        if answer.status != 200 or problems:
            error = said.get("error") or {}
            texts = (error.get("message"), error.get("details"))
            whole = ": ".join(str(text) for text in texts if text) or f"HTTP {answer.status}"
            raise RunFailed(f"ComfyUI refused the graph: {'; '.join(problems) or whole}")

    def history(self, prompt_id: str) -> Mapping[str, Any] | None:
        """The outcome of a prompt; None where there is none, or none any more."""
        found = self._object(self._send("GET", f"/history/{quote(prompt_id, safe='')}"))
        return found.get(prompt_id)

    def is_queued(self, prompt_id: str) -> bool:
        """Whether a prompt waits or runs."""
        queue = self._object(self._send("GET", "/queue"))
        return any(_has(queue, part, prompt_id) for part in ("queue_running", "queue_pending"))

    def cancel(self, prompt_id: str) -> None:
        """Take a prompt off the queue or interrupt it, and no other one: an older server interrupts
        whatever runs, so it is asked to only while that is ours. Its node may go on to its end. A
        server that cannot be reached has nothing to cancel."""
        end = time.monotonic() + CANCEL_S
        try:
            self._send("POST", "/queue", {"delete": [prompt_id]}, until=end, is_last=True)
            queue = self._object(self._send("GET", "/queue", until=end, is_last=True))
            if _has(queue, "queue_running", prompt_id):
                body = {"prompt_id": prompt_id}
                self._send("POST", "/interrupt", body, until=end, is_last=True)
        except NoAnswer:
            return

    # ------------------------------------------------------------------ files

    def upload(self, name: str, data: bytes) -> str:
        """Upload an image; the name by which a node loads it, which is the server's choice."""
        request = httpx2.Request(
            "POST", f"{self.url}/upload/image", files={"image": (name, data, "image/png")}
        )
        kind = {"Content-Type": request.headers["Content-Type"]}
        said = self._object(self._send("POST", "/upload/image", request.read(), headers=kind))
        if "name" not in said:
            raise RunFailed(f"the ComfyUI server at {self.url} did not take the image {name!r}")
        return "/".join(part for part in (said.get("subfolder"), said["name"]) if part)

    def view_url(self, file: Mapping[str, Any]) -> str:
        query = {key: str(file.get(key, "")) for key in ("filename", "subfolder", "type")}
        return f"{self.url}/view?{urlencode(query, quote_via=quote, safe='')}"

    def download(self, url: str) -> bytes:
        """The bytes of a file. Raises RunFailed unless all of them came, and at least one."""
        try:
            answer = self._send("GET", url.removeprefix(self.url))
        except NoAnswer as error:
            raise RunFailed(f"the download of {url} broke off: {error.message}") from error
        if answer.status != 200:
            raise RunFailed(f"the server answered {answer.status} for {url}")
        if not answer.body:
            raise RunFailed(f"Downloaded 0 bytes from {url}")
        return answer.body

    # ------------------------------------------------------------------ one request

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        until: float | None = None,
        is_last: bool = False,  # of a run that was cancelled: it goes out nevertheless
    ) -> Answer:
        def check() -> None:
            if not is_last:
                self.check()
            if until is not None and time.monotonic() > until:
                raise NoAnswer("it did not answer in time")

        is_json = isinstance(body, Mapping)
        return send(
            method,
            f"{self.url}{path}",
            private=self.private,
            is_named=self.is_named,
            check=check,
            content=json.dumps(body).encode() if isinstance(body, Mapping) else body,
            headers=headers or ({"Content-Type": "application/json"} if is_json else {}),
        )

    def _object(self, answer: Answer) -> dict[str, Any]:
        try:
            found = json.loads(answer.body)
        except ValueError:
            found = None
        if answer.status >= 500 or not isinstance(found, dict):
            what = f"HTTP {answer.status}, {spell_value(answer.body.decode(errors='replace'))}"
            raise NoAnswer(f"the server at {self.url} did not answer as ComfyUI does: {what}")
        return found


def _has(queue: Mapping[str, Any], part: str, prompt_id: str) -> bool:
    return any(prompt_id in entry[1:2] for entry in queue.get(part, ()))


def _node_error(node: str, name: str | None, error: Mapping[str, Any]) -> str:
    extra = error.get("extra_info") or {}  # that of an exception has a traceback, which stays here
    text = ": ".join(str(t) for t in (error.get("message"), error.get("details")) if t)
    field = f" input {extra['input_name']!r}:" if extra.get("input_name") else ""
    value = f" (got {spell_value(extra['received_value'])})" if "received_value" in extra else ""
    return f"node {node!r} ({name}):{field} {text}{value}"
