"""One row of the table of options: which values are allowed, and what they mean."""

from dataclasses import dataclass
from enum import Enum
from reprlib import repr as short

from model.errors import OptionError


class Kind(Enum):
    """What an option's values are, named as in JSON Schema."""

    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "string"


@dataclass(frozen=True, slots=True)
class Option:
    """What is allowed for one option.

    The engine's checks, the fields of a request, the interface's description, the documents and the
    values of `make fuzz` are made from it.
    """

    kind: Kind
    meaning: str  # Markdown
    least: float = 0
    most: float | None = None
    """None: what the checkpoint's positions and vocabulary leave. Of TEXT, characters: `check` leaves them
    to what reads the text."""
    choices: tuple[str, ...] = ()
    """The texts that are allowed, if not all are; of BOOLEAN, beside true and false."""
    sampling: bool = False
    """Whether it means something only with `do_sample`."""

    @property
    def allowed(self) -> str:
        """What a value has to be, but for the length of a text."""
        match self.kind:
            case Kind.BOOLEAN:
                others = "".join(f' or "{choice}"' for choice in self.choices)
                return f"true, false{others}" if others else "true or false"
            case Kind.TEXT:
                return f"one of {', '.join(self.choices)}" if self.choices else "a string"
        kind = "an integer" if self.kind is Kind.INTEGER else "a number"
        if self.most is None:
            return f"{kind} of at least {self.least}"
        return f"{kind} from {self.least} to {self.most}"

    def check(self, name: str, value: object) -> None:
        """Raise OptionError, which names the option and what is allowed, for a value that is not."""
        if not self._allows(value):
            raise OptionError(name, f"{short(value)} is not {self.allowed}")

    def _allows(self, value: object) -> bool:
        if isinstance(value, bool):  # an int to Python, but not to JSON
            return self.kind is Kind.BOOLEAN
        if isinstance(value, str):
            return value in self.choices or (self.kind is Kind.TEXT and not self.choices)
        if not isinstance(value, int | float) or self.kind not in (Kind.INTEGER, Kind.NUMBER):
            return False
        if self.kind is Kind.INTEGER and isinstance(value, float):
            return False
        return self.least <= value and (self.most is None or value <= self.most)
