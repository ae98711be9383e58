"""The process between a screen and several workers: its lines, and who ends with whom."""

import base64
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from svdtui.engine import HEADS, Job, open_model
from svdtui.engine.store import Store
from tests.checkpoints import write_checkpoint
from tests.hub_server import HubServer
from tests.scans import SLOW, Relay, are_gone, computed_here, results, slow_checkpoint, wait_for


def test_several_jobs_at_once_are_answered_and_in_the_store(tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "m", layers=5).folder)
    with Relay(model, tmp_path / "cache", workers=2) as relay:
        assert relay.next() == {"event": "ready", "device": "2 workers on cpu", "note": "", "capacity": 2}
        relay.ask(*(f"{layer}.heads" for layer in range(5)))
        answers = list(relay.until_answered(5))
        assert {answer["job"] for answer in answers} == {f"{layer}.heads" for layer in range(5)}
        assert {answer["event"] for answer in answers} == {"done"}
        relay.ask("0.x_proj", "0.gate_proj")
        failed, done = sorted(relay.until_answered(2), key=lambda event: event["event"] == "done")
        assert failed["job"] == "0.x_proj"
        assert "There is no matrix 0.x_proj" in failed["message"]
        assert (done["event"], done["job"]) == ("done", "0.gate_proj")
    assert results(tmp_path / "cache") == computed_here(model, tmp_path / "here")


def test_a_job_that_has_not_begun_is_withdrawn_and_another_done(tmp_path: Path) -> None:
    model = open_model(slow_checkpoint(tmp_path / "m", layers=3))
    with Relay(model, tmp_path / "cache", workers=1, solver=SLOW) as relay:
        relay.next()
        relay.ask("0.heads", "1.heads", "2.heads")
        relay.send({"cancel": "1.heads"})
        answers = [(event["event"], event["job"]) for event in relay.until_answered(3)]
    assert sorted(answers) == [("cancelled", "1.heads"), ("done", "0.heads"), ("done", "2.heads")]


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    model = open_model(slow_checkpoint(tmp_path / "m", layers=6))
    with Relay(model, tmp_path / "cache", workers=2, solver=SLOW) as relay:
        relay.next()
        relay.ask(*(f"{layer}.heads" for layer in range(6)))
        next(relay.until_answered(1))
        wait_for(lambda: len(relay.workers) == 2)
        relay.workers[0].kill()
        events = list(relay.until_answered(5))
    assert Counter(event["event"] for event in events) == {"done": 5, "notice": 1}
    [notice] = [event["message"] for event in events if event["event"] == "notice"]
    assert "was killed (out of memory?) while computing" in notice
    assert results(tmp_path / "cache").keys() == {f"layer-{layer:05d}.heads.safetensors" for layer in range(6)}


@pytest.mark.parametrize("how", ["stdin", "SIGKILL", "SIGKILL of the group"])
def test_the_workers_end_with_the_relay(how: str, tmp_path: Path) -> None:
    model = open_model(slow_checkpoint(tmp_path / "m", layers=4))
    with Relay(model, tmp_path / "cache", workers=2, solver=SLOW) as relay:
        relay.next()
        relay.ask("0.heads", "1.heads", "2.heads", "3.heads")
        wait_for(lambda: len(relay.workers) == 2)
        workers = relay.workers
        if how == "stdin":
            assert relay.process.stdin
            relay.process.stdin.close()
        elif how == "SIGKILL":
            os.kill(relay.process.pid, signal.SIGKILL)
        else:
            os.killpg(relay.process.pid, signal.SIGKILL)
        assert relay.process.wait(5) == (0 if how == "stdin" else -signal.SIGKILL)
        wait_for(lambda: are_gone(workers), 5)


def test_a_result_that_cannot_be_stored_comes_along(tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "m").folder)
    (tmp_path / "file").write_text("in the way")
    with Relay(model, tmp_path / "file", workers=2) as relay:
        relay.next()
        relay.ask("0.heads")
        [answer] = relay.until_answered(1)
    assert "Results cannot be kept in" in answer["notice"]
    found = Store(model, "gram64").decode(Job(0, HEADS), base64.b64decode(answer["data"]))
    assert found is not None
    assert found.matrices.keys() == set("qkvo")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key": "another"}, "has changed since it was opened"),
        ({"device": "cuda:99"}, "CUDA"),
        ({"dask": "nonsense"}, "is not a Dask scheduler's address"),
    ],
)
def test_what_cannot_be_opened_is_said_once_for_all_jobs(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "m").folder)
    with Relay(model, tmp_path / "cache", None, workers=None if "dask" in options else 2, **options) as relay:
        event = relay.next()
        assert (event["event"], event["job"]) == ("failed", None)
        assert words in event["message"]
        assert event["hint"]
        assert relay.process.wait(5) == 0


def test_the_headers_of_a_remote_model_are_told_once(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", layers=4, shards=3).folder
    with HubServer() as hub:
        commit = hub.add("org/m", folder)
        environ = {**os.environ, **hub.environ}
        cache = tmp_path / "cache"
        key = f"org--m@{commit}"
        with Relay(open_model(folder), cache, environ, location=f"hf://org/m@{commit}", key=key, workers=2) as relay:
            ready = relay.next()
            assert ready["event"] == "ready", ready
            relay.ask(*(f"{layer}.heads" for layer in range(4)))
            events = list(relay.until_answered(4))
    told = Counter(event["file"] for event in events if event["event"] == "header")
    assert told == {f"model-0000{number}-of-00003.safetensors": 1 for number in (1, 2, 3)}
    assert Counter(event["event"] for event in events)["done"] == 4
