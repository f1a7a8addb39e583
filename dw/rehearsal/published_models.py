"""Published models that can be rehearsed.

A pipeline's components are read from its class; what a family says is what the class leaves open:
numbers of its published models that are no defaults, and widths that must agree with one another.
"""

from __future__ import annotations

from dw.rehearsal.family import WIDTH, Family, Values

_TRAINED = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
_SHIFTED: Values = {"shift": 3.0, "use_dynamic_shifting": True}
_PLAIN_VAE: Values = {"use_quant_conv": False, "use_post_quant_conv": False}
_VAE_16 = {"latent_channels": 16, **_PLAIN_VAE}
FLUX_VAE: Values = {**_VAE_16, "scaling_factor": 0.3611, "shift_factor": 0.1159}
_SD3_VAE = {**_VAE_16, "scaling_factor": 1.5305, "shift_factor": 0.0609}
_SDXL_VAE = {"scaling_factor": 0.13025}


_SDXL_IDS, _TIME_WIDTH = 6, 8  # original size, crop and target size, each (h, w)

SD15 = Family(
    "Stable Diffusion 1.5",
    "StableDiffusionPipeline",
    also=("AnimateDiff", "LEditsPPPipelineStableDiffusion", "PIA"),
    classes={"scheduler": "PNDMScheduler"},
    values={
        "scheduler": {**_TRAINED, "skip_prk_steps": True, "set_alpha_to_one": False},
    },
    scalars={"requires_safety_checker": False},
)
SD15_INPAINT = Family(
    "Stable Diffusion 1.5 Inpainting",
    "StableDiffusionInpaintPipeline",
    words=("inpaint",),
    classes=SD15.classes,
    values={**SD15.values, "unet": {"in_channels": 9}},
    scalars=SD15.scalars,
)
SDXL = Family(
    "Stable Diffusion XL",
    "StableDiffusionXLPipeline",
    also=("AnimateDiffSDXL", "LEditsPPPipelineStableDiffusionXL"),
    words=("xl",),
    values={
        "scheduler": {**_TRAINED, "timestep_spacing": "leading"},
        "vae": _SDXL_VAE,
        "tokenizer_2": {"pad_token": "!"},
        "text_encoder_2": {"hidden_act": "gelu"},
        "unet": {
            "sample_size": 128,
            "cross_attention_dim": 2 * WIDTH,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": _TIME_WIDTH,
            "projection_class_embeddings_input_dim": _SDXL_IDS * _TIME_WIDTH + WIDTH,
        },
    },
    scalars={"add_watermarker": False},
)
SDXL_REFINER = Family(
    "Stable Diffusion XL Refiner",
    "StableDiffusionXLImg2ImgPipeline",
    words=("refiner",),
    without=("text_encoder", "tokenizer"),
    values={
        **SDXL.values,
        "unet": {
            **SDXL.values["unet"],
            "cross_attention_dim": WIDTH,
            "projection_class_embeddings_input_dim": 5 * _TIME_WIDTH + WIDTH,
        },
    },
    scalars={**SDXL.scalars, "requires_aesthetics_score": True},
)
KOLORS = Family(
    "Kolors",
    "KolorsPipeline",
    words=("kolors",),
    values={
        "scheduler": {**_TRAINED, "beta_end": 0.014, "num_train_timesteps": 1100},
        "vae": _SDXL_VAE,
        "unet": {
            **SDXL.values["unet"],
            "encoder_hid_dim": WIDTH,
            "encoder_hid_dim_type": "text_proj",
        },
    },
    scalars={"force_zeros_for_empty_prompt": False},
)
LCM = Family(
    "Latent Consistency Model",
    "LatentConsistencyModelPipeline",
    words=("lcm",),
    values={"scheduler": _TRAINED, "unet": {"time_cond_proj_dim": 256}},
    scalars=SD15.scalars,
)
SD_UPSCALE = Family(
    "Stable Diffusion x4 Upscaler",
    "StableDiffusionUpscalePipeline",
    words=("x4-upscaler",),
    values={
        "scheduler": _TRAINED,
        "low_res_scheduler": _TRAINED,
        "vae": {
            "scaling_factor": 0.08333,
            "block_out_channels": [16] * 3,
            "down_block_types": ["DownEncoderBlock2D"] * 3,
            "up_block_types": ["UpDecoderBlock2D"] * 3,
        },
        "unet": {"in_channels": 7, "num_class_embeds": 1000},
    },
)
SD_LATENT_UPSCALE = Family(
    "Stable Diffusion x2 Latent Upscaler",
    "StableDiffusionLatentUpscalePipeline",
    words=("x2-latent-upscaler",),
    values={
        "scheduler": _TRAINED,
        # the noise level and the pooled text
        "unet": {"in_channels": 8, "out_channels": 5, "time_cond_proj_dim": 128 + WIDTH},
    },
)
PIX2PIX = Family(
    "InstructPix2Pix",
    "StableDiffusionInstructPix2PixPipeline",
    words=("pix2pix",),
    values={"scheduler": _TRAINED, "unet": {"in_channels": 8}},
    scalars=SD15.scalars,
)
SD3 = Family(
    "Stable Diffusion 3",
    "StableDiffusion3Pipeline",
    words=("stable-diffusion-3", "sd3"),
    values={
        "scheduler": {"shift": 3.0},
        "vae": _SD3_VAE,
        "tokenizer_2": {"pad_token": "!"},
        "text_encoder_2": {"hidden_act": "gelu"},
        "text_encoder_3": {"d_model": 2 * WIDTH},  # as wide as the two CLIPs side by side
        "transformer": {"joint_attention_dim": 2 * WIDTH, "pooled_projection_dim": 2 * WIDTH},
    },
)
FLUX = Family(
    "FLUX.1 dev",
    "FluxPipeline",
    also=("FluxKontext",),
    words=("flux",),
    values={
        "scheduler": _SHIFTED,
        "transformer": {"guidance_embeds": True},
    },
)
FLUX_SCHNELL = Family(
    "FLUX.1 schnell",
    "FluxPipeline",
    words=("schnell",),
    values={"scheduler": {"shift": 1.0}},
)
FLUX_FILL = Family(
    "FLUX.1 Fill",
    "FluxFillPipeline",
    words=("flux.1-fill",),
    values={
        **FLUX.values,
        # latents, those of the masked image, and the 8x8 pixels of the mask
        "transformer": {"guidance_embeds": True, "in_channels": 384, "out_channels": 64},
    },
)
FLUX_REDUX = Family(
    "FLUX.1 Redux",
    "FluxPriorReduxPipeline",
    words=("redux",),
    # published without them; with them, what it makes is as wide as the text encoders' states
    wanted=("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"),
    values={"image_embedder": {"redux_dim": WIDTH, "txt_in_features": WIDTH}},
)
FLUX_CONTROL = Family(
    "FLUX.1 Control",
    "FluxControlPipeline",
    words=("flux.1-canny", "flux.1-depth"),
    values={
        **FLUX.values,
        "transformer": {"guidance_embeds": True, "in_channels": 128, "out_channels": 64},
    },
)
WAN = Family(
    "Wan 2.1",
    "WanPipeline",
    also=("WanVideoToVideo",),
    words=("wan",),
    wanted=("transformer",),
    values={"scheduler": {"shift": 3.0}},
)
WAN22 = Family(
    "Wan 2.2",
    "WanPipeline",
    words=("wan2.2",),
    wanted=("transformer", "transformer_2"),
    values={"scheduler": {"shift": 3.0}},
    scalars={"boundary_ratio": 0.875},
)
LTX = Family(
    "LTX-Video",
    "LTXPipeline",
    also=("LTXImageToVideo", "LTXCondition"),
    words=("ltx-video",),
)
WAN_I2V = Family(
    "Wan 2.1 image to video",
    "WanImageToVideoPipeline",
    words=("wan2.1",),
    wanted=("transformer", "image_encoder", "image_processor"),
    values={
        "scheduler": {"shift": 3.0},
        # latents, those of the image, and the mask of the frames that are given
        "transformer": {"in_channels": 36, "image_dim": WIDTH, "added_kv_proj_dim": WIDTH},
    },
)
WAN22_I2V = Family(
    "Wan 2.2 image to video",
    "WanImageToVideoPipeline",
    words=("wan2.2",),
    wanted=("transformer", "transformer_2"),
    values={
        "scheduler": {"shift": 3.0},
        "transformer": {"in_channels": 36},
        "transformer_2": {"in_channels": 36},
    },
    scalars={"boundary_ratio": 0.9},
)
STABLE_AUDIO = Family(
    "Stable Audio Open",
    "StableAudioPipeline",
    words=("stable-audio",),
)

FLUX2 = Family(
    "FLUX.2 dev",
    "Flux2Pipeline",
    words=("flux.2",),
    classes={"tokenizer": "PixtralProcessor"},
    values={
        "scheduler": _SHIFTED,
        "text_encoder": {"num_hidden_layers": 31},  # the states of the layers 10, 20 and 30
        "transformer": {"joint_attention_dim": 3 * WIDTH},
    },
)
FLUX2_KLEIN = Family(
    "FLUX.2 klein",
    "Flux2KleinPipeline",
    words=("klein",),
    values={
        "scheduler": _SHIFTED,
        "text_encoder": {"num_hidden_layers": 28},  # the states of the layers 9, 18 and 27
        "transformer": {"joint_attention_dim": 3 * WIDTH, "guidance_embeds": False},
    },
    scalars={"is_distilled": True},
)
QWEN_IMAGE = Family(
    "Qwen-Image",
    "QwenImagePipeline",
    words=("qwen-image",),
    values={"scheduler": _SHIFTED},
)
QWEN_IMAGE_EDIT = Family(
    "Qwen-Image-Edit",
    "QwenImageEditPipeline",
    words=("qwen-image-edit",),
    values={"scheduler": _SHIFTED},
)
QWEN_IMAGE_EDIT_PLUS = Family(
    "Qwen-Image-Edit-2509",
    "QwenImageEditPlusPipeline",
    words=("qwen-image-edit-25",),
    values={"scheduler": _SHIFTED},
)
Z_IMAGE = Family(
    "Z-Image",
    "ZImagePipeline",
    words=("z-image",),
    values={"scheduler": {"shift": 3.0}},
)
CHROMA = Family("Chroma", "ChromaPipeline", words=("chroma",))
SANA = Family("Sana", "SanaPipeline", words=("sana",))
PIXART_ALPHA = Family(
    "PixArt-alpha",
    "PixArtAlphaPipeline",
    words=("pixart", "pixart-xl"),
    values={"vae": {"scaling_factor": 0.18215}},
)
PIXART_SIGMA = Family(
    "PixArt-Sigma",
    "PixArtSigmaPipeline",
    words=("pixart-sigma",),
    values={"vae": _SDXL_VAE, "transformer": {"use_additional_conditions": False}},
)
LUMINA2 = Family(
    "Lumina 2",
    "Lumina2Pipeline",
    words=("lumina-image-2",),
    values={"scheduler": {"shift": 6.0}},
)
HIDREAM = Family(
    "HiDream-I1",
    "HiDreamImagePipeline",
    words=("hidream",),
    classes={"tokenizer_4": "LlamaTokenizer"},
    values={
        "scheduler": {"shift": 3.0},
        "text_encoder": {"max_position_embeddings": 248},
        "text_encoder_2": {"hidden_act": "gelu", "max_position_embeddings": 248},
    },
)
COGVIEW4 = Family("CogView4", "CogView4Pipeline", words=("cogview4",))
KANDINSKY_PRIOR = Family(
    "Kandinsky 2.2 prior", "KandinskyV22PriorPipeline", words=("kandinsky-2-2-prior",)
)
KANDINSKY = Family(
    "Kandinsky 2.2",
    "KandinskyV22Pipeline",
    words=("kandinsky-2-2-decoder",),
    values={
        "unet": {
            "out_channels": 8,  # the mean and the variance
            "addition_embed_type": "image",
            "encoder_hid_dim": WIDTH,
            "encoder_hid_dim_type": "image_proj",
            "cross_attention_dim": WIDTH,
        }
    },
)
KANDINSKY_INPAINT = Family(
    "Kandinsky 2.2 inpaint",
    "KandinskyV22InpaintPipeline",
    words=("decoder-inpaint",),
    is_alone=True,
    values={"unet": {**KANDINSKY.values["unet"], "in_channels": 9}},
)
KANDINSKY3 = Family("Kandinsky 3", "Kandinsky3Pipeline", words=("kandinsky-3",))
KANDINSKY5 = Family(
    "Kandinsky 5 video",
    "Kandinsky5T2VPipeline",
    words=("kandinsky-5",),
    values={
        "transformer": {"in_visual_dim": 16, "out_visual_dim": 16, "visual_cond": True},
    },
)
SANA_SPRINT = Family(
    "Sana Sprint",
    "SanaSprintPipeline",
    words=("sprint",),
    classes={"scheduler": "SCMScheduler"},
    values={"transformer": {"guidance_embeds": True}},
)
MARIGOLD = Family(
    "Marigold depth",
    "MarigoldDepthPipeline",
    words=("marigold-depth",),
    values={"scheduler": _TRAINED, "unet": {"in_channels": 8}},
    scalars={
        "prediction_type": "depth",
        "scale_invariant": True,
        "shift_invariant": True,
        "default_denoising_steps": 1,
        "default_processing_resolution": 768,
    },
)
AURAFLOW = Family("AuraFlow", "AuraFlowPipeline", words=("auraflow",), values={"vae": _SDXL_VAE})
HUNYUAN_VIDEO = Family("HunyuanVideo", "HunyuanVideoPipeline", words=("hunyuanvideo",))
COGVIDEOX = Family(
    "CogVideoX",
    "CogVideoXPipeline",
    words=("cogvideox",),
    also=("CogVideoXVideoToVideo",),
    values={"transformer": {"use_rotary_positional_embeddings": True}},
)
COGVIDEOX_I2V = Family(
    "CogVideoX image to video",
    "CogVideoXImageToVideoPipeline",
    words=("cogvideox",),
    values={"transformer": {"use_rotary_positional_embeddings": True, "in_channels": 32}},
)
HUNYUAN_VIDEO_I2V = Family(
    "HunyuanVideo image to video",
    "HunyuanVideoImageToVideoPipeline",
    words=("hunyuanvideo-i2v",),
    values={
        "image_processor": {
            "size": {"shortest_edge": 336},
            "crop_size": {"height": 336, "width": 336},
        },
        "text_encoder": {"image_size": 336, "patch_size": 14},  # 576 tokens per image
        "transformer": {"in_channels": 33, "image_condition_type": "latent_concat"},
    },
)
WAN_5B = Family(
    "Wan 2.2 5B",
    "WanPipeline",
    also=("WanImageToVideo",),
    words=("wan2.2-ti2v",),
    wanted=("transformer",),
    values={
        "scheduler": {"shift": 5.0},
        "vae": {
            "z_dim": 48,
            "is_residual": True,
            "in_channels": 12,
            "out_channels": 12,
            "patch_size": 2,
            "scale_factor_spatial": 16,
            "latents_mean": [0.0] * 48,
            "latents_std": [1.0] * 48,
        },
        "transformer": {"in_channels": 48, "out_channels": 48},
    },
    scalars={"expand_timesteps": True},
)
WAN_VACE = Family("Wan VACE", "WanVACEPipeline", words=("vace",), wanted=("transformer",))
MOCHI = Family("Mochi 1", "MochiPipeline", words=("mochi",))
ALLEGRO = Family("Allegro", "AllegroPipeline", words=("allegro",))
SVD = Family(
    "Stable Video Diffusion", "StableVideoDiffusionPipeline", words=("stable-video-diffusion",)
)
LTX2 = Family(
    "LTX-2",
    "LTX2Pipeline",
    also=("LTX2ImageToVideo", "LTX2Condition"),
    words=("ltx-2", "ltx2"),
)
MINIMAX_H3 = Family(
    "MiniMax-H3",
    "MiniMaxH3ModularPipeline",
    words=("minimax-h3",),
    values={
        "text_encoder": {"num_hidden_layers": 51},  # the states of the layer 50
        "audio_scheduler": {"shift": 3.0},
    },
    scalars={
        "canvas_short_edge": 64,
        "canvas_max_pixels": 64 * 128,
        "reference_image_short_edge": 64,
    },
)

FAMILIES = (
    *(SD15, SD15_INPAINT, LCM, SDXL, SDXL_REFINER, KOLORS, SD3),
    *(SD_UPSCALE, SD_LATENT_UPSCALE, PIX2PIX, MARIGOLD),
    *(FLUX, FLUX_SCHNELL, FLUX_FILL, FLUX_REDUX, FLUX_CONTROL, FLUX2, FLUX2_KLEIN, CHROMA),
    *(QWEN_IMAGE, QWEN_IMAGE_EDIT, QWEN_IMAGE_EDIT_PLUS, Z_IMAGE),
    *(SANA, SANA_SPRINT, PIXART_ALPHA, PIXART_SIGMA, LUMINA2, HIDREAM, AURAFLOW, COGVIEW4),
    *(KANDINSKY_PRIOR, KANDINSKY, KANDINSKY_INPAINT, KANDINSKY3, KANDINSKY5),
    *(WAN, WAN22, WAN_5B, WAN_I2V, WAN22_I2V, WAN_VACE, LTX, LTX2, MINIMAX_H3),
    *(HUNYUAN_VIDEO, HUNYUAN_VIDEO_I2V, COGVIDEOX, COGVIDEOX_I2V, MOCHI, ALLEGRO, SVD),
    *(STABLE_AUDIO,),
)

REFUSED = {
    "StableCascade": "diffusers cannot load its decoder, a `PaellaVQModel`, by name any more",
    "Wuerstchen": "diffusers cannot load its decoder, a `PaellaVQModel`, by name any more",
}
"""How the names of classes begin that cannot be rehearsed, and why."""

NEEDS = {
    "FLUX.2 dev": "torchvision",
    "Kandinsky 5 video": "torchvision",
    "Kolors": "sentencepiece",
    "MiniMax-H3": "torchvision",
    "Qwen-Image-Edit": "torchvision",
    "Qwen-Image-Edit-2509": "torchvision",
}
"""The package that the processor or the tokenizer of a family needs, in a rehearsal as in a real
run."""
