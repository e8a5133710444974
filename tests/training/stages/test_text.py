import gzip
import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from model.network.config import GPT2Config
from model.network.gpt2 import gpt2_decoder
from tests.training.tiny_data import ALONE, CAPTIONS, options, write_data
from training.__main__ import main
from training.data.caption_text import POOL, length_batches, read_lines
from training.data.captions import normalise
from training.data.vocabulary import learn_vocabulary
from training.errors import DataError, RecipeError, SnapshotError
from training.loop import Loop
from training.recipe import read_recipe
from training.stages import text as command
from training.stages.start import load_part
from training.stages.text import Text, TextRecipe, blind_decoder, perplexity

CONFIG = GPT2Config(vocab_size=50, n_positions=12, n_embd=16, n_layer=2, n_head=2)
ROWS = [[1 + (start + step) % 40 for step in range(3 + start % 5)] for start in range(40)]
RECIPE = """
decoder: {vocab_size: 320, n_positions: 48, n_embd: 32, n_layer: 2, n_head: 2, embd_pdrop: 0.1,
          resid_pdrop: 0.1, attn_pdrop: 0.1}
max_tokens: 40
epochs: 12
batch_size: 4
optimizer: {muon_rate: 1.0e-2, adamw_rate: 1.0e-2, weight_decay: 0.01, gradient_norm: 1.0}
warmup_steps: 2
seed: 3
"""


def make_recipe(tmp_path: Path, **changes: object) -> TextRecipe:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(yaml.safe_load(RECIPE) | changes))
    return read_recipe(tmp_path / "recipe.yaml", TextRecipe)


def test_lines_are_read_plain_and_compressed(tmp_path: Path) -> None:
    raw = b"A dog runs .\n\n  Two  CATS sleep.\r\n . \n"
    (tmp_path / "plain.txt").write_bytes(raw)
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(raw))
    for name in ("plain.txt", "packed.txt.gz"):
        assert read_lines(tmp_path / name) == ["a dog runs", "two cats sleep"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", None, "cannot be read"),
        ("a.txt.gz", b"no gzip", "cannot be read"),
        ("a.txt.gz", gzip.compress(b"a dog")[:-9], "cannot be read"),
        ("a.txt", b"\xff\xfe", "no UTF-8"),
        ("a.txt", b" \n.\n", "holds no caption"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        read_lines(tmp_path / name)


def test_batches_hold_every_caption_once_with_little_padding() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 25, 8 * (2 * POOL + 3) + 5)
    batches = length_batches(lengths.tolist(), 8, np.random.default_rng(1))
    assert {len(batch) for batch in batches} == {8}
    assert len(batches) == 2 * POOL + 3
    assert len(np.unique(np.concatenate(batches))) == 8 * len(batches)
    padded = sum(8 * lengths[batch].max() for batch in batches)
    assert padded < 1.1 * sum(lengths[batch].sum() for batch in batches)
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3  # short ones do not come first
    again = length_batches(lengths.tolist(), 8, np.random.default_rng(2))
    assert not np.array_equal(batches[0], again[0])


def test_the_decoder_starts_as_the_language_model_whatever_the_photo() -> None:
    torch.manual_seed(0)
    decoder = blind_decoder(CONFIG)
    for parameter in decoder.parameters():  # anything it may learn
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    tokens = torch.randint(50, (6, 7))
    wanted = torch.rand(6, 7) < 0.5
    captioner = gpt2_decoder(CONFIG, tied=True).eval()
    captioner.load_state_dict(decoder.state_dict())
    for seed in range(2):
        photos = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(seed))
        logits = captioner(tokens, captioner.cross_keys_values(photos))
        torch.testing.assert_close(logits[wanted], decoder.eval()(tokens, None)[wanted])


def test_the_photo_is_heard_from_the_first_step_of_caption_training() -> None:
    decoder = blind_decoder(CONFIG).requires_grad_()
    decoder(
        torch.randint(50, (2, 4)), decoder.cross_keys_values(torch.randn(2, 5, 16))
    ).square().sum().backward()
    gradient = decoder.get_parameter("blocks.0.cross_attention.out.weight").grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_perplexity_weighs_every_token_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = blind_decoder(CONFIG)
    monkeypatch.setattr(command, "HELD_OUT_BATCH", 3)
    by_hand = []
    for row in ROWS[:7]:
        framed = torch.tensor([[0, *row, 0]])
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.eval()(framed[:, :-1], None)[0]
        logprobs = logits.detach().double().log_softmax(-1).numpy()
        by_hand += [-logprobs[place, target] for place, target in enumerate([*row, 0])]
    assert perplexity(model, ROWS[:7], end=0, most=12, world=ALONE) == pytest.approx(
        math.exp(np.mean(by_hand)), rel=1e-2
    )
    torch.nn.init.zeros_(model.embedding.tokens.weight)  # all of 50 tokens alike
    assert perplexity(model, ROWS[:7], end=0, most=12, world=ALONE) == pytest.approx(50, rel=1e-4)


def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make_recipe(tmp_path, epochs=2)

    vocabulary = learn_vocabulary([], 257)

    def run(name: str, rows: list[list[int]] = ROWS) -> dict[str, torch.Tensor]:
        stage = Text(recipe, vocabulary, rows, [], ALONE)
        Loop(stage, ALONE, tmp_path / name, save_seconds=-1).run()
        return stage.network.state_dict()

    whole = run("whole")
    save, calls = Loop.save, 0

    def save_and_die(self: Loop, done: int) -> None:
        nonlocal calls
        calls += 1
        save(self, done)
        if calls == 13:  # in the second epoch
            raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        run("killed")
    resumed = run("killed")
    assert calls == 20
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
    with pytest.raises(SnapshotError, match="other data"):
        run("whole", [[7], *ROWS[1:]])


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    stage = Text(make_recipe(tmp_path), learn_vocabulary([], 257), ROWS, [], ALONE)
    loop = Loop(stage, ALONE, tmp_path)
    loop.step(0)
    with torch.no_grad():
        stage.network.embedding.tokens.weight[0] = torch.inf
    with pytest.raises(RecipeError, match="no finite loss at step 2: lower learning rates"):
        loop.step(1)


def test_the_command_writes_a_decoder_for_caption_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    data = write_data(tmp_path / "data")
    long = "a very " * 40 + "long caption"
    (tmp_path / "more.txt").write_text("\n".join([*CAPTIONS * 4, long]))
    make_recipe(tmp_path)
    given = {"data": data, "text": tmp_path / "more.txt", "config": tmp_path / "recipe.yaml"}
    assert main(["text", *options(given), "--out", str(tmp_path / "out")]) == 0
    assert "20 of 21 captions have up to 40 tokens" in caplog.messages

    vocabulary = learn_vocabulary([normalise(caption) for caption in CAPTIONS], 320)
    with safe_open(tmp_path / "out" / "decoder.safetensors", framework="pt") as file:
        assert len(file.metadata()["vocabulary"]) == 64
    config = GPT2Config(vocabulary.get_vocab_size(), n_positions=48, n_embd=32, n_layer=2, n_head=2)
    decoder = gpt2_decoder(config, tied=True)
    load_part(decoder, tmp_path / "out" / "decoder.safetensors", "decoder")
    rows = [vocabulary.encode(normalise(caption)).ids for caption in CAPTIONS]
    measured = perplexity(decoder, rows, end=0, most=40, world=ALONE)
    assert measured < 4  # 54 after one epoch
    assert re.search(rf"^epoch 12 of 12: loss \S+, perplexity {measured:.4f}$", caplog.messages[-1])


def test_the_command_says_what_is_wrong_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_data(tmp_path / "data")
    make_recipe(tmp_path, batch_size=5)
    given = {"data": data, "config": tmp_path / "recipe.yaml", "out": tmp_path / "out"}
    assert main(["text", *options(given)]) == 1
    assert caplog.messages == ["4 captions are fewer than batch_size, 5"]


def test_a_folder_that_cannot_be_written_to_stops_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_recipe(tmp_path)
    monkeypatch.setattr(Loop, "step", lambda *arguments: pytest.fail("it trains"))
    given = {"data": write_data(tmp_path / "data"), "config": tmp_path / "recipe.yaml"}
    given["out"] = given["config"]
    assert main(["text", *options(given)]) == 1
    assert "File exists" in caplog.messages[-1]


def test_the_recipes_decoder_is_that_of_the_caption_recipe() -> None:
    folder = Path(command.__file__).parents[1] / "recipes"
    text, captions = (
        yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("text-small", "small")
    )
    for name, value in captions["decoder"].items():
        if not name.endswith("_pdrop"):
            assert text["decoder"][name] == value, name
    assert text["max_tokens"] <= captions["decoder"]["n_positions"]
