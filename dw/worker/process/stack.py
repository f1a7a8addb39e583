"""Stack summaries: what a worker is doing, as its last progress and one frame of its stack.

The stacks are faulthandler's, which needs neither the GIL nor the worker's cooperation.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

FRAME_LABELS = (
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
"""Parts of `path:function`, and the user's word for that place."""

_BLOCK = re.compile(r"^(?=(?:Current thread|Thread) 0x)", re.M)
_FRAME = re.compile(r'^  File "(?P<path>.+)", line (?P<line>\d+) in (?P<function>.+)$', re.M)
_STDLIB = os.path.dirname(os.__file__)


@dataclass(frozen=True, slots=True)
class StackSummary:
    """One line, and the stack of every thread; empty when the worker wrote none."""

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
    def is_generic(self) -> bool:
        """Whether it is of the standard library or torch: such frames occur everywhere."""
        is_stdlib = self.path.startswith(_STDLIB) and "site-packages" not in self.path
        return is_stdlib or self.path.startswith("<") or "/torch/" in self.path


def summarize(progress: str, stack: str) -> str:
    """`gen: denoise step 14/30, in attention`; the progress alone without a useful stack."""
    threads = [_frames(block) for block in _BLOCK.split(stack)]
    # The text may hold several stacks; the last one counts, of the thread that runs `main`.
    mains = [
        frames
        for frames in threads
        if any(f.path.endswith("/bootstrap.py") and f.function == "main" for f in frames)
    ]
    place = label((mains or threads)[-1])
    return f"{progress}, in {place}" if place else progress


def label(frames: list[Frame]) -> str | None:
    """The user's word for the place of the innermost frame that has one."""
    for frame in frames:
        for mark, place in FRAME_LABELS:
            if mark in f"{frame.path}:{frame.function}":
                return place
    own = next((frame for frame in frames if not frame.is_generic), None)
    return str(own) if own else None


def crash_site(stack: str, deep: int = 3) -> str:
    """The innermost frames of the thread that crashed, innermost first; empty without a crash."""
    blocks = [block for block in _BLOCK.split(stack) if block.startswith("Current")]
    return ", from ".join(map(str, _frames(blocks[-1])[:deep])) if blocks else ""


def _frames(block: str) -> list[Frame]:
    return [
        Frame(found["path"].replace("\\", "/"), int(found["line"]), found["function"])
        for found in _FRAME.finditer(block)
    ]
