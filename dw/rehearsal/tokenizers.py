"""Tokenizers with a vocabulary of one or two letters: they take any text and need no download."""

from __future__ import annotations

import string
from collections.abc import Callable
from itertools import product
from typing import Any

from transformers import CLIPTokenizer, T5Tokenizer

_CLIP_START = "<|startoftext|>"
_CLIP_END = "<|endoftext|>"


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


TOKENIZERS: dict[str, Callable[..., Any]] = {
    "CLIPTokenizer": clip_tokenizer,
    "T5Tokenizer": t5_tokenizer,
}


def _byte_symbols() -> str:
    """The character that stands for each byte: itself if printable, else one from U+0100 on.

    In the order of GPT-2's table.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = range(0x100, 0x200 - len(printable))
    return "".join(map(chr, [*sorted(printable), *others]))
