"""A photo and its caption → a heatmap for each word. `Explainer.explain` is the whole flow."""

import torch
from torch import Tensor

from model.captioner import Caption, Captioner, Token
from model.errors import OptionError
from model.explain.attention import mean_attention
from model.explain.bounds import GRADIENT_STEPS, ExplainBounds
from model.explain.explanation import MEANINGS, Explanation, Heatmap, Method
from model.explain.integrated_gradients import integrated_gradients
from model.explain.occlusion import occlusion
from model.explain.target import CaptionTarget
from model.words import words_of

MAX_CHARACTERS = 1000
"""Longest text of a caller that is looked at; no model here has positions for more."""


class Explainer:
    """Explains what a captioner said, or what a caller lets it say."""

    def __init__(self, captioner: Captioner, bounds: ExplainBounds | None = None) -> None:
        self.captioner = captioner
        self.bounds = ExplainBounds() if bounds is None else bounds

    @torch.inference_mode()
    def given(self, photo: Tensor, text: str, length_penalty: float | None = None) -> Caption:
        """Score a caller's text as a caption of a preprocessed photo (3, height, width).

        The text comes back as the tokenizer reads it, in lower case perhaps. Score and tokens are
        those of a search that had found it with this length penalty (None: the checkpoint's) and
        no other constraint, end token included.
        Raises OptionError naming `caption` for a text that is too long or holds no word.
        """
        tokenizer, config = self.captioner.tokenizer, self.captioner.model.config
        if len(text) > MAX_CHARACTERS:
            raise OptionError("caption", f"has {len(text)} characters; at most {MAX_CHARACTERS} are allowed")
        ids = tokenizer.encode(text.strip())
        longest = config.decoder.n_positions - 1  # the start token takes a position, the end token none
        if len(ids) > longest:
            raise OptionError("caption", f"is {len(ids)} tokens long; the model reads at most {longest}")
        ids.append(config.eos_token_ids[0])
        logprobs = CaptionTarget(self.captioner.model, ids).token_logprobs(photo[None])[0].tolist()
        pieces = tokenizer.pieces(ids)
        if length_penalty is None:
            length_penalty = self.captioner.options.length_penalty
        score = sum(logprobs) / len(ids) ** length_penalty
        tokens = tuple(Token(*token) for token in zip(pieces, logprobs, ids, strict=True))
        caption = Caption("".join(pieces).strip(), score, tokens)
        if not words_of(caption):
            raise OptionError("caption", "holds no word that the model knows")
        return caption

    @torch.inference_mode(mode=False)  # gradients are needed, whatever the caller runs in
    def explain(self, photo: Tensor, caption: Caption, method: Method = "occlusion") -> Explanation:
        """Explain a caption of a preprocessed photo (3, height, width), by one of `MEANINGS`.

        Words that a prompt brought are explained like the others; a caption without words has no
        heatmap. Raises OptionError naming `method` for an unknown one.
        """
        if method not in MEANINGS:
            raise OptionError("method", f"{method!r} is not one of {', '.join(MEANINGS)}")
        words = words_of(caption)
        # Words of a prompt have tokens here, like the others.
        ids = [*caption.prompt, *(token.id for token in caption.tokens)]
        pieces = self.captioner.tokenizer.pieces(ids)
        tokens = tuple(Token(piece, 0.0, one) for piece, one in zip(pieces, ids, strict=True))
        positions = [word.tokens for word in words_of(Caption(caption.text, 0.0, tokens))]
        most = self.bounds.max_words
        gradients = method == "integrated_gradients"
        if gradients:
            most = min(most, self.bounds.max_passes // GRADIENT_STEPS)
        explained = positions[:most]

        patch = self.captioner.model.config.encoder.patch_size
        height, width = photo.shape[1:]
        grid, part = (height // patch, width // patch), (patch / height, patch / width)
        if not explained:
            return Explanation(caption, words, method, (), grid, part)
        seen = photo[:, : grid[0] * patch, : grid[1] * patch].clone()
        model = self.captioner.in_float32() if gradients else self.captioner.model
        target = CaptionTarget(model, ids, explained)
        if method == "attention":
            maps = mean_attention(target, seen)
        elif method == "occlusion":
            maps = occlusion(target, seen, self.bounds)
        else:
            maps = integrated_gradients(target, seen, self.bounds)
        # Bounded in time, a method may have left out the last words.
        heatmaps = tuple(Heatmap(word, values) for word, values in zip(words, maps.cpu(), strict=False))
        return Explanation(caption, words, method, heatmaps, grid, part)
