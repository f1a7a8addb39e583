"""Edits of what sits on models: LoRAs, IP-Adapters, ControlNets."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

from tests.walk.models import write_weights
from tests.walk.world import Json, World, loads_anything, loads_nothing, loads_only


def _loras(world: World) -> list[Json]:
    world.require(world.model.takes_lora)
    loras: list[Json] = world.pipeline.setdefault("loras", [])
    return loras


def _lora(world: World, name: str, layout: str = "diffusers") -> Json:
    return {"model_name": f"loras/{world.model.lora(name, layout).name}"}


def _one(world: World, random: Random) -> Json:
    loras = _loras(world)
    world.require(loras)
    return random.choice(loras)


@loads_nothing
def lora(world: World, random: Random) -> None:
    _loras(world).append({**_lora(world, random.choice("pqr")), "scale": 0.8})


@loads_nothing
def lora_of_kohya(world: World, random: Random) -> None:
    world.require(world.class_name == "StableDiffusionPipeline")
    _loras(world).append(_lora(world, "kohya", "kohya"))


@loads_nothing
def no_lora(world: World, random: Random) -> None:
    world.require(world.pipeline.pop("loras", None))


@loads_nothing
def one_lora_less(world: World, random: Random) -> None:
    _loras(world).remove(_one(world, random))


@loads_nothing
def loras_in_another_order(world: World, random: Random) -> None:
    loras = _loras(world)
    world.require(len(loras) > 1)
    loras.reverse()


@loads_nothing
def scale_of_a_lora(world: World, random: Random) -> None:
    _one(world, random)["scale"] = random.choice([-1.0, 0.0, 0.25, 0.8, 1.0, 2.0])


@loads_nothing
def the_lora_twice(world: World, random: Random) -> None:
    _loras(world).append(dict(_one(world, random)))


@loads_nothing
def name_of_a_lora(world: World, random: Random) -> None:
    one = _one(world, random)
    one["adapter_name"] = random.choice(["style", "other"]) + one["model_name"][-14:-12]


def _weights(world: World, random: Random) -> Path:
    """The file of a LoRA."""
    path = world.root / _one(world, random)["model_name"]
    world.require(path.name != "broken.safetensors")
    return world.save(path)


@loads_nothing
def rewritten_lora(world: World, random: Random) -> None:
    path = _weights(world, random)
    write_weights(path, path, seed=random.randrange(1000))


@loads_nothing
def lora_rewritten_in_place(world: World, random: Random) -> None:
    path = _weights(world, random)
    write_weights(path, path, seed=random.randrange(1000), in_place=True)


@loads_nothing
def lora_of_the_same_size_and_time(world: World, random: Random) -> None:
    path = _weights(world, random)
    before = path.stat()
    write_weights(path, path, seed=random.randrange(1000), in_place=random.random() < 0.5)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# -------------------------------------------------------------------- IP-Adapters


IP_FAMILIES = ("stable-diffusion-1.5", "stable-diffusion-xl")


@loads_only("image_encoder", "feature_extractor")
def ip_adapter(world: World, random: Random) -> None:
    world.require(world.family in IP_FAMILIES)
    world.takes("ip_adapter_image")
    path = world.model.ip_adapter(random.choice("uv"))
    world.pipeline["ip_adapter"] = {
        "model_name": path.relative_to(world.root).as_posix(),
        "weight_name": "ip-adapter.safetensors",
        "scale": random.choice([0.5, 1.0]),
    }
    world.arguments["ip_adapter_image"] = random.choice(["photo.png", "other.png"])


@loads_only("image_encoder", "feature_extractor")
def no_ip_adapter(world: World, random: Random) -> None:
    world.require(world.pipeline.pop("ip_adapter", None))
    world.arguments.pop("ip_adapter_image", None)


@loads_nothing
def scale_of_the_ip_adapter(world: World, random: Random) -> None:
    world.require("ip_adapter" in world.pipeline)
    scales: list[Any] = [0.0, 0.5, 1.0, {"down": 1.0, "up": 0.0}]
    world.pipeline["ip_adapter"]["scale"] = random.choice(scales)


@loads_nothing
def image_of_the_ip_adapter(world: World, random: Random) -> None:
    world.require("ip_adapter" in world.pipeline)
    world.arguments["ip_adapter_image"] = random.choice(["photo.png", "other.png"])


@loads_nothing
def rewritten_ip_adapter(world: World, random: Random) -> None:
    world.require("ip_adapter" in world.pipeline)
    path = world.root / world.pipeline["ip_adapter"]["model_name"] / "ip-adapter.safetensors"
    world.save(path)
    before = path.stat()
    write_weights(path, path, seed=random.randrange(1000), in_place=random.random() < 0.5)
    if random.random() < 0.5:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# -------------------------------------------------------------------- ControlNets


@loads_only("controlnet")
def controlnet(world: World, random: Random) -> None:
    world.require(world.family == "stable-diffusion-1.5")
    world.require(world.class_name in ("StableDiffusionPipeline", "StableDiffusionPAGPipeline"))
    pag = "PAG" if "PAG" in world.class_name else ""
    world.configuration["component_type"] = f"StableDiffusionControlNet{pag}Pipeline"
    world.pipeline["controlnet"] = {
        "configuration": {"component_type": "ControlNetModel"},
        "from_pretrained_arguments": {"model_name": world.model.controlnet("c")},
    }
    world.arguments["image"] = "photo.png"


@loads_only("controlnet")
def other_controlnet(world: World, random: Random) -> None:
    world.require("controlnet" in world.pipeline)
    name = world.model.controlnet(random.choice("cd"))
    world.pipeline["controlnet"]["from_pretrained_arguments"]["model_name"] = name


@loads_nothing
def no_controlnet(world: World, random: Random) -> None:
    world.require(world.pipeline.pop("controlnet", None))
    world.configuration["component_type"] = world.model.class_name
    world.arguments.pop("image", None)


@loads_anything
def controlnet_in_another_dtype(world: World, random: Random) -> None:
    world.require("controlnet" in world.pipeline)
    loads = world.pipeline["controlnet"]["from_pretrained_arguments"]
    loads["torch_dtype"] = random.choice(["torch.float32", "torch.bfloat16"])
