"""Load an extracted archive the way a TorchServe worker does, and caption a picture.

Runs as a program in a clean process (`python -I verify.py FOLDER`): what is not in the
archive or in the environment's packages cannot be imported.
"""

import importlib
import io
import json
import sys
from pathlib import Path

import yaml
from PIL import Image
from ts.context import Context, RequestProcessor
from ts.utils.util import list_classes_from_module


def caption_with(folder: Path) -> str:
    """Return the caption of a generated picture; raises whatever goes wrong on the way."""
    sys.path.insert(0, str(folder))
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    entry = manifest["model"]
    module = importlib.import_module(Path(entry["handler"]).stem)
    (handler_class,) = list_classes_from_module(module)
    context = Context(
        model_name=entry["modelName"],
        model_dir=str(folder),
        manifest=manifest,
        batch_size=1,
        gpu=None,
        mms_version=manifest["archiverVersion"],
        model_yaml_config=yaml.safe_load((folder / entry["configFile"]).read_text()),
    )
    handler = handler_class()
    handler.initialize(context)
    context.request_processor = [RequestProcessor({})]
    (body,) = handler.handle([{"body": picture()}], context)
    reply = json.loads(body)
    if "error" in reply:
        raise RuntimeError(reply["error"]["message"])
    caption = reply["caption"]
    if not isinstance(caption, str):
        raise TypeError(f"the caption is {type(caption).__name__}, not a string")
    return caption


def picture() -> bytearray:
    """Return a PNG of a gradient, 96 × 64 pixels, the way TorchServe hands over a body."""
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((96, 64)).convert("RGB").save(stream, "PNG")
    return bytearray(stream.getvalue())


if __name__ == "__main__":
    caption_with(Path(sys.argv[1]))
