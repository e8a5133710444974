"""The network of a captioner: ViT encoder → projection where widths differ → decoder."""

from torch import Tensor, nn

from model.network.bert import bert_decoder
from model.network.config import GPT2Config, ModelConfig
from model.network.encoder import Encoder
from model.network.gpt2 import gpt2_decoder


class CaptionModel(nn.Module):
    """Encoder and decoder with their weights; knows nothing of files, text or search."""

    def __init__(self, config: ModelConfig, *, tied: bool = True) -> None:
        """Build for `config`; `tied` says whether the token embedding is the output layer, too."""
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.projection: nn.Linear | None = None
        if isinstance(config.decoder, GPT2Config):
            self.decoder = gpt2_decoder(config.decoder, tied=tied)
            if config.encoder.hidden_size != config.decoder.n_embd:
                self.projection = nn.Linear(config.encoder.hidden_size, config.decoder.n_embd)
        else:  # its cross-attention reads image tokens of any width
            self.decoder = bert_decoder(config.decoder, tied=tied)

    def encode(self, pixels: Tensor, kept: Tensor | None = None, start: int = 0) -> Tensor:
        """Normalised photos (B, 3, height, width) → image tokens (B, S, C) for the decoder.

        `kept` and `start` are for training, as in `Encoder`.
        """
        tokens: Tensor = self.encoder(pixels, kept, start)
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
