"""The numbers of a caption training run."""

from dataclasses import dataclass
from typing import Literal

from model.config import GPT2Config, VisionConfig
from model.options import GenerationOptions
from training.data.batches import Augmentation
from training.data.views import ViewsRecipe
from training.optimizers import OptimizerRecipe


@dataclass(frozen=True)
class ContrastRecipe:
    """An image–text contrastive term beside the caption loss (Yu et al., "CoCa", 2022)."""

    weight: float  # of the term; the caption loss weighs 1
    width: int  # channels of the space in which photos and captions meet

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError("weight: a number above 0 is needed; without a contrastive term, leave it out")
        if self.width < 1:
            raise ValueError("width: at least 1 is needed")


@dataclass(frozen=True)
class TrainRecipe:
    """Numbers of a caption training run.

    `encoder`, `decoder` and `search` are those of a new network; a run that starts from a
    checkpoint keeps its own, and a recipe for it leaves `encoder` and `decoder` out. One that starts from a
    published encoder leaves `encoder` out.
    """

    augmentation: Augmentation
    captions_per_photo: int
    max_tokens: int  # longer captions are cut
    epochs: int
    batch_size: int  # photos a step, of all processes together
    optimizer: OptimizerRecipe
    encoder_rate: float  # factor on the encoder's learning rates
    warmup_steps: int  # at most a quarter of all steps are taken
    label_smoothing: float
    average_decay: float  # of the exponential moving average of the weights, per step
    report_epochs: int  # epochs between two reports: losses and dev scores, and a checkpoint
    seed: int
    encoder: VisionConfig | None = None
    decoder: GPT2Config | None = None  # its vocab_size is how many tokens to learn, at most
    search: GenerationOptions | None = None  # for dev captions, and saved with the weights
    patience: int | None = None  # epochs without a better dev CIDEr before the run stops; None: all epochs
    accumulation: int = 1  # parts that a process computes its share of a batch in, to save memory
    contrast: ContrastRecipe | None = None
    kept_patches: int | None = None  # of each photo that the encoder sees while it trains; None: all
    precision: Literal["bfloat16", "float32"] | None = None  # of matrix products; None: what is fastest here
    views: ViewsRecipe | None = None  # of a hybrid encoder: frozen layers and what they see, once
    stem_rate: float = 0.0  # factor on the learning rates of a stem's other layers; 0 freezes them, too

    def __post_init__(self) -> None:
        if self.decoder is not None and self.max_tokens > self.decoder.n_positions:
            raise ValueError(f"max_tokens: more than the decoder's {self.decoder.n_positions} positions")
        names = ["captions_per_photo", "max_tokens", "epochs", "batch_size", "report_epochs", "accumulation"]
        for name in [
            *names,
            *(name for name in ("patience", "kept_patches") if getattr(self, name) is not None),
        ]:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name}: {value!r} is not an integer of at least 1")
        for name in ("encoder_rate", "stem_rate", "label_smoothing", "average_decay"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ValueError(f"{name}: {value!r} is not a number from 0 to 1")
        for name in ("warmup_steps", "seed"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ValueError(f"{name}: {value!r} is not an integer of at least 0")
        if self.precision not in ("bfloat16", "float32", None):
            raise ValueError(f"precision: {self.precision!r} is neither bfloat16 nor float32")
        if self.encoder is not None and self.views is not None:
            if self.encoder.stem is None:
                raise ValueError("views: frozen layers are those of an encoder with a stem")
            blocks = sum(stage[0] for stage in self.encoder.stem.stages)
            if self.views.start > blocks:
                raise ValueError(f"views, start: more than the {blocks} blocks of the stem")
        if self.decoder is None and self.encoder is not None:
            raise ValueError(
                "decoder: it is needed where there is an encoder; for a checkpoint, leave both out"
            )
