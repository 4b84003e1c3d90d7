"""Train on your own solutions: one JSON object per line, ``prompt`` and ``steps``.

    python examples/train_on_your_jsonl.py [FLAGS OF srl_agent.train]

Without flags this takes 2 steps on a CPU. For a real run raise ``--max_steps``.
"""

import json
import sys
from pathlib import Path

from srl_agent.train import main

FOLDER = Path("runs/your_jsonl")
FOLDER.mkdir(parents=True, exist_ok=True)
data = FOLDER / "solutions.jsonl"
with data.open("w", encoding="utf-8") as file:
    for n in range(2, 42):
        steps = [f"Double {n}: 2 * {n} = {2 * n}.", f"Add 1: {2 * n} + 1 = {2 * n + 1}.", "Done."]
        row = {"prompt": f"Double {n} and add 1.", "steps": steps, "answer": str(2 * n + 1)}
        file.write(json.dumps(row) + "\n")

settings = {
    "source": "jsonl",
    "dataset_path": data,
    "held_out": 8,
    "max_steps": 2,
    "format_warmup_steps": 2,
    "eval_steps": 2,
    "save_steps": 2,
    "output_dir": FOLDER / "run",
}
flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
sys.exit(main([*flags, *sys.argv[1:]]))
