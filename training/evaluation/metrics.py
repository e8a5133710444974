"""Caption metrics by pycocoevalcap, one scorer at a time and offline. SPICE is in `spice`."""

import contextlib
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge

from training.data.captions import normalise
from training.errors import ScoringError
from training.evaluation.ptb import Tokenised, ensure_java, tokenise

BLEU_ORDER = 4
SEPARATOR = "|||"  # of the fields that METEOR's program reads


@dataclass(frozen=True)
class CaptionScores:
    """Scores of one caption a photo. All are fractions; CIDEr goes up to 10."""

    whole: dict[str, float]  # of the whole set, by the metric's name
    cider: dict[int, float]  # of each photo; their mean is the set's


class CiderScore:
    """CIDEr of captions against references that are tokenised once, for use again and again.

    This is the CIDEr-D variant (Vedantam et al., 2015, section 6), as in pycocoevalcap. Words are
    weighed by how many of the photos given here have them, so a part of a set scores differently.
    """

    def __init__(self, references: Mapping[int, Sequence[str]]) -> None:
        """Tokenise the references of each photo id; raises ScoringError where one has none."""
        for photo, texts in references.items():
            if not texts:
                raise ScoringError(f"photo {photo} has no reference caption")
        self.truth = tokenise(references)

    def __call__(self, captions: Mapping[int, str]) -> float:
        """Score one caption for each photo; raises ScoringError where photos differ."""
        _, each = cider(self.truth, self.words(captions))
        return sum(each.values()) / len(each)

    def words(self, captions: Mapping[int, str]) -> dict[int, list[str]]:
        """Tokenise captions, one for each photo, in the references' order."""
        if different := captions.keys() ^ self.truth.keys():
            raise ScoringError(f"photo {min(different)} has a caption or references, but not both")
        return tokenise({photo: [captions[photo]] for photo in self.truth})


def cider(truth: Tokenised, made: Tokenised) -> tuple[float, dict[int, float]]:
    """CIDEr-D of words: that of the set, and that of each photo. Needs no Java."""
    whole, each = Cider().compute_score(truth, made)
    return float(whole), dict(zip(truth, map(float, each), strict=True))


def score_captions(captions: Mapping[int, str], references: CiderScore) -> CaptionScores:
    """Score one caption for each photo id against all of the photo's references.

    Computes BLEU-1 … BLEU-4 (Papineni et al., 2002), METEOR (Denkowski and Lavie, 2014), ROUGE-L
    (Lin, 2004) and CIDEr, on text that the PTB tokenizer lowercased and freed of punctuation.
    """
    truth, made = references.truth, references.words(captions)
    with contextlib.redirect_stdout(io.StringIO()):  # the scorers print
        bleu, _ = Bleu(BLEU_ORDER).compute_score(truth, made)
    scores = {f"BLEU-{order}": float(value) for order, value in enumerate(bleu, start=1)}
    scores["METEOR"] = meteor(truth, made)
    scores["ROUGE-L"] = float(Rouge().compute_score(truth, made)[0])
    scores["CIDEr"], each = cider(truth, made)
    return CaptionScores(scores, each)


def meteor(truth: Tokenised, made: Tokenised) -> float:
    """METEOR 1.5 of words; raises ScoringError where its program, which is in Java, fails."""
    ensure_java()
    scorer = Meteor()
    plain = [
        {photo: [text.replace(SEPARATOR, "") for text in group] for photo, group in words.items()}
        for words in (truth, made)
    ]
    try:
        return float(scorer.compute_score(*plain)[0])
    except (OSError, ValueError):
        raise ScoringError("METEOR's program failed: it needs Java and 2 GB of memory") from None
    finally:
        for pipe in (scorer.meteor_p.stdout, scorer.meteor_p.stderr):  # it closes stdin alone
            pipe.close()


def distinct_rate(captions: Sequence[str]) -> float:
    """Share of different captions among all: a captioner that repeats itself scores low."""
    return len(set(captions)) / len(captions)


def mean_length(captions: Sequence[str]) -> float:
    """Mean number of words."""
    return sum(len(caption.split()) for caption in captions) / len(captions)


def novel_rate(captions: Sequence[str], known: Collection[str]) -> float:
    """Share of captions that are none of `known`, the training captions; case and full stops aside."""
    seen = {normalise(caption) for caption in known}
    return sum(normalise(caption) not in seen for caption in captions) / len(captions)
