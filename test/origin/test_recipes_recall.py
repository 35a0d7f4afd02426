"""Recipes: the evaluation that tells a real server facts and kills it."""

import pytest

from recipes.pocket.recall import measure_recall
from recipes.pocket.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("data"))
    yield server
    server.stop()


def test_pocket_remembers_before_and_after_its_server_is_killed(server):
    name, number = ("name", (130, 260)), ("number (two digits)", (300, 600))
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
