"""Models of a walk: two folders for each family, of one architecture with different weights, which
are copies of the rehearsal's stand-ins, and what goes onto them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dw.engine.python.signatures import call_parameters
from dw.rehearsal import (
    FAMILIES,
    Family,
    stand_in,
    stand_in_component,
    stand_in_ip_adapter,
    stand_in_lora,
)
from dw.rehearsal.published_models import NEEDS
from tests.walk.engines import in_a_child

Json = dict[str, Any]
SIDE, FRAMES, STEPS = 64, 5, 2

NO_FILES = (
    *("kandinsky-2.2", "kandinsky-2.2-inpaint", "kandinsky-2.2-prior", "flux.1-redux"),
    "marigold-depth",
)
"""Their pipelines take or give arrays, which are no files."""
SLOW = ("hidream-i1", "stable-audio-open", "allegro", "minimax-h3")
"""They make a megapixel, 47 seconds or five seconds of video, whatever is asked."""
OFFERED: Json = {
    "prompt": "a red cat",
    "num_inference_steps": STEPS,
    "height": SIDE,
    "width": SIDE,
    "num_frames": FRAMES,
    "image": "photo.png",
    "mask_image": "mask.png",
    "control_image": "photo.png",
    "processing_resolution": SIDE,
    "use_resolution_binning": False,
    "decode_chunk_size": 2,
}
OF_FAMILY: dict[str, Json] = {
    "ltx-video": {"num_frames": 9},
    "ltx-2": {"num_frames": 9},
}


@dataclass(frozen=True)
class Model:
    family: Family
    root: Path

    @property
    def class_name(self) -> str:
        return self.family.pipeline

    @staticmethod
    def pipeline_class(name: str) -> Any:
        return getattr(diffusers, name)

    def folder(self, which: str = "a") -> Path:
        """A folder of weights of their own, made when it is asked for."""
        folder = self.root / "models" / f"{self.family.name}-{which}"
        if not folder.exists():
            made = _made(self.family)
            shutil.copytree(made, folder)
            if which != "a":
                for weights in sorted(folder.glob("*/*.safetensors")):
                    write_weights(weights, weights, seed=ord(which))
        return folder

    @property
    def index(self) -> Json:
        index: Json = json.loads((self.folder() / "model_index.json").read_text())
        return index

    @property
    def denoiser(self) -> str:
        return next(n for n in ("unet", "transformer", "transformer_2") if n in self.index)

    @property
    def weighted(self) -> list[str]:
        """The components with weights."""
        return sorted(path.parent.name for path in self.folder().glob("*/*.safetensors"))

    def ip_adapter(self, name: str) -> Path:
        """The folder of an IP-Adapter for the family, with its encoder."""
        folder = self.root / "ip" / f"{self.family.name}-{name}"
        if not folder.exists():
            made = _made(self.family)
            cls = transformers.CLIPVisionModelWithProjection
            encoder = _in_a_child(stand_in_component, made, "image_encoder", cls, "walk")
            adapter = _in_a_child(stand_in_ip_adapter, made, encoder, name)
            shutil.copytree(encoder, folder / "image_encoder")
            shutil.copyfile(adapter, folder / adapter.name)
        return folder

    def controlnet(self, name: str) -> str:
        """The name of a ControlNet for the family, relative to the workflow."""
        folder = self.root / "controlnets" / f"{self.family.name}-{name}"
        if not folder.exists():
            cls = diffusers.ControlNetModel
            made = _in_a_child(stand_in_component, _made(self.family), "controlnet", cls, name)
            shutil.copytree(made, folder)
        return folder.relative_to(self.root).as_posix()

    @staticmethod
    def add_variant(folder: Path, name: str) -> None:
        """Other weights beside those that a folder has, as the files of a variant."""
        for weights in sorted(folder.glob("*/*.safetensors")):
            variant = weights.with_name(f"{weights.stem}.{name}.safetensors")
            is_plain = f".{name}." not in weights.name and "-of-" not in weights.name
            if is_plain and not variant.exists():
                write_weights(weights, variant, seed=77)

    @property
    def takes_lora(self) -> bool:
        return hasattr(self.pipeline_class(self.class_name), "load_lora_weights")

    def document(self) -> Json:
        taken = call_parameters(self.pipeline_class(self.class_name))
        offered = {**OFFERED, **OF_FAMILY.get(self.family.name, {})}
        is_video = "num_frames" in taken
        return {
            "id": "walk",
            "steps": [
                {
                    "name": "gen",
                    "pipeline": {
                        "configuration": {"component_type": self.class_name},
                        "from_pretrained_arguments": {"model_name": f"models/{self.folder().name}"},
                        "arguments": {k: v for k, v in offered.items() if k in taken},
                    },
                    "result": {"content_type": "video/mp4" if is_video else "image/png"},
                }
            ],
        }

    def lora(self, name: str, layout: str = "diffusers") -> Path:
        """A LoRA for the family, whose weights its name decides."""
        path = self.root / "loras" / f"{self.family.name}-{name}.safetensors"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            shutil.copyfile(_in_a_child(stand_in_lora, _made(self.family), name, None), path)
            if layout == "kohya":
                _as_kohya(path)
        return path


_LEFT_OUT = {*NO_FILES, *SLOW}
_LEFT_OUT |= {f.name for f in FAMILIES if f.title in NEEDS and find_spec(NEEDS[f.title]) is None}
NAMES = [family.name for family in FAMILIES if family.name not in _LEFT_OUT]
_BY_NAME = {family.name: family for family in FAMILIES}


def model_of(family: str, root: Path) -> Model:
    return Model(_BY_NAME[family], root)


def _made(family: Family) -> Path:
    return _made_for(family.name)


@cache
def _made_for(name: str) -> Path:
    family = _BY_NAME[name]
    return _in_a_child(stand_in, family.pipeline, next(iter(family.words), ""))


def _in_a_child(make: Callable[..., Path], *arguments: Any) -> Path:
    """What a maker of stand-ins gives. It loads models, so a child makes them; then they are found
    where it has put them."""

    def work() -> None:
        make(*arguments)

    in_a_child(work)
    return make(*arguments)


def write_weights(source: Path, target: Path, *, seed: int, in_place: bool = False) -> None:
    """The tensors of `source`, a little changed: the seed decides how."""
    noise = torch.Generator().manual_seed(seed)
    tensors = load_file(source)
    changed = {
        name: tensor * (1 + 0.2 * torch.rand(tensor.shape, generator=noise)).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in tensors.items()
    }
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    written = target.with_suffix(".new")
    save_file(changed, written, metadata)
    if in_place:
        with target.open("r+b") as file:
            file.write(written.read_bytes())
        written.unlink()
    else:
        written.replace(target)


def write_images(root: Path) -> None:
    """photo.png, other.png and mask.png, which edits change."""
    draw(root / "photo.png", 0)
    draw(root / "other.png", 1)
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[16:48, 16:48] = 255
    Image.fromarray(mask).save(root / "mask.png")


def draw(path: Path, seed: int) -> None:
    """Colours in large squares."""
    squares = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(squares).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    image.save(path, compress_level=0)  # one size, whatever is in it


def _as_kohya(path: Path) -> None:
    """Rename the keys of a UNet's LoRA as kohya's trainer does, with an alpha for each layer."""
    tensors: dict[str, torch.Tensor] = {}
    for key, value in load_file(path).items():
        layer, _, part = key.partition(".lora_")
        name = layer.replace("unet.", "lora_unet_").replace(".", "_")
        direction = "lora_down" if part.startswith("A") else "lora_up"
        tensors[f"{name}.{direction}.weight"] = value
        if direction == "lora_down":
            # Of each layer its own, as in files that were resized.
            tensors[f"{name}.alpha"] = torch.tensor(1.0 + len(tensors) % 5)
    os.unlink(path)
    save_file(tensors, path)
