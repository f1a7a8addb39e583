#!/usr/bin/env bash
# diffusers 0.42.1, peft 0.21.2: loading a LoRA for the UNet ruins a VAE that is beside it with block-level group
# offloading to disk. The VAE gets no LoRA, and its picture was right before; afterwards its files hold whatever was
# in memory that its weights had left. No exception, no warning. With
# offload_type leaf_level, and for the UNet's own kind, the names of the files stay the same and nothing is lost.
#
# Source: the loaders call _maybe_remove_and_reapply_group_offloading for every component of the pipeline
# (loaders/peft.py, loaders/lora_base.py). It takes the first hook in module.modules() for the one at the top. For
# a class with _group_offload_block_modules (AutoencoderKL, AutoencoderKLWan, AutoencoderKLQwenImage21) that is the
# hook of the block `encoder`, with module_prefix "encoder.": the files get names that do not exist yet, and
# ModuleGroup._offload_to_disk writes them from empty tensors.
#
# Seen: files 12 -> 24; weights of the decoder in the new files that are those of the model: 0 of 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 diffusers==0.42.1 \
  peft==0.21.2 transformers==5.23.0 accelerate==1.15.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.hooks.group_offloading import _GROUP_OFFLOADING
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

torch.manual_seed(0)


def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        cross_attention_dim=16, attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


four = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "latent_channels": 4}
kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
vae = AutoencoderKL(**four, **kinds)
text = CLIPTextModel(CLIPTextConfig(vocab_size=99, hidden_size=16, intermediate_size=16,
                                    num_hidden_layers=1, num_attention_heads=2))
pipeline = StableDiffusionPipeline(vae, text, None, unet(), None, None, None, requires_safety_checker=False)
weight, bias = vae.decoder.conv_in.weight.clone(), vae.decoder.conv_in.bias.clone()
cpu = torch.device("cpu")
vae.enable_group_offload(cpu, cpu, "block_level", 1, offload_to_disk_path="disk")
before = len(os.listdir("disk"))

adapted = inject_adapter_in_model(LoraConfig(r=2, target_modules=["to_q"]), unet())
lora = {f"unet.{name}": value for name, value in get_peft_model_state_dict(adapted).items()}
pipeline.load_lora_weights(lora, adapter_name="a")

group = vae.decoder._diffusers_hook.get_hook(_GROUP_OFFLOADING).group
kept = load_file(group.safetensors_file_path)
keys = group.tensor_to_key
same = [
    torch.equal(kept[keys[vae.decoder.conv_in.weight]], weight),
    torch.equal(kept[keys[vae.decoder.conv_in.bias]], bias),
]
after = len(os.listdir("disk"))
print(f"files {before} -> {after}; weights of the decoder in the new files that are those of the "
      f"model: {sum(same)} of 2")
assert (before, after, sum(same)) == (12, 24, 0)
PYTHON
