"""The whole flow, from photo bytes to captions. `Captioner.caption` reads as its summary."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import randbits
from threading import Lock

import torch
from torch import Tensor

from model.checkpoint.folder import Checkpoint, load_checkpoint
from model.errors import OptionError
from model.image import MAX_PIXELS, decode, to_tensor
from model.network.caption_model import CaptionModel
from model.network.packed_layers import pack
from model.network.precision import best_dtype
from model.search.beam import beam_search
from model.search.generation import Continuations
from model.search.options import GenerationOptions
from model.search.sampling import sample

MAX_PROMPT = 1000
"""Longest prompt, in characters, that is looked at; no model here has positions for more."""


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token: what it adds to the text, its log-probability (natural, ≤ 0), and its id."""

    text: str
    logprob: float
    id: int


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption of a photo.

    `score` is the sum of the tokens' log-probabilities divided by their number to the power of
    the length penalty; it ranks captions of one photo and is no calibrated probability. The
    end token is among `tokens`, with an empty text. `prompt` are the ids of the tokens before them.
    """

    text: str
    score: float
    tokens: tuple[Token, ...]
    prompt: tuple[int, ...] = ()


class Captioner:
    """A loaded checkpoint that describes photos."""

    def __init__(self, checkpoint: Checkpoint, *, max_pixels: int = MAX_PIXELS) -> None:
        """Use a loaded checkpoint; photos of more than `max_pixels` are refused."""
        self.model = checkpoint.model
        self.tokenizer = checkpoint.tokenizer
        self.image_config = checkpoint.image
        self.options = checkpoint.options
        self.max_pixels = max_pixels
        self._float32: CaptionModel | None = None
        self._copying = Lock()

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
        checkpoint = load_checkpoint(folder, dtype=dtype, device=device)
        pack(checkpoint.model)
        return cls(checkpoint, max_pixels=max_pixels)

    def preprocess(self, data: bytes) -> Tensor:
        """Photo bytes → normalised float32 (3, height, width). Raises ImageError."""
        return to_tensor(decode(data, self.max_pixels), self.image_config)

    def caption(
        self, photos: Sequence[Tensor], options: GenerationOptions | None = None, prompt: str = ""
    ) -> list[tuple[Caption, ...]]:
        """Describe preprocessed photos; for each one its `num_captions` best captions, best first.

        Captions begin with `prompt`, which is part of their text and not of their score.
        Raises OptionError when prompt and options ask for more than the checkpoint can do.
        """
        if not photos:
            return []
        return self.generate(self.encode(photos), self.options if options is None else options, prompt)

    @torch.inference_mode()
    def encode(self, photos: Sequence[Tensor]) -> Tensor:
        """Preprocessed photos, at least one → image tokens (B, S, C)."""
        weight = self.model.decoder.embedding.tokens.weight
        return self.model.encode(torch.stack(list(photos)).to(device=weight.device, dtype=weight.dtype))

    @torch.inference_mode()
    def generate(
        self,
        image_tokens: Tensor,
        options: GenerationOptions,
        prompt: str = "",
    ) -> list[tuple[Caption, ...]]:
        """Describe encoded photos, image tokens (B, S, C), as `caption` does."""
        self.check_options(options, prompt)
        beginning = self.tokenizer.encode(prompt)
        decoder, config = self.model.decoder, self.model.config
        batch = len(image_tokens)
        rows = batch * (options.num_captions if options.do_sample else options.num_beams)
        step = decoder.stepper(image_tokens, rows, len(beginning) + options.max_new_tokens)
        start = torch.tensor([config.decoder_start_token_id, *beginning], device=image_tokens.device)
        prompts = start.repeat(batch, 1)
        if options.do_sample:
            seeds = [randbits(32) if options.seed is None else options.seed for _ in range(batch)]
            found = sample(step, prompts, options, config.eos_token_ids, seeds)
        else:
            found = beam_search(step, prompts, options, config.eos_token_ids)
        return self._to_captions(found, beginning)

    @torch.inference_mode(mode=False)  # weights made in that mode would carry no gradients
    def in_float32(self) -> CaptionModel:
        """Return the model itself where its weights are float32, else one copy, made when first asked for.

        The copy is shared by all callers and stays: it follows no later change of the weights. Gradients
        flow through it to its inputs alone.
        """
        if self.model.encoder.norm.weight.dtype == torch.float32:
            return self.model
        with self._copying:
            if self._float32 is None:
                self._float32 = copy.deepcopy(self.model).float().requires_grad_(False)
            return self._float32

    def check_options(self, options: GenerationOptions, prompt: str = "") -> None:
        """Raise OptionError for options that this checkpoint cannot serve after such a prompt."""
        if len(prompt) > MAX_PROMPT:
            raise OptionError("prompt", f"has {len(prompt)} characters; at most {MAX_PROMPT} are allowed")
        # The start token takes a position, the last new token takes none.
        longest = self.model.config.decoder.n_positions - len(self.tokenizer.encode(prompt))
        if longest < 1:
            raise OptionError("prompt", "leaves none of the model's positions for a caption")
        if options.max_new_tokens > longest:
            raise OptionError(
                "max_new_tokens",
                f"{options.max_new_tokens} is more than the {longest} positions that the model has left",
            )

    def _to_captions(self, found: Continuations, prompt: list[int]) -> list[tuple[Caption, ...]]:
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
                new = zip(pieces[len(prompt) :], parts[:length], ids[:length], strict=True)
                generated = tuple(Token(*token) for token in new)
                of_photo.append(Caption("".join(pieces).strip(), score, generated, tuple(prompt)))
            captions.append(tuple(of_photo))
        return captions
