"""What may be asked of a photo, by the names and with the meanings of the server."""

from typing import Literal, TypedDict


class Options(TypedDict, total=False):
    """Options of a caption; what is left out has the server's default.

    Values that the server does not allow come back as InvalidValue, which names what is allowed.
    """

    num_beams: int
    """Hypotheses of the beam search; 1 is greedy search. Sampling has no beams."""
    num_captions: int
    """Captions in the reply: at most `num_beams`, or with `do_sample` that many samples."""
    max_new_tokens: int
    """Most tokens of a caption, the end token included."""
    min_new_tokens: int
    """Fewest tokens of a caption, the end token included."""
    length_penalty: float
    """Above 0 favours longer captions."""
    early_stopping: bool | Literal["never"]
    """When a search ends."""
    no_repeat_ngram_size: int
    """No sequence of so many tokens occurs twice; 0 turns it off."""
    repetition_penalty: float
    """Above 1 makes tokens less likely that were used already."""
    do_sample: bool
    """Draw captions at random instead of searching for the likeliest."""
    temperature: float
    """With `do_sample`: divides the logits."""
    top_k: int
    """With `do_sample`: only so many of the likeliest tokens are drawn from; 0 turns it off."""
    top_p: float
    """With `do_sample`: only the fewest of the likeliest tokens that together have this probability."""
    seed: int
    """With `do_sample`: the same seed draws the same caption of the same photo."""
    prompt: str
    """What captions begin with."""
    timings: bool
    """Tell how long the parts of the work took."""
    method: Literal["occlusion", "attention", "integrated_gradients"]
    """With heatmaps: how they are computed."""
    form: Literal["png", "grid", "values"]
    """With heatmaps: a picture a word, one picture of all words, or numbers."""
    caption: str
    """With heatmaps: explain this caption instead of finding one."""
