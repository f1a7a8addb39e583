"""A RunPod handler written by hand on bare diffusers, as their documentation shows it."""

import base64
import io

import runpod
import torch
from diffusers import StableDiffusionPipeline

from dw.workflow.builtin import MODELS

PIPE = StableDiffusionPipeline.from_pretrained(MODELS / "shapes", safety_checker=None)
PIPE.set_progress_bar_config(disable=True)


def handler(job):
    given = job["input"]
    generator = torch.Generator("cpu").manual_seed(given["seed"])
    steps = given["num_inference_steps"]
    image = PIPE(given["prompt"], num_inference_steps=steps, generator=generator).images[0]
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"image": base64.b64encode(file.getvalue()).decode()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
