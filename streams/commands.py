"""What every command of `sluice` is added with."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TypeAlias

# What a command does: its arguments and the environment → its exit code.
Command = Callable[[argparse.Namespace, Mapping[str, str]], int]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(commands: Commands, name: str, function: Command, text: str) -> argparse.ArgumentParser:
    """A command whose help is `text`; the caller adds its arguments."""
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(command=function)
    return command
