"""What a server takes by default has to be what it lets requests ask for."""

import pytest

from handler.policy import Policy
from model.errors import OptionError
from model.search.options import GenerationOptions


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        (GenerationOptions(num_beams=17), "num_beams: 17 is not an integer from 1 to 16"),
        (GenerationOptions(do_sample=True, num_captions=17), "num_captions: 17 is not an integer from 1 to"),
        (GenerationOptions(num_beams=5), "num_beams: 5 is more than 4, this server's limit"),
    ],
)
def test_defaults_beyond_the_bounds_are_refused(defaults: GenerationOptions, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Policy(defaults, limits={"num_beams": 4})


def test_an_operator_cannot_let_requests_ask_for_more_than_any_server_takes() -> None:
    policy = Policy(GenerationOptions(), limits={"num_beams": 99})
    with pytest.raises(OptionError, match="num_beams: 17 is not an integer from 1 to 16"):
        policy.options({"num_beams": 17})
