"""Probes of memory and of skills: what is asked, and whether the answer is right. All of them are seeded by themselves,
apart from what training read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from ..documents import Encode, Turn
from . import skills
from .facts import KINDS, any_fact, telling
from .skills import Skill, any_skill
from .stories import story

#: Facts that are told, as the card calls them, and their kinds.
FACTS = {
    "name": "name",
    "city": "city",
    "favourite colour": "color",
    "pet's name": "pet",
    "number (one or two digits)": "number",
}
#: Tokens of other talk between telling and asking: at least and at most.
DISTANCES = ((0, 60), (130, 260), (300, 600))
#: So many of the questions for a fact are used; the last ones of some may be answered without it.
QUESTIONS = 2


@dataclass(frozen=True)
class Probe:
    """A fact that is told, asked for later, and must be in the answer."""

    told: Turn
    question: str
    key: str
    #: Talk goes on between telling and asking until it has so many tokens.
    talk_tokens: int
    #: Decides the talk.
    random: Random

    def is_right(self, answer: str) -> bool:
        """Whether the answer has the fact, as a word of its own."""
        return re.search(rf"\b{re.escape(self.key)}\b", answer) is not None


def probes(kind: str, distance: tuple[int, int]) -> Iterator[Probe]:
    """Endless probes for one kind of facts."""
    number = 0
    while True:
        random = Random(f"probe/{kind}/{distance}/{number}")
        fact = any_fact(random, kind)
        question = random.choice(KINDS[kind].ask[:QUESTIONS]).format(**fact.words)
        least, most = distance
        tokens = random.randint(least, (least + most) // 2)
        yield Probe(telling(random, kind, fact, {}), question, fact.key, tokens, random)
        number += 1


def talk(random: Random) -> list[Turn]:
    """Other talk, with a story in a third of it."""
    return story(random) if random.random() < 1 / 3 else [any_skill(random)]


def scripted(probe: Probe, distance: tuple[int, int], encode: Encode) -> tuple[Turn, ...]:
    """The turns of a probe up to its question, as the templates say them, with so many tokens between."""
    _, most = distance
    empty = len(encode(()).tokens)
    while True:
        between: list[Turn] = []
        while (count := len(encode(tuple(between)).tokens) - empty) < probe.talk_tokens:
            between += talk(probe.random)
        if count <= most:
            return (probe.told, *between)


def skill_questions(skill: Skill, count: int) -> list[Turn]:
    """Questions for one skill with their only right answers."""
    return [skill(Random(f"probe/{skill.__name__}/{number}")) for number in range(count)]


#: Skills with one right answer by the names that the card gives them.
SKILLS = {skill.__name__.replace("_", " "): skill for skill in skills.EXACT}
