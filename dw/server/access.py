"""Access: the keys that callers need, and the address that the server may listen on."""

from __future__ import annotations

import hmac
import ipaddress
import os
from pathlib import Path

from dw.errors import UsageError

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
                raise UsageError(f"cannot read the keys in {str(file)!r}: {error}") from None
        keys = cls(frozenset(key for line in lines if (key := line.strip())))
        if file is not None and not keys:
            raise UsageError(f"there is no key in {str(file)!r}", hints=["one on each line"])
        return keys

    def accept(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header holds a key; the word `Bearer` may be missing."""
        if not self._keys:
            return True
        given = (authorization or "").removeprefix("Bearer ").strip().encode()
        # Every key is compared, in constant time: the answer tells nothing of how near one came.
        return sum(hmac.compare_digest(given, key) for key in self._keys) > 0


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
