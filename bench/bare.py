"""The same work without dw: what a user's own script does. `python -m bench.bare [FOLDER]`

Without a folder it serves: one timed call for each line on stdin, its seconds on stdout.
"""

import sys
import time
import warnings

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from diffusers import StableDiffusionPipeline  # noqa: E402

from dw.rehearsal import stand_in  # noqa: E402

PROMPT = "a red fox in the snow"


def draw(pipe, seed=7):
    generator = torch.Generator("cpu").manual_seed(seed)
    return pipe(PROMPT, height=64, width=64, num_inference_steps=4, generator=generator).images[0]


def main() -> None:
    folder = stand_in("StableDiffusionPipeline", "stable-diffusion-v1-5/stable-diffusion-v1-5")
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    if len(sys.argv) > 1:
        draw(pipe).save(f"{sys.argv[1]}/bare.png")
        return
    draw(pipe)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        draw(pipe)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
