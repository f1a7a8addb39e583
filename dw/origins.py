"""Origins: how a picture or video was made, read from its file, whichever program wrote it there.

dw writes one JSON object with the key `dw` (docs/workflows.md). Of other programs: the text
`parameters` of AUTOMATIC1111 and its kin, the metadata of InvokeAI, the graph of ComfyUI.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY = "dw"
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm")
EXIF_IFD, MAKER_NOTE, USER_COMMENT = 0x8769, 0x927C, 0x9286

ARGUMENTS = {
    "prompt": ("prompt",),
    "negative_prompt": ("negative_prompt",),
    "num_inference_steps": ("num_inference_steps", "steps"),
    "guidance_scale": ("guidance_scale", "cfg_scale", "cfg", "guidance"),
    "seed": ("seed",),
    "width": ("width",),
    "height": ("height",),
    "strength": ("strength", "denoise"),
    "clip_skip": ("clip_skip",),
}
"""What other programs' settings mean, and the names that a workflow may have for it."""

_A1111 = {
    "Steps": "num_inference_steps",
    "CFG scale": "guidance_scale",
    "Seed": "seed",
    "Denoising strength": "strength",
    "Clip skip": "clip_skip",
}
_INVOKE = {
    "positive_prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "steps": "num_inference_steps",
    "cfg_scale": "guidance_scale",
    "seed": "seed",
    "width": "width",
    "height": "height",
    "strength": "strength",
    "clip_skip": "clip_skip",
}
_COMFY = {
    "seed": "seed",
    "noise_seed": "seed",
    "steps": "num_inference_steps",
    "cfg": "guidance_scale",
    "denoise": "strength",
}
_SETTING = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""One setting in the last line of AUTOMATIC1111's text, as its own modules/infotext_utils.py."""


@dataclass(frozen=True, slots=True)
class Origin:
    """`program` that made it. `facts`: dw's own object. `settings`: of another program, by the
    names of `ARGUMENTS`; `rest`: what has no such name, by the program's own."""

    program: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)


def is_media(path: Path) -> bool:
    return path.suffix.lower() in (*PICTURES, *VIDEOS)


def read_origin(path: Path) -> Origin | None:
    """What the file tells; None when it tells nothing that is known. Raises OSError and ValueError
    for a file that cannot be read."""
    texts = _video_texts(path) if path.suffix.lower() in VIDEOS else _picture_texts(path)
    readers = (
        (KEY, _of_dw),
        ("comment", _of_dw),
        ("note", _of_dw),
        ("invokeai_metadata", _of_invoke),
        ("prompt", _of_comfy),
        ("parameters", _of_a1111),
    )
    for key, reader in readers:
        if (text := texts.get(key)) and (found := reader(text)) is not None:
            return found
    return None


def _picture_texts(path: Path) -> dict[str, str]:
    from dw.pixels import open_image  # Pillow, which the prompt starts without

    with open_image(path) as image:
        texts = {str(n): text for n, text in image.info.items() if isinstance(text, str)}
        with suppress(KeyError, SyntaxError):
            directory = image.getexif().get_ifd(EXIF_IFD)
            if isinstance(note := directory.get(MAKER_NOTE), bytes):
                texts.setdefault("note", note.decode("utf-8", "replace"))
            if isinstance(comment := directory.get(USER_COMMENT), bytes):
                texts.setdefault("parameters", _comment(comment))
    return texts


def _comment(data: bytes) -> str:
    """EXIF's user comment; programs do not agree on the byte order of its UTF-16."""
    code, text = data[:8], data[8:]
    if code != b"UNICODE\0":
        return text.decode("utf-8", "replace")
    return text.decode("utf-16-be" if text[:1] == b"\0" else "utf-16-le", "replace")


def _video_texts(path: Path) -> dict[str, str]:
    import av

    try:
        with av.open(str(path)) as container:
            return {name.lower(): text for name, text in container.metadata.items()}
    except av.error.FFmpegError as error:
        raise ValueError(str(error)) from None


def _object(text: str) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        return found if isinstance(found, dict) else None
    return None


def _of_dw(text: str) -> Origin | None:
    facts = (_object(text) or {}).get(KEY)
    return Origin("dw", facts) if isinstance(facts, dict) else None


def _of_a1111(text: str) -> Origin | None:
    *lines, last = text.strip().split("\n")
    if len(_SETTING.findall(last)) < 3:  # a prompt without settings
        return None
    settings: dict[str, Any] = {}
    prompt, _, negative = "\n".join(lines).partition("Negative prompt:")
    settings["prompt"] = prompt.strip()
    if negative.strip():
        settings["negative_prompt"] = negative.strip()
    rest: dict[str, Any] = {}
    for name, value in _SETTING.findall(last):
        unquoted = _unquoted(value)
        if size := re.fullmatch(r"(\d+)x(\d+)", unquoted) if name == "Size" else None:
            settings["width"], settings["height"] = map(int, size.groups())
        elif name in _A1111 and (number := _number(unquoted)) is not None:
            settings[_A1111[name]] = number
        else:
            rest[name] = unquoted
    return Origin("AUTOMATIC1111", settings=settings, rest=rest)


def _unquoted(text: str) -> str:
    if text[:1] == '"':
        with suppress(ValueError):
            return str(json.loads(text))
    return text.strip()


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return None


def _of_invoke(text: str) -> Origin | None:
    if (found := _object(text)) is None:
        return None
    settings = {_INVOKE[n]: v for n, v in found.items() if n in _INVOKE and _is_plain(v)}
    rest = {name: value for name, value in found.items() if name not in _INVOKE}
    if isinstance(model := rest.get("model"), dict):
        rest["model"] = model.get("name") or model.get("model_name") or model
    return Origin("InvokeAI", settings=settings, rest=rest) if settings else None


def _of_comfy(text: str) -> Origin | None:
    """The graph in API format: of its sampler, what it is given, followed to the texts."""
    graph = _object(text)
    nodes = {name: node for name, node in (graph or {}).items() if _is_node(node)}
    sampler = next((n for n in nodes.values() if "Sampler" in n["class_type"]), None)
    if sampler is None:
        return None
    settings: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in sampler["inputs"].items():
        if name in _COMFY and _is_plain(value):
            settings[_COMFY[name]] = value
        elif _is_plain(value):
            rest[name] = value
    for name, meant in (("positive", "prompt"), ("negative", "negative_prompt")):
        if found := next(_inputs(nodes, sampler["inputs"].get(name), "text"), None):
            settings[meant] = found
    for side in ("width", "height"):
        found = next(_inputs(nodes, sampler["inputs"].get("latent_image"), side), None)
        if found is not None:
            settings[side] = found
    for name in ("ckpt_name", "unet_name", "lora_name"):
        values = [n["inputs"][name] for n in nodes.values() if _is_plain(n["inputs"].get(name))]
        if values:
            rest[name] = ", ".join(map(str, values))
    return Origin("ComfyUI", settings=settings, rest=rest)


def _is_node(node: Any) -> bool:
    return (
        isinstance(node, dict)
        and isinstance(node.get("class_type"), str)
        and isinstance(node.get("inputs"), dict)
    )


def _inputs(
    nodes: Mapping[str, Any], link: Any, name: str, seen: frozenset[str] = frozenset()
) -> Iterator[Any]:
    """The plain values of an input of the nodes that a link leads to, the nearest first."""
    if not (isinstance(link, list) and link and str(link[0]) in nodes) or str(link[0]) in seen:
        return
    inputs = nodes[str(link[0])]["inputs"]
    if _is_plain(inputs.get(name)):
        yield inputs[name]
    for value in inputs.values():
        yield from _inputs(nodes, value, name, seen | {str(link[0])})


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
