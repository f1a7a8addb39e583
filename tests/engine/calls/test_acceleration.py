"""The attention backend of a call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

from tests.engine.session import CancelsAt, Json, Session, text_to_image


def drawn(model: Path, backend: str | None) -> Json:
    configuration = {"component_type": "FluxPipeline", "attention_backend": backend}
    return text_to_image(model, configuration=configuration)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the backends that computed attention."""
    names: list[str] = []
    original = _AttentionBackendRegistry.get_active_backend.__func__  # type: ignore[attr-defined]

    def remember(cls: Any) -> Any:
        name, function = original(cls)
        names.append(str(AttentionBackendName(name).value))
        return name, function

    monkeypatch.setattr(_AttentionBackendRegistry, "get_active_backend", classmethod(remember))
    return names


def test_it_computes_the_attention_of_its_call_only(
    warm: Session, flux: Path, used: list[str]
) -> None:
    for backend, expected in (("_native_math", "_native_math"), (None, "native")):
        used.clear()
        warm.run(drawn(flux, backend))
        assert set(used) == {expected}


def test_a_cancel_gives_the_one_before_back(warm: Session, flux: Path, used: list[str]) -> None:
    warm.cancel(drawn(flux, "_native_math"), CancelsAt(2))
    used.clear()
    warm.run(drawn(flux, None))
    assert set(used) == {"native"}


def test_what_this_machine_lacks_is_told_before_anything_loads(
    session: Session, flux: Path
) -> None:
    error = session.fail(drawn(flux, "flash"))
    assert error.message.startswith("attention_backend 'flash' cannot be used here: ")
    assert "flash-attn" in error.message
    assert session.engine.memory().components == ()


def test_a_rehearsal_goes_on_without_it_and_says_so(session: Session) -> None:
    plain = session.hashes(drawn(Path("any/model"), None), rehearse=True)
    assert session.hashes(drawn(Path("any/model"), "flash"), rehearse=True) == plain
    [told] = session.warnings
    assert told.endswith("; rehearsing without it")
