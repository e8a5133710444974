"""What the decoder remembers between steps: a visible object with a position.

Letters as in `layers`: L layers, B images, R sequences, H heads, D channels of one head, S image tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

CrossAttentionKV = Sequence[tuple[Tensor, Tensor]]
"""Per layer the keys and values of the image tokens, each (B, H, S, D).

Computed once per image and shared by all sequences that describe it; never reordered.
"""


class SelfAttentionCache:
    """Keys and values of the tokens so far, in buffers that are allocated once and never moved.

    Each row of the first call is the root of as many sequences. Every entry of a root has a place, `used`
    of them so far, and all its sequences look at all its places: `mask` says which of them are a
    sequence's own past. So beams that change places move a few numbers, not their keys and values.
    Every layer writes its new entries behind those `used`; `advance` then moves on for all of them.
    """

    def __init__(
        self, *, layers: int, rows: int, heads: int, positions: int, width: int, like: Tensor
    ) -> None:
        """Allocate for `rows` sequences of up to `positions` tokens, dtype and device as `like`."""
        self._buffer = torch.empty(
            layers, 2, rows, heads, positions, width, dtype=like.dtype, device=like.device
        )
        self._layers: Sequence[Tensor] = ()  # (2, roots, H, places, D) each
        self._past: Tensor | None = None  # (R, places): 0 where a place is a sequence's own past, else -inf
        self._used = 0
        self._of_root = 1  # sequences of each root that there is memory for
        self.length = 0
        self.roots = 0
        self.mask: Tensor | None = None
        """(roots, 1, R / roots, places), to be added to the scores; None while all places are everyone's."""

    def append(self, layer: int, keys_values: Tensor) -> tuple[Tensor, Tensor]:
        """Store one layer's new entries (2, roots, H, N, D); return keys and values of all places so far.

        N are the tokens of a root's one sequence, or the one token of each of its sequences.
        """
        _, roots, heads, new, width = keys_values.shape
        if not self._layers:
            self.roots = roots
            self._of_root = self._buffer.shape[2] // roots
            self._layers = self._buffer.view(len(self._buffer), 2, roots, heads, -1, width).unbind()
        stored = self._layers[layer][:, :, :, : self._used + new]
        stored[:, :, :, self._used :] = keys_values
        keys, values = stored.unbind()
        return keys, values

    def advance(self, rows: int, tokens: int) -> None:
        """Move on once all layers have stored the `tokens` new entries of `rows` sequences."""
        self.length += tokens
        self._used += rows // self.roots * tokens
        self._look(rows)

    def select(self, rows: Tensor) -> Tensor | None:
        """Let row i continue what row `rows[i]` (R,) holds: this reorders beams, and lets images go.

        All sequences of a root stay side by side and continue sequences of that root, or none is left. The
        count of a root may grow once, from one to the allocated ones, which is how a prompt's one row becomes
        the rows of its beams. Returns which roots are left, of those that there were, if some are not.
        """
        of_root = self._of_root
        if self._past is not None:
            self._past[: len(rows), : self._used] = self._past[rows, : self._used]
            self._past = self._past[: len(rows)]
            left = rows[::of_root] // of_root
        elif of_root > 1:
            others = torch.full((of_root, of_root), -torch.inf).fill_diagonal_(0).to(self._buffer)
            own = others.repeat(len(rows) // of_root, self._layers[0].shape[3] // of_root)
            # The prompt's entries come first, in places that all sequences share.
            self._past = torch.cat([own.new_zeros(len(rows), self._used), own], dim=1)
            left = rows[::of_root]
        else:
            left = rows
        before, self.roots = self.roots, len(left)
        if self.roots < before:
            self._layers = [layer.index_select(1, left) for layer in self._layers]
        self._look(len(rows))
        return left if self.roots < before else None

    def _look(self, rows: int) -> None:
        """Make the mask of the next step of `rows` sequences."""
        if self._past is not None:
            of_root = rows // self.roots
            self.mask = self._past.view(self.roots, 1, of_root, -1)[:, :, :, : self._used + of_root]
