#!/usr/bin/env bash
# torch 2.13.0: a CPU generator uses the low 32 bits of its seed and drops the rest without a word, so that
# seeds 1, 1 + 2**32 and 1 + 2**40 draw the same noise. `initial_seed()` returns the whole number all the same,
# and manual_seed accepts the whole range of 64 bits. diffusers takes its latents from such a generator wherever
# reproducible images are wanted (one on the CPU gives the same noise on every device), and other user
# interfaces hand out seeds of 64 bits: two of them that differ in the upper half only are one image.
#
# Source: torch's documentation of Generator.manual_seed names the range
# [-0x8000_0000_0000_0000, 0xffff_ffff_ffff_ffff]; of the 32 bits it says nothing.
#
# Seen: same noise for 1 and 1 + 2**32: True; initial_seed: 4294967297
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch


def noise(seed: int) -> torch.Tensor:
    return torch.randn(1, 4, 64, 64, generator=torch.Generator("cpu").manual_seed(seed))


generator = torch.Generator("cpu").manual_seed(1 + 2**32)
same = all(torch.equal(noise(1), noise(1 + 2**bits)) for bits in (32, 40, 62))
print(f"same noise for 1 and 1 + 2**32: {same}; initial_seed: {generator.initial_seed()}")
assert same and generator.initial_seed() == 1 + 2**32
assert not torch.equal(noise(1), noise(2))
PYTHON
