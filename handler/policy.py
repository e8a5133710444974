"""What this server lets a request ask for, and what it does where nothing is asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from reprlib import repr as short

from handler.settings import MAX_PHOTOS
from model.errors import OptionError
from model.search.options import OPTIONS, GenerationOptions

MOST: Mapping[str, int] = {"num_beams": 16, "num_captions": 16}
"""The greatest values that any server takes, whatever its operator allows: they multiply the memory and
the time of a batch, in which others wait."""

REQUEST_OPTIONS = {
    name: replace(option, most=MOST[name]) if name in MOST else option for name, option in OPTIONS.items()
}
"""The engine's table of options, with the bounds of requests."""


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
        for name in MOST:
            REQUEST_OPTIONS[name].check(name, getattr(self.defaults, name))
        self._check_limits(self.defaults)

    def options(self, given: Mapping[str, object]) -> GenerationOptions:
        """Replace defaults; raises OptionError naming option, value and bound."""
        for name in MOST:
            if name in given:
                REQUEST_OPTIONS[name].check(name, given[name])
        options = self.defaults.replace(**given)
        self._check_limits(options)
        return options

    def _check_limits(self, options: GenerationOptions) -> None:
        for name, most in self.limits.items():
            value = getattr(options, name)
            if value > most:
                raise OptionError(name, f"{short(value)} is more than {most}, this server's limit")
