"""The figures of pocket's card, measured anew from the shipped weights and written between two markers of the card."""

import datetime
import hashlib
import tempfile
from pathlib import Path

from bench.machine import processor

from ..encoder import Encoder
from ..evaluate import Perplexity, perplexity
from ..hugging_face import ROOT, WEIGHTS_FILE, convert
from ..reply import Talker
from .dialogues import Dialogues
from .evaluate import COUNT, skills
from .probes import DISTANCES, FACTS
from .recall import Recall, measure_recall
from .server import Server

POCKET = ROOT / "models/pocket"
CARD = POCKET / "CARD.md"
BEGIN, END = "<!-- figures: python -m recipes card -->", "<!-- end of figures -->"
#: Dialogues are measured in rows of so many tokens, as the last of training were.
ROW_TOKENS = 768


def write_card() -> None:
    """Measures everything and replaces the figures of the card."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "data")
        try:
            recalled = measure_recall(server, COUNT)
        finally:
            server.stop()
        checkpoint = convert(POCKET, Path(folder) / "f32")
        encoder = Encoder(POCKET, user_weight=0.0)
        right = dict(skills(Talker(checkpoint, encoder), encoder))
        of_words = perplexity(checkpoint, encoder, Dialogues(), ROW_TOKENS)
    CARD.write_text(with_figures(CARD.read_text(), figures(recalled, right, of_words)))


def with_figures(card: str, text: str) -> str:
    """The card with other figures. Raises ValueError where it has no markers."""
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f'The card needs the lines "{BEGIN}" and "{END}".')
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def weights_hash() -> str:
    """The beginning of the SHA-256 of the shipped weights."""
    return hashlib.sha256((POCKET / WEIGHTS_FILE).read_bytes()).hexdigest()[:16]


def figures(recalled: Recall, right: dict[str, int], of_words: Perplexity) -> str:
    """The figures as Markdown."""
    count, asked = recalled.count, recalled.count * len(recalled.before)
    heads = [f"{least}–{most}" for least, most in DISTANCES]
    recall_rows = [
        [fact, *(f"{recalled.before[fact, each]} → {recalled.after[fact, each]}" for each in DISTANCES)]
        for fact in FACTS
    ]
    return "\n\n".join(
        [
            f"Measured on {datetime.date.today()} on {processor()} by `python -m recipes card`, of the weights whose SHA-256 "
            f"begins with {weights_hash()}. The dialogues are newly made from the templates of training; replies are greedy.",
            f"Right answers of {count} about a fact that was told so many tokens of other talk before, asked through HTTP of "
            "`workerd serve` with the shipped weights in int8: before → after `kill -9` and a new start between telling and "
            f"asking. Of {asked} states {recalled.restored} were restored after the kill, with no token of the history read "
            f"again, and {recalled.same} answers were the same to the letter.",
            _table(["fact", *heads], recall_rows),
            "With a window of 32 tokens, all of this but the shortest is carried by the recurrent state.",
            f"Perplexity on held-out dialogues, what the model has to say ({of_words.tokens:,} tokens), f32: "
            f"{of_words.all:.2f}; in the first 32 tokens of a dialogue {of_words.in_first_window:.2f}, behind them "
            f"{of_words.behind:.2f}.",
            f"Skills, f32: answers right to the letter, of {COUNT}. The questions come from the templates of training, so "
            "most of them were read there.",
            _table(["skill", "right"], [[skill, str(number)] for skill, number in right.items()]),
        ]
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
