"""A program that prints, as JSON, what torch says of this machine's devices. It imports nothing of
dw, so that it answers wherever torch does."""

import json
import warnings
from typing import Any

import torch


def main() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    why = None
    if not there:
        why = "it sees no GPU"
        if torch.version.cuda or torch.version.hip:
            try:
                torch.cuda.init()  # type: ignore[no-untyped-call]
            except (RuntimeError, AssertionError) as error:
                why = str(error).partition("\n")[0]
        if warned:
            why = str(warned[-1].message).partition(" (Triggered")[0]
    print(  # noqa: T201
        json.dumps(
            {
                "torch": torch.__version__,
                "built_for": _built_for(),
                "gpus": [_gpu(index) for index in range(torch.cuda.device_count())]
                if there
                else [],
                "architectures": torch.cuda.get_arch_list() if there else [],
                "why_no_gpu": why,
                "has_mps": torch.backends.mps.is_available(),
            }
        )
    )


def _built_for() -> str:
    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"


def _gpu(index: int) -> dict[str, Any]:
    gpu: dict[str, Any] = {"name": torch.cuda.get_device_name(index)}
    gpu["capability"] = torch.cuda.get_device_capability(index)
    try:
        gpu["free"], gpu["total"] = torch.cuda.mem_get_info(index)
        torch.ones(1, device=f"cuda:{index}").sum().item()
    except RuntimeError as error:
        gpu["error"] = str(error).partition("\n")[0]
    return gpu


if __name__ == "__main__":
    main()
