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
    rewards = []
    with client(StepServer) as steps:
        for row, answer in zip(rows, ANSWERS, strict=True):
            got = steps.post("/verify", json={**row, "response": response(answer)})
            assert got.status_code == 200, got.text
            rewards.append(got.json()["reward"])
        bad = steps.post("/verify", json={**rows[0], "srl": {}, "response": response(ANSWERS[0])})
    assert bad.status_code == 500  # never a reward
    (row,) = lines(TASK / "episodes" / "train.jsonl")
    seen = []
    with client(EpisodeServer) as episodes:
        begun = episodes.post("/reset", json=row)
        assert begun.json() == {"observation": None, "info": {"supports_explicit_close": True}}
        for turn in TURNS:
            got = episodes.post("/step", json={**row, "response": response({"text": turn})})
            assert got.status_code == 200, got.text
            seen.append(got.json())
        assert episodes.post("/close", json={}).status_code == 200
    episode = {
        "prompt": row["responses_create_params"]["input"],
        "shown": [one["observation"] for one in seen if one["observation"]],
        "reward": sum(one["reward"] for one in seen),
        "done": seen[-1]["terminated"],
    }
    report(rewards, [row["responses_create_params"]["input"] for row in rows], episode)


main()
