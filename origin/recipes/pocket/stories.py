"""Short stories: seven sentences about a hero whose name, friend and find stay the same throughout."""

from random import Random

from ..documents import Turn
from . import tables
from .words import capital, with_article

#: Stories after which something about them is asked.
ASKED_SHARE = 0.5


def story(random: Random) -> list[Turn]:
    """A story that the user asks for, and often a question about it."""
    hero, trait, place = (random.choice(each) for each in (tables.HEROES, tables.TRAITS, tables.PLACES))
    friend = random.choice([each for each in tables.HEROES if each != hero])
    thing, name = random.choice(tables.OBJECTS), random.choice(tables.NAMES)
    wish = random.choice(
        (
            f"Tell me a story about {with_article(hero)}.",
            f"Write a short story about {with_article(hero)} and {with_article(thing)}.",
            f"Can you tell me a story about {with_article(trait)} {hero}?",
            f"Tell me a story about {with_article(hero)} named {name}.",
        )
    )
    place_trait, thing_trait = random.choice(tables.PLACE_TRAITS), random.choice(tables.OBJECT_TRAITS)
    sentences = (
        (
            f"Once upon a time there was {with_article(trait)} {hero} named {name}.",
            f"Long ago, {with_article(trait)} {hero} named {name} lived near the {place}.",
        ),
        (f"{name} lived in {with_article(place_trait)} {place}.", f"Every morning {name} walked to the {place}."),
        (
            f"One day {name} found {with_article(thing_trait)} {thing}.",
            f"One day {name} lost {with_article(thing)} and looked for it everywhere.",
        ),
        (
            f'"What should I do with this {thing}?" said {name}.',
            f"{name} did not know what to do and sat down under a tree.",
        ),
        (
            f'Then {with_article(friend)} came by and asked, "Can I help you?"',
            f"Just then {with_article(friend)} appeared and smiled.",
        ),
        (
            f"Together they carried the {thing} to the {place}.",
            f"The {friend} told {name} the secret of the {thing}.",
            f"The {hero} and the {friend} searched until the sun went down.",
        ),
        (
            f"From that day on, the {hero} and the {friend} were best friends.",
            f"{name} was never lonely again.",
            f"And that is how {name} learned to share.",
            f"That night {name} slept well and dreamed of the {thing}.",
        ),
    )
    turns = [Turn(wish, " ".join(random.choice(each) for each in sentences))]
    if random.random() < ASKED_SHARE:
        questions = (
            Turn(f"What was the name of the {hero}?", f"The {hero} was named {name}."),
            Turn(f"Who helped {name}?", f"{capital(with_article(friend))} helped {name}."),
            Turn(
                "What was in the story?",
                f"The story was about {with_article(hero)} named {name} and {with_article(thing)}.",
            ),
            Turn("Where did it happen?", f"It happened in the {place}."),
        )
        turns.append(random.choice(questions))
    return turns
