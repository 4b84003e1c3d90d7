"""Images of a real registry, fetched by a real engine: used, and removed within a bound."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker.errors
import pytest
from small_images import TOOLS, import_image
from swebench_registry import Registry, serving

from srl_agent.rollouts.agent_tasks import AgentInstance, SharedVerifier, Surroundings
from srl_agent.rollouts.episode_records import EpisodeLimits
from srl_agent.rollouts.episodes import Episodes
from srl_agent.rollouts.held_images import image_budget
from srl_agent.rollouts.image_budget import GIB, ImageBudget
from srl_agent.rollouts.policies import Written
from srl_envs.prompts.step import PromptSettings
from srl_envs.reward import RewardSettings
from srl_envs.sandbox.protocol import SandboxError
from srl_envs.trajectory import ExpertStep, Trajectory

pytestmark = pytest.mark.docker

MIB = 1024**2


@pytest.fixture
def registry(engine):
    """A registry; whatever of it the engine holds at the end is removed."""
    with serving(engine.version()["Arch"]) as registry:
        yield registry
        for name in held(engine, registry):
            engine.images.remove(name)


@pytest.fixture
def ledger(tmp_path) -> Path:
    return tmp_path / "fetched_images.txt"


def held(engine, registry: Registry) -> list[str]:
    """The registry's images that the engine holds."""
    place = f"127.0.0.1:{registry.server_address[1]}/"
    return sorted(
        tag
        for image in engine.api.images()
        for tag in image["RepoTags"] or ()
        if tag.startswith(place)
    )


def test_images_are_there_when_used_and_removed_within_the_bound(engine, registry, ledger) -> None:
    images = [registry.add(f"image-{number}", MIB) for number in range(8)]
    budget = ImageBudget(2.5 * MIB / GIB, ledger)
    seen: list[int] = []

    def use(image: str) -> None:
        with budget.holding(image):
            engine.api.remove_container(engine.api.create_container(image)["Id"])
            seen.append(len(held(engine, registry)))

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(use, images))
    assert max(seen) <= 4, (
        "at most the bound (an image may begin below it) and one that another thread fetches"
    )
    assert 0 < budget.held_bytes <= 2.5 * MIB and len(held(engine, registry)) == 2
    assert sorted(ledger.read_text().split()) == held(engine, registry)
    with budget.holding(held(engine, registry)[0]):
        pass
    assert registry.fetched == {f"image-{number}": 1 for number in range(8)}, (
        "what is still there is not fetched again"
    )
    budget.close()
    assert not held(engine, registry) and not ledger.read_text()


def test_an_image_that_was_there_stays(engine, registry, ledger) -> None:
    image = registry.add("before", MIB)
    engine.images.pull(image)
    budget = ImageBudget(0.5 * MIB / GIB, ledger)
    with budget.holding(image), budget.holding(registry.add("beside", MIB)):
        assert len(held(engine, registry)) == 2
    budget.close()
    assert held(engine, registry) == [image]


def test_what_a_killed_run_fetched_is_removed_by_the_next(engine, registry, ledger) -> None:
    image = registry.add("left", MIB)
    with ImageBudget(1, ledger).holding(image):
        pass  # and no close
    assert held(engine, registry) == [image]
    ImageBudget(1, ledger).close()
    assert not held(engine, registry)


def test_an_image_by_its_digest(engine, registry, ledger) -> None:
    registry.add("fixed", MIB)
    reference = next(
        path for path in registry.contents if path.startswith("/v2/fixed/manifests/sha256:")
    )
    image = f"127.0.0.1:{registry.server_address[1]}/fixed@{reference.rpartition('/')[2]}"
    budget = ImageBudget(1, ledger)
    with budget.holding(image):
        engine.images.get(image)
    budget.close()
    with pytest.raises(docker.errors.ImageNotFound):
        engine.images.get(image)


def test_why_an_image_cannot_be_fetched_is_told(registry, ledger) -> None:
    budget = ImageBudget(1, ledger)
    unknown = f"127.0.0.1:{registry.server_address[1]}/unknown:latest"
    with pytest.raises(SandboxError, match=f"fetch the image {unknown}"), budget.holding(unknown):
        pass
    damaged = registry.add("damaged", MIB)
    registry.damage("damaged")
    with (
        pytest.raises(
            SandboxError, match=f"Could not fetch the image {damaged}: (?!.*No such image)"
        ),
        budget.holding(damaged),
    ):
        pass
    assert budget.held_bytes == 0 and not ledger.read_text()
    budget.close()


def test_a_stop_breaks_a_fetch_off_that_stands_still(registry, ledger) -> None:
    image = registry.add("slow", MIB)
    registry.layers_may_go.clear()
    budget = ImageBudget(1, ledger)
    failures: list[str] = []

    def use() -> None:
        try:
            with budget.holding(image):
                failures.append("fetched")
        except SandboxError as error:
            failures.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    while not registry.fetched["slow"]:
        time.sleep(0.05)
    budget.stop()
    thread.join()
    assert failures == [f"Fetching the image {image} was broken off."]
    registry.layers_may_go.set()
    for left in threading.enumerate():
        if left.name == f"fetch {image}":
            left.join()
    budget.close()


def test_a_refusal_for_the_rate_limit_is_waited_for(engine, registry, ledger, caplog) -> None:
    image = registry.add("wanted", MIB)
    registry.refusals = 4  # the engine may ask twice for each try
    budget = ImageBudget(1.0, ledger, first_pause=0.05)
    with budget.holding(image) as image_id:
        assert image_id == engine.images.get(image).id
    assert "Trying again in" in caplog.text
    budget.close()
    registry.refusals = 10_000
    budget = ImageBudget(1.0, ledger, first_pause=0.05, longest_pause=0.1)
    with pytest.raises(SandboxError, match=r"(?i)toomanyrequests|429"), budget.holding(image):
        pass
    budget.close()


def task_in(image: str, number: int) -> Trajectory:
    commands = (f"echo {number} > answer", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")
    steps = tuple(ExpertStep(f"```bash\n{command}\n```") for command in commands)
    checks = [{"command": "cat answer", "output": f"{number}\n"}]
    metadata = {"grammar": "bash", "image": image, "workdir": "/tmp", "checks": checks}
    return Trajectory(f"t{number}", f"Write {number}.", steps, domain="swe", metadata=metadata)


class Writes:
    """Writes the number of the task that is asked, and hands it in."""

    batching = "one"

    def write(self, asks):
        for index, ask in enumerate(asks):
            number, turn = ask.request.messages[-1]["content"].split()[2], ask.request.number >> 16
            command = task_in("", int(number[:-1])).steps[turn].action
            yield index, Written(f"<think></think>\n{command}", 5, "stop")


def test_episodes_fetch_their_images_within_the_bound(engine, registry, tmp_path) -> None:
    name = import_image(engine, "srl-test-held", [*TOOLS, "cat", "env"])
    container = engine.containers.create(name, "bash")
    archive, size = b"".join(container.export()), engine.images.get(name).attrs["Size"]
    container.remove()
    engine.images.remove(name)
    tasks = [task_in(registry.add_archive(f"task-{n}", archive), n) for n in range(3)]
    ledger = tmp_path / "fetched_images.txt"
    images = image_budget(tasks, "docker", 1.5 * size / GIB, ledger)
    assert images is not None and image_budget(tasks, "bubblewrap", 1, ledger) is None
    around = Surroundings(
        PromptSettings(), RewardSettings(), SharedVerifier(), "docker", 60.0, images
    )
    asked = [AgentInstance(task, around).task for task in tasks]
    with images:
        episodes = Episodes(Writes(), EpisodeLimits(at_once=1))
        for episode in episodes.each([(task, n) for task in asked for n in range(2)]):
            assert (episode.end, episode.reward) == ("ended", 1.0), episode.failure
            assert 1 <= len(held(engine, registry)) <= 2
    assert held(engine, registry) == [] and ledger.read_text() == ""
    assert set(registry.fetched.values()) == {1}, "the episodes of a task share its image"


def test_an_image_that_is_built_is_removed_with_the_one_that_it_is_built_on(
    engine, registry, ledger
) -> None:
    fetched, made = registry.add("base", MIB), "srl-test-made:1"
    with ImageBudget(1 / GIB, ledger) as budget:
        with budget.holding(fetched):
            for _ in range(2):
                with budget.making(made, fetched, lambda: engine.images.get(fetched).tag(made)):
                    assert engine.images.get(made)
                    assert set(ledger.read_text().split()) == {fetched, made}
        assert held(engine, registry) == []
        with pytest.raises(docker.errors.ImageNotFound):
            engine.images.get(made)
