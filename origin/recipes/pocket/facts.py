"""Facts that a user tells of himself, and asks about later: what the model has to remember."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from ..documents import Turn
from . import tables
from .words import capital, with_article

UNTOLD = "You have not told me yet."


@dataclass(frozen=True)
class Fact:
    """A fact's words for the templates of its kind, and the one that an answer must have."""

    words: Mapping[str, str]
    key: str


@dataclass(frozen=True)
class Kind:
    """What can be said about one kind of facts. {v} is the fact, {V} the same as a sentence begins, {av} with an article;
    of a pet {p} is what it is, {ap} that with an article, {n} its name.
    """

    facts: tuple[Fact, ...]
    tell: tuple[str, ...]
    acknowledge: tuple[str, ...]
    ask: tuple[str, ...]
    answer: tuple[str, ...]
    summary: str


def _plain(values: tuple[str, ...]) -> tuple[Fact, ...]:
    return tuple(Fact({"v": value, "V": capital(value), "av": with_article(value)}, value) for value in values)


def _pets() -> tuple[Fact, ...]:
    pairs = ((pet, name) for pet in tables.PETS for name in tables.PET_NAMES)
    return tuple(Fact({"p": pet, "ap": with_article(pet), "n": name}, name) for pet, name in pairs)


KINDS: Mapping[str, Kind] = {
    "name": Kind(
        facts=_plain(tables.NAMES),
        tell=(
            "My name is {v}.", "I am {v}.", "Hi, I'm {v}.", "Hello! My name is {v}.", "You can call me {v}.",
            "People call me {v}.",
        ),
        acknowledge=("Nice to meet you, {v}!", "Hello, {v}!", "Hi {v}, it is good to meet you.", "Welcome, {v}!"),
        ask=(
            "What is my name?", "Do you remember my name?", "Who am I?", "Can you tell me my name?", "What's my name?",
        ),
        answer=("Your name is {v}.", "You are {v}.", "Your name is {v}."),
        summary="your name is {v}",
    ),
    "color": Kind(
        facts=_plain(tables.COLORS),
        tell=("My favourite colour is {v}.", "I love the colour {v}.", "I like {v} more than any other colour."),
        acknowledge=(
            "{V} is a lovely colour.", "I will remember that you like {v}.", "Good choice! {V} is beautiful.",
        ),
        ask=("What is my favourite colour?", "Which colour do I like?", "Do you remember my favourite colour?"),
        answer=("Your favourite colour is {v}.", "You like {v}."),
        summary="your favourite colour is {v}",
    ),
    "food": Kind(
        facts=_plain(tables.FOODS),
        tell=("My favourite food is {v}.", "I love to eat {v}.", "I eat {v} every day."),
        acknowledge=("{V}! That sounds tasty.", "I will remember that you like {v}.", "Yum, {v}."),
        ask=("What is my favourite food?", "What do I like to eat?", "Which food do I like?"),
        answer=("You like to eat {v}.", "Your favourite food is {v}."),
        summary="you like to eat {v}",
    ),
    "sport": Kind(
        facts=_plain(tables.SPORTS),
        tell=("I enjoy {v}.", "My hobby is {v}.", "In my free time I do {v}."),
        acknowledge=(
            "{V} is great fun.", "How nice! {V} keeps you busy.", "I will remember that your hobby is {v}.",
        ),
        ask=("What is my hobby?", "What do I do in my free time?", "Which hobby do I have?"),
        answer=("Your hobby is {v}.", "In your free time you do {v}."),
        summary="your hobby is {v}",
    ),
    "city": Kind(
        facts=_plain(tables.CITIES),
        tell=("I live in {v}.", "My home is in {v}.", "I come from {v}."),
        acknowledge=(
            "{V} is a wonderful city.", "I hear that {v} is nice.", "I will remember that you live in {v}.",
        ),
        ask=("Where do I live?", "Which city do I live in?", "Where is my home?"),
        answer=("You live in {v}.", "Your home is in {v}."),
        summary="you live in {v}",
    ),
    "job": Kind(
        facts=_plain(tables.JOBS),
        tell=("I work as {av}.", "I am {av}.", "My job is being {av}."),
        acknowledge=(
            "Being {av} must be interesting.", "I will remember that you are {av}.", "That is a fine job.",
        ),
        ask=("What is my job?", "What do I do for work?", "Which job do I have?"),
        answer=("You are {av}.", "You work as {av}."),
        summary="you are {av}",
    ),
    "number": Kind(
        facts=_plain(tables.NUMBERS),
        tell=("My lucky number is {v}.", "Please remember the number {v}.", "The secret number is {v}."),
        acknowledge=("I will remember the number {v}.", "Got it: {v}.", "{v} it is."),
        ask=("What is my number?", "Which number did I give you?", "What number should you remember?"),
        answer=("Your number is {v}.", "The number is {v}."),
        summary="your number is {v}",
    ),
    "pet": Kind(
        facts=_pets(),
        tell=("I have {ap} called {n}.", "My {p} is called {n}.", "My {p}'s name is {n}."),
        acknowledge=("{n} is a good name for {ap}.", "I would love to meet {n}.", "Say hello to {n} for me!"),
        ask=(
            "What is my {p} called?", "What is the name of my {p}?", "Do you remember the name of my {p}?",
            "Which pet do I have?",
        ),
        answer=("Your {p} is called {n}.", "You have {ap} called {n}."),
        summary="you have {ap} called {n}",
    ),
}  # fmt: skip

#: What a user has told so far, by kind.
Known = dict[str, Fact]


def any_fact(random: Random, kind: str) -> Fact:
    """One of the facts of a kind."""
    return random.choice(KINDS[kind].facts)


def telling(random: Random, kind: str, fact: Fact, known: Known) -> Turn:
    """The user tells a fact; where another one was told before, as a correction."""
    told = random.choice(KINDS[kind].tell).format(**fact.words)
    if kind in known:
        told = "Actually, " + (told if told.startswith("I") else told[0].lower() + told[1:])
    return Turn(told, random.choice(KINDS[kind].acknowledge).format(**fact.words))


def asking(random: Random, kind: str, known: Known) -> Turn:
    """The user asks about a fact that he told."""
    words = known[kind].words
    return Turn(random.choice(KINDS[kind].ask).format(**words), random.choice(KINDS[kind].answer).format(**words))


def asking_untold(random: Random, known: Known) -> Turn | None:
    """The user asks about a fact that he did not tell; None where he told all of them. A pet would have to be named."""
    kinds = [kind for kind in KINDS if kind not in known and kind != "pet"]
    return Turn(random.choice(KINDS[random.choice(kinds)].ask), UNTOLD) if kinds else None


def asking_all(random: Random, known: Known) -> Turn:
    """The user asks about everything that he told."""
    question = random.choice(("What do you know about me?", "Tell me what you know about me.", "What have I told you?"))
    parts = [KINDS[kind].summary.format(**fact.words) for kind, fact in known.items()]
    if not parts:
        return Turn(question, "You have not told me anything about you yet.")
    *before, last = parts
    return Turn(question, f"I know that {', '.join(before)} and {last}." if before else f"I know that {last}.")
