"""The captions that beam search finds are, token for token, those of transformers' `generate`."""

import random

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

from model.network.caption_model import CaptionModel
from model.search.beam import beam_search
from model.search.generation import Continuations
from model.search.options import GenerationOptions
from tests.model.hugging_face import PAD, START, TheirModel, engine_model, random_model, random_pixels, save

BATCH = 3
END_TOKENS: dict[int, tuple[int, ...]] = dict.fromkeys(
    range(20), (1,)
)  # model seed → ids; 1 is the start token, too
END_TOKENS |= {1: (5,), 3: (1, 4, 7), 4: (9, 2), 6: (3,), 11: (2, 8), 16: (6,)}


def drawn_options(seed: int) -> GenerationOptions:
    """Options of which every one varies, `num_beams` through 1 … 5 in turn."""
    draw = random.Random(seed)
    beams = 1 + seed % 5
    longest = draw.choice([1, 5, 9, 12])
    return GenerationOptions(
        num_beams=beams,
        num_captions=draw.randint(1, beams),
        max_new_tokens=longest,
        min_new_tokens=min(draw.choice([0, 0, 1, 4]), longest),
        length_penalty=draw.choice([-1.0, 0.0, 0.5, 1.0, 1.0, 2.0]),
        early_stopping=draw.choice([True, False, "never"]),
        no_repeat_ngram_size=draw.choice([0, 0, 1, 2, 3]),
        repetition_penalty=draw.choice([1.0, 1.0, 0.8, 1.3]),
    )


SHORT = GenerationOptions(2, 2, 12, length_penalty=-0.5, early_stopping="never")  # where stopping is subtle
DRAWN = [drawn_options(seed) for seed in range(200)] + [SHORT] * 40


def search(model: CaptionModel, pixels: Tensor, options: GenerationOptions) -> Continuations:
    """What `Captioner` does, without its text."""
    step = model.decoder.stepper(
        model.encode(pixels), len(pixels) * options.num_beams, options.max_new_tokens
    )
    prompt = torch.full((len(pixels), 1), model.config.decoder_start_token_id, device=pixels.device)
    return beam_search(step, prompt, options, model.config.eos_token_ids)


Pairs = list[tuple[TheirModel, CaptionModel]]
Found = tuple[list[int], list[float], float]  # new tokens up to the end token, their log-probabilities, score


def expected(theirs: TheirModel, pixels: Tensor, options: GenerationOptions) -> list[Found]:
    config = GenerationConfig(
        **options.to_generation_config(),
        decoder_start_token_id=START,
        bos_token_id=START,
        pad_token_id=PAD,
        eos_token_id=theirs.config.eos_token_id,
        return_dict_in_generate=True,
        output_scores=True,
    )
    out = theirs.generate(pixel_values=pixels, generation_config=config)
    ends = theirs.config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    greedy = options.num_beams == 1  # its scores are logits, a beam search's are log-probabilities
    parts = theirs.compute_transition_scores(
        out.sequences, out.scores, None if greedy else out.beam_indices, normalize_logits=greedy
    )
    results: list[Found] = []
    for index, sequence in enumerate(out.sequences[:, 1:].tolist()):
        length = next((at + 1 for at, token in enumerate(sequence) if token in ends), len(sequence))
        logprobs = parts[index, :length].tolist()
        score = sum(logprobs) / length**options.length_penalty
        if not greedy:
            score = out.sequences_scores[index].item()
        results.append((sequence[:length], logprobs, score))
    return results


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """In float64, so that no two candidates tie by rounding; the searches themselves add up in float32."""
    loaded = []
    for seed, ends in END_TOKENS.items():
        theirs = random_model(seed, end_tokens=ends)
        folder = save(theirs, tmp_path_factory.mktemp(f"model{seed}"))
        loaded.append((theirs.double(), engine_model(folder, torch.float64)))
    return loaded


def test_the_draw_covers_every_option() -> None:
    wanted: dict[str, set[object]] = {
        "num_beams": {1, 2, 3, 4, 5},
        "length_penalty": {-1.0, 0.0, 0.5, 1.0, 2.0},
        "early_stopping": {True, False, "never"},
        "no_repeat_ngram_size": {0, 1, 2, 3},
        "repetition_penalty": {0.8, 1.0, 1.3},
        "min_new_tokens": {0, 1, 4},
    }
    for name, values in wanted.items():
        drawn = {getattr(options, name) for options in DRAWN if options.num_beams > 1 or name == "num_beams"}
        assert values <= drawn, name
    assert any(options.num_captions > 1 for options in DRAWN)


@torch.inference_mode()
@pytest.mark.parametrize("number", range(len(DRAWN)))
def test_captions_are_those_of_transformers(number: int, pairs: Pairs) -> None:
    theirs, ours = pairs[number // 5 % len(pairs)]
    options = DRAWN[number]
    pixels = random_pixels(theirs, BATCH, seed=number).double()
    found = search(ours, pixels, options)
    for index, (tokens, logprobs, score) in enumerate(expected(theirs, pixels, options)):
        place = divmod(index, options.num_captions)
        length = int(found.lengths[place])
        assert found.tokens[place][:length].tolist() == tokens
        assert found.logprobs[place][:length].tolist() == pytest.approx(logprobs, rel=1e-4, abs=1e-4)
        assert found.scores[place].item() == pytest.approx(score, rel=1e-4, abs=1e-5)


@torch.inference_mode()
def test_captions_end_where_transformers_ends_them(
    pairs: Pairs,
) -> None:
    """Guards the test above: its models must end captions early, late and not at all."""
    lengths = set()
    options = GenerationOptions(num_beams=3, num_captions=3, max_new_tokens=9)
    for theirs, ours in pairs:
        found = search(ours, random_pixels(theirs, 8).double(), options)
        lengths |= set(found.lengths.flatten().tolist())
    assert len(lengths) > 4
