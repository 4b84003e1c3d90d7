"""The two prompts, as data: find the files (localize), edit them (repair).

The paper gives neither; it says that whole files go into the prompt and that edits are
search/replace blocks (arXiv 2510.25992). The words here are this project's own. An
answer's grammar is that of :mod:`srl_agent.evaluation.swebench.parse_edits`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from srl_envs.prompts.step import Message

_THINK = "First think inside <think> </think>, freely and as long as you like."

LOCALIZE_SYSTEM_PROMPT = (
    "You find the files of a source code repository that must change so that an issue is fixed."
    " You see the issue and the repository's files without its tests: each line is a folder, then"
    f" the files in it. {_THINK} After </think>, write the paths of the files to change, the one"
    " that matters most first, each on its own line, folder and name together as in"
    " `folder/name.py`, and nothing else. Write {max_files} paths at most."
)

REPAIR_SYSTEM_PROMPT = f"""You fix an issue in a source code repository by editing its files. You see the issue and files that are likely to need a \
change. {_THINK} After </think>, write your edits. Each edit names the file, then gives lines of it and the lines that take their place:

`path/to/file.py`
<<<<<<< SEARCH
lines of the file as they are now
=======
lines that take their place
>>>>>>> REPLACE

- Copy the search lines exactly, whole and with their indentation. They must stand at one place of the file only: take in more lines around them if they do not.
- Write as many blocks as you need. Each is compared with the files as you see them here, and no two may change the same lines.
- With no search lines the block makes a new file.
- To remove a file, write its path and then the lines <<<<<<< DELETE and >>>>>>> DELETE.
- Do not edit tests."""


def localize_messages(issue: str, tree: str, max_files: int) -> list[Message]:
    """The conversation that asks which files to change.

    Args:
        issue: Its text.
        tree: The repository's files, as
            :func:`srl_agent.evaluation.swebench.localize.tree_text` writes them.
        max_files: How many paths may be named.
    """
    return [
        {"role": "system", "content": LOCALIZE_SYSTEM_PROMPT.format(max_files=max_files)},
        {"role": "user", "content": f"Issue:\n{issue.strip()}\n\nFiles of the repository:\n{tree}"},
    ]


def repair_messages(issue: str, files: Sequence[tuple[str, str]]) -> list[Message]:
    """The conversation that asks for edits.

    Args:
        issue: Its text.
        files: Path and text of each file, whole.
    """
    parts = [f"Issue:\n{issue.strip()}", *(_fenced(path, text) for path, text in files)]
    return [
        {"role": "system", "content": REPAIR_SYSTEM_PROMPT},
        {"role": "user", "content": "\n\n".join(parts)},
    ]


def _fenced(path: str, text: str) -> str:
    """A file under its path, in a fence that is longer than any in it."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    end = "" if text.endswith("\n") or not text else "\n"
    return f"`{path}`\n{fence}\n{text}{end}{fence}"
