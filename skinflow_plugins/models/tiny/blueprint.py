"""What a family must say about itself so that a tiny member can be built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from transformers import PreTrainedConfig, PreTrainedTokenizerFast, ProcessorMixin

HEAD_WIDTH = 32
"""Channels of one attention head, in every tiny tower and language model."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The special tokens of a family, with its usual strings, and its chat template.

    `eos` ends a text; every token in `stops` ends an answer. `named` are the tokens a processor reads as
    attributes of the tokenizer (`image_token`, ...). `others` are the remaining special tokens.
    `words` are the plain words that the chat template writes, `pieces` entries of the vocabulary that no text
    is ever cut into.
    """

    eos: str
    pad: str
    bos: str | None
    stops: tuple[str, ...]
    named: Mapping[str, str]
    others: tuple[str, ...]
    words: tuple[str, ...]
    chat_template: str
    pieces: tuple[str, ...] = ()

    def special_tokens(self) -> list[str]:
        """Return every special token once, in the order of the ids they get."""
        roles = (self.pad, self.eos, *([self.bos] if self.bos else []), *self.stops)
        return list(dict.fromkeys((*roles, *self.named.values(), *self.others)))


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a tiny model is: channels, layers (of the tower and of the language model) and tokens."""

    width: int
    depth: int
    vocabulary: int

    @property
    def heads(self) -> int:
        """Attention heads per layer."""
        return self.width // HEAD_WIDTH

    @property
    def key_value_heads(self) -> int:
        """Heads for keys and values: half as many, as the real models share them too."""
        return max(1, self.heads // 2)


TokenIds = Callable[[str], int]
"""The id of a special token."""


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A family's dialect, and how to make its configuration and its processor."""

    dialect: Dialect
    config: Callable[[Size, TokenIds], PreTrainedConfig]
    processor: Callable[[PreTrainedTokenizerFast, str], ProcessorMixin]
