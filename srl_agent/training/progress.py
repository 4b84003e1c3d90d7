"""What a run shows in the terminal: a bar with the time left, and one short line a step."""

from __future__ import annotations

from typing import Any

from transformers import ProgressCallback


class ShortProgress(ProgressCallback):  # type: ignore[misc]
    """transformers' progress bar, with the few figures that tell how SRL goes; ``metrics.jsonl`` has all of them."""

    def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
        """Called by transformers with the figures of a step or a validation."""
        if state.is_world_process_zero and self.training_bar is not None and logs and (line := short_line(state.global_step, logs)):
            self.training_bar.write(line)


def short_line(step: int, logs: dict[str, Any]) -> str:
    """One line about a training step or a validation; empty for other logs."""
    prefix = "eval_" if "eval_reward" in logs else ""
    if prefix + "reward" not in logs:
        return ""
    similarity = logs.get(prefix + "similarity")
    parts = [
        f"{'validation' if prefix else 'step':>10} {step:>4}",
        f"reward {float(logs[prefix + 'reward']):+.3f}",
        f"similarity {'    -' if similarity is None else f'{float(similarity):.3f}'}",
        f"well-formed {float(logs[prefix + 'format_rate']):4.0%}",
    ]
    if not prefix:
        parts.append(f"groups kept {float(logs['groups_kept']):.0f}, dropped {float(logs['groups_dropped']):.0f}")
        parts.append(f"length {float(logs['completions/mean_length']):.0f}")
    return "  ".join(parts)
