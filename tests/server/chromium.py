"""A real Chromium without a window, driven through its DevTools protocol over a pair of pipes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def chromium_path() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Page:
    """One tab. `problems` are its errors and what its console was told to warn of."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._last, self._rest = 0, b""
        self._session: str | None = None
        self._loads = 0
        self.problems: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str) -> None:
        self.loaded_by(lambda: self.call("Page.navigate", url=url))

    def loaded_by(self, act: Any) -> None:
        """Do what loads a page, and wait for it."""
        loads = self._loads
        act()
        while self._loads == loads:
            self._next()

    def js(self, expression: str) -> Any:
        """The value of an expression, or of what its promise becomes."""
        told = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def text(self) -> str:
        return str(self.js("document.body.innerText"))

    def screenshot(self, path: Path, width: int, height: int = 900) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._answers, 2**16)
            assert data, "the browser has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        match message.get("method"):
            case "Page.loadEventFired":
                self._loads += 1
            case "Runtime.exceptionThrown" | "Log.entryAdded":
                self.problems.append(line.decode())
            case "Runtime.consoleAPICalled" if message["params"]["type"] in ("error", "warning"):
                self.problems.append(line.decode())
        return message


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A tab of a new browser with an empty profile."""
    path = chromium_path()
    assert path is not None
    to_read, commands = os.pipe()
    answers, to_write = os.pipe()
    words = [
        *(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", "--remote-debugging-pipe"),
        f"--user-data-dir={profile}",
    ]
    # The browser reads its commands from 3, and answers at 4.
    script = f'exec "$@" 3<&{to_read} 4>&{to_write}'
    with subprocess.Popen(
        ["bash", "-c", script, "chromium", *words],
        pass_fds=(to_read, to_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(to_read)
        os.close(to_write)
        try:
            yield Page(commands, answers)
        finally:
            process.terminate()
            os.close(commands)
            os.close(answers)
