"""GPT-2 with cross-attention (Radford et al., 2019, section 2.3): norms come before sub-layers."""

from torch import Tensor, nn

from model.network.attention import CausalSelfAttention, CrossAttention
from model.network.cache import SelfAttentionCache
from model.network.config import GPT2Config
from model.network.decoder import Decoder, DecoderBlock, DecoderHead, TokenEmbedding
from model.network.layers import MLP


class GPT2Block(DecoderBlock):
    """Self-attention, cross-attention and feed-forward: x + sublayer(norm(x)) each."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        width, eps = config.n_embd, config.layer_norm_epsilon
        scale = attention_scale(config, layer)
        self.norm_self = nn.LayerNorm(width, eps=eps)
        self.self_attention = CausalSelfAttention(layer, width, config.n_head, scale, config.attn_pdrop)
        self.norm_cross = nn.LayerNorm(width, eps=eps)
        self.cross_attention = CrossAttention(width, width, config.n_head, scale, config.attn_pdrop)
        self.norm_mlp = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, config.inner_size, config.activation_function)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(
        self, x: Tensor, cross: tuple[Tensor, Tensor] | None, cache: SelfAttentionCache | None
    ) -> Tensor:
        """(R, T, C) → (R, T, C); `cross` are the image's keys and values, (B, H, S, D) each."""
        x = x + self.dropout(self.self_attention(self.norm_self(x), cache))
        if cross is not None:
            x = x + self.dropout(self.cross_attention(self.norm_cross(x), *cross))
        out: Tensor = x + self.dropout(self.mlp(self.norm_mlp(x)))
        return out


class GPT2Head(DecoderHead):
    """A last norm, then the output layer."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.output = nn.Linear(config.n_embd, config.vocab_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, C) → logits (…, V)."""
        logits: Tensor = self.output(self.norm(hidden))
        return logits


def gpt2_decoder(config: GPT2Config, *, tied: bool) -> Decoder:
    """Compose the decoder; `tied` says whether the token embedding is the output layer, too."""
    return Decoder(
        TokenEmbedding(
            config.vocab_size, config.n_positions, config.n_embd, config.embd_pdrop, norm=nn.Identity()
        ),
        [GPT2Block(config, layer) for layer in range(config.n_layer)],
        GPT2Head(config),
        tied=tied,
    )


def attention_scale(config: GPT2Config, layer: int) -> float:
    """Factor on query · key: 1/√D unless the config turns it off or divides by the layer number."""
    scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
    return scale / (layer + 1) if config.scale_attn_by_inverse_layer_idx else scale
