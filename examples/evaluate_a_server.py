"""Evaluate a model behind an OpenAI-compatible server.

    python examples/evaluate_a_server.py MODEL BASE_URL

For example ``Qwen/Qwen2.5-7B-Instruct http://localhost:8000/v1`` after ``vllm serve``.
"""

import json
import sys
from pathlib import Path

from srl_agent.evaluate import main

if len(sys.argv) != 3:
    sys.exit((__doc__ or "").strip())
model, base_url = sys.argv[1:]
folder = Path("runs/server")
folder.mkdir(parents=True, exist_ok=True)
problems = folder / "problems.jsonl"
with problems.open("w", encoding="utf-8") as file:
    for n in range(3, 8):
        file.write(json.dumps({"question": f"{n} + {n}?", "answer": f"#### {2 * n}"}) + "\n")

command = ["math", "--model", model, "--base_url", base_url, "--benchmarks", "gsm8k"]
command += ["--data", str(problems), "--output_dir", str(folder / "math"), "--max_new_tokens", "64"]
sys.exit(main(command))
