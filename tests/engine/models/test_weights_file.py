from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors

from dw.engine.models.weights_file import Meant, check_weights, header
from dw.errors import RunFailed

W = torch.zeros(2, 3)
LORA = {"unet.to_q.lora_A.weight": W, "unet.to_q.lora_B.weight": W}
KOHYA = {f"lora_unet_q.{n}": W for n in ("lora_down.weight", "lora_up.weight", "alpha")}
LOHA = {f"lora_unet_q.{n}": W for n in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "alpha")}
LOKR = {f"lora_unet_q.{n}": W for n in ("lokr_w1", "lokr_w2", "alpha")}
MODEL = {f"blocks.{n}.weight": W for n in range(5)}
CHECKPOINT = {"model.diffusion_model.a": W, "first_stage_model.a": W, "cond_stage_model.a": W}
IP_ADAPTER = {"image_proj.proj.weight": W, "ip_adapter.1.to_k_ip.weight": W}
EMBEDDING = {"emb_params": W}


def save_file(tensors: dict[str, torch.Tensor], file: Path) -> None:
    safetensors.save_file({name: tensor.clone() for name, tensor in tensors.items()}, file)


def refusal(file: Path, meant: Meant | None = None, **options: Any) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        check_weights(file, meant, **{"trust": False, **options})
    return caught.value


def lfs(path: Path) -> None:
    path.write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 345\n"
    )


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lora/plain.safetensors", "x")


def cut(path: Path, keep: int = 60) -> None:
    save_file(MODEL, path)
    path.write_bytes(path.read_bytes()[:-keep])


def cut_in_its_header(path: Path) -> None:
    save_file(MODEL, path)
    path.write_bytes(path.read_bytes()[:50])


def pad(path: Path) -> None:
    save_file(MODEL, path)
    path.write_bytes(path.read_bytes() + b"12345")


def broken(path: Path) -> None:
    path.write_bytes((12).to_bytes(8, "little") + b'{"a": "b"}  ')


def half_a_zip(path: Path) -> None:
    torch.save(MODEL, path)
    path.write_bytes(path.read_bytes()[:400])


HTML = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
WRITERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "html": (lambda p: p.write_text(HTML), "is an HTML page ('Sign in'), not weights"),
    "html without a title": (lambda p: p.write_text("<html>é"), "is an HTML page, not weights"),
    "json": (lambda p: p.write_text('{"error": "no"}'), 'is JSON ({"error": "no"}), not weights'),
    "xml": (lambda p: p.write_text("<Error>no"), "is XML (<Error>no), not weights"),
    "text": (lambda p: p.write_text("404: Not Found"), "is a text ('404: Not Found'), not weights"),
    "empty": (lambda p: p.touch(), "is empty"),
    "lfs": (lfs, "is a pointer of git-lfs, which stands for a file of 345 bytes"),
    "zip": (zipped, "is a zip archive (lora/plain.safetensors), not weights"),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b123"), "is a gzip archive, not weights"),
    "image": (lambda p: p.write_bytes(b"\x89PNG\r\n"), "is a PNG image, not weights"),
    "noise": (
        lambda p: p.write_bytes(bytes(range(200, 250))),
        "is no file of weights: it begins with the bytes c8 c9 ca cb cc cd ce cf",
    ),
    "pickle": (lambda p: p.write_bytes(pickle.dumps(1)), "is a pickle file under another name"),
    "torch": (lambda p: torch.save(MODEL, p), "is a pickle file under another name"),
    "gguf": (lambda p: p.write_bytes(b"GGUF\3\0\0\0"), "is a GGUF file under another name"),
    "header": (broken, "is a safetensors file with a broken header"),
    "nothing in it": (lambda p: save_file({}, p), "holds no weights: its header lists none"),
    "half a zip": (half_a_zip, "is cut short: a zip file without its end"),
}


@pytest.mark.parametrize("what", WRITERS)
def test_a_file_is_told_by_its_bytes_whatever_its_name_says(tmp_path: Path, what: str) -> None:
    write, expected = WRITERS[what]
    file = tmp_path / "x.safetensors"
    write(file)
    assert refusal(file).message == f"{str(file)!r} {expected}"
    assert header(file) == {}


def test_a_file_that_was_cut_is_told_with_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file(MODEL, file)
    size = file.stat().st_size
    cut(file)
    assert refusal(file).message.endswith(f" is cut short: {size - 60} of {size} bytes")
    cut_in_its_header(file)
    assert " is cut short: 50 bytes, of which the header takes " in refusal(file).message
    pad(file)
    assert refusal(file).message.endswith(
        f"is damaged: it has {size + 5} bytes, {size} by its header"
    )


def test_a_file_is_judged_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    cut(file)
    refusal(file)
    save_file(MODEL, file)
    assert check_weights(file, trust=False).tensors.keys() == MODEL.keys()
    assert header(file)["blocks.0.weight"]["shape"] == [2, 3]


@pytest.mark.parametrize(
    ("tensors", "meant"),
    [
        (LORA, "LoRA"),
        (KOHYA, "LoRA"),
        (LOKR, "LoKr"),
        (LORA, "LoKr"),
        (MODEL, "model"),
        (CHECKPOINT, "model"),
        (IP_ADAPTER, "IP-Adapter"),
    ],
)
def test_what_is_meant_passes(tmp_path: Path, tensors: dict[str, Any], meant: Meant) -> None:
    save_file(tensors, tmp_path / "x.safetensors")
    assert check_weights(tmp_path / "x.safetensors", meant, trust=False).tensors


@pytest.mark.parametrize(
    ("tensors", "meant", "expected"),
    [
        (LOHA, "LoRA", "is a LoHa, not a LoRA"),
        (LOHA, "LoKr", "is a LoHa, not a LoRA"),
        (LOKR, "LoRA", "is a LoKr, not a LoRA"),
        (CHECKPOINT, "LoRA", "is a whole checkpoint, not a LoRA"),
        (EMBEDDING, "LoRA", "is a textual inversion, not a LoRA"),
        (IP_ADAPTER, "LoRA", "is an IP-Adapter, not a LoRA"),
        (MODEL, "LoRA", "is no LoRA: it has 5 tensors, the first is 'blocks.0.weight'"),
        (LORA, "model", "is a LoRA, not a model"),
        (KOHYA, "model", "is a LoRA, not a model"),
        (LOHA, "model", "is a LoHa, not a model"),
        (EMBEDDING, "model", "is a textual inversion, not a model"),
        (IP_ADAPTER, "model", "is an IP-Adapter, not a model"),
        (LORA, "IP-Adapter", "is a LoRA, not an IP-Adapter"),
        (CHECKPOINT, "IP-Adapter", "is a whole checkpoint, not an IP-Adapter"),
    ],
)
def test_what_is_not_meant_is_told_as_what_it_is(
    tmp_path: Path, tensors: dict[str, Any], meant: Meant, expected: str
) -> None:
    file = tmp_path / "x.safetensors"
    save_file(tensors, file)
    assert refusal(file, meant).message == f"{str(file)!r} {expected}"


def test_a_title_and_the_file_are_named(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.touch()
    error = refusal(file, "LoKr", title="my style")
    assert error.message == f"the LoRA 'my style' ({str(file)!r}) is empty"
    error = refusal(file, "IP-Adapter", title="f/x.safetensors")
    assert error.message == "the IP-Adapter 'f/x.safetensors' is empty"


@pytest.mark.parametrize("name", ["x.bin", "x.ckpt", "x.pt", "x.pth"])
def test_a_pickle_needs_trust_and_is_named_as_one(tmp_path: Path, name: str) -> None:
    torch.save(MODEL, tmp_path / name)
    error = refusal(tmp_path / name)
    assert error.message.endswith(" are pickles; reading them can run code")
    assert [hint.name for hint in error.remedies] == ["trust_workflow"]
    assert "safetensors files need no trust" in error.hints
    assert check_weights(tmp_path / name, trust=True).format == "pickle"


@pytest.mark.parametrize(
    ("extra", "name"),
    [(np.float32(1.5), "scalar"), (argparse.Namespace(lr=1), "argparse.Namespace")],
)
def test_what_the_safe_unpickler_refuses_is_named(tmp_path: Path, extra: Any, name: str) -> None:
    file = tmp_path / "x.ckpt"
    torch.save({"state_dict": MODEL, "extra": extra}, file)
    message = refusal(file, trust=True).message
    assert name in message
    assert "torch's safe unpickler, which reads it, refuses that" in message


@pytest.mark.parametrize(
    ("name", "renamed"), [("x.sft", "x.safetensors"), ("x.ckpt", "x.safetensors")]
)
def test_safetensors_under_another_name_are_to_be_renamed(
    tmp_path: Path, name: str, renamed: str
) -> None:
    save_file(MODEL, tmp_path / name)
    error = refusal(tmp_path / name, trust=True)
    assert error.message.endswith("is a safetensors file under another name")
    assert error.hints == (f"rename it to {renamed}",)


def test_a_link_that_leads_nowhere_is_told_with_its_target(tmp_path: Path) -> None:
    link = tmp_path / "x.safetensors"
    link.symlink_to("/nowhere/y.safetensors")
    message = refusal(link).message
    assert message.endswith("is a link to '/nowhere/y.safetensors', which does not exist")
    link.unlink()
    link.symlink_to("../blobs/0123")
    assert refusal(link).message.endswith("is missing in the hub's cache: its blob 0123 is gone")
