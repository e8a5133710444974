"""The network of a captioner: ViT encoder → projection where widths differ → decoder."""

from torch import Tensor, nn

from model.config import ModelConfig
from model.decoder import Decoder
from model.encoder import Encoder


class CaptionModel(nn.Module):
    """Encoder and decoder with their weights; knows nothing of files, text or search."""

    def __init__(self, config: ModelConfig, *, tied: bool = True) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        same_width = config.encoder.hidden_size == config.decoder.n_embd
        self.projection = None if same_width else nn.Linear(config.encoder.hidden_size, config.decoder.n_embd)
        self.decoder = Decoder(config.decoder, tied=tied)

    def encode(self, pixels: Tensor) -> Tensor:
        """Normalised photos (B, 3, height, width) → image tokens (B, S, C) at the decoder's width."""
        tokens: Tensor = self.encoder(pixels)
        return tokens if self.projection is None else self.projection(tokens)

    def decode(self, image_tokens: Tensor, tokens: Tensor) -> Tensor:
        """Image tokens (B, S, C) and token ids (R, T) → logits (R, T, V), R a multiple of B.

        The R / B sequences of one image stand next to each other in `tokens`.
        """
        logits: Tensor = self.decoder(tokens, self.decoder.cross_keys_values(image_tokens))
        return logits

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing from photos (B, 3, height, width): `encode`, then `decode`."""
        return self.decode(self.encode(pixels), tokens)
