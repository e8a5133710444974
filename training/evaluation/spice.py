"""SPICE (Anderson et al., 2016), for those who have CoreNLP: nothing is downloaded here.

pycocoevalcap brings SPICE's own program, and would fetch the parser that it needs, some 400 MB,
from a server that may be gone.
"""

import subprocess
from pathlib import Path

import pycocoevalcap
from pycocoevalcap.spice.spice import Spice

from training.errors import ScoringError
from training.evaluation.ptb import Tokenised, ensure_java

LIBRARY = Path(pycocoevalcap.__path__[0]) / "spice" / "lib"
CORE_NLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


def require_core_nlp(library: Path = LIBRARY) -> None:
    """Raise ScoringError that says what is missing where, if SPICE cannot be computed."""
    if missing := [name for name in CORE_NLP if not (library / name).is_file()]:
        raise ScoringError(
            f"SPICE needs CoreNLP 3.6.0 (stanford-corenlp-full-2015-12-09.zip of nlp.stanford.edu): "
            f"{' and '.join(missing)} must be put into {library}"
        )


def spice(truth: Tokenised, made: Tokenised) -> float:
    """SPICE of words, a fraction; raises ScoringError where CoreNLP is missing or the program fails."""
    require_core_nlp()
    ensure_java()
    try:
        return float(Spice().compute_score(truth, made)[0])
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise ScoringError(f"SPICE's program failed: {error}") from None
