"""Tokenizers with a vocabulary of letters and a few words, for any text, without a download."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from io import BytesIO
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import (
    BertTokenizer,
    ByT5Tokenizer,
    CLIPTokenizer,
    GemmaTokenizer,
    LlamaTokenizer,
    Qwen2Tokenizer,
    T5Tokenizer,
)

_CLIP_START = "<|startoftext|>"
_CLIP_END = "<|endoftext|>"

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}"
    "{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen's chat template; an image is one token, which the processor repeats."""

_WORDS = (
    "a an the of and or to in on with for by is are you user system assistant image images video "
    "prompt describe detailing following aspects main content theme color shape size texture "
    "quantity text spatial relationships objects actions events behaviors temporal physical "
    "movement changes background environment light style atmosphere camera angles movements "
    "transitions used generate superior degree alignment based textual prompts designed expert "
)
"""Words of the instructions that pipelines put before a prompt and later cut off by a fixed number
of tokens: with letters alone, the cut would fall inside them."""


def clip_tokenizer(*, pad_token: str = _CLIP_END) -> CLIPTokenizer:
    """CLIP's byte-level BPE with merges for pairs of letters: 77 tokens are about 150 characters.

    SDXL's second tokenizer pads with `!`, the others with the end token.
    """
    letters = string.ascii_lowercase
    symbols = [*_byte_symbols(), *(f"{symbol}</w>" for symbol in _byte_symbols())]
    merges = [(a, b + end) for end in ("</w>", "") for a, b in product(letters, letters)]
    # The end token has the highest id, because CLIP pools at the argmax of the ids.
    pieces = [*symbols, *map("".join, merges), _CLIP_START, _CLIP_END]
    return CLIPTokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=merges,
        pad_token=pad_token,
        model_max_length=77,
    )


def t5_tokenizer() -> T5Tokenizer:
    """T5's unigram model over printable ASCII; other characters become `<unk>`."""
    specials = ["<pad>", "</s>", "<unk>"]
    characters = ["▁", *string.digits, *string.ascii_letters, *string.punctuation]
    scores = [*((piece, 0.0) for piece in specials), *((piece, -1.0) for piece in characters)]
    return T5Tokenizer(vocab=scores, extra_ids=0, model_max_length=512)


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE with the tokens of chats with images."""
    end, start = "<|im_end|>", "<|im_start|>"
    vision = [f"<|{name}|>" for name in ("vision_start", "vision_end", "image_pad", "video_pad")]
    merges = _merges("Ġ")
    return Qwen2Tokenizer(
        vocab=_numbered([_CLIP_END, *_byte_symbols()], merges),
        merges=merges,
        eos_token=end,
        additional_special_tokens=[start, *vision],
        chat_template=CHAT,
    )


def llama_tokenizer() -> LlamaTokenizer:
    """BPE over letters; bytes for characters outside ASCII."""
    header = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    images = ["<image>", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    merges = _merges("▁")
    return LlamaTokenizer(
        vocab=_numbered(["<unk>", "<s>", "</s>", *_letters_and_bytes()], merges),
        merges=merges,
        pad_token="<unk>",
        add_bos_token=True,
        additional_special_tokens=[*header, *images],
        chat_template=CHAT,
    )


def gemma_tokenizer() -> GemmaTokenizer:
    """Llama's, with the tokens of Gemma."""
    merges = _merges("▁")
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    return GemmaTokenizer(
        vocab=_numbered([*specials, *_letters_and_bytes()], merges),
        merges=merges,
        add_bos_token=True,
        chat_template=CHAT,
    )


def bert_tokenizer() -> BertTokenizer:
    """WordPiece over lower-case letters; other characters become `[UNK]`."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*string.digits, *string.ascii_lowercase, *string.punctuation]
    pieces = [*specials, *letters, *(f"##{letter}" for letter in letters)]
    return BertTokenizer(vocab=_numbered(pieces, []), model_max_length=77)


def glm_tokenizer() -> Any:
    """ChatGLM's, with a sentencepiece model of single characters.

    Its file is in a temporary folder that exists as long as the tokenizer.
    """
    from diffusers.pipelines.kolors import ChatGLMTokenizer
    from sentencepiece import SentencePieceTrainer

    model = BytesIO()  # a model written to a file would contain its path
    SentencePieceTrainer.train(
        sentence_iterator=iter([string.printable.strip()]),
        model_writer=model,
        model_type="char",
        vocab_size=128,
        hard_vocab_limit=False,  # there are fewer
        normalization_rule_name="identity",
        minloglevel=2,  # nothing on the terminal
    )
    folder = TemporaryDirectory()
    path = Path(folder.name, "tokenizer.model")
    path.write_bytes(model.getvalue())
    tokenizer = ChatGLMTokenizer(str(path))
    tokenizer.folder = folder
    return tokenizer


TOKENIZERS: dict[str, Callable[..., Any]] = {
    "CLIPTokenizer": clip_tokenizer,
    "T5Tokenizer": t5_tokenizer,
    "Qwen2Tokenizer": qwen_tokenizer,
    "LlamaTokenizer": llama_tokenizer,
    "GemmaTokenizer": gemma_tokenizer,
    "BertTokenizer": bert_tokenizer,
    "ChatGLMTokenizer": glm_tokenizer,
    "ByT5Tokenizer": ByT5Tokenizer,
}


def _merges(space: str) -> list[tuple[str, str]]:
    """Merges that make one token of each word after a space, letter by letter."""
    words = sorted({space + word for word in (*_WORDS.split(), *_WORDS.title().split())})
    pairs = ((word[:end], word[end]) for word in words for end in range(1, len(word)))
    return list(dict.fromkeys(pairs))


def _numbered(pieces: Iterable[str], merges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """A vocabulary of these pieces and of the results of the merges."""
    every = dict.fromkeys([*pieces, *map("".join, merges)])
    return {piece: index for index, piece in enumerate(every)}


def _letters_and_bytes() -> Iterable[str]:
    yield from (f"<0x{byte:02X}>" for byte in range(256))
    yield from ("▁", "\n", *string.digits, *string.ascii_letters, *string.punctuation)


def _byte_symbols() -> str:
    """The character for each byte: itself if printable, else one from U+0100 on, in the order of
    GPT-2's table."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = range(0x100, 0x200 - len(printable))
    return "".join(map(chr, [*sorted(printable), *others]))
