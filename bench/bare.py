"""The same work without dw: what a user's own script does. `python -m bench.bare [FOLDER]`

Without a folder it serves: one timed call for each line on stdin, its seconds on stdout; with
`--shapes` those are calls of examples/shapes.json.
"""

import sys
import time
import warnings

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from diffusers import StableDiffusionPipeline  # noqa: E402

from dw.rehearsal import stand_in  # noqa: E402
from dw.workflow.builtin import require_model  # noqa: E402

PROMPT = "a red fox in the snow"


def draw(pipe, seed=7):
    generator = torch.Generator("cpu").manual_seed(seed)
    return pipe(PROMPT, height=64, width=64, num_inference_steps=4, generator=generator).images[0]


def draw_shapes(pipe):
    return pipe("a red circle", height=128, width=128, num_inference_steps=25, guidance_scale=3.0)


def main() -> None:
    if sys.argv[1:] == ["--shapes"]:
        serve(StableDiffusionPipeline.from_pretrained(require_model("builtin:shapes")), draw_shapes)
        return
    folder = stand_in("StableDiffusionPipeline", "stable-diffusion-v1-5/stable-diffusion-v1-5")
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    if len(sys.argv) > 1:
        draw(pipe).save(f"{sys.argv[1]}/bare.png")
        return
    serve(pipe, draw)


def serve(pipe, draw):
    pipe.set_progress_bar_config(disable=True)
    draw(pipe)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        draw(pipe)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
