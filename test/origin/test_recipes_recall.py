"""Recipes: the evaluation that tells a real server facts and kills it."""

from itertools import islice

import pytest

from recipes.documents import Turn
from recipes.encoder import Encoder
from recipes.hugging_face import convert
from recipes.pocket.card import POCKET
from recipes.pocket.evaluate import COUNT, recall, skills
from recipes.pocket.probes import DISTANCES, FACTS, SKILLS, probes
from recipes.pocket.recall import measure_recall
from recipes.pocket.server import Server
from recipes.reply import CHUNK, Talker


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("data"))
    yield server
    server.stop()


def test_pocket_remembers_before_and_after_its_server_is_killed(server):
    name, number = ("name", (130, 260)), ("number (one or two digits)", (300, 600))
    recalled = measure_recall(server, 2, [name, number])
    assert recalled.before[name] == recalled.after[name] == 2
    assert recalled.before[number] == recalled.after[number]
    assert recalled.same == recalled.restored == 4


def test_a_killed_server_is_another_process_that_restores_states(server):
    told = server.respond("My name is Ada.", None)
    assert (told.state, told.restored_tokens) == ("cold", 0)
    pid = server.pid
    server.kill_and_restart()
    assert server.pid != pid
    asked = server.respond("What is my name?", told.id)
    assert asked.text == "Your name is Ada."
    assert (asked.state, asked.restored_tokens) == ("restored", told.tokens)
    assert server.respond("What is my name?", None).state == "cold"


def test_recall_counts_the_answers_that_have_the_fact():
    class Knowing:
        """Answers the first three questions of every fact and distance rightly, and all others with nothing."""

        def __init__(self) -> None:
            self.asked = [
                [probe.key for probe in islice(probes(kind, distance), COUNT)]
                for kind in FACTS.values()
                for distance in DISTANCES
            ]

        def replies(self, prompts) -> list[str]:
            assert len(prompts) == COUNT
            keys = self.asked.pop(0)
            return [f"It is {key}." if i < 3 else f"It is {key}x." for i, key in enumerate(keys)]

    encoder = Encoder(POCKET, user_weight=0.0)
    found = list(recall(Knowing(), encoder))
    assert found == [(fact, distance, 3) for fact in FACTS for distance in DISTANCES]


def test_replies_in_this_process_are_those_of_the_chat_whatever_stands_beside_them(tmp_path):
    encoder = Encoder(POCKET, user_weight=0.0)
    talker = Talker(convert(POCKET, tmp_path / "f32"), encoder)
    long = (Turn("My name is Ada.", "Hello, Ada!"), *[Turn("What is 2 plus 2?", "4.")] * 8)
    prompts = [encoder.prompt((), "What is the capital of France?"), encoder.prompt(long, "What is my name?")]
    assert len(prompts[0]) < CHUNK < len(prompts[1])
    replies = talker.replies(prompts)
    assert "Paris" in replies[0]
    assert replies[1] == "Your name is Ada."
    assert talker.replies(prompts[::-1]) == replies[::-1]
    assert next(skills(talker, encoder)) == (next(iter(SKILLS)), COUNT)
