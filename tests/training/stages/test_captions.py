import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from model.captioner import Captioner
from model.image import ImageConfig
from tests.training.tiny_data import ALONE, CAPTIONS, RECIPE, write_data
from training import snapshot
from training.__main__ import main
from training.data.batches import PADDING, Batch, Split, TokenisedCaptions
from training.data.captions import normalise
from training.data.folder import load_data
from training.errors import RecipeError, SnapshotError, TrainingError
from training.loop import Loop
from training.recipe import read_recipe
from training.stages.caption_objective import caption_loss
from training.stages.captions import Captions, CaptionsRecipe
from training.stages.start import new_network


def make_stage(tmp_path: Path, identity: str = "", **changes: object) -> Captions:
    recipe = yaml.safe_load(RECIPE) | changes
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    data = tmp_path / "data"
    data = data if data.exists() else write_data(data)
    captions, photos = load_data(data, ImageConfig(size=(32, 32)), tmp_path / "cache").train
    numbers = read_recipe(tmp_path / "recipe.yaml", CaptionsRecipe)
    start = new_network(numbers, captions)
    split = Split(photos, TokenisedCaptions.of(captions, start.tokenizer, 0, 0))
    return Captions(numbers, start, split, ALONE, identity=identity)


def loss(stage: Captions, step: int) -> float:
    """Do a step; what its loss was."""
    return Loop(stage, ALONE, Path()).step(step)["loss"]


def test_loss_counts_what_is_no_padding(tmp_path: Path) -> None:
    model = make_stage(tmp_path).model.eval()
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
    model = make_stage(tmp_path).model.eval()
    pixels = torch.randn(2, 3, 32, 32)
    inputs, targets = torch.randint(250, (6, 4)), torch.randint(250, (6, 4))
    shared = caption_loss(model, Batch(pixels, inputs, targets))
    apart = caption_loss(model, Batch(pixels.repeat_interleave(3, 0), inputs, targets))
    torch.testing.assert_close(shared, apart)


def test_a_batch_in_parts_is_the_whole_batch(tmp_path: Path) -> None:
    """Captions differ in length, so the mean of the parts' means would be another loss."""
    rates = {"muon_rate": 0.0, "adamw_rate": 3e-4, "weight_decay": 0.1, "gradient_norm": 0.5}
    whole = make_stage(tmp_path, precision="float32", optimizer=rates)
    parts = make_stage(tmp_path, precision="float32", optimizer=rates, accumulation=4)
    for step in range(4):
        assert loss(whole, step) == pytest.approx(loss(parts, step), abs=1e-5)
    for name, tensor in whole.averaged_model().state_dict().items():
        torch.testing.assert_close(parts.averaged_model().state_dict()[name], tensor, atol=1e-4, rtol=1e-4)


def test_dev_loss_is_that_of_the_averaged_weights_without_smoothing(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, precision="float32", label_smoothing=0.3, average_decay=0.0)
    for step in range(3):
        loss(stage, step)
    plain = make_stage(tmp_path, precision="float32")
    plain.model.load_state_dict(stage.model.state_dict())  # with a decay of 0, the average is the last
    assert stage.loss_on(stage.split) == pytest.approx(loss(plain, 3), abs=1e-5)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    stage = make_stage(tmp_path)
    loss(stage, 0)
    with torch.no_grad():
        stage.model.encoder.norm.weight.fill_(torch.nan)
    with pytest.raises(RecipeError, match="no finite loss at step 2: lower learning rates"):
        loss(stage, 1)


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    recipe = yaml.safe_load(RECIPE)
    changes = {
        "epochs": 6,
        "batch_size": 2,
        "decoder": recipe["decoder"] | {"embd_pdrop": 0.1, "resid_pdrop": 0.1, "attn_pdrop": 0.1},
        "augmentation": {"least_area": 0.5, "aspect": 1.2, "brightness": 0.2, "contrast": 0.2},
        "label_smoothing": 0.1,
    }
    whole = make_stage(tmp_path, **changes)
    for step in range(whole.plan.steps):
        loss(whole, step)

    first = make_stage(tmp_path, **changes)
    for step in range(5):
        loss(first, step)
    Loop(first, ALONE, tmp_path).save(5)
    second = make_stage(tmp_path, **changes)
    start = Loop(second, ALONE, tmp_path).resume()
    assert start == 5
    for step in range(start, second.plan.steps):
        loss(second, step)
    for one, other in ((whole.model, second.model), (whole.average, second.average)):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_snapshot_of_another_run_is_refused(tmp_path: Path) -> None:
    Loop(make_stage(tmp_path, "one"), ALONE, tmp_path).save(0)
    with pytest.raises(SnapshotError, match="another recipe"):
        Loop(make_stage(tmp_path, "other"), ALONE, tmp_path).resume()
    save_file({"weight": torch.zeros(1)}, tmp_path / "snapshot.safetensors")
    with pytest.raises(SnapshotError, match="another recipe or other data, or by an older version"):
        Loop(make_stage(tmp_path, "one"), ALONE, tmp_path).resume()


def test_a_full_disk_is_one_line_and_leaves_the_last_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage(tmp_path)
    loop = Loop(stage, ALONE, tmp_path)
    loop.step(0)
    loop.save(1)

    def cut(tensors: object, aside: Path, metadata: object) -> None:
        aside.write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(snapshot, "save_file", cut)
    with pytest.raises(SnapshotError, match=r"snapshot\.safetensors cannot be written: No space left"):
        loop.save(2)
    assert not list(tmp_path.glob("*.aside"))
    assert Loop(make_stage(tmp_path), ALONE, tmp_path).resume() == 1


def test_a_search_beyond_the_positions_is_refused_before_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_data(tmp_path / "data")
    (data / "captions_dev.json").unlink()  # the first report would not find out, either
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("max_new_tokens: 40", "max_new_tokens: 41"))
    arguments = ["captions", "--data", data, "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "out"]
    assert main([*map(str, arguments), "--cache", str(tmp_path / "cache")]) == 1
    assert caplog.messages == ["max_new_tokens: 41 is more than the 40 positions that the model has left"]
    assert not list((tmp_path / "out").iterdir())


def test_a_run_is_not_resumed_from_other_parts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_data(tmp_path / "data")
    (data / "captions_dev.json").unlink()
    save_file(make_stage(tmp_path).model.encoder.state_dict(), tmp_path / "encoder.safetensors")
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("epochs: 60", "epochs: 1"))
    arguments = ["captions", "--data", data, "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "out"]
    arguments += ["--cache", tmp_path / "cache"]
    assert main([*map(str, arguments)]) == 0
    assert main([*map(str, arguments), "--encoder", str(tmp_path / "encoder.safetensors")]) == 1
    assert "was written by a run with another recipe or other data" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 5}, "4 photos are fewer than batch_size, 5"),
        ({"accumulation": 3}, "batch_size: 4 cannot be spread evenly over 1 processes in 3 parts"),
        ({"accumulation": 4, "contrast": {"weight": 1.0, "width": 8}}, "each part of a batch needs two"),
        ({"contrast": {"weight": 0, "width": 8}}, "contrast: weight: a number above 0 is needed"),
        ({"patience": 0}, "patience: 0 is not an integer of at least 1"),
        ({"precision": "half"}, "precision: 'half' is neither bfloat16 nor float32"),
        ({"encoder": None}, "the recipe has no encoder and decoder: a checkpoint to start from is needed"),
        ({"decoder": None}, "decoder: it is needed where there is an encoder"),
        ({"max_tokens": 41}, "max_tokens: more than the decoder's 40 positions"),
        ({"decoder": yaml.safe_load(RECIPE)["decoder"] | {"vocab_size": 256}}, "256 is less than the 257"),
    ],
)
def test_numbers_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        make_stage(tmp_path, "", **changes)


def test_the_command_overfits_four_photos_to_their_captions(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    arguments = ["captions", "--data", data, "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "out"]
    assert main([*map(str, arguments), "--cache", str(tmp_path / "cache")]) == 0
    (report,) = map(json.loads, (tmp_path / "out" / "history.jsonl").read_text().splitlines())
    assert (report["step"], report["epoch"]) == (60, 60)
    assert report["cider"] == pytest.approx(10)
    assert report["bleu4"] == pytest.approx(1)
    assert report["dev_loss"] < 0.5

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{}/nowhere"], "nowhere is not a folder"),
        (["--data", "{}"], "has no captions of split 'train': captions_train.json"),
        (["--data", "{}", "--config", "{}/nowhere.yaml"], "recipe .*nowhere.yaml cannot be read"),
        (["--data", "{}", "--init", "{}/nowhere"], "nowhere is not a folder"),
        (["--data", "{}", "--init", "{}", "--encoder", "{}"], "give one or the other"),
        (["--data", "{}", "--init", "{}", "--config", "{}"], "recipe .* cannot be read: .* Is a directory"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, arguments: list[str], message: str
) -> None:
    assert main(["captions", *(argument.format(tmp_path) for argument in arguments)]) == 1
    assert len(caplog.messages) == 1
    assert re.search(message, caplog.messages[0])
