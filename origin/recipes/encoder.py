"""The encoder: documents to tokens as the edge writes them (src/model/chat-template.ts).

<bos>text<eos>
<bos><start_of_turn>user\\n{text}<end_of_turn>\\n<start_of_turn>model\\n{text}<end_of_turn>\\n…
"""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from .documents import Document, Encoded, Turn
from .tokenizer import CONTROL_TOKENS, END_OF_TURN, FILE, START_OF_TURN


class Encoder:
    """Makes tokens of documents, and texts of tokens."""

    def __init__(self, folder: Path, user_weight: float) -> None:
        """`user_weight` is what a token counts that the model never has to say."""
        described = json.loads((folder / FILE).read_text())
        self._whole = Tokenizer.from_str(json.dumps(described))
        control = {name: self._whole.token_to_id(name) for name in CONTROL_TOKENS}
        missing = [name for name, token in control.items() if token is None]
        if missing:
            raise ValueError(f"{folder / FILE} has no {', '.join(missing)}.")
        self.bos, self.eos, self.end_of_turn = control["<bos>"], control["<eos>"], control[END_OF_TURN]
        self._user_weight = user_weight
        # Where a text spells a control token, it is text.
        described["added_tokens"] = [
            each for each in described["added_tokens"] if not (each["special"] or each["content"] in CONTROL_TOKENS)
        ]
        self._texts = Tokenizer.from_str(json.dumps(described))
        self._newline = self.text("\n")
        self._opening = {role: [control[START_OF_TURN], *self.text(role), *self._newline] for role in ("user", "model")}

    @property
    def size(self) -> int:
        """So many tokens there are."""
        return self._whole.get_vocab_size()

    def text(self, text: str) -> list[int]:
        """The tokens of a text by itself."""
        return self._texts.encode(text, add_special_tokens=False).ids

    def spell(self, tokens: list[int]) -> str:
        """The text of tokens; control tokens have none."""
        return self._whole.decode(tokens, skip_special_tokens=True)

    def prompt(self, turns: tuple[Turn, ...], question: str) -> list[int]:
        """A chat up to where the model answers the question."""
        return [*self(turns).tokens, *self._user(question), *self._opening["model"]]

    def __call__(self, document: Document) -> Encoded:
        if isinstance(document, str):
            tokens = [self.bos, *self.text(document), self.eos]
            return _encoded(tokens, [0.0] + [1.0] * (len(tokens) - 1))
        tokens, weights = [self.bos], [0.0]
        for turn in document:
            asked = [*self._user(turn.user), *self._opening["model"]]
            said = [*self.text(turn.model), self.end_of_turn]
            tokens += [*asked, *said, *self._newline]
            weights += [self._user_weight] * len(asked) + [1.0] * len(said) + [self._user_weight] * len(self._newline)
        return _encoded(tokens, weights)

    def _user(self, text: str) -> list[int]:
        return [*self._opening["user"], *self.text(text), self.end_of_turn, *self._newline]


def _encoded(tokens: list[int], weights: list[float]) -> Encoded:
    return Encoded(np.array(tokens, np.int32), np.array(weights, np.float32))
