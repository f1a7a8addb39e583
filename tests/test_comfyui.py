"""`dw comfyui`: a workflow from a graph, or from a picture that ComfyUI saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dw.comfyui import MODEL_TAG, main
from dw.workflow import load_document

GRAPH: dict[str, Any] = {
    "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["9", 1]}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["9", 1]}},
    "4": {
        "class_type": "KSampler",
        "inputs": {"seed": 7, "positive": ["2", 0], "negative": ["3", 0], "latent": ["1", 0]},
    },
    "5": {"class_type": "KSampler", "inputs": {"noise_seed": 8, "width": 64}},
    "6": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "a"}},
    "9": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a"}},
}


@pytest.fixture
def made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def make(path: Path, *options: str) -> dict[str, Any]:
        assert main([str(path), *options]) == 0
        text = capsys.readouterr().out
        (tmp_path / "made.json").write_text(text)
        assert load_document(tmp_path / "made.json").warnings == ()
        found: dict[str, Any] = json.loads(text)
        return found

    return make


def test_texts_seeds_and_sizes_become_variables(made: Any, tmp_path: Path) -> None:
    (tmp_path / "fox.json").write_text(json.dumps(GRAPH))
    workflow = made(tmp_path / "fox.json", "--server", "http://127.0.0.1:8188")
    assert workflow["id"] == "fox"
    assert workflow["variables"] == {
        "width": 64,
        "height": 48,
        "prompt": "a fox",
        "negative_prompt": "blurry",
        "seed": 7,
        "seed_5": 8,
    }
    action = workflow["steps"][0]["comfyui"]
    assert action["server"] == "http://127.0.0.1:8188"
    assert action["prompt"] == GRAPH
    assert action["inputs"] == {
        "1.width": "variable:width",
        "1.height": "variable:height",
        "2.text": "variable:prompt",
        "3.text": "variable:negative_prompt",
        "4.seed": "variable:seed",
        "5.noise_seed": "variable:seed_5",
        "5.width": "variable:width",
    }


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_a_picture_that_comfyui_saved_has_its_graph(made: Any, tmp_path: Path, name: str) -> None:
    image, text = Image.new("RGB", (4, 4)), json.dumps(GRAPH)
    info, exif = PngInfo(), image.getexif()
    info.add_text("prompt", text)
    exif[MODEL_TAG] = f"prompt:{text}"
    image.save(tmp_path / name, **({"pnginfo": info} if name == "a.png" else {"exif": exif}))
    assert made(tmp_path / name)["steps"][0]["comfyui"]["prompt"] == GRAPH


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"nodes": [], "links": []}', "its menu saves the one to run: Export (API)"),
        ("{", "cannot read the graph"),
        (None, "cannot read the graph"),
    ],
)
def test_what_is_no_graph_to_run_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "g.json").write_text(text)
    assert main([str(tmp_path / "g.json")]) == 3
    assert message in capsys.readouterr().err


def test_a_picture_of_another_program_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("none")
    assert main([str(tmp_path / "a.png")]) == 3
    assert "holds no graph" in capsys.readouterr().err
    assert main([str(tmp_path / "b.png")]) == 3
    assert "cannot read the picture" in capsys.readouterr().err
