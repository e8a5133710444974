"""Values that are sent come from the table of fields, and are what they are said to be."""

import pytest

from fuzz.values import ALLOWED, just_beyond
from handler.parse.fields import FIELDS
from model.errors import OptionError


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_is_sent_with_values_that_it_takes_and_that_it_does_not(name: str) -> None:
    option = FIELDS[name]
    assert len(ALLOWED[name]) >= 1
    for value in ALLOWED[name]:
        option.check(name, value)
    for value in just_beyond(option):
        with pytest.raises(OptionError):
            option.check(name, value)
    if option.most is not None and just_beyond(option):
        assert {option.least, option.most} <= set(ALLOWED[name])
