"""The command line: a mirror of the API, a file for each group of commands. Nothing else imports it."""

from .main import COMMANDS, cli, main
