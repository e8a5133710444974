"""What this server lets a request ask for, and what it does where nothing is asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from reprlib import repr as short

from handler.settings import MAX_PHOTOS
from model.errors import OptionError
from model.options import GenerationOptions


@dataclass(frozen=True, slots=True)
class Policy:
    """The options of a request that gives none, and the bounds of one that does.

    Raises OptionError where the defaults themselves pass the bounds.
    """

    defaults: GenerationOptions
    limits: Mapping[str, int] = field(default_factory=dict)
    """The greatest values that an operator lets requests give to options."""
    max_photos: int = MAX_PHOTOS

    def __post_init__(self) -> None:
        self._check(self.defaults)

    def options(self, given: Mapping[str, object]) -> GenerationOptions:
        """Replace defaults; raises OptionError naming option, value and bound."""
        options = self.defaults.replace(**given)
        self._check(options)
        return options

    def _check(self, options: GenerationOptions) -> None:
        for name, most in self.limits.items():
            value = getattr(options, name)
            if value > most:
                raise OptionError(name, f"{short(value)} is more than {most}, this server's limit")
