"""Hub addresses: files on the hub as people write and copy them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from dw.errors import RunFailed
from dw.workflow.media import is_url

HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_VIEWS = ("resolve", "blob", "raw", "tree")


@dataclass(frozen=True, slots=True)
class HubFile:
    repository: str
    path: str | None  # None: the only suitable file of the repository
    revision: str | None = None


def hub_file(name: str) -> HubFile:
    """The file of `owner/repository[/path]` or of a URL of the hub, whose query is ignored.

    Raises RunFailed for a URL of another host.
    """
    if not is_url(name):
        return _plain(name.split("/"))
    url = urlsplit(name)
    if url.hostname not in (*HOSTS, urlsplit(os.environ.get("HF_ENDPOINT", "")).hostname):
        raise RunFailed(
            f"models are loaded from {HOSTS[0]}, not from {url.hostname!r}",
            hints=["download the file and name its path"],
        )
    parts = url.path.strip("/").split("/")
    view = next((at for at, part in enumerate(parts[:3]) if at and part in _VIEWS), None)
    if view is None:
        return _plain([unquote(part) for part in parts])
    # A revision such as refs/pr/3 may be written with its slashes.
    end = view + (4 if parts[view + 1 : view + 2] == ["refs"] else 2)
    path = unquote("/".join(parts[end:]))
    revision = unquote("/".join(parts[view + 1 : end]))
    return HubFile("/".join(parts[:view]), path or None, revision or None)


def _plain(parts: list[str]) -> HubFile:
    return HubFile("/".join(parts[:2]), "/".join(parts[2:]) or None)
