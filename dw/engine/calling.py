"""One call of a pipeline: seeded, watched for a cancel, with its tensors brought to host memory."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from dw.engine.artifacts import on_host
from dw.engine.control import RunControl, watching


def call(pipeline: DiffusionPipeline, arguments: Mapping[str, Any], control: RunControl) -> Any:
    """The pipeline's output. Raises Cancelled, and whatever the pipeline raises."""
    control.stepped(0, 0)
    with torch.inference_mode(), watching(pipeline, control):
        return on_host(pipeline(**arguments))


def seeded_generator(seed: int) -> torch.Generator:
    """A fresh generator for one step, whose iterations draw from it one after the other.

    On the CPU, as that gives the same noise on every device. The global generators are seeded too:
    some schedulers draw from them.
    """
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    return torch.Generator("cpu").manual_seed(seed)
