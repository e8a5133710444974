"""What `import model` offers: its names stay, and every error that the engine raises is among them."""

import inspect
import subprocess
import sys

import model
from model import errors


def test_the_names_are_these() -> None:
    assert model.__all__ == sorted(model.__all__)
    assert set(model.__all__) == {
        *("Caption", "Captioner", "Explainer", "Explanation", "GenerationOptions", "Token"),
        *(name for name, _ in inspect.getmembers(errors, inspect.isclass)),
    }


def test_each_is_documented() -> None:
    for name in model.__all__:
        assert inspect.getdoc(getattr(model, name)), name


def test_the_engine_imports_no_server() -> None:
    code = "import sys, model; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not set(loaded.split()) & {"ts", "handler", "archive", "serving", "training", "captum"}
