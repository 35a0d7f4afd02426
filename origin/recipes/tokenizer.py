"""The tokenizer: SentencePiece's BPE in Gemma's conventions, as tokenizer.json.

No space is put in front of a text, none is dropped; digits stand alone; what has no piece is spelled in bytes. The
library `tokenizers` then gives the ids that SentencePiece gives: only SentencePiece can train such a vocabulary, only
tokenizer.json is read everywhere.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from .whole import write_whole

FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
PAD, EOS, BOS, UNKNOWN = range(4)
START_OF_TURN, END_OF_TURN = "<start_of_turn>", "<end_of_turn>"
CONTROL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", START_OF_TURN, END_OF_TURN)
#: SentencePiece leaves longer lines out, so they are cut before; its own limit, 4192 bytes, would cut paragraphs.
LONGEST_LINE_BYTES = 2**16

CONFIG = {
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "add_bos_token": False,
    "add_eos_token": False,
    "clean_up_tokenization_spaces": False,
    "model_max_length": 1_000_000_000,
    "tokenizer_class": "GemmaTokenizer",
}


def train_tokenizer(texts: Iterable[str], size: int, model_file: Path) -> sentencepiece.SentencePieceProcessor:
    """Learns `size` pieces and writes SentencePiece's own file. Raises ValueError where the texts have not so many."""
    lines = _lines(texts)
    first = next(lines, None)
    if first is None:
        raise ValueError("There is no text to learn a tokenizer from.")
    with model_file.open("wb") as file:
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=chain([first], lines),
                model_writer=file,
                model_type="bpe",
                vocab_size=size,
                byte_fallback=True,
                split_digits=True,
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                normalization_rule_name="identity",
                character_coverage=1.0,
                max_sentence_length=LONGEST_LINE_BYTES,
                pad_id=PAD,
                eos_id=EOS,
                bos_id=BOS,
                unk_id=UNKNOWN,
                pad_piece="<pad>",
                eos_piece="<eos>",
                bos_piece="<bos>",
                user_defined_symbols=[START_OF_TURN, END_OF_TURN, "\n"],
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as cause:
            raise ValueError(f"No vocabulary of {size} pieces comes out of these texts. {cause}") from cause
    return sentencepiece.SentencePieceProcessor(model_file=str(model_file))


def _lines(texts: Iterable[str]) -> Iterator[str]:
    size = LONGEST_LINE_BYTES // 4  # bytes of a character at most
    for text in texts:
        for line in text.splitlines():
            yield from (line[at : at + size] for at in range(0, len(line), size))


def to_tokenizer_json(pieces: sentencepiece.SentencePieceProcessor) -> Tokenizer:
    """The same tokenizer for the library `tokenizers`, which wants merges: pairs of pieces that make a piece, best first."""
    vocabulary = {pieces.id_to_piece(i): i for i in range(pieces.get_piece_size())}
    learned = [
        (piece, i)
        for piece, i in vocabulary.items()
        if not (pieces.is_control(i) or pieces.is_unknown(i) or pieces.is_byte(i) or piece in (*CONTROL_TOKENS, "\n"))
    ]
    pairs = [(i, piece[:cut], piece[cut:]) for piece, i in learned for cut in range(1, len(piece))]
    possible = [(i, left, right) for i, left, right in pairs if left in vocabulary and right in vocabulary]
    possible.sort(key=lambda pair: (pair[0], vocabulary[pair[1]], vocabulary[pair[2]]))
    merges = [(left, right) for _, left, right in possible]

    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(each, normalized=False, special=True) for each in CONTROL_TOKENS])
    tokenizer.add_tokens([AddedToken("\n", normalized=False, special=False)])
    return tokenizer


def write_tokenizer(texts: Iterable[str], size: int, folder: Path) -> None:
    """Trains a tokenizer and writes its files into a folder; SentencePiece's tokenizer.model is one of them."""
    tokenizer = to_tokenizer_json(train_tokenizer(texts, size, folder / "tokenizer.model"))
    write_whole(folder / CONFIG_FILE, json.dumps(CONFIG, indent=2) + "\n")
    write_whole(folder / FILE, tokenizer.to_str(pretty=True))  # the last one: where it is, all are
