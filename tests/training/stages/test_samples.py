from pathlib import Path

import torch

from model.checkpoint.folder import load_checkpoint
from tests.tiny import write_tiny_checkpoint
from training.data.batches import PADDING
from training.stages.samples import by_length, draw, draw_captions, inputs_of


def test_drawn_tokens_follow_the_networks_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0], [3.0, 0.0, 0.0, -torch.inf]])
    generator = torch.Generator().manual_seed(0)
    drawn = draw(logits.repeat(20000, 1), generator).view(-1, 2)
    for row in range(2):
        shares = drawn[:, row].bincount(minlength=4) / 20000
        torch.testing.assert_close(shares, logits[row].softmax(0), atol=0.015, rtol=0)
        assert shares[logits[row].isinf()].eq(0).all()


def test_captions_are_drawn_with_what_the_network_sees_and_said(tmp_path: Path) -> None:
    """Shares of whole two-token beginnings against products of teacher-forced probabilities."""
    model = load_checkpoint(write_tiny_checkpoint(tmp_path / "checkpoint")).model
    photos = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    number = 2000
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.7)  # less certain
        tokens = model.encode(photos)
        cross = model.decoder.cross_keys_values(tokens)
        targets = draw_captions(
            model.decoder,
            cross,
            start=0,
            ends=(0,),
            per_photo=number,
            most=2,
            generator=torch.Generator().manual_seed(1),
        )
        for photo in range(2):
            mine = targets[photo * number : (photo + 1) * number]
            found, counts = torch.unique(mine, dim=0, return_counts=True)
            frequent = found[counts.topk(5).indices].clamp(min=0)
            inputs = inputs_of(frequent, 0)
            logprobs = model.decode(tokens[photo : photo + 1], inputs).log_softmax(-1)
            expected = logprobs.gather(2, frequent[:, :, None])[:, :, 0]
            expected = torch.where(frequent[:, :1] == 0, expected[:, :1], expected.sum(1, keepdim=True))[:, 0]
            shares = counts.topk(5).values / number
            torch.testing.assert_close(shares, expected.exp(), atol=0.04, rtol=0)


def test_nothing_counts_after_the_end(tmp_path: Path) -> None:
    model = load_checkpoint(write_tiny_checkpoint(tmp_path / "checkpoint")).model
    cross = model.decoder.cross_keys_values(model.encode(torch.randn(3, 3, 32, 32)))
    ends = (0, *range(200, 300))
    generator = torch.Generator().manual_seed(1)
    targets = draw_captions(
        model.decoder, cross, start=0, ends=ends, per_photo=20, most=10, generator=generator
    )
    assert len(targets) == 60
    for row in targets.tolist():
        stops = [place for place, token in enumerate(row) if token in ends]
        after = row[stops[0] + 1 :] if stops else []
        assert set(after) <= {PADDING}
        assert PADDING not in row[: stops[0]] if stops else PADDING not in row


def test_parts_by_length_hold_every_caption_once() -> None:
    lengths = torch.tensor([3, 1, 2, 2, 5, 4])
    targets = torch.arange(30).view(6, 5).masked_fill(torch.arange(5) >= lengths[:, None], PADDING)
    parts = list(by_length(targets, per_photo=3))
    assert [rows.tolist() for rows, _ in parts] == [[1, 3], [2, 5], [0, 4]]
    assert [part.shape[1] for _, part in parts] == [2, 4, 5]
    for rows, part in parts:
        assert torch.equal(part, targets[rows][:, : part.shape[1]])
        assert (targets[rows][:, part.shape[1] :] == PADDING).all()
