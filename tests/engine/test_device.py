from __future__ import annotations

import pytest
import torch

from dw.engine.device import choose_device
from dw.errors import UsageError


def test_without_an_accelerator_it_is_the_cpu_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    device = choose_device(None, live_bytes=lambda: 12)
    assert (device.spec, device.kind) == ("cpu", "cpu")
    assert device.reason == "there is neither CUDA nor MPS"
    assert device.memory().allocated == device.memory().reserved == 12


@pytest.mark.parametrize(
    ("wanted", "spec"),
    [(None, "cuda:0"), ("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")],
)
def test_the_first_cuda_device_is_the_best(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, spec: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(wanted, live_bytes=lambda: 0).spec == spec


@pytest.mark.parametrize("wanted", ["cuda:2", "cuda:x", "tpu", ""])
def test_what_is_not_here_is_refused_with_what_is(
    monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match="available are cuda:0, cuda:1, cpu"):
        choose_device(wanted, live_bytes=lambda: 0)
