"""The whole flow, from photo bytes to captions. `Captioner.caption` reads as its summary."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.beam import BeamResult, beam_search
from model.checkpoint import Checkpoint, load_checkpoint
from model.errors import OptionError
from model.image import MAX_PIXELS, decode, to_tensor
from model.options import BeamOptions
from model.precision import best_dtype


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token: what it adds to the text, and its log-probability (natural, ≤ 0)."""

    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption of a photo.

    `score` is the sum of the tokens' log-probabilities divided by their number to the power of
    the length penalty; it ranks captions of one photo and is no calibrated probability. The
    end token is among `tokens`, with an empty text.
    """

    text: str
    score: float
    tokens: tuple[Token, ...]


class Captioner:
    """A loaded checkpoint that describes photos."""

    def __init__(self, checkpoint: Checkpoint, *, max_pixels: int = MAX_PIXELS) -> None:
        """Use a loaded checkpoint; photos of more than `max_pixels` are refused."""
        self.model = checkpoint.model
        self.tokenizer = checkpoint.tokenizer
        self.image_config = checkpoint.image
        self.options = checkpoint.options
        self.max_pixels = max_pixels

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        max_pixels: int = MAX_PIXELS,
    ) -> "Captioner":
        """Load a checkpoint folder; `dtype` None is the fastest that the device has natively.

        Raises CheckpointError when the folder cannot be used.
        """
        dtype = best_dtype(device) if dtype is None else dtype
        return cls(load_checkpoint(folder, dtype=dtype, device=device), max_pixels=max_pixels)

    def preprocess(self, data: bytes) -> Tensor:
        """Photo bytes → normalised float32 (3, height, width). Raises ImageError."""
        return to_tensor(decode(data, self.max_pixels), self.image_config)

    @torch.inference_mode()
    def caption(
        self, photos: Sequence[Tensor], options: BeamOptions | None = None, prompt: str = ""
    ) -> list[tuple[Caption, ...]]:
        """Describe preprocessed photos; for each one its `num_captions` best captions, best first.

        Captions begin with `prompt`, which is part of their text and not of their score.
        Raises OptionError when prompt and options ask for more than the checkpoint can do.
        """
        if not photos:
            return []
        options = self.options if options is None else options
        beginning = self.tokenizer.encode(prompt)
        self.check_options(options, len(beginning))
        decoder, config = self.model.decoder, self.model.config
        weight = decoder.embedding.tokens.weight

        pixels = torch.stack(list(photos)).to(device=weight.device, dtype=weight.dtype)
        image_tokens = self.model.encode(pixels)  # (B, S, C)
        cross = decoder.cross_keys_values(image_tokens)  # once per image, shared by its beams
        rows, positions = len(photos) * options.num_beams, len(beginning) + options.max_new_tokens
        cache = decoder.new_cache(rows, positions)

        def step(tokens: Tensor, rows: Tensor | None) -> Tensor:
            if rows is not None:
                cache.select(rows)
            return decoder.step(tokens, cross, cache)

        start = torch.tensor([config.decoder_start_token_id, *beginning], device=weight.device)
        found = beam_search(step, start.repeat(len(photos), 1), options, config.eos_token_ids)
        return self._to_captions(found, beginning)

    def check_options(self, options: BeamOptions, prompt_tokens: int = 0) -> None:
        """Raise OptionError for options that this checkpoint cannot serve after such a prompt."""
        # The start token takes a position, the last new token takes none.
        longest = self.model.config.decoder.n_positions - prompt_tokens
        if options.max_new_tokens > longest:
            raise OptionError(
                "max_new_tokens",
                f"{options.max_new_tokens} is more than the {longest} positions that the model has left",
            )

    def _to_captions(self, found: BeamResult, prompt: list[int]) -> list[tuple[Caption, ...]]:
        captions = []
        for tokens, logprobs, lengths, scores in zip(
            found.tokens.tolist(),
            found.logprobs.tolist(),
            found.lengths.tolist(),
            found.scores.tolist(),
            strict=True,
        ):
            of_photo = []
            for ids, parts, length, score in zip(tokens, logprobs, lengths, scores, strict=True):
                pieces = self.tokenizer.pieces(prompt + ids[:length])
                new = zip(pieces[len(prompt) :], parts[:length], strict=True)
                words = tuple(Token(text, logprob) for text, logprob in new)
                of_photo.append(Caption("".join(pieces).strip(), score, words))
            captions.append(tuple(of_photo))
        return captions
