"""`python -m recipes`, from the folder origin/: trains and evaluates Griffins. README.md tells how."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from safetensors import SafetensorError

from griffin_origin.errors import GriffinError

from .documents import Source
from .encoder import Encoder
from .evaluate import perplexity
from .files import Files
from .hugging_face import convert
from .pocket import evaluate as pocket
from .pocket.card import CARD, write_card
from .pocket.dialogues import Dialogues
from .recipe import read_recipe
from .reply import Talker
from .train import RUN_FILE, train

HERE = Path(__file__).parent
POCKET = "pocket"
ROW_TOKENS = 384


def main() -> None:
    parser = argparse.ArgumentParser(prog="recipes", description=__doc__)
    commands = parser.add_subparsers(required=True)

    training = commands.add_parser("train", help="train a model; goes on where the same command was interrupted")
    training.add_argument("out", type=Path, help="folder for the model, in Hugging Face's layout")
    _add_data(training)
    sizes = training.add_mutually_exclusive_group()
    sizes.add_argument("--recipe", type=Path, default=HERE / "pocket/recipe.json", help="sizes and schedule")
    sizes.add_argument("--tiny", action="store_true", help="a model that learns next to nothing, in a minute")
    training.add_argument("--start", type=Path, help="go on from this Hugging Face folder's weights and tokenizer")
    training.add_argument("--until", type=int, help="stop when so many steps are done; a later run goes on")
    training.set_defaults(run=_train)

    evaluation = commands.add_parser(
        "evaluate", help="perplexity on held-out documents; recall and skills with pocket's"
    )
    evaluation.add_argument("folder", type=Path, help="a model in Hugging Face's layout")
    _add_data(evaluation)
    evaluation.add_argument(
        "--row-tokens", type=int, help="longest stretch that is measured; as in training unless told, or 384"
    )
    evaluation.set_defaults(run=_evaluate)

    card = commands.add_parser("card", help=f"measure the shipped model and write the figures of {CARD.name}")
    card.set_defaults(run=lambda given: write_card())

    given = parser.parse_args()
    try:
        given.run(given)
    except KeyboardInterrupt:
        sys.exit("\nrecipes: interrupted; what is there of a run stays, and the same command goes on with it.")
    except (GriffinError, OSError, RuntimeError, SafetensorError, ValueError) as error:
        sys.exit(f"recipes: {error}")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", nargs="+", required=True, help=f".txt, .md or .jsonl files; or {POCKET}, the dialogues made here"
    )


def _source(data: list[str]) -> Source:
    return Dialogues() if data == [POCKET] else Files([Path(each) for each in data])


def _train(given: argparse.Namespace) -> None:
    recipe = read_recipe(HERE / "tiny.json" if given.tiny else given.recipe)
    train(_source(given.data), recipe, given.out, start=given.start, until=given.until)


def _evaluate(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = convert(given.folder, Path(folder))
        encoder = Encoder(given.folder, user_weight=0.0)
        measured = perplexity(checkpoint, encoder, _source(given.data), _row_tokens(given.folder, given.row_tokens))
        print(f"perplexity of what the model has to say ({measured.tokens} tokens): {measured.all:.2f}")
        print(f"  in the first window of a document: {measured.in_first_window:.2f}; behind it: {measured.behind:.2f}")
        if given.data == [POCKET]:
            talker = Talker(checkpoint, encoder)
            for fact, (least, most), right in pocket.recall(talker, encoder):
                print(f"recall of {fact} after {least} to {most} tokens: {right} of {pocket.COUNT}")
            for skill, right in pocket.skills(talker, encoder):
                print(f"{skill}: {right} of {pocket.COUNT}")


def _row_tokens(folder: Path, given: int | None) -> int:
    """Those of training, where that is known: what was held out was held out in pieces of this length. Raises ValueError
    where others are given.
    """
    run = folder / "run" / RUN_FILE
    if not run.exists():
        return given or ROW_TOKENS
    trained = json.loads(run.read_text())["recipe"]["row_tokens"]
    if given not in (None, trained):
        raise ValueError(
            f"{folder} was trained in rows of {trained} tokens: of others, it may have read what is measured."
        )
    return trained


if __name__ == "__main__":
    main()
