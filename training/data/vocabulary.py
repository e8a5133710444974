"""A byte-level BPE vocabulary learned from captions, in GPT-2's layout of `tokenizer.json`.

Byte-level BPE: Radford et al., 2019, section 2.2. No text is out of vocabulary.
"""

import hashlib
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from training.errors import RecipeError

END = "<|endoftext|>"
"""GPT-2's only special token: it starts and ends a caption, and pads a batch."""

LEAST_SIZE = 257  # every byte, and END


def learn_vocabulary(captions: Iterable[str], size: int) -> Tokenizer:
    """Learn up to `size` tokens (256 bytes and END included) from normalised captions.

    Every word carries its leading space, the first one too, so that a word is the same token
    wherever it stands. Text is lowercased on the way in. Raises RecipeError for too small a size.
    """
    if size < LEAST_SIZE:
        raise RecipeError(f"decoder, vocab_size: {size} is less than the {LEAST_SIZE} tokens of any text")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return tokenizer


def end_token(tokenizer: Tokenizer) -> int:
    """Id of the token that starts, ends and pads captions."""
    found = tokenizer.token_to_id(END)
    assert found is not None, "learn_vocabulary adds it"
    return found


def digest(tokenizer: Tokenizer) -> str:
    """SHA-256 of a vocabulary, by which weights that were trained with it are told from others."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
