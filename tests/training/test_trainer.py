from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
import yaml
from torch import Tensor

from model.captioner import Captioner
from tests.training.data import CAPTIONS, RECIPE, write_data
from training import train as command
from training.batches import PADDING, Batch
from training.captions import normalise, read_captions
from training.errors import DataError, SnapshotError
from training.objective import caption_loss
from training.recipe import read_recipe
from training.trainer import Split, Trainer, TrainRecipe
from training.vocabulary import learn_vocabulary


def make_trainer(tmp_path: Path, **changes: object) -> Trainer:
    recipe = yaml.safe_load(RECIPE) | changes
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    data = tmp_path / "data"
    captions = read_captions(data if data.exists() else write_data(data), "train")
    vocabulary = learn_vocabulary([normalise(caption) for caption in CAPTIONS], 320)
    split = Split.of(captions, vocabulary, 32, tmp_path / "cache")
    return Trainer(read_recipe(tmp_path / "recipe.yaml", TrainRecipe), vocabulary, split)


def test_loss_counts_what_is_no_padding(tmp_path: Path) -> None:
    model = make_trainer(tmp_path).model.eval()
    pixels = torch.randn(2, 3, 32, 32)
    inputs = torch.tensor([[0, 5, 6], [0, 7, 0]])
    targets = torch.tensor([[5, 6, 0], [7, 0, PADDING]])

    def logprob(photo: Tensor, prefix: list[int], target: int) -> float:
        """One position on its own: a row without any padding."""
        row = model(photo.unsqueeze(0), torch.tensor([prefix]))[0, -1].detach().double().numpy()
        return float(row[target] - np.log(np.exp(row).sum()))

    by_hand = [
        logprob(pixels[0], [0], 5),
        logprob(pixels[0], [0, 5], 6),
        logprob(pixels[0], [0, 5, 6], 0),
        logprob(pixels[1], [0], 7),
        logprob(pixels[1], [0, 7], 0),
    ]
    loss = caption_loss(model, Batch(pixels, inputs, targets))
    assert loss.item() == pytest.approx(-np.mean(by_hand), abs=1e-5)


def test_captions_of_a_photo_share_its_encoding(tmp_path: Path) -> None:
    model = make_trainer(tmp_path).model.eval()
    pixels = torch.randn(2, 3, 32, 32)
    inputs, targets = torch.randint(250, (6, 4)), torch.randint(250, (6, 4))
    shared = caption_loss(model, Batch(pixels, inputs, targets))
    apart = caption_loss(model, Batch(pixels.repeat_interleave(3, 0), inputs, targets))
    torch.testing.assert_close(shared, apart)


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    recipe = yaml.safe_load(RECIPE)
    changes = {
        "epochs": 6,
        "batch_size": 2,
        "decoder": recipe["decoder"] | {"embd_pdrop": 0.1, "resid_pdrop": 0.1, "attn_pdrop": 0.1},
        "augmentation": {"least_area": 0.5, "aspect": 1.2, "brightness": 0.2, "contrast": 0.2},
        "label_smoothing": 0.1,
    }
    whole = make_trainer(tmp_path, **changes)
    for step in range(whole.steps):
        whole.step(step)

    first = make_trainer(tmp_path, **changes)
    for step in range(5):
        first.step(step)
    first.save(tmp_path / "snapshot.safetensors", 5)
    second = make_trainer(tmp_path, **changes)
    start = second.resume(tmp_path / "snapshot.safetensors")
    assert start == 5
    for step in range(start, second.steps):
        second.step(step)
    for one, other in ((whole.model, second.model), (whole.average, second.average)):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_snapshot_of_another_recipe_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path).save(tmp_path / "snapshot.safetensors", 0)
    with pytest.raises(SnapshotError, match="another recipe"):
        make_trainer(tmp_path, seed=4).resume(tmp_path / "snapshot.safetensors")


def test_too_few_photos_for_a_batch(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="4 photos are fewer than batch_size, 5"):
        make_trainer(tmp_path, batch_size=5)


def test_the_command_overfits_four_photos_to_their_captions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_data(tmp_path / "data")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    arguments = ["--data", data, "--recipe", tmp_path / "recipe.yaml", "--out", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["train", *map(str, arguments), "--cache", str(tmp_path / "cache")])
    assert command.main() == 0

    captioner = Captioner.from_folder(tmp_path / "out" / "checkpoint", dtype=torch.float32)
    photos = [captioner.preprocess((data / "images" / f"{index}.png").read_bytes()) for index in range(4)]
    made = captioner.caption(photos)
    assert [captions[0].text for captions in made] == [normalise(caption) for caption in CAPTIONS]

    published = transformers.VisionEncoderDecoderModel.from_pretrained(
        tmp_path / "out" / "checkpoint", dtype=torch.float32
    ).eval()
    ids = published.generate(torch.stack(photos), num_beams=2, max_new_tokens=40)
    texts = [captioner.tokenizer.decode(row).strip() for row in ids.tolist()]
    assert texts == [normalise(caption) for caption in CAPTIONS]


def test_the_command_says_what_is_wrong_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["train", "--data", str(tmp_path / "nowhere")])
    assert command.main() == 1
    assert len(caplog.messages) == 1
    assert "nowhere/captions_train.json" in caplog.messages[0]
