"""What the decoder remembers between steps: a visible object with a position.

Letters as in `layers`: L layers, B images, R sequences, H heads, T positions, D channels of
one head, S image tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

CrossAttentionKV = Sequence[tuple[Tensor, Tensor]]
"""Per layer the keys and values of the image tokens, each (B, H, S, D).

Computed once per image and shared by all sequences that describe it; never reordered.
"""


class SelfAttentionCache:
    """Keys and values of the tokens so far, in buffers that are allocated once.

    Every layer writes its new entries at `length`; `advance` then moves the position for
    all of them. Of the allocated sequences, as many are in use as were last stored.
    """

    def __init__(
        self, *, layers: int, rows: int, heads: int, positions: int, width: int, like: Tensor
    ) -> None:
        """Allocate for `rows` sequences of up to `positions` tokens, dtype and device as `like`."""
        self._buffer = torch.empty(
            2, layers, rows, heads, positions, width, dtype=like.dtype, device=like.device
        )
        self.length = 0

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (R, H, T, D) of one layer at the current position; return all so far."""
        end = self.length + keys.shape[2]
        stored = self._buffer[:, layer, : len(keys), :, :end]  # (2, R, H, end, D)
        stored[0, :, :, self.length :] = keys
        stored[1, :, :, self.length :] = values
        return stored[0], stored[1]

    def advance(self, tokens: int) -> None:
        """Move the position once all layers have stored their `tokens` new entries."""
        self.length += tokens

    def select(self, rows: Tensor) -> None:
        """Let row i continue what row `rows[i]` (R,) holds: the step that reorders beams.

        The count may grow up to the allocated rows, which is how the one row of a prompt
        becomes the rows of its beams.
        """
        self._buffer[:, :, : len(rows), :, : self.length] = self._buffer[:, :, rows, :, : self.length]
