"""Edits of which models are loaded, as what, and by which pipeline."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.walk.engines import EXAMPLES
from tests.walk.kinds.settings import toggle
from tests.walk.models import NAMES
from tests.walk.world import EXAMPLE, World, loads_anything, loads_nothing, loads_only

FOLDERS = ["", "adapters", "audio", "composition", "control", "editing", "images", "memory"]
FOLDERS += ["speed", "text"]
EXAMPLE_NAMES = sorted(
    path.relative_to(EXAMPLES).with_suffix("").as_posix()
    for folder in FOLDERS
    for path in (EXAMPLES / folder).glob("*.json")
)

SCHEDULERS = {
    "unet": [
        "DDIMScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
        "LMSDiscreteScheduler",
        "HeunDiscreteScheduler",
        "LCMScheduler",
        "TCDScheduler",
    ],
    "transformer": ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"],
}


@loads_anything
def other_family(world: World, random: Random) -> None:
    world.enter(random.choice(NAMES))


@loads_anything
def example(world: World, random: Random) -> None:
    world.enter(EXAMPLE + random.choice(EXAMPLE_NAMES))


@loads_anything
def family_of_many_kinds(world: World, random: Random) -> None:
    """One of those that most other edits have a place in."""
    names = ["stable-diffusion-1.5", "stable-diffusion-xl", "flux.1-dev", "stable-diffusion-3"]
    world.enter(random.choice(names))


@loads_anything
def other_model(world: World, random: Random) -> None:
    world.require("model_name" in world.loads)
    world.loads["model_name"] = f"models/{world.model.folder(random.choice('abc')).name}"


def _component(world: World, name: str, cls: str, **loads: Any) -> None:
    which = world.model.folder("b").name
    world.pipeline[name] = {
        "configuration": {"component_type": cls},
        "from_pretrained_arguments": {
            "model_name": f"models/{which}",
            "subfolder": name,
            **loads,
        },
    }


def _replaced(world: World, random: Random, name: str) -> None:
    world.require(name in world.model.weighted)
    library, cls = world.model.index[name]
    if world.pipeline.pop(name, None) is None or random.random() < 0.3:
        _component(world, name, f"transformers.{cls}" if library == "transformers" else cls)


@loads_only("vae")
def vae_from_elsewhere(world: World, random: Random) -> None:
    _replaced(world, random, "vae")


@loads_anything
def denoiser_from_elsewhere(world: World, random: Random) -> None:
    _replaced(world, random, world.denoiser)


@loads_only("text_encoder")
def text_encoder_from_elsewhere(world: World, random: Random) -> None:
    _replaced(world, random, "text_encoder")


@loads_anything
def component_in_another_dtype(world: World, random: Random) -> None:
    names = [n for n in world.model.weighted if n in world.pipeline]
    world.require(names)
    loads = world.pipeline[random.choice(names)]["from_pretrained_arguments"]
    toggle(loads, "torch_dtype", random, "torch.bfloat16", "torch.float32")


@loads_anything
def dtype(world: World, random: Random) -> None:
    dtypes = ["torch.float32", "torch.bfloat16", "torch.float16", {"default": "torch.bfloat16"}]
    toggle(world.loads, "torch_dtype", random, *dtypes)


@loads_anything
def dtype_of_one(world: World, random: Random) -> None:
    name = random.choice(world.model.weighted)
    dtypes = [
        {"default": "torch.float32", name: f"torch.{kind}"} for kind in ("bfloat16", "float32")
    ]
    toggle(world.loads, "torch_dtype", random, *dtypes)


@loads_anything
def dtype_in_the_settings(world: World, random: Random) -> None:
    name = random.choice(world.model.weighted)
    settings = world.configuration.setdefault(name, {})
    toggle(settings, "torch_dtype", random, "torch.bfloat16", "torch.float32")


@loads_anything
def variant(world: World, random: Random) -> None:
    """Files of a variant have weights of their own here, so that a wrong one is seen."""
    world.require("model_name" in world.loads)
    world.model.add_variant(world.root / world.loads.get("model_name", ""), "ema")
    toggle(world.loads, "variant", random, "ema")


@loads_anything
def missing_variant(world: World, random: Random) -> None:
    world.loads["variant"] = "fp8"


@loads_nothing
def scheduler(world: World, random: Random) -> None:
    kinds = SCHEDULERS["unet" if world.denoiser == "unet" else "transformer"]
    world.pipeline["scheduler"] = {
        "configuration": {"scheduler_type": random.choice(kinds)},
        "from_config_args": {},
    }


@loads_nothing
def configured_scheduler(world: World, random: Random) -> None:
    world.require("scheduler" in world.pipeline)
    entries = [
        {"timestep_spacing": "trailing"},
        {"timestep_spacing": "leading"},
        {"use_karras_sigmas": True},
        {"beta_end": 0.02},
        {"shift": 2.0, "use_dynamic_shifting": False},
    ]
    world.pipeline["scheduler"]["from_config_args"] = random.choice(entries)


@loads_nothing
def shift(world: World, random: Random) -> None:
    world.require(world.model.index["scheduler"][1].startswith("FlowMatch"))
    static = {"use_dynamic_shifting": False}  # else it has no effect, which is an error
    shift = random.choice([1.0, 3.0, 7.0])
    world.pipeline["scheduler"] = {"shift": shift, "from_config_args": static}


@loads_nothing
def scheduler_of_the_model(world: World, random: Random) -> None:
    world.require(world.pipeline.pop("scheduler", None))


@loads_nothing
def generic_class(world: World, random: Random) -> None:
    world.require(world.class_name == world.model.class_name)
    before = world.class_name
    world.configuration["component_type"] = "DiffusionPipeline"
    world.once(lambda world: world.configuration.update(component_type=before))


def _task(world: World, name: str, **arguments: Any) -> None:
    """The family's class for another task."""
    world.require("controlnet" not in world.pipeline)
    world.require(world.family in ("stable-diffusion-1.5", "stable-diffusion-xl", "flux.1-dev"))
    world.configuration["component_type"] = world.model.class_name.replace("Pipeline", name)
    given = world.arguments
    given |= arguments
    if name == "Img2ImgPipeline":
        given["num_inference_steps"] = 4


@loads_nothing
def image_to_image(world: World, random: Random) -> None:
    _task(world, "Img2ImgPipeline", image="photo.png", strength=0.6)
    world.arguments.pop("mask_image", None)
    if "Flux" not in world.class_name:
        world.arguments.pop("width", None), world.arguments.pop("height", None)


@loads_nothing
def inpainting(world: World, random: Random) -> None:
    _task(world, "InpaintPipeline", image="photo.png", mask_image="mask.png", strength=0.9)


@loads_nothing
def attention_guidance(world: World, random: Random) -> None:
    """PAG: its pipelines put processors of their own on the shared UNet."""
    world.require("Flux" not in world.class_name)
    _task(world, "PAGPipeline", pag_scale=3.0)
    for name in ("image", "mask_image", "strength"):
        world.arguments.pop(name, None)


@loads_nothing
def text_to_image(world: World, random: Random) -> None:
    world.require(world.class_name != world.model.class_name)
    world.require("controlnet" not in world.pipeline)
    world.configuration["component_type"] = world.model.class_name
    world.pipeline["arguments"] = world.model.document()["steps"][0]["pipeline"]["arguments"]


@loads_anything
def part_left_out(world: World, random: Random) -> None:
    world.require("text_encoder_3" in world.model.weighted)
    if "text_encoder_3" in world.loads:
        for name in ("text_encoder_3", "tokenizer_3"):
            world.loads.pop(name)
    else:
        world.loads.update({"text_encoder_3": None, "tokenizer_3": None})


@loads_anything
def loader_option(world: World, random: Random) -> None:
    key = random.choice(["use_safetensors", "low_cpu_mem_usage"])
    toggle(world.loads, key, random, True)


@loads_anything
def preserved_placement(world: World, random: Random) -> None:
    toggle(world.configuration, "preserve_device_placement", random, True)


@loads_anything
def device_map(world: World, random: Random) -> None:
    toggle(world.loads, "device_map", random, "cpu", "balanced")


@loads_anything
def single_file(world: World, random: Random) -> None:
    """The UNet from a checkpoint, the other models from folders."""
    world.require("model_name" in world.loads and not world.is_example)
    world.require(world.class_name == "StableDiffusionPipeline")
    folder = world.root / world.loads["model_name"]
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    world.require(weights.is_file())
    checkpoint = world.root / "models" / f"{folder.name}.safetensors"
    if not checkpoint.exists():
        checkpoint.write_bytes(weights.read_bytes())
    world.pipeline["from_pretrained_arguments"] = {
        "from_single_file": f"models/{checkpoint.name}",
        "config": world.loads["model_name"],
    }
    _component(world, "vae", "AutoencoderKL")
    _component(world, "text_encoder", "transformers.CLIPTextModel")
