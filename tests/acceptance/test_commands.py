"""Each command through a process of its own, against one running service."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml
from click.testing import CliRunner, Result

from lambda_builder.cli.commands import COMMANDS, main
from lambda_builder.cli.exits import Exit
from tests.processes import ROOT, ClusterProcess, ServiceProcess, free_port
from tests.programs import needs
from tests.scripted import Scripted
from tests.terminal import Terminal, hear_interrupts
from tests.waiting import wait_until

COLOUR = "\x1b["
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class Shell:
    """Runs commands for one service."""

    def __init__(self, service: ServiceProcess) -> None:
        self.service = service
        unwanted = ("LAMBDA_BUILDER_", "K_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "XDG_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
        self.environment = {**kept, "LAMBDA_BUILDER_URL": service.url}
        absent = dict.fromkeys(set(os.environ) - set(kept))
        self.variables: dict[str, str | None] = {**absent, "LAMBDA_BUILDER_URL": service.url}

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        code: int = 0,
        variables: Mapping[str, str] = NO_VARIABLES,
    ) -> Result:
        """Run a command in this process, which is sooner over, and check its exit code."""
        runner = CliRunner(env={**self.variables, **variables})
        done = runner.invoke(main, arguments, input=stdin, prog_name="lambda-builder")
        assert done.exit_code == code, (done.output, done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done

    def process(
        self, *arguments: str, stdin: str = "", code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own, on pipes, and check its exit code."""
        done = subprocess.run(
            _command(arguments),
            cwd=ROOT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done

    def on_terminal(self, *arguments: str, **environment: str) -> Terminal:
        """Run a command on a terminal."""
        return Terminal(_command(arguments), {**self.environment, **environment})

    def built(self, parser: str) -> str:
        """Send a build, wait for its end, and return its Job's name."""
        name: str = self.service.post(parser, parser_id=parser).json()["job_name"]
        wait_until(lambda: self.state(name) in ("succeeded", "failed"), f"the end of {name}")
        return name

    def state(self, name: str) -> str:
        """Return the state of a build."""
        state: str = self.service.get(f"/async-jobs/{name}").json()["state"]
        return state


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "lambda_builder.cli", *arguments]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("commands")
    with (
        ClusterProcess(folder) as cluster,
        ServiceProcess(cluster.kubeconfig, folder) as service,
    ):
        cluster.add_fault("fail", name_prefix="build-customer-broken-", message="no such file")
        cluster.add_fault("slow_runs", name_prefix="build-customer-slow-", seconds=600)
        yield Shell(service)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    service = Scripted()
    yield service
    service.close()


# -- sending -------------------------------------------------------------------------------------


def test_an_event_is_sent_and_waited_for_until_it_is_built(shell: Shell) -> None:
    options = ("--parser-id", "sent", "--tenant", "customer", "--build-arg", "A=1=2")
    sent = shell.process("send", *options, "--id", "sent-1", "--wait")
    build = json.loads(sent.stdout)
    assert (build["state"], build["third_party_id"]) == ("succeeded", "customer")
    assert build["event"]["source"] == "network.notifi.customer"
    again = json.loads(shell.run("send", *options, "--id", "sent-1").stdout)
    assert (again["status"], again["job_name"]) == ("duplicate", build["job_name"])


def test_a_file_is_sent_line_by_line_and_what_is_refused_is_told_by_its_line(shell: Shell) -> None:
    lines = '{"parser_id": "a"}\n{"parser_id": ""}\n\n{"parser_id": "b", "third_party_id": "z"}\n'
    options = ("send", "-", "--tenant", "lines", "--id", "file", "--rate", "100")
    first = shell.process(*options, "-o", "name", stdin=lines, code=Exit.FAILED)
    assert sorted(name.rpartition("-")[0] for name in first.stdout.split()) == [
        "build-lines-a",
        "build-z-b",
    ]
    assert first.stderr.splitlines()[-1] == (
        "Error: event 2 (file-2): invalid_data: parser_id: must not be empty."
    )
    summary = " ".join(first.stderr.split())
    assert "queued 2" in summary
    assert "invalid data 1" in summary
    again = shell.run(*options, "-o", "json", stdin=lines, code=Exit.FAILED)
    assert [each["status"] for each in json.loads(again.stdout)] == ["duplicate", "duplicate"]


def test_an_event_that_finds_no_room_is_sent_again_and_that_is_told(
    shell: Shell, scripted: Scripted
) -> None:
    scripted.refuse(503, "queue_full", Retry_After="0")
    scripted.answer({"status": "queued", "job_name": "j", "correlation_id": "c", "event_id": "e"})
    sent = shell.run("send", "--url", scripted.url, "--parser-id", "p", "-o", "name")
    assert sent.stdout == "j\n"
    assert re.fullmatch(r"queue_full: sent again in 0\.\d s\n", sent.stderr)


def test_nothing_more_is_sent_once_nobody_answers(shell: Shell) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    lines = '{"parser_id": "a"}\n' * 50
    options = ("--url", url, "--patience", "0", "--parallel", "1")
    sent = shell.run("send", "-", *options, stdin=lines, code=Exit.AWAY)
    assert sent.stderr.count("does not answer") == 1
    assert "not sent 49" in " ".join(sent.stderr.split())


def test_an_interrupted_file_tells_what_was_sent_and_leaves_at_once(
    shell: Shell, scripted: Scripted
) -> None:
    told = {"status": "queued", "job_name": "j", "correlation_id": "c", "event_id": "e"}
    scripted.answer(told)
    scripted.refuse(503, "queue_full", Retry_After="50")
    sending = subprocess.Popen(
        _command(("send", "-", "--url", scripted.url, "--parallel", "2", "-o", "name")),
        env=shell.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )
    assert sending.stdin is not None
    sending.stdin.write('{"parser_id": "a"}\n' * 50)
    sending.stdin.close()
    wait_until(lambda: len(scripted.requests) == 3, "two that wait for room", 20)
    sending.send_signal(signal.SIGINT)
    assert sending.wait(10) == Exit.INTERRUPTED
    assert sending.stdout is not None
    assert sending.stderr is not None
    with sending.stdout, sending.stderr:
        assert sending.stdout.read() == "j\n"
        assert "not sent 47" in " ".join(sending.stderr.read().split())


# -- builds --------------------------------------------------------------------------------------


def test_builds_are_listed_in_each_form(shell: Shell) -> None:
    name = shell.built("listed")
    options = ("jobs", "list", "--parser-id", "listed", "-o")
    assert shell.run(*options, "name").stdout == f"{name}\n"
    assert json.loads(shell.run(*options, "json").stdout)["items"][0]["job_name"] == name
    assert (
        yaml.safe_load(shell.run(*options, "yaml", "--all-pages").stdout)["items"][0]["attempts"]
        == 1
    )
    assert name in shell.run(*options, "table").stdout


def test_a_build_is_followed_to_its_end_and_the_cause_is_told_in_one_line(shell: Shell) -> None:
    name = shell.service.post("broken", parser_id="broken").json()["job_name"]
    seen = shell.run("jobs", "watch", name, code=Exit.NOT_BUILT)
    assert seen.stdout.splitlines()[-1].split()[1:3] == [name, "failed"]
    (line,) = seen.stderr.splitlines()
    assert line.startswith(f"Error: {name} is failed")
    assert line.endswith(f"see `lambda-builder jobs logs {name}`.")


def test_all_builds_are_watched_a_line_for_each_change(shell: Shell) -> None:
    name = shell.built("watched")
    options = ("--parser-id", "watched", "--timeout", "0.3", "--interval", "0.2")
    (line,) = shell.run("jobs", "watch", *options).stdout.splitlines()
    assert line.split()[1:] == [name, "succeeded"]
    (document,) = shell.run("jobs", "watch", *options, "-o", "json").stdout.splitlines()
    assert json.loads(document)["state"] == "succeeded"


def test_all_that_match_are_counted_and_then_steered(shell: Shell) -> None:
    for number in range(3):
        shell.service.post(f"slow-{number}", parser_id="slow", third_party_id="customer")
    slow = ("--all-matching", "--parser-id", "slow")
    counted = shell.run("jobs", "cancel", *slow, "--dry-run")
    assert json.loads(counted.stdout) == {"matched": 3, "done": 0, "refused": []}
    done = shell.run("jobs", "cancel", *slow)
    assert json.loads(done.stdout) == {"matched": 3, "done": 3, "refused": []}
    assert json.loads(shell.run("jobs", "retry", *slow).stdout)["matched"] == 0


def test_of_several_builds_the_others_are_steered_though_one_is_refused(shell: Shell) -> None:
    name = shell.service.post("slow-x", parser_id="slow").json()["job_name"]
    done = shell.run("jobs", "cancel", "nobody", name, "-o", "name", code=Exit.NOT_FOUND)
    assert done.stdout == f"{name}\n"
    assert done.stderr.startswith("Error: not_found: ")
    assert shell.state(name) == "cancelled"


def test_a_builds_log_is_printed_as_it_is(shell: Shell) -> None:
    assert "Pushed image" in shell.run("jobs", "logs", shell.built("logged")).stdout


def test_stats_go_on_until_they_are_interrupted(shell: Shell) -> None:
    watching = subprocess.Popen(
        _command(("stats", "--watch")),
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )
    assert watching.stdout is not None
    told = [json.loads(watching.stdout.readline()) for _ in range(2)]
    watching.send_signal(signal.SIGINT)
    assert watching.communicate(timeout=30)[1] == ""
    assert watching.returncode == Exit.INTERRUPTED
    assert {each["max_queue_size"] for each in told} == {100}


# -- exit codes ----------------------------------------------------------------------------------

IN_A_PROCESS = (Exit.DONE, Exit.NOT_FOUND, Exit.NOT_BUILT)
"""Codes that are seen from outside as well."""


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (Exit.DONE, "jobs list"),
        (Exit.FAILED, "jobs cancel --all-matching"),
        (Exit.FAILED, "send --parser-id p --type t"),
        (Exit.USAGE, "jobs list --state nowhere"),
        (Exit.USAGE, "jobs cancel"),
        (Exit.USAGE, "jobs cancel a --state dead"),
        (Exit.USAGE, "jobs list --context nowhere"),
        (Exit.USAGE, "send"),
        (Exit.AWAY, "stats --url http://127.0.0.1:1"),
        (Exit.AWAY, "stats --url nowhere"),
        (Exit.DENIED, "stats --url {denying}"),
        (Exit.NOT_FOUND, "jobs show nobody"),
        (Exit.NOT_BUILT, "send --parser-id broken --tenant customer --wait"),
        (Exit.STILL_GOING, "send --parser-id slow --tenant customer --wait --timeout 0"),
    ],
    ids=lambda value: value.name if isinstance(value, Exit) else value,
)
def test_exit_codes(shell: Shell, scripted: Scripted, code: Exit, arguments: str) -> None:
    scripted.refuse(401, "unauthenticated")
    given = [word.format(denying=scripted.url) for word in arguments.split()]
    run = shell.process if code in IN_A_PROCESS else shell.run
    done = run(*given, code=code)
    said = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(said) == (0 if code == Exit.DONE else 1)
    assert done.stdout == "" or code in (Exit.DONE, Exit.NOT_BUILT, Exit.STILL_GOING)


def test_every_exit_code_is_documented() -> None:
    page = (ROOT / "docs" / "command-line.rst").read_text()
    rows = dict(re.findall(r"^(\d+) +(\S.*)$", page, re.M))
    assert sorted(map(int, rows)) == sorted(Exit)


# -- terminals -----------------------------------------------------------------------------------


def test_there_are_colours_on_a_terminal_alone_and_none_where_they_are_not_wanted(
    shell: Shell,
) -> None:
    shell.built("coloured")
    command = ("jobs", "list", "--parser-id", "coloured")
    with shell.on_terminal(*command) as terminal:
        assert terminal.end() == 0
        assert f"{COLOUR}32msucceeded" in terminal.shown
    with shell.on_terminal(*command, NO_COLOR="1") as terminal:
        assert terminal.end() == 0
        assert "succeeded" in terminal.shown
        assert not re.search(r"\x1b\[[0-9;]*3\dm", terminal.shown)
    assert COLOUR not in shell.run(*command).stdout


def test_progress_is_shown_on_a_terminal_alone(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(f'{{"parser_id": "progress-{i}"}}\n' for i in range(20)))
    with shell.on_terminal("send", str(file), "--tenant", "customer") as terminal:
        assert terminal.end() == 0
        assert "20/20" in terminal.shown
        assert "━" in terminal.shown
    piped = shell.run("send", str(file), "--tenant", "customer")
    assert "━" not in piped.stderr
    assert "queued 20" in " ".join(piped.stderr.split())


def test_many_builds_are_steered_on_a_terminal_only_once_that_was_confirmed(shell: Shell) -> None:
    name = shell.service.post("slow-y", parser_id="slow-y", third_party_id="customer-slow")
    command = ("jobs", "cancel", "--all-matching", "--parser-id", "slow-y")
    with shell.on_terminal(*command) as terminal:
        terminal.wait_for("cancel 1 builds? [y/N]")
        terminal.type("n\n")
        assert terminal.end() == 1
    assert shell.state(name.json()["job_name"]) != "cancelled"


def test_a_watched_table_gives_the_terminal_back(shell: Shell) -> None:
    name = shell.built("live")
    with shell.on_terminal("jobs", "watch", "--parser-id", "live") as terminal:
        terminal.wait_for(name)
        terminal.interrupt()
        assert terminal.end() == Exit.INTERRUPTED
        assert terminal.shown.rstrip().endswith("\x1b[?1049l")  # the screen that was there before
        assert "Traceback" not in terminal.shown


# -- without a service ---------------------------------------------------------------------------


def test_every_sample_of_an_event_in_is_accepted(shell: Shell) -> None:
    samples = json.loads(shell.run("events", "-o", "json").stdout)
    taken = [
        event
        for event in samples
        if event["type"].rpartition(".")[2] in ("start", "cancel", "retry")
    ]
    sent = shell.run("send", "-", "-o", "json", stdin=json.dumps(taken))
    assert len(json.loads(sent.stdout)) == len(taken) >= 6


def test_a_template_is_rendered_for_an_event(shell: Shell) -> None:
    event = shell.run("events", "io.knative.lambda.command.build.start").stdout
    options = ("--event", "-", "--template", "buildkit.yaml")
    job = yaml.safe_load(shell.run("template", "render", *options, stdin=event).stdout)
    labels = job["metadata"]["labels"]
    assert (job["kind"], labels["build.notifi.network/parser-id"]) == ("Job", "parser-1")
    assert "is a Job template" in shell.run("template", "validate").stdout
    refused = shell.run("template", "validate", "--template", "/dev/null", code=Exit.USAGE)
    assert "is no Job template" in refused.stderr


def test_the_description_is_that_of_the_service(shell: Shell) -> None:
    assert json.loads(shell.run("openapi").stdout) == shell.service.get("/openapi.json").json()


def test_an_auth_file_is_checked_and_a_token_is_recognised(shell: Shell, tmp_path: Path) -> None:
    token = "a-token-that-nobody-can-guess"
    told = shell.run("auth", "hash", stdin=token).stdout.strip()
    file = tmp_path / "auth.yaml"
    policy = "{identities: [ci], actions: [send, read], tenants: ['customer-*']}"
    file.write_text(f"identities: [{{name: ci, token_sha256: [{told}]}}]\npolicies: [{policy}]\n")
    shown = shell.run("auth", "check", str(file), "--token", stdin=token).stdout
    assert shown.split()[-5:] == ["ci", "customer-*", "customer-*", "-", "-"]
    shell.run("auth", "check", str(file), "--token", stdin="another", code=Exit.DENIED)
    file.write_text("identities: 1\n")
    assert "identities" in shell.run("auth", "check", str(file), code=Exit.USAGE).stderr


def test_contexts_name_services_and_keep_their_tokens_to_themselves(
    shell: Shell, scripted: Scripted, tmp_path: Path
) -> None:
    scripted.answer({"items": [], "next_cursor": None})
    home = {"XDG_CONFIG_HOME": str(tmp_path), "LAMBDA_BUILDER_URL": ""}
    secret = tmp_path / "token"
    secret.write_text("hunter2\n")
    named = ("--url", scripted.url, "--token-file", str(secret))
    shell.run("context", "set", "mine", *named, variables=home)
    shell.run("context", "set", "other", "--url", "http://127.0.0.1:1", variables=home)
    assert (tmp_path / "lambda-builder" / "config.yaml").stat().st_mode & 0o077 == 0
    shell.run("jobs", "list", variables=home)
    shell.run("jobs", "list", "--context", "other", code=Exit.AWAY, variables=home)
    shell.run("jobs", "list", "--url", scripted.url, variables=home)
    shell.run("context", "use", "other", variables=home)
    shell.run("jobs", "list", code=Exit.AWAY, variables=home)
    shell.run("jobs", "list", "--context", "mine", variables=home)
    shown = [headers.get("authorization") for _, _, headers, _ in scripted.requests]
    assert shown == ["Bearer hunter2", None, "Bearer hunter2"]
    listed = shell.run("context", "list", variables=home).stdout
    assert re.search(r"\* +other", listed)
    assert "hunter2" not in listed
    shell.run("context", "remove", "mine", variables=home)
    shell.run("context", "use", "mine", code=Exit.USAGE, variables=home)


@pytest.fixture
def installed(shell: Shell, tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds the command by its name."""
    program = tmp_path / "lambda-builder"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m lambda_builder.cli "$@"\n')
    program.chmod(0o755)
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return {**shell.environment, **own, "HOME": str(tmp_path)}


@needs("bash")
def test_bash_completes_commands_and_values(shell: Shell, installed: dict[str, str]) -> None:
    script = shell.run("completion", "bash").stdout

    def completed(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in ("lambda-builder", *words))
        ask = f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}; "
        ask += "_lambda_builder_completion lambda-builder"
        done = subprocess.run(
            ["bash", "-c", f'{script}\n{ask}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
            env=installed,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.stderr == ""
        return done.stdout.split()

    assert completed("s") == ["serve", "send", "stats"]
    assert completed("jobs", "list", "--state", "c") == ["creating", "created", "cancelled"]


@needs("fish")
def test_fish_completes_commands_and_values(shell: Shell, installed: dict[str, str]) -> None:
    script = shell.run("completion", "fish").stdout

    def completed(typed: str) -> list[str]:
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"{script}\ncomplete -C '{typed}'"],
            env=installed,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.stderr == ""
        return sorted(line.split("\t")[0] for line in done.stdout.splitlines())

    assert completed("lambda-builder s") == ["send", "serve", "stats"]
    assert completed("lambda-builder jobs list --state c") == ["cancelled", "created", "creating"]


@needs("zsh")
def test_zsh_completes_what_is_typed(
    shell: Shell, installed: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "completion.zsh"
    script.write_text(shell.run("completion", "zsh").stdout)
    with Terminal(["zsh", "-f", "-i"], installed) as zsh:
        zsh.type(
            f"autoload -Uz compinit; compinit -u -d {tmp_path}/dump; . {script}; PS1='go''> '\n"
        )
        zsh.wait_for("go> ")
        zsh.type("lambda-builder jobs sh\t")
        zsh.wait_for("lambda-builder jobs show")


# -- help ----------------------------------------------------------------------------------------


def test_the_list_of_commands_loads_nothing_but_click(shell: Shell) -> None:
    heavy = ("requests", "pydantic", "rich", "yaml", "flask", "kubernetes", "lambda_builder.client")
    script = (
        "import sys\n"
        "from lambda_builder.cli.commands import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in COMMANDS)
