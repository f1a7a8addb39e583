#!/usr/bin/env bash
# torch 2.13.0, CPU: in torch.inference_mode(), where nothing is differentiated, a float16 Linear gives other bits
# with weight.requires_grad True than with False, when its input is not contiguous (as that of the `proj_in` of a
# transformer inside a UNet, which is permuted from channels first). peft 0.21.2 turns requires_grad off on all
# weights of a model when an adapter is put on it, and unloading leaves it off: so a float16 pipeline of
# Stable Diffusion XL draws another image after a LoRA came and went than before, though all weights are the same
# bytes. float32 and bfloat16 give the same bits here.
#
# Source: should_fold in ATen/native/LinearAlgebra.cpp folds a batch into one matrix product if a gradient is
# needed, and computes a batch of products otherwise.
#
# Seen: torch.float16: equal False; torch.float32: equal True; after peft: requires_grad False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 peft==0.21.2 \
  transformers==5.23.0 accelerate==1.15.0
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from peft import LoraConfig, get_peft_model

torch.set_num_threads(1)


def outputs_are_equal(dtype: torch.dtype) -> bool:
    torch.manual_seed(0)
    layer = torch.nn.Linear(320, 320).to(dtype)
    tokens = torch.randn(2, 320, 64).to(dtype).transpose(1, 2)
    with torch.inference_mode():
        before = layer(tokens)
        layer.requires_grad_(False)
        return torch.equal(before, layer(tokens))


model = torch.nn.Sequential(torch.nn.Linear(16, 16))
plain = get_peft_model(model, LoraConfig(target_modules=["0"])).unload()
needs = plain[0].weight.requires_grad
for dtype in (torch.float16, torch.float32):
    print(f"{dtype}: equal {outputs_are_equal(dtype)}", end="; ")
print(f"after peft: requires_grad {needs}")
assert not outputs_are_equal(torch.float16) and outputs_are_equal(torch.float32)
assert not needs
PYTHON
