from __future__ import annotations

import pytest

from dw.errors import RunFailed
from dw.workflow.hub_address import HubFile, hub_file

FILE = HubFile("a/b", "c/d.safetensors")
HUB = "https://huggingface.co"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b", HubFile("a/b", None)),
        ("a/b/c/d.safetensors", FILE),
        (f"{HUB}/a/b", HubFile("a/b", None)),
        (f"{HUB}/a/b/tree/main", HubFile("a/b", None, "main")),
        (f"{HUB}/a/b/c/d.safetensors", FILE),
        (f"{HUB}/a/b/blob/main/c/d.safetensors", HubFile("a/b", "c/d.safetensors", "main")),
        (f"{HUB}/a/b/resolve/1f2e/c.bin?download=true", HubFile("a/b", "c.bin", "1f2e")),
        ("http://hf.co/a/b/raw/v1.0/c%20d.bin#x", HubFile("a/b", "c d.bin", "v1.0")),
        (f"{HUB}/a/b/resolve/refs%2Fpr%2F3/c.bin", HubFile("a/b", "c.bin", "refs/pr/3")),
        (f"{HUB}/a/b/resolve/refs/pr/3/c.bin", HubFile("a/b", "c.bin", "refs/pr/3")),
        (f"{HUB}/gpt2/resolve/main/model.bin", HubFile("gpt2", "model.bin", "main")),
    ],
)  # fmt: skip
def test_a_file_is_found_as_people_write_it(name: str, expected: HubFile) -> None:
    assert hub_file(name) == expected


@pytest.mark.parametrize("host", ["civitai.com", "huggingface.co.evil.org", "localhost"])
def test_another_host_is_named(host: str) -> None:
    with pytest.raises(RunFailed, match=f"not from '{host}'"):
        hub_file(f"https://{host}/a/b/resolve/main/c.bin")


def test_a_mirror_that_the_user_set_is_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert hub_file("https://mirror.example/a/b/blob/main/c.bin").repository == "a/b"
