"""The viewer over HTTP: every view, attacks, and a run that goes on while it is watched."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from viewer_runs import ATTACK, INSTANCES, agent_run, training_run, write_metrics, write_step

from srl_agent.reports.viewer.export import export
from srl_agent.reports.viewer.kinds import KINDS
from srl_agent.reports.viewer.queries import GroupFilter
from srl_agent.reports.viewer.run_index import RunIndex
from srl_agent.reports.viewer.runs import find_runs
from srl_agent.rollouts.rollout_log import FOLDER, RolloutLog
from srl_agent.view import main
from srl_envs.errors import ConfigError, DataError

uvicorn = pytest.importorskip("uvicorn", reason="the viewer's extra (view) is not installed")
pytest.importorskip("starlette", reason="the viewer's extra (view) is not installed")

OWN = {"main", "pre", "mark", "span", "script", "svg", "a", "details"}


class Answered(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


class Server:
    """The viewer of some runs on a free port."""

    def __init__(self, *folders: Path) -> None:
        from srl_agent.reports.viewer.app import HOST, make_app

        self.runs = find_runs(folders)
        self._socket = socket.socket()
        self._socket.bind((HOST, 0))
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(make_app(self.runs), log_level="warning", access_log=False)
        self._server = uvicorn.Server(config)
        given = {"sockets": [self._socket]}
        self._thread = threading.Thread(target=self._server.run, kwargs=given, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def get(self, path: str, method: str = "GET", **headers: str) -> Answered:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return Answered(answer.status, dict(answer.getheaders()), text)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("viewed")
    (root / "secret.txt").write_text("not to be served")
    return [training_run(root / "runs" / "first"), agent_run(root / "agents")]


@pytest.fixture(scope="module")
def server(folders: list[Path]) -> Iterator[Server]:
    made = Server(*folders)
    yield made
    made.close()


class Tags(HTMLParser):
    """The elements and attributes of a page, as a browser sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]


def tags(text: str) -> Tags:
    parser = Tags()
    parser.feed(text)
    return parser


VIEWS = (
    "/",
    "/run/first",
    "/run/first?sort=-mean&search=builtin",
    "/run/first/groups",
    "/run/first/groups?fate=kept&kind=no_think&first=2&last=5&sort=-spread",
    f"/run/first/groups?text={quote(ATTACK)}",
    "/run/first/group/train.3.0",
    "/run/first/group/srl.6.0",
    "/run/agents/episodes",
    "/run/agents/episode/1",
    "/run/agents/episode/1?beside=2",
)


@pytest.mark.parametrize("path", VIEWS)
def test_every_view_opens_and_its_links_lead_somewhere(server: Server, path: str) -> None:
    page = server.get(path)
    assert page.status == 200, page.text[:300]
    found = [
        value for tag, name, value in tags(page.text).attributes if (tag, name) == ("a", "href")
    ]
    assert found
    for link in dict.fromkeys(found):
        assert link and link.startswith("/"), link
        assert server.get(link.partition("#")[0]).status in (200, 307), link


@pytest.mark.parametrize("path", VIEWS)
def test_what_a_model_wrote_is_never_html(server: Server, path: str) -> None:
    page = server.get(path)
    seen = tags(page.text)
    assert "img" not in seen.names and seen.names.count("script") == 1
    assert not [name for _, name, _ in seen.attributes if name.startswith("on")]
    assert not [value for _, name, value in seen.attributes if "javascript:" in (value or "")]
    assert "alert(1)>" not in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"


def test_the_policy_allows_the_script_of_the_page(server: Server) -> None:
    import base64
    import hashlib

    page = server.get("/run/first")
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_another_host_name_is_refused(server: Server, host: str) -> None:
    assert server.get("/run/first", Host=host).status == 400


def test_this_machine_by_its_names_is_served(server: Server) -> None:
    for host in (f"127.0.0.1:{server.port}", f"localhost:{server.port}"):
        assert server.get("/run/first", Host=host).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/run/..%2f..%2fsecret.txt",
        "/run/first/../../secret.txt",
        "/run/first/group/..%2f..%2fsecret.txt",
        "/run/first/group/train.1.0%2f..",
        "/run/first/group/%2fetc%2fpasswd",
        "/run/first/config.yaml",
        "/secret.txt",
        "//etc/passwd",
        "/run/first/episode/-1",
        "/run/first/group/train.99.0",
        "/run/first/group/%00",
    ],
)
def test_no_path_leads_out_of_a_run(server: Server, path: str) -> None:
    page = server.get(path)
    assert page.status in (400, 404) and "not to be served" not in page.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(server: Server, method: str) -> None:
    assert server.get("/run/first", method=method).status == 405


@pytest.mark.parametrize("query", ["page=x", "first=-1", "before=1e9", f"page={'9' * 40}"])
def test_a_number_that_is_none_is_named(server: Server, query: str) -> None:
    page = server.get(f"/run/first/groups?{query}")
    assert page.status == 400 and "it must be a whole number" in page.text


@pytest.mark.parametrize("text", ["' OR 1=1 --", "%", '"', "\\", ATTACK])
def test_a_search_finds_text_and_runs_no_sql(server: Server, text: str) -> None:
    for field in ("search", "fate", "kind", "id", "sort"):
        page = server.get(f"/run/first/groups?{field}={quote(text)}")
        assert page.status == 200
        if field != "sort":
            assert "No group fits." in page.text


def test_a_group_shows_why_each_answer_has_its_reward(server: Server) -> None:
    text = server.get("/run/first/group/train.6.0").text
    assert "standard deviation is" in text and "advantage +" in text
    assert "2M / T = 2 × " in text and "<mark>" in text and "It has no think block." in text
    assert '<span class="lacks">' in text
    assert "All rewards are -1" in server.get("/run/first/group/train.6.1").text
    assert "was full with 1" in server.get("/run/first/group/train.6.2").text


def test_a_group_leads_to_the_same_instance_at_other_steps(server: Server) -> None:
    seen = tags(server.get("/run/first/group/train.3.0").text)
    (keys,) = [json.loads(value or "") for _, name, value in seen.attributes if name == "data-keys"]
    assert [one["url"] for one in keys] == [f"/run/first/group/train.{n}.0" for n in range(1, 7)]


def test_lists_are_filtered(server: Server) -> None:
    def rows(query: str) -> int:
        return server.get(f"/run/first/groups?{query}").text.count("<tr data-item")

    assert (rows(""), rows("fate=kept"), rows("fate=held%20out")) == (20, 6, 2)
    assert (rows("first=2&last=3"), rows(f"id={quote(INSTANCES[1].id)}")) == (6, 6)
    assert (rows("kind=no_think"), rows("kind=truncated"), rows("kind=none")) == (18, 0, 2)
    assert (rows("text=thought+at+step+4"), rows("text=no+such+text")) == (2, 0)


def test_the_run_page_links_its_curves_to_their_rollouts(server: Server) -> None:
    text = server.get("/run/first").text
    assert 'href="/run/first/groups?first=3&amp;last=3&amp;sort=step"' in text
    assert "held-out instances answered" in text and "not finished" in text


def test_episodes_show_turns_verdict_and_failing_tests(server: Server) -> None:
    text = server.get("/run/agents/episode/2?beside=1").text
    assert text.count("<h3>Attempt") == 2 and "Failing tests: 2" in text and "Turn 3" in text
    lost = server.get("/run/agents/episode/3").text
    assert "the engine was lost" in lost and "a failure of the machinery" in lost
    assert server.get("/run/agents/episodes?outcome=solved").text.count("<tr data-item") == 1
    assert server.get("/run/agents/episode/1?beside=99").status == 404


# ---------------------------------------------------------------- a run that goes on


def test_a_running_run_is_followed(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run", steps=2)
    index = RunIndex(run, KINDS["training"])
    index.refresh()
    assert index.groups(GroupFilter(fate="kept")).total == 2
    write_step(RolloutLog(run, "all", 2**20), 3)
    write_metrics(run, [3])
    index.refresh(at_most_every=0)
    assert index.groups(GroupFilter(fate="kept")).total == 3
    gains = {row.id: row.gain for row in index.instances("-gain", 1).rows}
    history = index.history(INSTANCES[0].id)
    assert gains[INSTANCES[0].id] == pytest.approx(history[-1].mean - history[0].mean)


def test_a_killed_run_that_resumed_shows_its_steps_once(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run", steps=5)
    log = RolloutLog(run, "all", 2**20)  # from a checkpoint of step 3
    for step, instances in ((4, (3, 4, 5)), (5, (6, 7, 8))):
        write_step(log, step, instances)
    index = RunIndex(run, KINDS["training"])
    index.refresh()
    kept = index.groups(GroupFilter(fate="kept", sort="step")).rows
    assert [(row.step, row.id) for row in kept] == [
        *((step, INSTANCES[0].id) for step in (1, 2, 3)),
        (4, INSTANCES[3].id),
        (5, INSTANCES[6].id),
    ]
    assert {row.id: row.last_step for row in index.instances("-mean", 1).rows}[INSTANCES[0].id] == 3


def test_a_deleted_part_leaves_the_lists(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run", steps=4)
    index = RunIndex(run, KINDS["training"])
    index.refresh()
    for path in (run / FOLDER).iterdir():
        path.unlink()
    assert index.group("train.1.0") is None
    index.refresh(at_most_every=0)
    assert index.groups(GroupFilter(fate="kept")).total == 0
    assert index.instances("gain", 1).total == 0


def test_rotated_and_half_written_episodes_are_read_once(tmp_path: Path) -> None:
    run = agent_run(tmp_path / "run")
    file = run / "episodes.jsonl"
    line = file.read_bytes().splitlines(keepends=True)[0]
    file.write_bytes(file.read_bytes() + line[: len(line) // 2])
    index = RunIndex(run, KINDS["training"])
    index.refresh()
    assert index.episodes().total == 3
    file.rename(run / "episodes.older.jsonl")
    file.write_bytes(line)
    index.refresh(at_most_every=0)
    assert index.episodes().total == 4
    row = index.episodes(outcome="failed").rows[0]
    found = index.episode(row.number)
    assert found is not None and found[1].failing_tests[0] == "test_a"


def test_damaged_files_do_not_stop_the_pages(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run", steps=2)
    (run / "metrics.jsonl").write_bytes(b'\xff\xfe not json\n{"kind": "train", "step": 1, "rew')
    (run / "config.yaml").write_text("{ not yaml")
    (run / "samples" / "srl-2.jsonl").write_text('[1]\n{"instance_id": 3}\n')
    with (run / FOLDER / "00000.index").open("a") as file:
        file.write('{"step": 3}\nnot json\n[]\n')
    server = Server(run)
    try:
        for path in ("/run/run", "/run/run/groups", "/run/run/group/train.2.0"):
            assert server.get(path).status == 200, path
    finally:
        server.close()


# ---------------------------------------------------------------- files, commands


def test_an_export_holds_the_same_pages_and_links_to_files(
    folders: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    written = export(find_runs(folders), out, most=200)
    assert written.left_out == 0 and written.first == out / "index.html"
    names = {path.name for path in out.glob("*.html")}
    assert len(names) == written.pages > 30
    assert {"first-group-train.1.0.html", "agents-episode-1-and_2.html"} <= names
    for page in out.glob("*.html"):
        seen = tags(page.read_text(encoding="utf-8"))
        links = {value for tag, name, value in seen.attributes if (tag, name) == ("a", "href")}
        assert {(link or "").partition("#")[0] for link in links} <= names
        assert "img" not in seen.names and seen.names.count("script") == 1
        assert ("input", "type", "search") not in seen.attributes, "there is nobody to search"


def test_an_export_is_bounded_and_says_so(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = [str(folders[0]), "--export", str(out), "--export_pages", "5"]
    assert main(asked) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out / "index.html")
    assert "5 pages are written" in said.err and "--export_pages" in said.err
    assert len(list(out.glob("*.html"))) == 5
    assert main(asked) == 0, "an older export is overwritten"


def test_an_export_overwrites_nothing_else(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty and holds no export"):
        export(find_runs(folders), tmp_path, most=5)
    assert (tmp_path / "mine.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nowhere"], "There is no folder nowhere"),
        (["."], "holds no run"),
        ([".", "--port", "70000"], "port is 70000"),
        ([".", "--export_pages", "0"], "export_pages is 0"),
    ],
)
def test_bad_input_is_one_line(
    flags: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(flags) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and said.count("\n") == 1


def test_a_port_in_use_is_named(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main([str(folders[0]), "--port", str(port)]) == 2
    assert f"Port {port} cannot be used" in capsys.readouterr().err


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for place in ("a", "b"):
        training_run(tmp_path / place / "run", steps=1)
    assert list(find_runs([tmp_path])) == ["a-run", "b-run"]
    assert list(find_runs([tmp_path / "a" / "run", tmp_path / "b" / "run"])) == ["run", "run-2"]
    assert len(find_runs([tmp_path, tmp_path / "a"])) == 2, "the same folder is shown once"
    shutil.rmtree(tmp_path / "a" / "run")
    with pytest.raises(DataError, match="holds no run"):
        find_runs([tmp_path / "a"])
