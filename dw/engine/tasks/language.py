"""Language model tasks: text from a prompt, and text about an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from PIL import Image
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from dw.engine.media.image import rgb
from dw.engine.python.keywords import unknown_generation_argument
from dw.engine.tasks.arguments import Positive
from dw.engine.tasks.generation import GeneratedTokens
from dw.engine.tasks.parts import TaskPart, TaskParts
from dw.engine.tasks.registry import TaskContext, task

TEXT_MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
VISION_MODEL = "HuggingFaceTB/SmolVLM-256M-Instruct"


def _setting(name: str) -> str:
    if message := unknown_generation_argument(name):
        raise PydanticCustomError("generation_setting", "{message}", {"message": message})
    return name


Penalty = Annotated[float, Field(gt=0)]
GenerationArguments = Mapping[Annotated[str, AfterValidator(_setting)], Any]


def _writer(arguments: Mapping[str, Any]) -> TaskParts:
    if arguments.get("image") is not None:  # or the reference to one
        return _describer(arguments)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = arguments["model"] or arguments["model_name"] or TEXT_MODEL
    return {
        "model": TaskPart(AutoModelForCausalLM, name, "language", is_large=True),
        "tokenizer": TaskPart(AutoTokenizer, name, "language", has_weights=False),
    }


def _describer(arguments: Mapping[str, Any]) -> TaskParts:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    name = arguments.get("model") or arguments["model_name"] or VISION_MODEL
    return {
        "model": TaskPart(AutoModelForImageTextToText, name, "vision_language", is_large=True),
        "processor": TaskPart(AutoProcessor, name, "vision_language", has_weights=False),
    }


@task(models=_writer)
def text_generation(
    prompt: str,
    system_prompt: str | None = None,
    model_name: str | None = None,
    image: Image.Image | None = None,
    max_new_tokens: Positive = 500,
    repetition_penalty: Penalty = 1.15,
    generate_kwargs: GenerationArguments | None = None,
    model: str | None = None,
    *,
    context: TaskContext,
) -> str:
    """The model's answer to the prompt, by greedy decoding. With an image it is a vision model, and
    `repetition_penalty` keeps it from repeating itself. The default models are
    Qwen2.5-1.5B-Instruct and SmolVLM-256M-Instruct. `generate_kwargs` go to the model's
    `generate`. `model`, where it is given, takes the place of `model_name`."""
    options = {"max_new_tokens": max_new_tokens, **(generate_kwargs or {})}
    if image is not None:
        options = {"repetition_penalty": repetition_penalty, **options}
        return _describe(image, prompt, system_prompt, options, context)
    tokenizer = context.models["tokenizer"]
    if tokenizer.chat_template is None:
        text = "\n\n".join(filter(None, (system_prompt, prompt)))
        inputs = tokenizer(text, return_tensors="pt")
    else:
        inputs = _chat(tokenizer, prompt, system_prompt)
    return _generate(inputs, tokenizer, options, context)


@task(models=_describer)
def image_to_text(
    image: Image.Image,
    model_name: str = VISION_MODEL,
    prompt: str | None = None,
    system_prompt: str | None = None,
    max_new_tokens: Positive = 50,
    *,
    context: TaskContext,
) -> str:
    """A vision model's text about the image. Chat models get the prompt as a question, or are asked
    to describe the image; captioning models such as BLIP or Florence-2 continue the prompt."""
    return _describe(image, prompt, system_prompt, {"max_new_tokens": max_new_tokens}, context)


def _describe(
    image: Image.Image,
    prompt: str | None,
    system_prompt: str | None,
    options: Mapping[str, Any],
    context: TaskContext,
) -> str:
    processor = context.models["processor"]
    colours = rgb(image)
    if getattr(processor, "chat_template", None) is None:
        text = {} if prompt is None else {"text": prompt}
        inputs = processor(images=colours, return_tensors="pt", **text)
    else:
        question = {"type": "text", "text": prompt or "Describe the picture."}
        content = [{"type": "image", "image": colours}, question]
        inputs = _chat(processor, content, system_prompt)
    return _generate(inputs, processor, options, context)


def _chat(reader: Any, content: Any, system_prompt: str | None) -> Any:
    """The model's inputs for a chat of these messages whose next turn is the model's."""
    messages = [{"role": "user", "content": content}]
    if system_prompt:
        parts = [{"type": "text", "text": system_prompt}]
        system_content = system_prompt if isinstance(content, str) else parts
        messages.insert(0, {"role": "system", "content": system_content})
    return reader.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )


GREEDY: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
"""The last three come from the models' own configurations and mean nothing without sampling."""


def _generate(inputs: Any, reader: Any, options: Mapping[str, Any], context: TaskContext) -> str:
    """The text that the model adds to the inputs."""
    model = context.models["model"]
    settings = {**({} if options.get("do_sample") else GREEDY), **options}
    # Pixels take the model's precision; tokens stay integers.
    dtypes = {n: model.dtype if v.is_floating_point() else v.dtype for n, v in inputs.items()}
    inputs = {n: v.to(model.device, dtypes[n]) for n, v in inputs.items()}
    counted = GeneratedTokens(settings["max_new_tokens"], context.take_stop)
    [tokens] = model.generate(**inputs, **settings, stopping_criteria=[counted])
    given = inputs.get("input_ids", torch.empty(1, 0))[0]
    if torch.equal(tokens[: len(given)], given):  # decoder-only models repeat the prompt
        tokens = tokens[len(given) :]
    return str(reader.decode(tokens, skip_special_tokens=True))
