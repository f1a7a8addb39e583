"""Tiny transformers models for tasks, with random weights: each in a folder with its processor, as
the real loaders expect it."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertTokenizer,
    ConvNextConfig,
    DPTConfig,
    DPTForDepthEstimation,
    GenerationConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Sam2Config,
    Sam2Model,
    SwinConfig,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

WIDTH = 32
LENGTH = 40  # letters, after which a language model ends; few enough for CLIP's 77 tokens

START, END = "<|im_start|>", "<|im_end|>"
OF_IMAGES = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
CHAT = (
    "{% for message in messages %}" + START + "{{ message['role'] }} "
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}" + END + "{% endfor %}"
    "{% if add_generation_prompt %}" + START + "assistant {% endif %}"
)


def language(folder: Path) -> None:
    tokenizer = _tokenizer()
    config = Qwen2Config(**_decoder(tokenizer))
    _save(Qwen2ForCausalLM(config), tokenizer, folder)
    tokenizer.save_pretrained(folder)


def vision_language(folder: Path) -> None:
    tokenizer = _tokenizer(OF_IMAGES)
    side, patch, pooled = 32, 8, 2  # 16 patches, which 2x2 pooling makes 4 tokens
    config = Idefics3Config(
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": WIDTH,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": side,
            "patch_size": patch,
        },
        text_config={"model_type": "llama", **_decoder(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=pooled,
        pad_token_id=tokenizer.pad_token_id,
    )
    _save(Idefics3ForConditionalGeneration(config), tokenizer, folder)
    images = Idefics3ImageProcessor(
        size={"longest_edge": side},
        max_image_size={"longest_edge": side},
        do_image_splitting=False,
    )
    Idefics3Processor(
        images,
        tokenizer,
        image_seq_len=(side // patch // pooled) ** 2,
        chat_template=CHAT,
    ).save_pretrained(folder)


def depth(folder: Path) -> None:
    config = DPTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=WIDTH,
        image_size=32,
        patch_size=8,
        is_hybrid=False,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    model = DPTForDepthEstimation(config)
    *_, before, _, last, _ = model.head.head
    for layer in (before, last):  # so that near and far differ, above zero
        torch.nn.init.uniform_(layer.weight, 0, 1)
    model.eval().save_pretrained(folder)
    DPTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def segmentation(folder: Path) -> None:
    config = UperNetConfig(
        backbone_config=ConvNextConfig(
            hidden_sizes=[8, 8, 8, 8],
            depths=[1, 1, 1, 1],
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        hidden_size=8,
        auxiliary_in_channels=8,
        auxiliary_channels=8,
        num_labels=150,
    )
    UperNetForSemanticSegmentation(config).eval().save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)


def grounding(folder: Path) -> None:
    """The scores of its random boxes are above any threshold, so that later stages have input."""
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{x}" for x in letters)]
    tokenizer = BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)})
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=2,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=WIDTH,
        ),
        d_model=WIDTH,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=WIDTH,
        decoder_ffn_dim=WIDTH,
        num_queries=4,
    )
    model = GroundingDinoForObjectDetection(config)
    model.eval().save_pretrained(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 128, "longest_edge": 128})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)


def sam2(folder: Path) -> None:
    side = 64
    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "image_size": [side, side],
                "hidden_size": 8,
                "num_attention_heads": 1,
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 1, 1],
                "window_size_per_stage": [4, 4, 4, 2],
                "global_attention_blocks": [3],
                "window_positional_embedding_background_size": [2, 2],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": WIDTH,
        },
        prompt_encoder_config={"hidden_size": WIDTH, "image_size": side, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": WIDTH,
            "mlp_dim": WIDTH,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": WIDTH,
        },
    )
    Sam2Model(config).eval().save_pretrained(folder)


BUILDERS: dict[str, Callable[[Path], None]] = {
    build.__name__: build
    for build in (language, vision_language, depth, segmentation, grounding, sam2)
}


def _decoder(tokenizer: Any) -> dict[str, Any]:
    """The config of a language model with these tokens."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.5,  # so that another prompt gives another answer
    }


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save a model that generates letters and spaces only, some dozens of them."""
    allowed = {*tokenizer(string.ascii_lowercase + " ")["input_ids"], tokenizer.eos_token_id}
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=sorted(set(range(len(tokenizer))) - allowed),
        exponential_decay_length_penalty=(LENGTH, 1.5),
    )
    # The end token is unlikely at first; the penalty makes it likely from LENGTH on.
    model.get_output_embeddings().weight.data[tokenizer.eos_token_id] *= 0.01
    model.eval().save_pretrained(folder)


def _tokenizer(specials: tuple[str, ...] = ()) -> Any:
    """A byte-level tokenizer: it encodes any text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({piece: i for i, piece in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=END,
        pad_token=END,
        additional_special_tokens=[START, *specials],
        chat_template=CHAT,
    )
