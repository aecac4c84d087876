"""`qsift serve` as a service: what is printed for systemd, launchd and Windows' Task Scheduler."""

from __future__ import annotations

import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from qsift.cli.main import cli

MODEL = ("--embedding", "demo-embedding")
# What a shell, systemd or XML would take for something else.
ODD = ("--reranker", "a \"b\" 'c' \\d %h $HOME ${HOME} <&> ; ü", "--no-log", "-q")
MANAGERS = ("--systemd", "--launchd", "--task-scheduler")


def printed(*arguments: str, **environment: str) -> str:
    result = invoke(*arguments, **environment)
    assert result.exit_code == 0 and "Save this as" in result.stderr, result.output
    return result.stdout


def invoke(*arguments: str, **environment: str) -> Result:
    return CliRunner(env={"QSIFT_API_KEY": None, **environment}).invoke(cli, ["serve", *arguments])


def lines_of(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)


def systemd_command(unit: str) -> list[str]:
    words = shlex.split(lines_of(unit)["ExecStart"])  # as systemd.service(5) has it
    assert all(re.fullmatch(r"([^%$]|%%|\$\$)*", word) for word in words), "systemd would put something else there"
    return [word.replace("%%", "%").replace("$$", "$") for word in words]


def launchd_command(text: str) -> list[str]:
    return list(plistlib.loads(text.encode())["ProgramArguments"])


def task(text: str, path: str) -> str | None:
    names = {"": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    return ElementTree.fromstring(text).findtext(path, namespaces=names)


@pytest.mark.parametrize("options", [MODEL, (*ODD, "--api-key", "k", "--unix-socket", "/s p/%t;.sock")])
@pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze; on Debian and Ubuntu: apt-get install systemd"
)
def test_systemd_itself_has_nothing_to_say_against_the_unit(tmp_path: Path, options: tuple[str, ...]) -> None:
    unit = tmp_path / "qsift.service"
    unit.write_text(printed(*options, "--systemd"), "utf-8")
    result = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", unit],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.parametrize("command", [systemd_command, launchd_command])
def test_the_command_is_that_which_was_given(command: Callable[[str], list[str]]) -> None:
    manager = "--launchd" if command is launchd_command else "--systemd"
    program, *arguments = command(printed(*ODD, manager, "--no-share-prefixes"))
    assert Path(program).is_absolute() and os.access(program, os.X_OK)
    assert arguments[-len(ODD) - 2 :] == ["serve", *ODD[:-1], "--quiet", "--no-share-prefixes"]
    help_text = subprocess.run([program, *arguments, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--systemd" in help_text  # it runs, and understands what it gets


def test_windows_gets_the_same_command() -> None:
    text = printed(*ODD, "--task-scheduler")
    assert text.isascii()
    arguments = task(text, "Actions/Exec/Arguments")
    assert arguments and arguments.endswith(subprocess.list2cmdline(["serve", *ODD[:-1], "--quiet"]))
    assert os.access(str(task(text, "Actions/Exec/Command")), os.X_OK)
    # What Windows does otherwise: an end after three days, and on battery.
    assert task(text, "Settings/ExecutionTimeLimit") == "PT0S"
    assert task(text, "Settings/StopIfGoingOnBatteries") == "false"


def test_paths_are_absolute_and_names_stay_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.gguf").touch()
    options = ("--embedding", "mine.gguf", "--reranker", "demo-reranker", "--port-file", "port")
    command = systemd_command(printed(*options, "--systemd"))
    assert command[command.index("serve") + 1 :] == [
        *("--embedding", str(tmp_path / "mine.gguf"), "--reranker", "demo-reranker", "--port-file"),
        str(tmp_path / "port"),
    ]


@pytest.mark.parametrize("manager", MANAGERS)
@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_key_is_printed_nowhere(manager: str, given: str) -> None:
    arguments = ("--api-key", "hush") if given == "option" else ()
    result = invoke(*MODEL, *arguments, manager, **({} if arguments else {"QSIFT_API_KEY": "hush"}))
    assert result.exit_code == 0 and "hush" not in result.output and "--api-key" not in result.output
    assert "QSIFT_API_KEY" in result.stderr
    assert "QSIFT_API_KEY" not in invoke(*MODEL, manager).output


def test_systemd_starts_nothing_without_the_key_that_was_asked_for() -> None:
    assert lines_of(printed(*MODEL, "--systemd"))["EnvironmentFile"] == "-%h/.config/qsift/serve.env"
    assert lines_of(printed(*MODEL, "--api-key", "k", "--systemd"))["EnvironmentFile"] == "%h/.config/qsift/serve.env"


@pytest.mark.posix
def test_launchd_finds_the_key_in_the_same_file(tmp_path: Path) -> None:
    text = printed(*MODEL, "--api-key", "k", "--launchd", HOME=str(tmp_path))
    shell = launchd_command(text)[:4]
    assert "/bin/sh" not in launchd_command(printed(*MODEL, "--launchd"))
    start = [*shell, sys.executable, "-c", "import os; print(os.environ['QSIFT_API_KEY'])"]
    assert subprocess.run(start, capture_output=True, check=False).returncode != 0
    file = tmp_path / ".config" / "qsift" / "serve.env"
    file.parent.mkdir(parents=True)
    file.write_text("QSIFT_API_KEY='two keys'\n")
    assert subprocess.run(start, capture_output=True, text=True, check=True).stdout == "two keys\n"


def test_the_agent_has_keys_and_types_of_launchd() -> None:
    agent: dict[str, Any] = plistlib.loads(printed(*MODEL, "--launchd").encode())
    types = {  # launchd.plist(5)
        **{"Label": str, "ProgramArguments": list, "RunAtLoad": bool, "KeepAlive": dict, "ExitTimeOut": int},
        **{"ProcessType": str, "StandardErrorPath": str, "EnvironmentVariables": dict, "WorkingDirectory": str},
    }
    assert {name: type(value) for name, value in agent.items()} == {name: types[name] for name in agent}
    assert {"Label", "ProgramArguments"} <= set(agent) and Path(agent["StandardErrorPath"]).is_absolute()
    assert agent["KeepAlive"] == {"SuccessfulExit": False} and agent["ProcessType"] == "Interactive"


def test_the_end_has_time_for_all_that_was_accepted() -> None:
    options = (*MODEL, "--timeout", "20.5", "--body-timeout", "5")
    assert int(lines_of(printed(*options, "--systemd"))["TimeoutStopSec"]) > 26
    assert plistlib.loads(printed(*options, "--launchd").encode())["ExitTimeOut"] > 26


@pytest.mark.parametrize("manager", MANAGERS)
def test_what_would_not_start_is_not_printed(manager: str) -> None:
    for arguments in ([], [*MODEL, "--host", "0.0.0.0"], [*MODEL, "--unix-socket", "s", "--port", "1"]):
        result = invoke(*arguments, manager)
        assert result.exit_code == 2 and not result.stdout
