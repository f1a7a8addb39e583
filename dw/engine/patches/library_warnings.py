"""What diffusers and transformers log as warnings, passed on to the listener of the run.

A prompt that is cut or a size that is rounded is told in no other way. Nothing goes to the
terminal, and what is said outside of a run is dropped.
"""

from __future__ import annotations

import logging
import warnings

from dw.engine.patches import progress_bars

LIBRARIES = ("diffusers", "transformers")
LONGEST = 300  # characters; a prompt that was cut may be pages long
NOISE = (
    "Token indices sequence length is longer",  # diffusers cuts the prompt, and says so
    "You have disabled the safety checker",  # the workflow asked for it
    "Using a slow image processor",
    "No LoRA keys associated to",  # of a text encoder that the LoRA does not touch
    "should be kept in float32: []",  # none, that is
    "Guiders are currently an experimental feature",
    "FasterCache is a purely experimental feature",  # the format's documentation says so, too
    "No `attention_weight_callback` provided",  # a function, which no file can name
    "is deprecated",
    "requires torchvision (not installed); falling back",
    "Error in block:",  # of a modular pipeline, which raises the error, too
    "Attention backends are an experimental feature",
    "`cap_pixels_per_frame` will be removed",  # of a processor's call, which the pipeline makes
)


class _Remarks(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = " ".join(record.getMessage().split())
        except (TypeError, ValueError):  # the arguments do not fit: the library's own mistake
            return
        if not any(noise in text for noise in NOISE):
            progress_bars.remark(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def install() -> None:
    """Put a handler in the place of the libraries' own, and drop their notes for programmers."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_warning()  # makes the default handler, when nothing was logged yet
        library.disable_default_handler()
    handler = _Remarks(logging.WARNING)
    for name in LIBRARIES:
        logging.getLogger(name).addHandler(handler)
        for category in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=rf"{name}(\.|$)")
