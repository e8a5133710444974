"""A byte-level tokenizer that needs no training: 256 bytes, one end token, a few words."""

import tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from model.tokenizer import Tokenizer

END = "<|endoftext|>"


def byte_level_tokenizer() -> Tokenizer:
    """Id 0 is the end token, ids 1 … 256 are single bytes, 257 is ` d`, 258 ` do`, 259 ` dog`."""
    letters = sorted(ByteLevel.alphabet())
    merges = [("Ġ", "d"), ("Ġd", "o"), ("Ġdo", "g")]
    vocabulary = {piece: index for index, piece in enumerate([END, *letters, *("".join(m) for m in merges)])}
    backend = tokenizers.Tokenizer(BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevelDecoder()
    backend.add_special_tokens([END])
    return Tokenizer(backend)
