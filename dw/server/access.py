"""Access: the keys that callers need, and the address that the server may listen on."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import os
from pathlib import Path

from dw.errors import UsageError
from dw.refusals import reason

KEYS = "DW_API_KEYS"
"""Environment variable with keys, separated by commas."""


class Keys:
    """Without keys everybody may call; then the server listens on this machine only."""

    def __init__(self, keys: frozenset[str]) -> None:
        self._keys = [key.encode() for key in sorted(keys)]

    def __bool__(self) -> bool:
        return bool(self._keys)

    @classmethod
    def read(cls, file: Path | None) -> Keys:
        """The keys in a file, one on each line, and those of the environment. Raises UsageError."""
        lines = os.environ.get(KEYS, "").split(",")
        if file is not None:
            try:
                lines += file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                why = reason(error).lower() if isinstance(error, OSError) else "not UTF-8"
                raise UsageError(f"cannot read the keys in {str(file)!r}: {why}") from None
        keys = cls(frozenset(key for line in lines if (key := line.strip())))
        if file is not None and not keys:
            raise UsageError(f"there is no key in {str(file)!r}", hints=["one on each line"])
        return keys

    def accept(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header holds a key: as a bearer token, bare, or as the
        password that a browser asks for."""
        if not self._keys:
            return True
        scheme, _, rest = (authorization or "").strip().partition(" ")
        given = {"": scheme, "bearer": rest, "basic": _password(rest)}.get(
            scheme.lower() if rest else "", ""
        ).encode()
        # Every key is compared, in constant time: the answer tells nothing of how near one came.
        return sum(hmac.compare_digest(given, key) for key in self._keys) > 0


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def require_safe_address(host: str, keys: Keys) -> None:
    """Raises UsageError for an address that others can reach when there are no keys."""
    if not keys and not is_loopback(host):
        raise UsageError(
            f"others can reach {host!r}, and there is no key",
            hints=[f"--key-file FILE or {KEYS}=KEY, or --host 127.0.0.1"],
        )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
