"""Edits of how models compute and where they are kept."""

from __future__ import annotations

from inspect import signature
from random import Random
from typing import Any

import diffusers
from diffusers.models.cache_utils import CacheMixin

from tests.walk.world import Json, World, loads_anything, loads_denoiser, loads_nothing


def toggle(place: Json, key: str, random: Random, *values: Any) -> None:
    """Another value, or none where there is one."""
    if key in place and random.random() < 0.5:
        del place[key]
    else:
        place[key] = random.choice(values)


# -------------------------------------------------------------------- switches of a call


@loads_nothing
def attention_slicing(world: World, random: Random) -> None:
    toggle(world.configuration, "enable_attention_slicing", random, True)


@loads_nothing
def no_attention_slicing(world: World, random: Random) -> None:
    toggle(world.configuration, "disable_attention_slicing", random, True)


@loads_nothing
def attention_backend(world: World, random: Random) -> None:
    toggle(world.configuration, "attention_backend", random, "native", "_native_math")


@loads_nothing
def attention_backend_of_a_component(world: World, random: Random) -> None:
    settings = world.settings(world.denoiser)
    toggle(settings, "attention_backend", random, "native", "_native_math")


@loads_nothing
def attention_processor(world: World, random: Random) -> None:
    world.require(world.denoiser == "unet")
    settings = world.configuration.setdefault("unet", {})
    names = ["AttnProcessor", "AttnProcessor2_0", "SlicedAttnProcessor"]
    full = [f"diffusers.models.attention_processor.{name}" for name in names[:2]]
    toggle(settings, "attn_processor_type", random, *full)


@loads_nothing
def forward_chunking(world: World, random: Random) -> None:
    world.require(world.denoiser == "unet")
    settings = world.configuration.setdefault("unet", {})
    toggle(settings, "enable_forward_chunking", random, True, False)


@loads_nothing
def channels_last_of_the_unet(world: World, random: Random) -> None:
    world.require(world.denoiser == "unet")
    toggle(world.configuration.setdefault("unet", {}), "channels_last", random, True, False)


@loads_nothing
def channels_last_of_the_vae(world: World, random: Random) -> None:
    world.require("vae" in world.model.index)
    toggle(world.configuration.setdefault("vae", {}), "channels_last", random, True, False)


@loads_nothing
def vae_slicing(world: World, random: Random) -> None:
    world.require("vae" in world.model.index)
    toggle(world.configuration.setdefault("vae", {}), "enable_slicing", random, True, False)


@loads_nothing
def vae_tiling(world: World, random: Random) -> None:
    world.require("vae" in world.model.index)
    toggle(world.configuration.setdefault("vae", {}), "enable_tiling", random, True, False)


@loads_nothing
def vae_tiles(world: World, random: Random) -> None:
    """Small ones, so that an image of 64 pixels has several."""
    world.require("vae" in world.model.index)
    cls = world.model.index["vae"][1]
    taken = signature(getattr(diffusers, cls).enable_tiling).parameters
    names = [n for n in ("tile_sample_min_height", "tile_sample_min_width") if n in taken]
    world.require(names)
    sizes = [dict.fromkeys(names, side) for side in (32, 48)]
    toggle(world.settings("vae"), "enable_tiling", random, True, *sizes)


@loads_nothing
def freeu(world: World, random: Random) -> None:
    world.require(world.denoiser == "unet" and not world.is_example)
    world.arguments["num_inference_steps"] = 2
    scales = [{"b1": b, "b2": 1.4, "s1": 0.9, "s2": 0.2} for b in (1.1, 1.3)]
    toggle(world.configuration, "freeu", random, *scales)


@loads_nothing
def prompt_weighting(world: World, random: Random) -> None:
    world.require(world.class_name == "FluxPipeline")
    toggle(world.configuration, "prompt_weighting", random, True)
    world.arguments["prompt"] = random.choice(["a (red:1.5) cat", "a [red] cat", "a red cat"])


# -------------------------------------------------------------------- step caches


def _cache(world: World, random: Random, **cache: Any) -> None:
    cls = getattr(diffusers, world.model.index[world.denoiser][1])
    world.require(issubclass(cls, CacheMixin))
    world.arguments["num_inference_steps"] = 4
    toggle(world.configuration, "cache", random, cache)


@loads_nothing
def first_block_cache(world: World, random: Random) -> None:
    _cache(world, random, type="first_block", threshold=random.choice([0.05, 0.5]))


@loads_nothing
def faster_cache(world: World, random: Random) -> None:
    ranges = {"spatial_attention_timestep_skip_range": [-1, 1001]}
    _cache(world, random, type="faster", **ranges)


@loads_nothing
def mag_cache(world: World, random: Random) -> None:
    more = {"threshold": 0.5, "retention_ratio": 0.1, "mag_ratios": [1.0]}
    _cache(world, random, type="mag", **more)


@loads_nothing
def calibrated_mag_cache(world: World, random: Random) -> None:
    _cache(world, random, type="mag", calibrate=True)


@loads_nothing
def taylorseer_cache(world: World, random: Random) -> None:
    more = {"cache_interval": random.choice([2, 3]), "disable_cache_before_step": 1}
    _cache(world, random, type="taylorseer", **more)


@loads_nothing
def teacache(world: World, random: Random) -> None:
    world.require("Flux" in world.class_name)
    world.arguments["num_inference_steps"] = 4
    thresholds = [{"rel_l1_thresh": threshold} for threshold in (0.0, 0.4, 0.8)]
    toggle(world.configuration, "teacache", random, *thresholds)


@loads_nothing
def no_cache(world: World, random: Random) -> None:
    found = [world.configuration.pop(name, None) for name in ("cache", "teacache")]
    world.require(any(found))


# -------------------------------------------------------------------- changes that stay


@loads_denoiser
def layerwise_casting(world: World, random: Random) -> None:
    dtypes = [{"storage_dtype": f"torch.{name}"} for name in ("float8_e4m3fn", "bfloat16")]
    toggle(world.configuration, "enable_layerwise_casting", random, *dtypes)


@loads_anything
def truncated_text_encoder(world: World, random: Random) -> None:
    """Another path in each version of transformers, so the first one that fits."""
    names = [n for n in world.model.weighted if n.startswith("text_encoder")]
    world.require(names)
    cls = world.model.index[names[-1]][1]
    world.require(cls in ("T5EncoderModel", "UMT5EncoderModel"))
    toggle(world.settings(names[-1]), "truncate_layers", random, {"encoder.block": 1})


@loads_anything
def truncated_denoiser(world: World, random: Random) -> None:
    world.require("Flux" in world.class_name)
    layers = {"single_transformer_blocks": 1}
    toggle(world.settings("transformer"), "truncate_layers", random, layers)


@loads_anything
def removed_module(world: World, random: Random) -> None:
    world.require("Flux" in world.class_name)
    modules = ["single_transformer_blocks.0.attn.norm_q"]
    toggle(world.settings("transformer"), "remove_modules", random, modules)


@loads_anything
def compiled(world: World, random: Random) -> None:
    """For one run: each cold one takes seconds for it."""
    name = random.choice([world.denoiser, "vae.decoder"])
    world.require(name.partition(".")[0] in world.model.weighted)
    world.settings(name)["compile"] = {"backend": "eager"}
    world.once(lambda world: world.settings(name).pop("compile", None))


# -------------------------------------------------------------------- places


@loads_anything
def another_device(world: World, random: Random) -> None:
    """The CPU, or the CPU as a device that models are offloaded from."""
    world.change(on_gpu=not world.job.on_gpu)


@loads_anything
def offload(world: World, random: Random) -> None:
    world.change(on_gpu=True)
    toggle(world.configuration, "offload", random, "model", "sequential")


@loads_anything
def group_offload(world: World, random: Random) -> None:
    world.change(on_gpu=True)
    blocks = {"offload_type": "block_level", "num_blocks_per_group": 1}
    toggle(world.configuration, "group_offload", random, {"offload_type": "leaf_level"}, blocks)


@loads_anything
def group_offload_to_disk(world: World, random: Random) -> None:
    world.change(on_gpu=True)
    kinds = [
        {"offload_type": "leaf_level"},
        {"offload_type": "block_level", "num_blocks_per_group": 1},
    ]
    on_disk = [{**kind, "offload_to_disk_path": "groups"} for kind in kinds]
    toggle(world.configuration, "group_offload", random, *on_disk)


@loads_anything
def group_offload_of_a_component(world: World, random: Random) -> None:
    world.change(on_gpu=True)
    toggle(world.settings(world.denoiser), "group_offload", random, {"offload_type": "leaf_level"})


@loads_anything
def on_demand(world: World, random: Random) -> None:
    world.change(on_gpu=True)
    name = random.choice(world.model.weighted)
    toggle(world.settings(name), "residency", random, "on_demand", "resident")


@loads_anything
def own_device(world: World, random: Random) -> None:
    name = random.choice(world.model.weighted)
    toggle(world.settings(name), "device", random, "cpu")


@loads_anything
def no_placement(world: World, random: Random) -> None:
    for key in ("offload", "group_offload", "components", "enable_layerwise_casting"):
        world.configuration.pop(key, None)
    world.change(on_gpu=False)


@loads_anything
def plain_again(world: World, random: Random) -> None:
    """The family's first workflow."""
    world.documents[world.family] = world.model.document()
    world.change(on_gpu=False, arguments={}, seed=7)


# -------------------------------------------------------------------- quantization


def _quantized(world: World, random: Random, config_type: str, arguments: Json) -> None:
    before = world.configuration.get("quantization_config", {}).get("arguments", {})
    world.require(world.denoiser in before.get("quant_mapping", {world.denoiser}))
    quantization = {"configuration": {"config_type": config_type}, "arguments": arguments}
    whole = {
        "configuration": {"config_type": "PipelineQuantizationConfig"},
        "arguments": {"quant_mapping": {world.denoiser: quantization}},
    }
    toggle(world.configuration, "quantization_config", random, whole)


@loads_denoiser
def quantized_by_torchao(world: World, random: Random) -> None:
    kind = random.choice(["Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig"])
    _quantized(world, random, "TorchAoConfig", {"quant_type": f"torchao.quantization.{kind}"})


@loads_denoiser
def quantized_by_quanto(world: World, random: Random) -> None:
    """In 8 bits: for 4 it compiles a library of its own."""
    _quantized(world, random, "QuantoConfig", {"weights_dtype": "{int8}"})


@loads_denoiser
def quantized_by_sdnq(world: World, random: Random) -> None:
    small = {"minimum_allowed_numel": 0, "minimum_allowed_channel_size": 0}
    dtype = random.choice(["int8", "uint4"])
    _quantized(world, random, "sdnq.SDNQConfig", {"weights_dtype": f"{{{dtype}}}", **small})


@loads_anything
def text_encoder_quantized_by_bitsandbytes(world: World, random: Random) -> None:
    names = [n for n in world.model.weighted if n.startswith("text_encoder")]
    world.require(names)
    quantization = {
        "configuration": {"config_type": "transformers.BitsAndBytesConfig"},
        "arguments": {random.choice(["load_in_8bit", "load_in_4bit"]): True},
    }
    whole = {
        "configuration": {"config_type": "PipelineQuantizationConfig"},
        "arguments": {"quant_mapping": {names[0]: quantization}},
    }
    toggle(world.configuration, "quantization_config", random, whole)
