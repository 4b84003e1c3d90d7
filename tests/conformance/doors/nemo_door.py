"""NeMo Gym: the resources servers over HTTP, as its agents call them."""

from unittest.mock import MagicMock

from common import ANSWERS, TASK, TURNS, lines, report
from fastapi.testclient import TestClient
from nemo_gym.base_resources_server import BaseResourcesServerConfig
from nemo_gym.server_utils import ServerClient

from srl_envs.adapters.nemo_gym import EpisodeServer, StepServer


def client(server):
    config = BaseResourcesServerConfig(host="", port=0, entrypoint="", name="srl")
    made = server(config=config, server_client=MagicMock(spec=ServerClient))
    return TestClient(
        made.setup_webserver(), base_url="https://testserver", raise_server_exceptions=False
    )


def response(answer):
    """What a model server of NeMo Gym answers."""
    text = {"type": "output_text", "text": answer["text"], "annotations": []}
    message = {"type": "message", "role": "assistant", "id": "m", "status": "completed"}
    output = [{**message, "content": [text]}]
    if answer.get("thought") is not None:
        summary = [{"type": "summary_text", "text": answer["thought"]}]
        output.insert(0, {"type": "reasoning", "id": "r", "summary": summary})
    cut = {"reason": "max_output_tokens"} if answer.get("truncated") else None
    base = {"id": "x", "created_at": 0.0, "model": "m", "object": "response", "tools": []}
    base |= {"parallel_tool_calls": True, "tool_choice": "auto", "incomplete_details": cut}
    return {**base, "output": output}


def main():
    rows = lines(TASK / "steps" / "train.jsonl")
    rewards, prompts = [], [row["responses_create_params"]["input"] for row in rows]
    with client(StepServer) as steps:
        for row, answer in zip(rows, ANSWERS, strict=True):
            got = steps.post("/verify", json={**row, "response": response(answer)})
            assert got.status_code == 200, got.text
            rewards.append(got.json()["reward"])
        bad = steps.post("/verify", json={**rows[0], "srl": {}, "response": response(ANSWERS[0])})
    assert bad.status_code == 500  # never a reward
    with client(EpisodeServer) as server:
        rows = lines(TASK / "episodes" / "train.jsonl")
        episodes = [play(server, row) for row in rows]
        # A second episode in the same session; then the prompt fills the context.
        (mends,) = (row for row in rows if row["uuid"] == "mends")
        for _ in range(2):
            assert server.post("/reset", json=mends).status_code == 200
        turns = [{"text": turn} for turn in TURNS["mends"][:2]]
        for answer in [*turns, {"text": "", "truncated": True}]:
            last = server.post("/step", json={**mends, "response": response(answer)}).json()
        assert last["reward"] == 1.0 and last["terminated"], last
        again = server.post("/step", json={**mends, "response": response(turns[0])})
        assert again.status_code == 500  # never a reward
    report(rewards, prompts, episodes)


def play(server, row):
    begun = server.post("/reset", json=row)
    assert begun.json() == {"observation": None, "info": {"supports_explicit_close": True}}
    seen = []
    for turn in TURNS[row["uuid"]]:
        got = server.post("/step", json={**row, "response": response({"text": turn})})
        assert got.status_code == 200, got.text
        seen.append(got.json())
    assert server.post("/close", json={}).status_code == 200
    return {
        "prompt": row["responses_create_params"]["input"],
        "shown": [one["observation"] for one in seen if one["observation"]],
        "reward": sum(one["reward"] for one in seen),
        "done": seen[-1]["terminated"],
    }


main()
