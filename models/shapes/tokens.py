"""A CLIP tokenizer with one token for each word of the phrases; other words become letters."""

from __future__ import annotations

import string
from collections import Counter
from itertools import pairwise

import torch
from transformers import CLIPTokenizer

from models.shapes.phrases import vocabulary

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 32
"""Tokens of a prompt. The longest phrase has 24."""


def new_tokenizer() -> CLIPTokenizer:
    merges = _merges(vocabulary())
    characters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    symbols = [*characters, *(f"{character}</w>" for character in characters)]
    # The end token has the highest id, because CLIP pools at the argmax of the ids.
    pieces = [*symbols, *map("".join, merges), START, END]
    return CLIPTokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=merges,
        pad_token=END,
        unk_token=END,
        model_max_length=LENGTH,
    )


def tokens(tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    """Token ids (batch, 32)."""
    padded = tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")
    ids: torch.Tensor = padded.input_ids
    return ids


def _merges(words: list[str]) -> list[tuple[str, str]]:
    """Merges of byte pair encoding, continued until each word is one piece."""
    parts = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    merges = []
    while pairs := Counter(pair for part in parts for pair in pairwise(part)):
        pair = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(pair)
        parts = [_merged(part, pair) for part in parts]
    return merges


def _merged(part: list[str], pair: tuple[str, str]) -> list[str]:
    merged, rest = [], list(part)
    while rest:
        count = 2 if tuple(rest[:2]) == pair else 1
        merged.append("".join(rest[:count]))
        rest = rest[count:]
    return merged
