"""The folder for the leaderboard: what its author put there is not lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from srl_agent.evaluation.swebench.records import Records
from srl_agent.evaluation.swebench.results import InstanceResult, SweBenchResults
from srl_agent.evaluation.swebench.submission import require_free, write_submission
from srl_envs.errors import ConfigError


def test_metadata_that_were_filled_in_stay(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    records = Records(tmp_path / "run")
    records.add_prediction("a__b-1", "m", "diff --git a/x b/x\n")
    one = InstanceResult("a__b-1", "a/b", "", "resolved")
    results = SweBenchResults("m", "oracle", "d", (one,), "none")
    folder = tmp_path / "submission"
    write_submission(folder, results, records, {})
    (folder / "metadata.yaml").write_text("info: {name: ours}\n")
    (folder / "logs" / "old").mkdir()
    write_submission(folder, results, records, {})
    assert (folder / "metadata.yaml").read_text() == "info: {name: ours}\n"
    assert [path.name for path in (folder / "logs").iterdir()] == ["a__b-1"]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"it holds notes\.txt"):
        write_submission(folder, results, records, {})
    assert (folder / "notes.txt").read_text() == "mine"


def test_another_folder_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "README.md").write_text("x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="not a submission"):
        require_free(tmp_path / "full")
    with pytest.raises(ConfigError, match="is a file"):
        require_free(tmp_path / "file")
    require_free(tmp_path / "new")
