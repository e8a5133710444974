import itertools
from pathlib import Path

import torch

from model.checkpoint.folder import load_checkpoint
from tests.tiny import write_tiny_checkpoint
from training.data.batches import PADDING
from training.stages.self_critical import advantages, policy_loss, token_logprobs


def test_logprobs_are_those_of_each_caption_alone(tmp_path: Path) -> None:
    model = load_checkpoint(write_tiny_checkpoint(tmp_path / "checkpoint")).model
    tokens = model.encode(torch.randn(2, 3, 32, 32))
    targets = torch.tensor([[5, 6, 0], [7, 0, PADDING]])
    logprobs, row = token_logprobs(model.decoder, model.decoder.cross_keys_values(tokens), targets, 0)
    assert row.tolist() == [0, 0, 0, 1, 1]
    by_hand = []
    for photo, prefix, target in (
        (0, [0], 5),
        (0, [0, 5], 6),
        (0, [0, 5, 6], 0),
        (1, [0], 7),
        (1, [0, 7], 0),
    ):
        last = model.decode(tokens[photo : photo + 1], torch.tensor([prefix]))[0, -1]
        by_hand.append(last.log_softmax(0)[target])
    torch.testing.assert_close(logprobs, torch.stack(by_hand))


def test_the_gradient_is_on_average_that_of_the_expected_reward() -> None:
    """A policy of one token out of three, two samples: all nine outcomes, weighed by their chance."""
    reward = torch.tensor([1.0, 5.0, 2.0])
    logits = torch.tensor([0.2, -0.5, 1.0], requires_grad=True)
    chances = logits.softmax(0)
    (expected,) = torch.autograd.grad((chances * reward).sum(), logits)
    mean = torch.zeros(3)
    for pair in itertools.product(range(3), repeat=2):
        sample = torch.tensor(pair)
        advantage = advantages(reward[sample].unsqueeze(0)).flatten()
        loss = policy_loss(logits.log_softmax(0)[sample], advantage) / 2
        (gradient,) = torch.autograd.grad(loss, logits)
        mean += gradient * chances.detach()[sample].prod()
    torch.testing.assert_close(mean, -expected)


def test_a_sample_is_compared_with_the_others_of_its_photo() -> None:
    found = advantages(torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]]))
    assert found.tolist() == [[-3.0, -1.5, 4.5], [0.0, 0.0, 0.0]]
