import pytest
import torch
import torch.nn.functional as F

from model.network.layers import attend


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_with_gradients_is_pytorchs(dtype: torch.dtype, causal: bool) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, tokens, 4, dtype=dtype) for tokens in ((5, 5, 5) if causal else (5, 7, 7))]
    results = []
    for plain in (True, False):
        query, key, value = leaves = [x.clone().requires_grad_() for x in inputs]
        if plain:
            mixed = attend(query, key, value, scale=0.3, causal=causal)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal, scale=0.3)
        mixed.float().square().sum().backward()  # type: ignore[no-untyped-call]
        results.append([mixed, *(leaf.grad for leaf in leaves)])
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def test_attention_drops_weights_out() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 200, 4), torch.randn(1, 1, 200, 4)
    value = torch.eye(200).view(1, 1, 200, 200)  # the mixed values are the weights themselves
    weights = attend(query, key, value, scale=0.5, dropout=0.25)
    dropped = (weights == 0).float().mean().item()
    assert abs(dropped - 0.25) < 0.02
    whole = attend(query, key, value, scale=0.5)
    torch.testing.assert_close(weights[weights > 0], whole[weights > 0] / 0.75)
