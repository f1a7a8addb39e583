"""What files of other programs tell, and what dw's own do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from dw.engine.media.encoding import encode
from dw.engine.media.file_origin import FileOrigin
from dw.origins import read_origin
from dw.workflow.format.result import Result

IMAGE = Image.effect_mandelbrot((32, 32), (-2, -1, 1, 1), 50).convert("RGB")
FACTS: dict[str, Any] = {"workflow": '{"id": "ein Föx 🦊"}', "seed": 7, "arguments": {"steps": 4}}


def png(folder: Path, **texts: str) -> Path:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    IMAGE.save(folder / "a.png", pnginfo=info)
    return folder / "a.png"


@pytest.mark.parametrize(
    ("content_type", "suffix"),
    [
        *[("image/png", ".png"), ("image/jpeg", ".jpg"), ("image/webp", ".webp")],
        *[("video/mp4", ".mp4"), ("video/quicktime", ".mov"), ("video/webm", ".webm")],
    ],
)
def test_a_file_tells_of_its_run_and_the_same_run_makes_the_same_bytes(
    tmp_path: Path, content_type: str, suffix: str
) -> None:
    result = Result.model_validate({"content_type": content_type})
    value = IMAGE if content_type.startswith("image") else [IMAGE, IMAGE]
    first, second = (encode(value, result, None, FileOrigin(FACTS)).data for _ in range(2))
    assert first == second
    path = tmp_path / f"a{suffix}"
    path.write_bytes(first)
    origin = read_origin(path)
    assert origin is not None
    assert (origin.program, origin.facts) == ("dw", FACTS)


def test_a_jpeg_that_has_no_room_for_the_workflow_keeps_its_hash(tmp_path: Path) -> None:
    facts = {**FACTS, "workflow": "w" * 70_000, "workflow_sha256": "abc"}
    result = Result.model_validate({"content_type": "image/jpeg"})
    (tmp_path / "a.jpg").write_bytes(encode(IMAGE, result, None, FileOrigin(facts, "p")).data)
    origin = read_origin(tmp_path / "a.jpg")
    assert origin is not None
    assert origin.facts == {"seed": 7, "arguments": {"steps": 4}, "workflow_sha256": "abc"}


def test_without_an_origin_nothing_is_told(tmp_path: Path) -> None:
    result = Result.model_validate({"content_type": "image/png"})
    (tmp_path / "a.png").write_bytes(encode(IMAGE, result).data)
    assert read_origin(tmp_path / "a.png") is None


def test_the_line_of_automatic1111_is_read(tmp_path: Path) -> None:
    text = (
        "a fox, <lora:snow:0.8>\nin the snow\nNegative prompt: blurry, dark\n"
        'Steps: 20, Sampler: "Euler a, fast", CFG scale: 7.5, Seed: 42, Size: 512x768, '
        "Model hash: abc, Model: sd15"
    )
    origin = read_origin(png(tmp_path, parameters=text))
    assert origin is not None
    assert origin.program == "AUTOMATIC1111"
    assert origin.settings == {
        "prompt": "a fox, <lora:snow:0.8>\nin the snow",
        "negative_prompt": "blurry, dark",
        "num_inference_steps": 20,
        "guidance_scale": 7.5,
        "seed": 42,
        "width": 512,
        "height": 768,
    }
    assert origin.rest == {"Sampler": "Euler a, fast", "Model hash": "abc", "Model": "sd15"}


def test_the_metadata_of_invokeai_is_read(tmp_path: Path) -> None:
    facts = {"positive_prompt": "a fox", "steps": 9, "cfg_scale": 3, "model": {"name": "x"}}
    origin = read_origin(png(tmp_path, invokeai_metadata=json.dumps(facts)))
    assert origin is not None
    assert origin.settings == {"prompt": "a fox", "num_inference_steps": 9, "guidance_scale": 3}
    assert (origin.program, origin.rest) == ("InvokeAI", {"model": "x"})


def test_the_graph_of_comfyui_is_followed_from_its_sampler(tmp_path: Path) -> None:
    graph = {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 5,
                "steps": 8,
                "cfg": 2.5,
                "sampler_name": "euler",
                "denoise": 1,
                "positive": ["6", 0],
                "negative": ["7", 0],
                "latent_image": ["5", 0],
            },
        },
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 32}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}},
    }
    origin = read_origin(png(tmp_path, prompt=json.dumps(graph)))
    assert origin is not None
    assert origin.settings == {
        "seed": 5,
        "num_inference_steps": 8,
        "guidance_scale": 2.5,
        "strength": 1,
        "prompt": "a fox",
        "negative_prompt": "blurry",
        "width": 64,
        "height": 32,
    }
    assert origin.rest == {"sampler_name": "euler", "ckpt_name": "x.safetensors"}


@pytest.mark.parametrize("text", ["[1]", "{", "{}", '{"3": {"class_type": "KSampler"}}', "a fox"])
@pytest.mark.parametrize("name", ["dw", "prompt", "parameters", "invokeai_metadata"])
def test_what_makes_no_sense_is_nothing(tmp_path: Path, name: str, text: str) -> None:
    assert read_origin(png(tmp_path, **{name: text})) is None
