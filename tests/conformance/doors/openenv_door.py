"""OpenEnv: a real server in a process of its own, and its generic client; 8 sessions at once."""

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.request

from common import ANSWERS, TASK, TURNS, lines, report
from openenv import GenericEnvClient

SERVER = """
import json, sys, uvicorn
from srl_envs.adapters.episodes import EpisodeRow
from srl_envs.adapters.openenv import make_app
row = EpisodeRow(**json.loads(sys.argv[1]))
uvicorn.run(make_app(row, max_sessions=16), port=int(sys.argv[2]), log_level="warning")
"""


def start(row):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = json.dumps({**row, "id": "", "messages": []})
    process = subprocess.Popen([sys.executable, "-c", SERVER, given, str(port)])
    url = f"http://127.0.0.1:{port}"
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).read()
            return process, url
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server ended")


async def ask(url, identity, answer):
    async with GenericEnvClient(base_url=url) as client:
        first = await client.reset(instance_id=identity)
        sent = {"answer": answer["text"], "thought": answer.get("thought")}
        sent["truncated"] = bool(answer.get("truncated"))
        seen = await client.step({k: v for k, v in sent.items() if v is not None})
        return seen.reward, first.observation["messages"]


async def play(url, identity):
    async with GenericEnvClient(base_url=url) as client:
        first = await client.reset(instance_id=identity)
        seen = [await client.step({"answer": turn}) for turn in TURNS[identity]]
        total = sum(one.reward for one in seen)
        shown = [one.observation["observation"] for one in seen if not one.done]
        prompt = first.observation["messages"]
        return {"prompt": prompt, "shown": shown, "reward": total, "done": seen[-1].done}


async def play_all(url, identities):
    """All at once."""
    return await asyncio.gather(*(play(url, one) for one in identities))


async def ask_all(servers, rows):
    """Eight sessions at a time."""
    places = asyncio.Semaphore(8)

    async def one(row, answer):
        async with places:
            return await ask(servers[bool(row["grammar"])], row["id"], answer)

    pairs = zip(rows, ANSWERS, strict=True)
    return await asyncio.gather(*(one(row, answer) for row, answer in pairs))


def main():
    rows = lines(TASK / "steps" / "train.jsonl")
    text = {"environment": "SRL-Math-v0", "source": {"source": str(TASK / "math.jsonl")}}
    text["settings"] = {"targets": "all"}
    code = {"environment": "SRL-SWE-v0", "source": {"source": str(TASK / "swe.jsonl")}}
    code["settings"] = {"targets": "all", "observations": "recorded"}
    episodes = lines(TASK / "episodes" / "train.jsonl")
    started = []
    try:
        for row in (text, code, episodes[0]):
            started.append(start(row))
        urls = [url for _, url in started]
        asked = asyncio.run(ask_all(urls[:2], rows))
        played = asyncio.run(play_all(urls[2], [row["id"] for row in episodes]))
    finally:
        for process, _ in started:
            process.terminate()
            process.wait()
    report([reward for reward, _ in asked], [prompt for _, prompt in asked], played)


if __name__ == "__main__":
    main()
