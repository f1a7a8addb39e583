"""Weights files: what the bytes of a file are, whatever its name says, told before a loader reads
it.

People have a login page under the name of a LoRA, half of a download, a pointer of git-lfs. Loaders
say of all of them that they cannot read the file.
"""

from __future__ import annotations

import codecs
import json
import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from torch.serialization import get_unsafe_globals_in_checkpoint

from dw.errors import Hint, RunFailed, TrustWorkflow
from dw.types import FileState

PICKLES = (".bin", ".pt", ".pth", ".ckpt")

Format = Literal["safetensors", "GGUF", "pickle"]
Meant = Literal["model", "LoRA", "LoKr", "IP-Adapter"]
"""What a workflow takes a file for. `LoKr`: a LoRA, where a LoKr is read as well."""

_LONGEST_HEADER = 100 * 2**20  # bytes; safetensors' own limit
_BEGINNING = 512  # bytes that tell the format
_ENDINGS: dict[Format, tuple[str, ...]] = {
    "safetensors": (".safetensors",),
    "GGUF": (".gguf",),
    "pickle": (".ckpt", *PICKLES),
}
_MAGIC = {
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"RIFF": "a WebP image or another media file",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
}
_LFS = b"version https://git-lfs"
_AGAIN = "download it again; the link may need a login"

_OTHER_FORMS = {".hada_": "LoHa", ".lokr_": "LoKr", ".oft_": "OFT", ".on_input": "IA3"}
"""By a part of its tensors' names: what changes a model's layers in other ways than a LoRA."""

_IN_CHECKPOINTS: tuple[str, ...] = (
    "model.diffusion_model.",
    "first_stage_model.",
    "cond_stage_model.",
)
_IN_CHECKPOINTS += ("conditioner.embedders.", "text_encoders.", "vae.")
"""How names begin in a checkpoint; each is a part of the pipeline."""

_CURES = {
    "LoRA": "a LoRA goes into 'loras'",
    "IP-Adapter": "an IP-Adapter goes into 'ip_adapter'",
    "whole checkpoint": "a whole checkpoint is loaded with from_single_file",
    "textual inversion": "textual inversions are not supported",
    **dict.fromkeys(_OTHER_FORMS.values(), "convert it to a LoRA, or merge it into the model"),
}


class _Wrong(Exception):
    """What is wrong with a file."""

    def __init__(self, what: str, *hints: Hint) -> None:
        super().__init__(what)
        self.hints = hints


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of weights whose bytes are what its name says. `tensors`: of safetensors only, by
    their names, each with its dtype, shape and data_offsets."""

    format: Format
    tensors: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """What the weights are for, by the names of the tensors."""
        names = self.tensors.keys()
        for part, form in _OTHER_FORMS.items():
            if any(part in name for name in names):
                return form
        if any("ip_adapter" in name for name in names):
            return "IP-Adapter"
        if sum("lora" in name.lower() for name in names) > len(names) / 3:  # beside an alpha each
            return "LoRA"
        if sum(any(n.startswith(part) for n in names) for part in _IN_CHECKPOINTS) > 1:
            return "whole checkpoint"
        is_small = len(names) <= 4 and all(len(t["shape"]) <= 2 for t in self.tensors.values())
        # The last shard of a model may be as small, but a weight has the name of its module.
        return "textual inversion" if is_small and not any("." in n for n in names) else "model"

    def misfit(self, meant: Meant) -> tuple[str, str | None] | None:
        """What it is instead of what a workflow takes it for, and where that goes."""
        wanted = "LoRA" if meant == "LoKr" else meant
        if self.format == "pickle" or (self.format, meant) == ("GGUF", "model"):
            return None
        kind = "GGUF file" if self.format == "GGUF" else self.kind
        if kind in (wanted, meant) or (meant, kind) == ("model", "whole checkpoint"):
            return None
        what = f"is {_with_article(kind)}, not {_with_article(wanted)}"
        if kind == "model":
            first = next(iter(self.tensors))
            what = f"is no {wanted}: it has {len(self.tensors)} tensors, the first is {first!r}"
        return what, _CURES.get(kind)


def check_weights(
    file: Path, meant: Meant | None = None, *, trust: bool, title: str | None = None
) -> WeightsFile:
    """What a file is. Messages call it `title`, beside its path where that does not tell it.

    Raises RunFailed when its bytes are not what its name says, or not what is `meant`; for a
    pickle without `trust`; for a pickle of more than weights, such as a trainer's Namespace or a
    number of numpy: torch's safe unpickler refuses it, and loaders do not say so.
    """
    subject = repr(str(file))
    if title is not None:
        own = "" if file.name in title else f" ({subject})"
        subject = f"the {'LoRA' if meant == 'LoKr' else meant} {title!r}{own}"
    try:
        found = _read(FileState.of(file))
    except FileNotFoundError:
        raise RunFailed(f"{subject} {_missing(file)}") from None
    except _Wrong as wrong:
        raise RunFailed(f"{subject} {wrong}", hints=wrong.hints) from None
    if meant is not None and (misfit := found.misfit(meant)):
        what, cure = misfit
        raise RunFailed(f"{subject} {what}", hints=[cure] if cure else [])
    if found.format == "pickle" and not trust:
        raise RunFailed(
            f"the weights in {subject} are pickles; reading them can run code",
            hints=[TrustWorkflow("you trust them"), "safetensors files need no trust"],
        )
    if objects := _unsafe_objects(file) if found.format == "pickle" else []:
        raise RunFailed(
            f"{subject} holds {', '.join(objects)} beside its weights; torch's safe unpickler, "
            "which reads it, refuses that",
            hints=["save its weights alone, as safetensors"],
        )
    return found


def header(file: Path) -> Mapping[str, Any]:
    """The tensors of a safetensors file; nothing when it is another one, or broken."""
    with suppress(_Wrong, OSError):
        return _read(FileState.of(file)).tensors
    return {}


@lru_cache(maxsize=1024)
def _read(state: FileState) -> WeightsFile:
    """Kept while the file's stat is the same. Raises _Wrong."""
    path = state.path
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    length = int.from_bytes(beginning[:8], "little")
    tensors: Mapping[str, Any] = {}
    found: Format
    if beginning[8:9] == b"{" and length <= _LONGEST_HEADER:
        found, tensors = "safetensors", _tensors(path, length, state.nbytes)
    elif beginning.startswith(b"GGUF"):
        found = "GGUF"
    elif beginning.startswith(b"PK\3\4"):
        found = "pickle"
        _check_zip(path)
    elif re.match(rb"\x80[\2-\5]", beginning):
        found = "pickle"
    else:
        raise _foreign(beginning)
    if path.suffix not in _ENDINGS[found]:
        hint = f"rename it to {path.stem}{_ENDINGS[found][0]}"
        trust = [TrustWorkflow("you trust it: reading it can run code")] * (found == "pickle")
        raise _Wrong(f"is a {found} file under another name", hint, *trust)
    return WeightsFile(found, tensors)


def _tensors(path: Path, length: int, size: int) -> Mapping[str, Any]:
    """The entries of a header of `length` bytes, compared with the size of the file."""
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(length)
    if len(text) < length:
        raise _Wrong(f"is cut short: {size} bytes, of which the header takes {8 + length}", _AGAIN)
    try:
        entries = json.loads(text)
        tensors = {name: each for name, each in entries.items() if name != "__metadata__"}
        total = 8 + length + max((t["data_offsets"][1] for t in tensors.values()), default=0)
        if not all({"dtype", "shape"} <= each.keys() for each in tensors.values()):
            raise LookupError
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        raise _Wrong("is a safetensors file with a broken header", _AGAIN) from None
    if size < total:
        raise _Wrong(f"is cut short: {size} of {total} bytes", _AGAIN)
    if size > total:
        raise _Wrong(f"is damaged: it has {size} bytes, {total} by its header", _AGAIN)
    if not tensors:
        raise _Wrong("holds no weights: its header lists none")
    return tensors


def _check_zip(path: Path) -> None:
    """Raises _Wrong unless a zip file is what torch.save writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        raise _Wrong("is cut short: a zip file without its end", _AGAIN) from None
    if not any(name.endswith("data.pkl") for name in names):
        inside = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
        raise _Wrong(f"is a zip archive ({inside}), not weights", "unpack it and name a file of it")


def _foreign(data: bytes) -> _Wrong:
    """What is wrong with a file that begins with `data`."""
    if not data:
        return _Wrong("is empty", _AGAIN)
    if data.startswith(_LFS):
        size = re.search(rb"^size (\d+)$", data, re.MULTILINE)
        of = f" of {int(size[1])} bytes" if size else ""
        what = f"is a pointer of git-lfs, which stands for a file{of}"
        return _Wrong(what, "`git lfs pull` in its folder fetches the file")
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            return _Wrong(f"is {what}, not weights")
    with suppress(UnicodeDecodeError):
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data)  # the last may be cut
        if "\0" not in text:
            return _Wrong(f"is {_named_text(' '.join(text.split()))}, not weights", _AGAIN)
    return _Wrong(f"is no file of weights: it begins with the bytes {data[:8].hex(' ')}", _AGAIN)


def _named_text(text: str) -> str:
    low, shown = text.lower(), text[:80] + "..." * (len(text) > 80)
    if low.startswith(("<!doctype html", "<html")):
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE)
        return f"an HTML page ({title[1].strip()!r})" if title else "an HTML page"
    if low.startswith(("{", "[")):
        return f"JSON ({shown})"
    return f"XML ({shown})" if low.startswith("<") else f"a text ({shown!r})"


def _unsafe_objects(file: Path) -> list[str]:
    with suppress(ValueError, RuntimeError):  # it is not what torch.save writes today
        return sorted(get_unsafe_globals_in_checkpoint(str(file)))
    return []


def _missing(file: Path) -> str:
    if not file.is_symlink():
        return "does not exist"
    target = file.readlink()
    if target.parent.name == "blobs":
        return f"is missing in the hub's cache: its blob {target.name} is gone"
    return f"is a link to {str(target)!r}, which does not exist"


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'IO' else 'a'} {noun}"
