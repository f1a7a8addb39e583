"""What a worker is doing, in one line: its last progress, and the telling frame of its stack.

The stacks are faulthandler's, which need no cooperation of the worker and no GIL.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

TELLING = (
    ("attention_processor", "attention"),
    ("attention_dispatch", "attention"),
    ("sdpa_attention", "attention"),
    ("flash_attention", "attention"),
    ("/models/attention.py", "a transformer block"),
    ("/models/resnet.py", "a resnet block"),
    ("/autoencoders/", "the vae"),
    ("/models/unets/", "the unet"),
    ("/models/transformers/", "the transformer"),
    ("/schedulers/", "the scheduler"),
    ("/models/clip/", "a text encoder"),
    ("/models/t5/", "a text encoder"),
    ("tokeniz", "a tokenizer"),
    ("/safetensors/", "safetensors"),
    ("/model_loading_utils.py", "the loader of diffusers"),
    ("/core_model_loading.py", "the loader of transformers"),
    ("/huggingface_hub/", "the hub's client"),
    ("/accelerate/hooks.py", "an offload hook"),
    ("/peft/", "a LoRA"),
    ("/PIL/", "Pillow"),
    ("/av/", "the video encoder"),
)
"""Parts of `path:function`, and what a user calls that place."""

_BLOCK = re.compile(r"^(?=(?:Current thread|Thread) 0x)", re.M)
_FRAME = re.compile(r'^  File "(?P<path>.+)", line (?P<line>\d+) in (?P<function>.+)$', re.M)
_STDLIB = os.path.dirname(os.__file__)


@dataclass(frozen=True, slots=True)
class StackSummary:
    """`line` for a glance, `stack` (of every thread) for the rest; empty when it gave none."""

    line: str
    stack: str


@dataclass(frozen=True, slots=True)
class Frame:
    path: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.function} ({self.path.rpartition('/')[2]}:{self.line})"

    @property
    def is_ours_to_tell(self) -> bool:
        """Neither the standard library nor torch, whose frames are the same in every place."""
        is_library = self.path.startswith(_STDLIB) and "site-packages" not in self.path
        return not (is_library or self.path.startswith("<") or "/torch/" in self.path)


def fold(progress: str, stack: str) -> str:
    """`gen: denoise step 14/30, in attention`; the progress alone where the stack tells nothing."""
    place = telling(_of_main_thread(stack))
    return f"{progress}, in {place}" if place else progress


def telling(frames: list[Frame]) -> str | None:
    """What a user calls the place where the innermost of these frames is."""
    for frame in frames:
        for mark, place in TELLING:
            if mark in f"{frame.path}:{frame.function}":
                return place
    own = next((frame for frame in frames if frame.is_ours_to_tell), None)
    return str(own) if own else None


def crash_site(stack: str, deep: int = 3) -> str:
    """The innermost frames of the thread that crashed, innermost first; empty without one."""
    blocks = [block for block in _BLOCK.split(stack) if block.startswith("Current")]
    return ", from ".join(map(str, _frames(blocks[-1])[:deep])) if blocks else ""


def _of_main_thread(stack: str) -> list[Frame]:
    """Of the last stack in the text. The thread that came through `main` in bootstrap.py."""
    threads = [_frames(block) for block in _BLOCK.split(stack)]
    mains = [
        frames
        for frames in threads
        if any(f.path.endswith("/bootstrap.py") and f.function == "main" for f in frames)
    ]
    return (mains or threads)[-1]


def _frames(block: str) -> list[Frame]:
    return [
        Frame(found["path"].replace("\\", "/"), int(found["line"]), found["function"])
        for found in _FRAME.finditer(block)
    ]
