"""Under Ray Serve: two replicas, conversations that stay with theirs, and the loss of one in the middle of a turn."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from client import Answer, Client, body, frames, take
from conftest import ROOT, free_port, is_up, small_checkpoint, wait_until
from ray.serve.schema import ServeDeploySchema

from griffin_origin.options import MOST_TOP
from griffin_origin.protocol import tokens_frame
from griffin_origin.serve import ROUTER, GriffinOrigin, replica_settings
from griffin_origin.settings import MOST_DISPATCH_TOKENS, Settings

PROMPT = [2, 4, 300, 17]
SAMPLING = {"seed": "5", "temperature": 0.8}


def processes() -> dict[int, tuple[int, str]]:
    """Pid → parent and command line of every process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(folder.name)] = parent, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
    return found


def below(ancestor: int) -> list[tuple[int, str]]:
    """Pids and command lines of all processes that `ancestor` started, directly or not."""
    everyone = processes()

    def descends(pid: int) -> bool:
        while pid in everyone and pid != ancestor:
            pid = everyone[pid][0]
        return pid == ancestor

    return [(pid, line) for pid, (_, line) in everyone.items() if pid != ancestor and descends(pid)]


def replicas(ray: subprocess.Popen) -> list[int]:
    return [pid for pid, line in below(ray.pid) if line.startswith("ray::ServeReplica") and "GriffinOrigin" in line]


@pytest.fixture(scope="module")
def ray(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    port = free_port()
    config = folder / "two.yaml"
    config.write_text(f"""
http_options: {{host: 127.0.0.1, port: {port}}}
applications:
  - name: griffin
    import_path: griffin_origin.serve:app
    deployments:
      - name: GriffinOrigin
        num_replicas: 2
        ray_actor_options: {{num_cpus: 0.5}}
""")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "origin"), "GRIFFIN_CHECKPOINT": str(small_checkpoint()), "GRIFFIN_ORIGIN_KEY": "k",
        "GRIFFIN_SLOTS": "4", "GRIFFIN_CHUNK_TOKENS": "16", "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder),
    }  # fmt: skip
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-m", "ray.serve.scripts", "run", str(config)]
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        try:
            # Both replicas: with the second one some conversations get another place.
            wait_until(lambda: process.poll() is not None or (": 2 replicas" in log_of(folder) and is_up(port)), 180)
            assert process.poll() is None, log_of(folder)[-4000:]
            yield process, f"http://127.0.0.1:{port}"
        finally:
            started = below(process.pid)
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
            for pid, line in started:  # what outlived it
                if processes().get(pid, (0, ""))[1] == line:
                    os.kill(pid, signal.SIGKILL)


def log_of(folder: Path) -> str:
    return (folder / "log").read_text()


def connect(url: str, session: str) -> Client:
    return Client(url, **{"authorization": "Bearer k", "x-session-id": session})


def test_a_conversation_finds_its_replica_again(ray):
    for session in ("ada", "bob", "eve"):
        client = connect(ray[1], session)
        answer = client.generate(PROMPT, client.options(2, keep=session))
        for _ in range(6):
            warm = {"key": session, "position": answer.state[0], "fingerprint": answer.metadata["fingerprint"]}
            answer = client.generate([7], client.options(2, warm=warm, keep=session))
            assert int(answer.metadata["computed_tokens"]) <= 3


def test_a_cancel_reaches_the_replica_of_its_turn(ray):
    for session in ("ada", "bob", "eve"):
        client = connect(ray[1], session)
        sent = body(client.model, PROMPT, client.options(50_000, stop_tokens=[], id=f"turn_{session}"))
        answer = Answer()
        with client.http.stream("POST", "/v1/generate", content=sent) as response:
            rest = frames(response.iter_raw())
            take(answer, *next(rest))
            assert client.http.delete(f"/v1/generate/turn_{session}").status_code == 204
            for kind, payload in rest:
                take(answer, kind, payload)
        assert answer.metadata["finish_reason"] == "cancelled"
        assert answer.state[0] == len(PROMPT) + len(answer.tokens)


def test_a_client_that_goes_frees_its_slot(ray):
    client = connect(ray[1], "gone")
    for _ in range(9):  # more than there are slots
        sent = body(client.model, PROMPT, client.options(60_000, stop_tokens=[]))
        with client.http.stream("POST", "/v1/generate", content=sent) as response:
            take(Answer(), *next(frames(response.iter_raw())))
    assert len(client.generate(PROMPT, client.options(3, stop_tokens=[])).tokens) == 3


def busiest(pids: list[int]) -> int:
    """The process that is first to work for half a second more."""

    def worked(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])

    before, half = {pid: worked(pid) for pid in pids}, os.sysconf("SC_CLK_TCK") // 2
    wait_until(lambda: any(worked(pid) - before[pid] > half for pid in pids))
    return max(pids, key=lambda pid: worked(pid) - before[pid])


@pytest.mark.parametrize("lost_number", [1, 2])
def test_the_loss_of_replicas_in_mid_turn_loses_nothing(ray, lost_number):
    process, url = ray
    client = connect(url, "ada")
    before = client.prefill(PROMPT).state
    options = client.options(100, SAMPLING, stop_tokens=[])
    whole = client.generate([7, 8], options, state=before)

    sent = body(client.model, [7, 8], client.options(60_000, SAMPLING, stop_tokens=[]), before)
    broken = Answer()
    both = replicas(process)
    assert len(both) == 2
    with client.http.stream("POST", "/v1/generate", content=sent) as response:
        rest = frames(response.iter_raw())
        while len(broken.tokens) < 50:
            take(broken, *next(rest))
        lost = both if lost_number == 2 else [busiest(both)]
        for pid in lost:
            os.kill(pid, signal.SIGKILL)
        try:
            for kind, payload in rest:
                take(broken, kind, payload)
        except httpx.HTTPError:
            pass
    assert broken.metadata is None
    assert broken.error is None
    assert broken.tokens[:100] == whole.tokens[: len(broken.tokens)]

    # With one lost, the other takes over at once; with both, new ones come.
    sent = body(client.model, [7, 8], options, before)
    wait_until(lambda: client.http.post("/v1/generate", content=sent).status_code == 200)
    again = client.generate([7, 8], options, state=before)
    assert again.tokens == whole.tokens
    assert again.state[0] == whole.state[0]
    rest = client.generate([7, 8], options, state=before, replied=broken.tokens[:50])
    assert rest.tokens == whole.tokens[50:]
    wait_until(lambda: len(set(replicas(process)) - set(lost)) == 2)


def test_the_configuration_for_production_is_one_that_ray_serve_takes():
    config = ServeDeploySchema.model_validate(yaml.safe_load((ROOT / "origin/production.yaml").read_text()))
    (application,) = config.applications
    (deployment,) = application.deployments
    settings = Settings.of(application.runtime_env["env_vars"])
    assert deployment.max_ongoing_requests > settings.slots + settings.queue
    assert deployment.autoscaling_config["target_ongoing_requests"] < settings.slots
    assert deployment.request_router_config["request_router_class"] == ROUTER
    assert deployment.name == GriffinOrigin.name


def test_a_variable_that_is_no_setting_is_told(caplog):
    assert Settings.of({"GRIFFIN_SLOTS": "7", "GRIFFIN_SLOT": "8", "PATH": "/bin"}).slots == 7
    assert caplog.messages == ["GRIFFIN_SLOT is no setting of an origin"]


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("SLOTS", "many", "must be a number"),
        ("SLOTS", "0", "must be above 0"),
        ("WAIT_SECONDS", "nan", "must be above 0 and finite"),
        ("WAIT_SECONDS", "inf", "must be above 0 and finite"),
        ("EXACT", "yes", "must be true or false"),
        ("DISPATCH_TOKENS", "257", "must be at most 256"),
        ("ORIGIN_KEY", "secret\n", "must be visible ASCII"),
        ("ORIGIN_KEY", " secret", "must be visible ASCII"),
        ("ORIGIN_KEY", "sécret", "must be visible ASCII"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(name, wrong, message):
    with pytest.raises(ValueError, match=f"GRIFFIN_{name} {message}") as refused:
        Settings.of({f"GRIFFIN_{name}": wrong})
    assert "cret" not in str(refused.value)


def test_the_longest_dispatch_with_all_reports_is_one_frame_of_at_most_a_mebibyte():
    longest = [2**31 - 1, -1.1754943508222875e-38]
    reports = [(longest[1], [longest] * MOST_TOP)] * MOST_DISPATCH_TOKENS
    assert 2**19 < len(tokens_frame([longest[0]] * MOST_DISPATCH_TOKENS, reports)) <= 2**20


def test_a_replica_has_a_key():
    assert replica_settings({"GRIFFIN_ORIGIN_KEY": "k"}).origin_key == "k"
    with pytest.raises(ValueError, match="GRIFFIN_ORIGIN_KEY"):
        replica_settings({})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"GRIFFIN_SLOTS": "many"}, "GRIFFIN_SLOTS must be a number, got 'many'.\n"),
        ({"GRIFFIN_CHECKPOINT": "nowhere"}, "nowhere has no model.json that can be read: "),
    ],
)
def test_what_an_operator_set_wrong_is_said_in_one_line(changed, said):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "origin")} | changed
    ended = subprocess.run([sys.executable, "-m", "griffin_origin"], env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith(said)
    assert ended.stderr.count("\n") == 1


def test_one_process_without_ray_serves_and_stops_when_told():
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(ROOT / "origin"), "GRIFFIN_CHECKPOINT": str(small_checkpoint())}
    environment |= {"GRIFFIN_SLOTS": "4", "GRIFFIN_CHUNK_TOKENS": "16"}
    process = subprocess.Popen([sys.executable, "-m", "griffin_origin", "--port", str(port)], env=environment)
    try:
        wait_until(lambda: process.poll() is not None or is_up(port))
        client = Client(f"http://127.0.0.1:{port}")
        assert client.generate(PROMPT, client.options(3, stop_tokens=[])).metadata
        sent = body(client.model, PROMPT, client.options(60_000, stop_tokens=[]))
        with client.http.stream("POST", "/v1/generate", content=sent) as response:
            take(Answer(), *next(frames(response.iter_raw())))
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    finally:
        process.kill()
