"""Vocabulary: what people write who come from Python, AUTOMATIC1111's web UI or ComfyUI, and what
it is called here.

Names are compared without capitals, and with `_` for what is neither letter nor digit, so that
`CFG Scale` is `cfg_scale`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    name: tuple(meant.split())
    for names, meant in {
        "batch_count batch_size n n_iter num_images num_outputs num_samples": (
            "num_images_per_prompt num_videos_per_prompt num_waveforms_per_prompt"
        ),
        "ddim_steps inference_steps num_steps sampling_steps steps": "num_inference_steps steps",
        "cfg cfg_scale guidance scale": "guidance_scale true_cfg_scale",
        "denoise denoising denoising_strength img2img_strength": "strength",
        "neg_prompt negative uc unconditional_prompt": "negative_prompt",
        "caption positive positive_prompt prompts": "prompt",
        "image_path img init_image init_images init_img input_image source_image": "image",
        "inpaint_mask mask mask_img": "mask_image",
        "frame_count frames length n_frames video_length": "num_frames",
        "duration seconds": "audio_end_in_s audio_length_in_s",
        "latent_width w": "width",
        "h latent_height": "height",
        "clip_stop_at_last_layers skip_clip stop_at_clip_layer": "clip_skip",
        "control_guidance control_scale control_strength control_weight controlnet_scale "
        "controlnet_strength": "controlnet_conditioning_scale",
        "cond_image control_image controlnet_image": "control_image image",
        "lora_scale lora_weight multiplier strength_clip strength_model weight": "scale",
        "ip_adapter_scale ip_scale": "scale",
        "lora_name lora_path model_path name_or_path path_or_repo pretrained_model_name "
        "pretrained_model_name_or_path repo repo_id": "model_name",
        "file_name filename": "weight_name",
        "lora lora_weights lycoris": "loras",
        "ip_adapters ipadapter": "ip_adapter",
        "class class_name class_type pipeline_class type": (
            "component_type scheduler_type config_type content_type"
        ),
        "mime_type": "content_type",
        "file_prefix filename_prefix prefix": "file_base_name",
        "frame_rate": "fps",
        "function": "command",
        "params parameters args kwargs": "arguments",
    }.items()
    for name in names.split()
}
"""Names elsewhere to those here, the most likely one first."""

ARGUMENTS = frozenset(
    (
        *("prompt", "negative_prompt", "image", "mask_image", "control_image", "ip_adapter_image"),
        *("width", "height", "num_frames", "num_inference_steps", "sigmas", "timesteps"),
        *("guidance_scale", "true_cfg_scale", "strength", "controlnet_conditioning_scale"),
        *("num_images_per_prompt", "num_videos_per_prompt", "clip_skip", "max_sequence_length"),
    )
)
"""Arguments of calls that people write elsewhere in a step."""

_LORAS = '"loras": [{"model_name": ..., "scale": 1.0}] beside \'arguments\''
_ADAPTER = '"ip_adapter": {"model_name": ..., "scale": 1.0} beside \'arguments\''
_SCHEDULER = '"scheduler": {"configuration": {"scheduler_type": ...}} beside \'arguments\''
_SOURCE = "\"model_name\": ... inside 'from_pretrained_arguments'"
_FILES = "'file_base_name' in 'result' begins the names of the files"
_DTYPE = '"torch_dtype": "torch.bfloat16" inside \'from_pretrained_arguments\''
_QUANTIZED = (
    '"quantization_config": {{"configuration": {{"config_type": "BitsAndBytesConfig"}}, '
    '"arguments": {{"load_in_{}bit": true}}}} inside \'configuration\''
)
_SECOND_PASS = "a further step with an image-to-image pipeline draws the image again, larger"
_ONE_SEED = "the noise comes from one seed"

WAYS: Mapping[str, str] = {
    name: way
    for names, way in {
        "seed noise_seed manual_seed": "\"seed\": 7 beside 'arguments'",
        "generator": "it is made of the seed: \"seed\": 7 beside 'arguments'",
        "subseed subseed_strength variation_seed variation_strength": _ONE_SEED,
        "size resolution image_size": '"width": 1024, "height": 768 inside \'arguments\'',
        "fps": "\"fps\": 16 inside 'result'",
        "sampler sampler_index sampler_name scheduler scheduler_type schedule_type": _SCHEDULER,
        "shift flow_shift sampling_shift": '"scheduler": {"shift": 3.0} beside \'arguments\'',
        "enable_model_cpu_offload model_cpu_offload cpu_offload lowvram medvram low_vram": (
            '"offload": "model" inside \'configuration\''
        ),
        "enable_sequential_cpu_offload sequential_cpu_offload": (
            '"offload": "sequential" inside \'configuration\''
        ),
        "enable_group_offload": (
            '"group_offload": {"offload_type": "leaf_level"} inside \'configuration\''
        ),
        "enable_vae_slicing enable_slicing vae_slicing": (
            '"vae": {"enable_slicing": true} inside \'configuration\''
        ),
        "enable_vae_tiling enable_tiling vae_tiling": (
            '"vae": {"enable_tiling": true} inside \'configuration\''
        ),
        "enable_xformers_memory_efficient_attention xformers enable_xformers": (
            '"attention_backend": "xformers" inside \'configuration\''
        ),
        "enable_freeu": (
            '"freeu": {"s1": 0.9, "s2": 0.2, "b1": 1.2, "b2": 1.4} inside \'configuration\''
        ),
        "enable_cache": "'cache' inside 'configuration'",
        "compile torch_compile": (
            '"components": {"transformer": {"compile": {}}} inside \'configuration\''
        ),
        "to cuda gpu device_id": '"device": "cuda" inside \'configuration\'',
        "bf16 dtype fp16 half precision torch_dtype": _DTYPE,
        "variant revision use_safetensors subfolder": (
            "it goes inside 'from_pretrained_arguments'"
        ),
        "4bit bnb bnb_4bit bitsandbytes int4 load_in_4bit nf4": _QUANTIZED.format(4),
        "8bit bnb_8bit int8 load_in_8bit": _QUANTIZED.format(8),
        "load_lora_weights set_adapters fuse_lora lora_scale loras lora lora_name": _LORAS,
        "load_ip_adapter set_ip_adapter_scale ip_adapter": _ADAPTER,
        "checkpoint ckpt ckpt_name model model_id model_name pretrained sd_model_checkpoint": (
            _SOURCE
        ),
        "from_single_file": "\"from_single_file\": ... inside 'from_pretrained_arguments'",
        "safety_checker nsfw_check enable_safety_checker disable_safety_checker": (
            "\"safety_checker\": null inside 'from_pretrained_arguments', which leaves it out"
        ),
        "filename_prefix output_path output_file save_path path filename out output": _FILES,
        "enable_hr hires_fix hr_scale hr_upscaler hr_second_pass_steps hires_upscale": _SECOND_PASS,
        "restore_faces face_restoration codeformer gfpgan": (
            'a further step does it: "task": {"command": "restore_faces"}'
        ),
        "upscale upscaler upscale_by": 'a further step does it: "task": {"command": "upscale"}',
        "tiling seamless": "textures that repeat without a seam are not made here",
        "styles style_preset": "the text of a style goes into the prompt",
        "width height": "the size of the image that goes in is that of the result",
    }.items()
    for name in names.split()
}
"""What elsewhere is an argument, a method or a setting, and is written in another way here."""

_SDE = {"algorithm_type": "{sde-dpmsolver++}"}
_SAMPLERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "eulera": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "ipndm": ("IPNDMScheduler", {}),
    "plms": ("PNDMScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "unipcbh2": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
    "saseeds": ("SASolverScheduler", {}),
    "sasolver": ("SASolverScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpm++2m": ("DPMSolverMultistepScheduler", {}),
    "dpm++2msde": ("DPMSolverMultistepScheduler", _SDE),
    "dpm++3msde": ("DPMSolverMultistepScheduler", {**_SDE, "solver_order": 3}),
    "dpm++2s": ("DPMSolverSinglestepScheduler", {}),
    "dpm++2sa": ("DPMSolverSinglestepScheduler", {}),
    "dpm++sde": ("DPMSolverSDEScheduler", {}),
    "flowmatcheuler": ("FlowMatchEulerDiscreteScheduler", {}),
}
"""Letters, digits and plus signs of a sampler's name to the class and its settings."""

_SIGMAS: Mapping[str, Mapping[str, Any]] = {
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "sgmuniform": {"timestep_spacing": "trailing"},
    "normal": {},
    "simple": {},
}
"""The end of a sampler's name, or ComfyUI's scheduler beside it, to settings."""


def same_word(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def meant_by(name: str, known: Iterable[str]) -> str | None:
    """The one of the known names that another program calls `name`, or the other way round."""
    word = same_word(name)
    names = list(known)
    found = [each for each in OTHER_NAMES.get(word, ()) if each in names]
    found += [each for each in names if word in OTHER_NAMES.get(each, ())]
    return next(iter(found), None)


def way_of(name: str, value: Any = None) -> str:
    """What is written here for something that has no place of that name, as the end of a sentence;
    nothing for an unknown name. `value`: what was given there.

    >>> way_of("enable_model_cpu_offload")
    '; write "offload": "model" inside \'configuration\''
    """
    way = WAYS.get(same_word(name), "")
    if way == _SCHEDULER and isinstance(value, str) and (form := scheduler_form(value)):
        way = f"{form} beside 'arguments'"
    return f"; write {way}" if way.startswith('"') else f"; {way}" if way else ""


def scheduler_for(name: str) -> tuple[str | None, dict[str, Any]] | None:
    """The class of a sampler and its settings; the settings alone for the name of a noise schedule,
    and None for an unknown name.

    >>> scheduler_for("DPM++ 2M Karras")
    ('DPMSolverMultistepScheduler', {'use_karras_sigmas': True})
    """
    short = re.sub(r"[^a-z0-9+]", "", name.lower().replace("pp", "++"))
    short = short.removeprefix("sample").removesuffix("gpu").replace("ancestral", "a")
    ending = next((each for each in _SIGMAS if short.endswith(each)), "")
    start = short.removesuffix(ending)
    if not start and ending:
        return None, dict(_SIGMAS[ending])
    found = _SAMPLERS.get(start)
    return None if found is None else (found[0], {**found[1], **_SIGMAS.get(ending, {})})


def sampler_hint(name: str) -> str:
    """The class and the settings of a sampler, as the end of a sentence.

    >>> sampler_hint("DPM++ 2M Karras")
    '; it is DPMSolverMultistepScheduler, with "from_config_args": {"use_karras_sigmas": true}'
    """
    found = scheduler_for(name)
    if found is None or found[0] is None:
        return ""
    given = f', with "from_config_args": {json.dumps(found[1])}' if found[1] else ""
    return f"; it is {found[0]}{given}"


def scheduler_form(name: str) -> str | None:
    """What a workflow says for a sampler or a noise schedule of another program."""
    found = scheduler_for(name)
    if found is None:
        return None
    cls, settings = found
    written: dict[str, Any] = {"configuration": {"scheduler_type": cls}} if cls else {}
    if settings:
        written["from_config_args"] = settings
    return f'"scheduler": {json.dumps(written)}' if written else None
