"""Whole dialogues: everyday ones, and those in which facts must be carried over a long stretch of other talk."""

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random

from ..documents import Encode, Encoded, Turn
from .facts import KINDS, Known, any_fact, asking, asking_all, asking_untold, telling
from .skills import any_skill
from .stories import story

Dialogue = tuple[Turn, ...]

#: The share of dialogues that are about remembering.
RECALL_SHARE = 0.65
MOST_TURNS = 18
#: So many dialogues tell a Source from another one: there is hardly a word that they do not have.
FINGERPRINTED = 2_000
#: Turns of other talk between telling and asking.
TURNS_BETWEEN = (0, 1, 1, 2, 3, 4, 6, 9)
#: In an everyday dialogue, what becomes of a turn: a fact is told, one is asked for, one that was not told, a story; else
#: a skill is tried.
TELLS, ASKS, ASKS_UNTOLD, STORY = 0.30, 0.66, 0.69, 0.75


def other_talk(random: Random) -> list[Turn]:
    """Something that has nothing to do with the facts."""
    return story(random) if random.random() < 0.12 else [any_skill(random)]


def recall_dialogue(random: Random) -> Dialogue:
    """Facts, then other talk, then questions about the facts; up to three times."""
    turns: list[Turn] = []
    known: Known = {}
    for _ in range(random.randint(1, 3)):
        for kind in random.sample(tuple(KINDS), random.randint(1, 3)):
            fact = any_fact(random, kind)
            turns.append(telling(random, kind, fact, known))
            known[kind] = fact
        for _ in range(random.choice(TURNS_BETWEEN)):
            turns += other_talk(random)
        for kind in random.sample(tuple(known), min(len(known), random.randint(1, 4))):
            turns.append(asking(random, kind, known))
        if random.random() < 0.15:
            turns.append(asking_all(random, known))
    return tuple(turns)


def everyday_dialogue(random: Random) -> Dialogue:
    """Skills and stories, and mostly facts that are told, corrected and asked about among them."""
    turns: list[Turn] = []
    known: Known = {}
    count = random.randint(1, MOST_TURNS)
    has_facts = random.random() < 0.85
    while len(turns) < count:
        turns += _everyday_turns(random, known, random.random() if has_facts else random.uniform(ASKS_UNTOLD, 1))
    return tuple(turns)


def _everyday_turns(random: Random, known: Known, choice: float) -> list[Turn]:
    if choice < TELLS:
        return [_telling(random, known)]
    if choice < ASKS and known:
        return [
            asking_all(random, known) if random.random() < 0.12 else asking(random, random.choice(tuple(known)), known)
        ]
    if choice < ASKS_UNTOLD and (turn := asking_untold(random, known)):
        return [turn]
    return story(random) if choice < STORY else [any_skill(random)]


def _telling(random: Random, known: Known) -> Turn:
    """One fact, and sometimes another one in the same breath."""
    kind = random.choice(tuple(KINDS))
    fact = any_fact(random, kind)
    turn = telling(random, kind, fact, known)
    known[kind] = fact
    if random.random() < 0.25 and kind != "job":
        second = random.choice([each for each in KINDS if each not in (kind, "job")])
        fact = any_fact(random, second)
        turn = Turn(f"{turn.user} {random.choice(KINDS[second].tell).format(**fact.words)}", turn.model)
        known[second] = fact
    return turn


def dialogue(random: Random) -> Dialogue:
    """What pocket is trained on."""
    return recall_dialogue(random) if random.random() < RECALL_SHARE else everyday_dialogue(random)


class Dialogues:
    """The Source of pocket: dialogue n is made of the seed and n alone."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        first = list(islice(self._all("training", dialogue), FINGERPRINTED))
        self.fingerprint = hashlib.sha256(repr(first).encode()).hexdigest()

    def sample(self) -> Iterator[Dialogue]:
        return self._all("tokenizer", everyday_dialogue)

    def training(self, encode: Encode, row_tokens: int) -> Callable[[int], Encoded]:
        return lambda number: encode(dialogue(self._random("training", number)))

    def held_out(self, encode: Encode, row_tokens: int) -> Iterator[Encoded]:
        return (encode(each) for each in self._all("held out", dialogue))

    def _all(self, purpose: str, make: Callable[[Random], Dialogue]) -> Iterator[Dialogue]:
        number = 0
        while True:
            yield make(self._random(purpose, number))
            number += 1

    def _random(self, purpose: str, number: int) -> Random:
        return Random(f"{self._seed}/{purpose}/{number}")
