"""Processors: text and image inputs of multimodal models."""

from __future__ import annotations

from typing import Any

import transformers
from transformers.utils import is_torchvision_available

from dw.rehearsal.no_stand_in import NoStandIn
from dw.rehearsal.tokenizers import CHAT, llama_tokenizer, qwen_tokenizer


def processor(cls: Any) -> Any:
    """A processor of the class with one of our tokenizers. Raises NoStandIn."""
    is_pixtral = cls.__name__ == "PixtralProcessor"
    if "Qwen" not in cls.__name__ and not is_pixtral:
        raise NoStandIn(cls.__name__)
    if not is_torchvision_available():
        raise NoStandIn(cls.__name__, needs="torchvision")
    if is_pixtral:
        images = transformers.PixtralImageProcessor()
        return cls(image_processor=images, tokenizer=llama_tokenizer(), chat_template=CHAT)
    is_third = cls.__name__.startswith("Qwen3VL")
    videos = transformers.Qwen3VLVideoProcessor if is_third else transformers.Qwen2VLVideoProcessor
    return cls(
        image_processor=transformers.Qwen2VLImageProcessor(patch_size=16 if is_third else 14),
        video_processor=videos(),
        tokenizer=qwen_tokenizer(),
        chat_template=CHAT,
    )
