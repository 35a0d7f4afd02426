"""Recall and skills of a checkpoint in this process, with scripted talk between telling and asking."""

from collections.abc import Iterator
from itertools import islice

from ..encoder import Encoder
from ..reply import Talker
from .probes import DISTANCES, FACTS, SKILLS, probes, scripted, skill_questions

#: Probes of each fact and distance, questions of each skill.
COUNT = 25


def recall(talker: Talker, encoder: Encoder) -> Iterator[tuple[str, tuple[int, int], int]]:
    """Yields fact, distance in tokens, and right answers of COUNT."""
    for fact, kind in FACTS.items():
        for distance in DISTANCES:
            asked = list(islice(probes(kind, distance), COUNT))
            prompts = [encoder.prompt(scripted(probe, distance, encoder), probe.question) for probe in asked]
            answers = talker.replies(prompts)
            yield fact, distance, sum(probe.is_right(answer) for probe, answer in zip(asked, answers, strict=True))


def skills(talker: Talker, encoder: Encoder) -> Iterator[tuple[str, int]]:
    """Yields skill and answers of COUNT that are right to the letter."""
    for name, skill in SKILLS.items():
        asked = skill_questions(skill, COUNT)
        answers = talker.replies([encoder.prompt((), question) for question, _ in asked])
        yield name, sum(answer == right for answer, (_, right) in zip(answers, asked, strict=True))
