"""The command line: a table of commands, imported when called for."""

from __future__ import annotations

import errno
import importlib
import inspect
import os
import sys
import typing
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mcrgen.errors import InputError, StoppedError, near_name

COMMANDS = {
    "segment": "grey photograph -> phase labels",
    "train": "labelled image -> trained 3D generator",
    "generate": "trained generator -> volume of any size, in blocks",
    "reconstruct": "descriptors of an image or a table -> a medium that has them, by optimisation",
    "characterize": "statistical descriptors of an image or a volume: tables and figures",
    "compare": "how close volumes are to their reference: a table and a figure",
    "representative-size": "how large a window must be to stand for the whole",
    "view": "sections and a 3D rendering of a volume in one picture",
    "demo": "the whole way on a photograph of gravel, in a few minutes",
    "doctor": "what is installed, what this machine can do, what is missing",
}

EXIT_BAD_INPUT = 2
EXIT_STOPPED = 130
EXIT_BROKEN_PIPE = 141
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


def usage() -> str:
    """The text of ``mcrgen --help``."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: mcrgen COMMAND [OPTIONS]\n\n"
        "One micrograph in, verified three-dimensional microstructures out.\n\n"
        f"commands:\n{rows}\n\n"
        "Every command takes --help, and --config FILE.yaml for its options; flags win over the file.\n"
        "  mcrgen COMMAND --help    the options of a command\n"
        "  mcrgen --version         the version"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments after the program's name; those of the process if None.

    Returns:
        Exit code: 0 done, 2 bad input (one sentence on stderr), 130 stopped by the user, 141 nobody reads what is printed.
    """
    try:
        try:
            return _command(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # `head` or a pager has seen enough; what Python has left to print at its end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE


def _command(args: list[str]) -> int:
    """Run one command, or tell what there are."""
    if not args or args[0] in ("-h", "--help"):
        print(usage())
        return 0
    if args[0] == "--version":
        import mcrgen

        print(f"mcrgen {mcrgen.__version__}")
        return 0
    try:
        return _run(args[0], args[1:])
    except InputError as error:
        return _complain(error, EXIT_BAD_INPUT)
    except StoppedError as error:
        return _complain(error, EXIT_STOPPED)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        return _complain(
            f"{error.strerror}: '{error.filename2 or error.filename or 'output'}'; free some space or choose another place.",
            EXIT_BAD_INPUT,
        )
    except KeyboardInterrupt:
        return _complain("stopped.", EXIT_STOPPED)


def _complain(message: object, code: int) -> int:
    print(f"mcrgen: {message}", file=sys.stderr)
    return code


def _run(name: str, args: list[str]) -> int:
    if name not in COMMANDS:
        raise InputError(f"unknown command '{name}'{near_name(name, COMMANDS) or '; see `mcrgen --help`'}.")
    module = importlib.import_module(f"mcrgen.commands.{name.replace('-', '_')}")
    module.run(parse(name, module.run, args))
    return 0


def parse(name: str, run: Any, args: list[str]) -> Any:
    """Build the configuration of a command from its arguments: defaults, then ``--config FILE``, then flags.

    Args:
        name: the command, for the help text.
        run: its function; the type of the parameter ``config`` is the schema, or one for each method.
        args: arguments after the command.
    """
    import tyro

    from mcrgen import config
    from mcrgen.commands._options import plain_options

    hint = typing.get_type_hints(run)["config"]
    path, rest = _take_config(args)
    schema = config.choose(typing.get_args(hint) or (hint,), path, _method(rest))
    default = config.load(schema, path, missing=tyro.MISSING)
    about = f"{inspect.getdoc(schema)}\n\nOptions may come from a YAML file or a recipe too: --config FILE; flags win over it."
    return tyro.cli(schema, args=rest, default=default, prog=f"mcrgen {name}", description=about, registry=plain_options())


def _method(args: list[str]) -> str | None:
    """The value of ``--method``, which is also left to be parsed."""
    for arg, following in zip_longest(args, args[1:]):
        if arg == "--method":
            return following
        if arg.startswith("--method="):
            return arg.partition("=")[2]
    return None


def _take_config(args: list[str]) -> tuple[Path | None, list[str]]:
    """Split ``--config FILE`` or ``--config=FILE`` off the arguments."""
    rest: list[str] = []
    files: list[str] = []
    remaining = iter(args)
    for arg in remaining:
        if arg == "--config":
            files.append(next(remaining, ""))
        elif arg.startswith("--config="):
            files.append(arg.partition("=")[2])
        else:
            rest.append(arg)
    if "" in files:
        raise InputError("config: expected a file after --config, got nothing.")
    if len(files) > 1:
        raise InputError(f"config: expected one file, got {' and '.join(files)}; merge them into one.")
    return Path(files[0]) if files else None, rest
