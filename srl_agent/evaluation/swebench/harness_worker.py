"""A process that runs the real swebench harness, one instance after another.

Its containers are more restricted than the harness asks for.

    python -m srl_agent.evaluation.swebench.harness_worker SETTINGS_JSON

reads one job a line from standard input and answers with one line each. The harness is
called through its public entry and is not changed; what it asks Docker's SDK for is:
every container gets the limits of SETTINGS, no ``SYS_ADMIN``, and the labels by which
:mod:`srl_envs.sandbox.ownership` finds it when this process has ended, however it
ended; a name of its own, because the harness removes whatever has the name it wants,
and another run may judge the same patch; certificates as for all our engines;
output that is not UTF-8 (a diff of a Latin-1 file) is made so, since the harness would
fail on it; and the lists of all images and containers, with which the harness closes each
call, are empty.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from typing import Any

from srl_envs.sandbox.engine import EngineAPI
from srl_envs.sandbox.ownership import owner_labels


def main() -> None:
    """Answer jobs until standard input ends."""
    settings = json.loads(sys.argv[1])
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(
        os.dup(1), "w"
    )  # the harness prints what it does: that goes to the log, with standard error
    os.dup2(2, 1)
    _change_requests(settings)
    from swebench.harness import run_evaluation

    for line in sys.stdin:
        job = json.loads(line)
        error = ""
        try:
            run_evaluation.main(
                dataset_name=job["dataset"],
                split="test",
                instance_ids=[],
                predictions_path=job["predictions"],
                max_workers=1,
                open_file_limit=4096,
                run_id=job["run_id"],
                timeout=job["timeout"],
                rewrite_reports=False,
                modal=False,
                report_dir=job["report_dir"],
            )
        except (
            Exception
        ) as failure:  # whatever the harness raises: the process that asked judges it
            traceback.print_exc()
            error = f"{type(failure).__name__}: {failure}"
        answers.write(json.dumps({"run_id": job["run_id"], "error": error}) + "\n")
        answers.flush()


def _end_with(parent: int) -> None:
    """End this process as soon as its parent has ended, even during an instance.

    Its own watcher then removes the containers.
    """
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def _change_requests(settings: dict[str, Any]) -> None:
    """Restrict every container that this process creates.

    It also saves the engine one query about each image after each instance.
    """
    import docker.client
    from docker.models.containers import Container, ContainerCollection
    from docker.models.images import ImageCollection

    create = ContainerCollection.create

    def create_limited(self: Any, image: Any, command: Any = None, **asked: Any) -> Any:
        asked.pop("cap_add", None)
        memory = f"{settings['memory_mib']}m"
        environment = (
            {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
            if settings["network"] == "none"
            else {}
        )
        asked |= {
            "mem_limit": memory,
            "memswap_limit": memory,
            "pids_limit": settings["processes"],
            "nano_cpus": int(settings["cpus"] * 1e9),
            "network_mode": settings["network"],
            "security_opt": ["no-new-privileges"],
            "init": True,  # without it a container takes 15 seconds to stop
            "labels": owner_labels(),
            "name": f"{asked['name']}.{secrets.token_hex(4)}",
            "environment": (
                environment
            ),  # an editable install finds what it builds with in the image
        }
        return create(self, image, command, **asked)

    def list_nothing(self: Any, **asked: Any) -> list[Any]:
        return []

    execute = Container.exec_run

    def execute_in_utf8(self: Any, *command: Any, **asked: Any) -> Any:
        """The harness reads all output as UTF-8, but a diff has the bytes of its files."""
        result = execute(self, *command, **asked)
        if isinstance(result.output, bytes):
            result = result._replace(output=result.output.decode("utf-8", "replace").encode())
        return result

    docker.client.APIClient = EngineAPI
    Container.exec_run = execute_in_utf8
    ContainerCollection.create = create_limited
    ContainerCollection.list = ImageCollection.list = list_nothing


if __name__ == "__main__":
    main()
