"""Isolation: builders change no global state of a process that also runs real models."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
from transformers.utils import logging as transformers_logging


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed torch with `seed`, default to float32 on the CPU, and silence the libraries.

    Generators, default dtype and device, and log levels are restored afterwards.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        for logging in (diffusers_logging, transformers_logging):
            stack.callback(logging.set_verbosity, logging.get_verbosity())
            logging.set_verbosity_error()
        if are_progress_bars_disabled():
            stack.callback(disable_progress_bars)
        if transformers_logging.is_progress_bar_enabled():
            stack.callback(transformers_logging.enable_progress_bar)
        transformers_logging.disable_progress_bar()
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        # torch.manual_seed would also seed the accelerators, now or on their first use.
        torch.default_generator.manual_seed(seed)
        yield
