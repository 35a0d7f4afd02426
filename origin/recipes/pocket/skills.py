"""Skills: questions that need no memory. Each is a function from a random.Random to one turn."""

from collections.abc import Callable
from random import Random

from ..documents import Turn
from . import tables
from .words import capital, with_article

Skill = Callable[[Random], Turn]


def greeting(random: Random) -> Turn:
    return Turn(*random.choice(tables.GREETINGS))


def remark(random: Random) -> Turn:
    return Turn(*random.choice(tables.REMARKS))


def addition(random: Random) -> Turn:
    x, y = random.randint(0, 20), random.randint(0, 20)
    return Turn(
        random.choice((f"What is {x} plus {y}?", f"{x} + {y} = ?", f"Add {x} and {y}.")), f"{x} plus {y} is {x + y}."
    )


def subtraction(random: Random) -> Turn:
    y, x = sorted((random.randint(0, 20), random.randint(0, 20)))
    return Turn(random.choice((f"What is {x} minus {y}?", f"{x} - {y} = ?")), f"{x} minus {y} is {x - y}.")


def multiplication(random: Random) -> Turn:
    x, y = random.randint(1, 10), random.randint(1, 10)
    return Turn(random.choice((f"What is {x} times {y}?", f"{x} * {y} = ?")), f"{x} times {y} is {x * y}.")


def capital_city(random: Random) -> Turn:
    country, city = random.choice(tuple(tables.CAPITALS.items()))
    questions = (
        f"What is the capital of {country}?",
        f"Name the capital of {country}.",
        f"Which city is the capital of {country}?",
    )
    return Turn(random.choice(questions), f"The capital of {country} is {city}.")


def opposite(random: Random) -> Turn:
    word, other = random.sample(random.choice(tables.OPPOSITES), 2)
    return Turn(
        random.choice((f"What is the opposite of {word}?", f"Name the opposite of {word}.")),
        f"The opposite of {word} is {other}.",
    )


def plural(random: Random) -> Turn:
    one, many = random.choice(tuple(tables.PLURALS.items()))
    return Turn(f"What is the plural of {one}?", f"The plural of {one} is {many}.")


def sound(random: Random) -> Turn:
    animal, says = random.choice(tuple(tables.SOUNDS.items()))
    animal = with_article(animal)
    return Turn(
        random.choice((f"What does {animal} say?", f"Which sound does {animal} make?")),
        f"{capital(animal)} says {says}.",
    )


def counting(random: Random) -> Turn:
    first = random.randint(1, 30)
    last = first + random.randint(2, 9)
    return Turn(
        random.choice((f"Count from {first} to {last}.", f"Please count from {first} to {last}.")),
        _listed(range(first, last + 1)),
    )


def counting_down(random: Random) -> Turn:
    last = random.randint(1, 30)
    first = last + random.randint(2, 9)
    return Turn(f"Count down from {first} to {last}.", _listed(range(first, last - 1, -1)))


def spelling(random: Random) -> Turn:
    word = random.choice(tables.WORDS)
    return Turn(random.choice((f"Spell {word}.", f"How do you spell {word}?")), f"{'-'.join(word.upper())}.")


def letters(random: Random) -> Turn:
    word = random.choice(tables.WORDS)
    return Turn(f"How many letters are in {word}?", f"The word {word} has {len(word)} letters.")


def repeating(random: Random) -> Turn:
    words = " ".join(random.sample(tables.WORDS, random.randint(2, 6)))
    return Turn(random.choice((f"Repeat after me: {words}", f"Say this again: {words}", f"Repeat: {words}")), words)


def naming(random: Random) -> Turn:
    what = random.choice((*tables.LISTS, *tables.ORDERED_LISTS))
    count = random.randint(2, 5)
    if what in tables.ORDERED_LISTS:
        items = tables.ORDERED_LISTS[what][:count]
    else:
        items = tuple(random.sample(tables.LISTS[what], count))
    return Turn(
        random.choice((f"Name {count} {what}.", f"List {count} {what}.", f"Give me {count} {what}.")), _listed(items)
    )


def calendar(random: Random) -> Turn:
    what, names = random.choice((("day", tables.DAYS), ("month", tables.MONTHS)))
    index = random.randrange(len(names))
    relation, step = random.choice((("after", 1), ("before", -1)))
    other = names[(index + step) % len(names)]
    return Turn(f"Which {what} comes {relation} {names[index]}?", f"{other} comes {relation} {names[index]}.")


def larger(random: Random) -> Turn:
    x, y = random.sample(range(1, 100), 2)
    return Turn(
        random.choice((f"Which is larger, {x} or {y}?", f"Which number is larger, {x} or {y}?")),
        f"{max(x, y)} is larger than {min(x, y)}.",
    )


#: How often each is asked, in percent.
SHARES: dict[Skill, float] = {
    greeting: 10,
    remark: 5,
    addition: 6,
    subtraction: 3.6,
    multiplication: 2.4,
    capital_city: 10,
    opposite: 8,
    plural: 5,
    sound: 4,
    counting: 5.6,
    counting_down: 2.4,
    spelling: 4.2,
    letters: 2.8,
    repeating: 8,
    naming: 7,
    calendar: 6,
    larger: 10,
}
#: Those with one right answer.
EXACT: tuple[Skill, ...] = tuple(each for each in SHARES if each is not naming)


def any_skill(random: Random) -> Turn:
    """One of the skills."""
    (skill,) = random.choices(tuple(SHARES), tuple(SHARES.values()))
    return skill(random)


def _listed(items: range | tuple[str, ...]) -> str:
    return f"{', '.join(str(item) for item in items)}."
