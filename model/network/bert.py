"""BERT as a decoder with cross-attention, as in BLIP: norms come after sub-layers.

Blocks follow Devlin et al. (2019, section 3) and Vaswani et al. (2017, section 3.1); the use as a
decoder is the one of Li et al., "BLIP" (2022, section 3.1, image-grounded text decoder).
"""

from torch import Tensor, nn

from model.network.attention import CausalSelfAttention, CrossAttention
from model.network.cache import SelfAttentionCache
from model.network.config import BertConfig
from model.network.decoder import Decoder, DecoderBlock, DecoderHead, TokenEmbedding
from model.network.layers import MLP, ActivatedLinear


class BertBlock(DecoderBlock):
    """Self-attention, cross-attention and feed-forward: norm(x + sublayer(x)) each."""

    def __init__(self, config: BertConfig, layer: int) -> None:
        super().__init__()
        width, heads, eps = config.hidden_size, config.num_attention_heads, config.layer_norm_eps
        scale, dropout = (width // heads) ** -0.5, config.attention_probs_dropout_prob
        self.self_attention = CausalSelfAttention(layer, width, heads, scale, dropout)
        self.norm_self = nn.LayerNorm(width, eps=eps)
        self.cross_attention = CrossAttention(width, config.encoder_hidden_size, heads, scale, dropout)
        self.norm_cross = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, config.intermediate_size, config.hidden_act)
        self.norm_mlp = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, x: Tensor, cross: tuple[Tensor, Tensor] | None, cache: SelfAttentionCache | None
    ) -> Tensor:
        """(R, T, C) → (R, T, C); `cross` are the image's keys and values, (B, H, S, D) each."""
        x = self.norm_self(x + self.dropout(self.self_attention(x, cache)))
        if cross is not None:
            x = self.norm_cross(x + self.dropout(self.cross_attention(x, *cross)))
        out: Tensor = self.norm_mlp(x + self.dropout(self.mlp(x)))
        return out


class BertHead(DecoderHead):
    """One more transformed layer, then the output layer with a bias (Devlin et al., masked LM)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = ActivatedLinear(config.hidden_size, config.hidden_size, config.hidden_act)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.output = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, C) → logits (…, V)."""
        logits: Tensor = self.output(self.norm(self.transform(hidden)))
        return logits


def bert_decoder(config: BertConfig, *, tied: bool) -> Decoder:
    """Compose the decoder; `tied` says whether the token embedding is the output layer, too."""
    width = config.hidden_size
    return Decoder(
        TokenEmbedding(
            config.vocab_size,
            config.max_position_embeddings,
            width,
            config.hidden_dropout_prob,
            norm=nn.LayerNorm(width, eps=config.layer_norm_eps),
        ),
        [BertBlock(config, layer) for layer in range(config.num_hidden_layers)],
        BertHead(config),
        tied=tied,
    )
