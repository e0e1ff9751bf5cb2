"""A tokenizer of a few hundred tokens in which each word of a given list is one token."""

from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import PreTokenizer
from transformers import PreTrainedTokenizerFast

from skinflow_plugins.models.tiny.blueprint import Dialect

# A word takes the blank before it along; anything else is cut into single characters.
PIECE = r" ?\p{L}+|[^\p{L}]"


def word_tokenizer(vocabulary: Sequence[str], dialect: Dialect) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per word of `vocabulary`, with and without a blank before it.

    Any other text falls back to its UTF-8 bytes, so decoding gives back exactly what was encoded.
    An entry of several words counts as its words. The ids are: 256 bytes, words, special tokens.
    """
    pre_tokenizer: PreTokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    for entry in (*vocabulary, *dialect.words):
        for text in (entry, f" {entry}"):
            pieces += [piece for piece, _ in pre_tokenizer.pre_tokenize_str(text)]
    pieces += dialect.pieces
    ids = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}

    # Without merges BPE would spell every word; `ignore_merges` lets a whole word that has an id through.
    backend = Tokenizer(BPE(vocab=ids, merges=[], ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    special = dialect.special_tokens()
    backend.add_special_tokens(special)
    roles = {"bos_token": dialect.bos} if dialect.bos else {}
    rest = [token for token in special if token not in (dialect.eos, dialect.pad, dialect.bos)]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=dialect.eos,
        pad_token=dialect.pad,
        model_specific_special_tokens=dict(dialect.named),
        extra_special_tokens=[token for token in rest if token not in dialect.named.values()],
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=4096,
        **roles,
    )
