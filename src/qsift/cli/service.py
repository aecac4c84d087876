"""The command line of a server as a file for what keeps servers running: systemd, launchd, Windows' Task Scheduler.

It makes text. It installs nothing, and knows no server.
"""

from __future__ import annotations

import getpass
import math
import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import click
from click.core import ParameterSource

_LEFT_OUT = {"service", "api_keys"}  # a key stands in no file that others may read
_MODELS = {"embeddings", "rerankers"}
_ENVIRONMENT = ".config/qsift/serve.env"
_DESCRIPTION = "qsift: embeddings and reranking over HTTP"


@dataclass(frozen=True)
class Service:
    """What is to be run.

    Attributes:
        command: the absolute path of the executable, and its arguments.
        seconds: how long its end may take.
        needs_key: whether it is to demand a key, which it finds in the environment.
    """

    command: Sequence[str]
    seconds: int
    needs_key: bool


def service_of(context: click.Context) -> Service:
    """Returns what runs the command of a context as it was called, with absolute paths."""
    options = context.params
    folder = os.path.dirname(sys.executable)
    script = shutil.which("qsift", path=folder)
    start = [script] if script else [sys.executable, "-m", "qsift"]
    # What was accepted is answered: its body may come late, its answer may take long, and a step is not broken off.
    seconds = math.ceil(options["body_timeout"] + options["timeout"]) + 30
    return Service([*start, str(context.info_name), *_arguments(context)], seconds, bool(options["api_keys"]))


def _arguments(context: click.Context) -> Iterator[str]:
    for option in context.command.params:
        name, value = str(option.name), context.params.get(str(option.name))
        if name in _LEFT_OUT or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        if isinstance(value, bool):
            yield (option.opts if value else option.secondary_opts)[0]
            continue
        for item in value if isinstance(value, tuple) else (value,):
            is_path = isinstance(option.type, click.Path) or (name in _MODELS and os.path.exists(str(item)))
            yield from (option.opts[0], os.path.abspath(item) if is_path else str(item))


def systemd(service: Service) -> tuple[str, str]:
    """Returns a user's unit, and how it is installed."""
    # User managers cannot rely on namespaces, so what is here asks for none. MemoryDenyWriteExecute= would stop what
    # compiles kernels as it runs (oneDNN, CUDA), PrivateDevices= the GPU, ProtectHome= the cache of models.
    unit = f"""\
[Unit]
Description={_DESCRIPTION}

[Service]
Type=notify
ExecStart={" ".join(map(_systemd_word, service.command))}
EnvironmentFile={"" if service.needs_key else "-"}%h/{_ENVIRONMENT}
# The first start may fetch a model.
TimeoutStartSec=infinity
# SIGTERM, and time to answer what was accepted.
KillMode=mixed
TimeoutStopSec={service.seconds}
Restart=on-failure
RestartSec=5
# Wrong usage stays wrong.
RestartPreventExitStatus=2
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=default.target
"""
    return unit, (
        f"Save this as ~/.config/systemd/user/qsift.service. {_about_key(service)}Then: "
        "systemctl --user enable --now qsift; it runs without a login after: loginctl enable-linger"
    )


def _systemd_word(word: str) -> str:
    for sign, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$"), ("\n", "\\n")):
        word = word.replace(sign, escaped)
    return word if word and not set(word) & set(" \t'\"\\;") else f'"{word}"'


def launchd(service: Service) -> tuple[str, str]:
    """Returns a user's agent, and how it is installed."""
    home = Path.home()
    # launchd reads no file of variables, and a shell does.
    shell = ["/bin/sh", "-c", 'set -a; . "$0"; exec "$@"', str(home / _ENVIRONMENT)] if service.needs_key else []
    agent = {
        "Label": "qsift",
        "ProgramArguments": [*shell, *service.command],
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": service.seconds,
        "ProcessType": "Interactive",  # any other is slowed down
        "StandardErrorPath": str(home / "Library" / "Logs" / "qsift.log"),
    }
    return plistlib.dumps(agent, sort_keys=False).decode(), (
        f"Save this as ~/Library/LaunchAgents/qsift.plist. {_about_key(service)}Then: "
        "launchctl bootstrap gui/$(id -u) ~/Library/LaunchAgents/qsift.plist"
    )


def task_scheduler(service: Service) -> tuple[str, str]:
    """Returns a task of Windows, and how it is installed."""
    program, *arguments = service.command
    user = "\\".join(filter(None, (os.environ.get("USERDOMAIN"), getpass.getuser())))
    task = {
        "RegistrationInfo": {"Description": _DESCRIPTION},
        "Triggers": {"BootTrigger": {}},
        "Principals": {"Principal": {"UserId": user, "LogonType": "S4U", "RunLevel": "LeastPrivilege"}},
        # Windows' own: not on battery, an end after three days, a priority below normal, no second try.
        "Settings": {
            "DisallowStartIfOnBatteries": "false",
            "StopIfGoingOnBatteries": "false",
            "ExecutionTimeLimit": "PT0S",
            "Priority": "5",
            "RestartOnFailure": {"Interval": "PT1M", "Count": "255"},
        },
        "Actions": {"Exec": {"Command": program, "Arguments": subprocess.list2cmdline(arguments)}},
    }
    root = _element("Task", task)
    root.attrib.update(version="1.2", xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task")
    ElementTree.indent(root)
    key = "Before that: setx QSIFT_API_KEY … " if service.needs_key else ""
    # ASCII without a declaration reads the same in every encoding that a shell may save it in.
    return f"{ElementTree.tostring(root, 'us-ascii', xml_declaration=False).decode()}\n", (
        f"Save this as qsift.xml. {key}Then, in a PowerShell of an administrator: "
        "Register-ScheduledTask qsift -Xml (Get-Content qsift.xml -Raw); Start-ScheduledTask qsift"
    )


def _element(name: str, content: Mapping[str, object] | str) -> ElementTree.Element:
    element = ElementTree.Element(name)
    if isinstance(content, str):
        element.text = content
    else:
        element.extend(_element(inner, value) for inner, value in content.items())  # type: ignore[arg-type]
    return element


def _about_key(service: Service) -> str:
    return f"Write QSIFT_API_KEY=… into ~/{_ENVIRONMENT}, for yourself alone (chmod 600). " if service.needs_key else ""


SERVICES: Mapping[str, Callable[[Service], tuple[str, str]]] = {
    "systemd": systemd,
    "launchd": launchd,
    "task-scheduler": task_scheduler,
}
"""The text of the file for each, and how it is installed."""
