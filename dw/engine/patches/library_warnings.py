"""Library warnings: what diffusers and transformers log during a run goes to its listener.

Their log is the only sign of a prompt that was cut or a size that was rounded. Nothing goes to the
terminal, and warnings outside of a run are dropped.
"""

from __future__ import annotations

import logging
import warnings
from functools import partial

from dw.engine.patches import progress_bars

LIBRARIES = ("diffusers", "transformers")
LONGEST = 300  # characters: a cut prompt may be pages long
NOISE = (
    "Token indices sequence length is longer",  # diffusers cuts the prompt and logs that itself
    "You have disabled the safety checker",  # the workflow asked for it
    "Using a slow image processor",
    "No LoRA keys associated to",  # of a text encoder that the LoRA does not touch
    "should be kept in float32: []",  # an empty list
    "Guiders are currently an experimental feature",
    "FasterCache is a purely experimental feature",  # the format's documentation says so
    "No `attention_weight_callback` provided",  # a function, which no file can name
    "is deprecated",
    "requires torchvision (not installed); falling back",
    "Error in block:",  # of a modular pipeline, which also raises the error
    "Attention backends are an experimental feature",
    "`cap_pixels_per_frame` will be removed",  # of a processor's call, which the pipeline makes
)

AT_IMPORT = {
    "torchao": "Failed to load ",
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
    "sdnq": "kernels are not available! Falling back to",
    "torch.utils._pytree": "is an Enum subclass",
}
"""By logger: which parts of a package do not fit this machine or the other packages. What needs
such a part raises an error of its own."""


class _ListenerHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = " ".join(record.getMessage().split())
        except (TypeError, ValueError):  # the library's format string and arguments do not match
            return
        if not any(noise in text for noise in NOISE):
            progress_bars.warn(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def install_for_imports() -> None:
    """Must be called before diffusers is imported, which imports what quantizes."""
    for name, noise in AT_IMPORT.items():
        logging.getLogger(name).addFilter(partial(_is_news, noise=noise))


def _is_news(record: logging.LogRecord, noise: str) -> bool:
    return noise not in record.getMessage()


def install() -> None:
    """Replace the libraries' handlers, and drop their warnings for programmers."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_warning()  # creates the default handler where nothing was logged yet
        library.disable_default_handler()
    handler = _ListenerHandler(logging.WARNING)
    for name in LIBRARIES:
        logging.getLogger(name).addHandler(handler)
        for category in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=rf"{name}(\.|$)")
