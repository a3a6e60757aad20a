"""Command lines of the entry points: gin files and bindings, and errors a user can act on.

Flags are T5X's: `--gin_file` (repeated, later files win), `--gin.NAME=value` (wins over files),
`--gin_search_paths`. Paths of gin files are looked up here, there, and in the repository's root.
"""

import difflib
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence

from absl import app
from absl import flags
import gin

from gsid_jax import storage
from gsid_jax.errors import UserError

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LOCATION = re.compile(r'In (?:file "(?P<file>[^"]*)",|bindings string) line (?P<line>\d+)\n'
                       r"\s*(?P<text>[^\n]*)")
_CALL = "\n  In call to configurable"


def define_flags() -> None:
    """Defines the flags once, and not before they are needed: T5X's commands have their own."""
    if "gin_file" in flags.FLAGS:
        return
    flags.DEFINE_multi_string("gin_file", [], "A gin file; may be repeated, later files win.")
    flags.DEFINE_multi_string("gin_bindings", [], "A gin binding; --gin.NAME=value is the same.")
    flags.DEFINE_list("gin_search_paths", ["."], "Directories in which gin files are looked up.")
    flags.DEFINE_bool("multihost", False, "Joins a run on several hosts.")
    flags.DEFINE_string("coordinator_address", None,
                        "host:port of the first host, with --multihost.")
    flags.DEFINE_integer("num_processes", None, "Number of hosts, with --multihost.")
    flags.DEFINE_integer("process_id", None, "This host's number from 0, with --multihost.")


def run(main: Callable[[list[str]], None]) -> None:
    """Parses the command line, calls `main(arguments left over)` and exits.

    A UserError becomes `error: ...` on the standard error stream and exit status 1.
    """
    sys.exit(call(main, sys.argv))


def call(main: Callable[[list[str]], None], argv: Sequence[str]) -> int:
    """What `run` does, with the arguments given and the exit status returned."""
    try:
        define_flags()
        app.define_help_flags()
        main(flags.FLAGS(rewrite_gin_args(argv)))
        return 0
    except (UserError, flags.Error) as error:
        message = str(error)
    except KeyboardInterrupt:
        message = "interrupted; the same command goes on from the last checkpoint"
    except OSError as error:
        problem = storage.problem(error)
        if problem is None:
            raise
        place = f" at {error.filename}" if error.filename else ""
        message = (f"the disk refuses a file{place}: {problem}; expected a place with room that may "
                   "be read and written. What was finished is kept: free space or correct the "
                   "path, the same command goes on")
    except TypeError as error:
        if "No values supplied by Gin" not in str(error):
            raise
        message = _unbound(str(error))
    print(f"error: {message.split(_CALL)[0]}", file=sys.stderr, flush=True)
    return 1


def rewrite_gin_args(argv: Sequence[str]) -> list[str]:
    """`--gin.NAME=value` as `--gin_bindings=NAME = value`; other arguments stay."""
    rewritten = []
    for argument in argv:
        if argument.startswith("--gin."):
            name, equals, value = argument[len("--gin."):].partition("=")
            if not equals or not name.strip():
                raise UserError(f"flag {argument!r} has no value; expected --gin.NAME=value")
            argument = f"--gin_bindings={name} = {value}"
        rewritten.append(argument)
    return rewritten


def start(argv: Sequence[str], bindings: Sequence[str] | None = None) -> None:
    """Joins the other hosts if asked to, and parses the gin files and bindings of the flags.

    `bindings` replaces those of the flags.
    """
    values = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]!r}; expected flags only: --gin_file=FILE, "
                        "--gin.NAME=value")
    if values.multihost:
        from gsid_jax import partitioning
        partitioning.start_distributed(values.coordinator_address, values.num_processes,
                                       values.process_id)
    if not values.gin_file and not values.gin_bindings:
        raise UserError("no configuration given; expected at least --gin_file=FILE, such as "
                        "--gin_file=gin_configs/runs/pretrain.gin")
    bindings = values.gin_bindings if bindings is None else bindings
    parse_gin(values.gin_file, bindings, values.gin_search_paths)


def parse_gin(gin_files: Sequence[str], bindings: Sequence[str] = (),
              search_paths: Sequence[str] = ()) -> None:
    """Replaces the gin configuration by these files, then these bindings, and locks it.

    Raises UserError that names the file and line, or the binding, for a missing file, a syntax
    error, an unknown name, a required value that is not set and a set value that nothing uses.
    """
    _read_gin(gin_files, bindings, search_paths)
    check_values(bindings)
    try:
        with gin.unlock_config():
            gin.finalize()
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(explain(error)) from error


def names_used(gin_files: Sequence[str], bindings: Sequence[str] = (),
               search_paths: Sequence[str] = ()) -> set[str]:
    """Names that a configuration uses: its values (NAME, set or not) and the configurables it
    refers to or binds, without their modules. Replaces the configuration in force.

    Raises UserError as `parse_gin` does for what cannot be read.
    """
    _read_gin(gin_files, bindings, search_paths)
    text = gin.config_str(max_line_length=10**6)
    configurables = re.findall(r"@([\w/.]+)", text) + re.findall(r"^([\w/.]+)\.\w+ =", text,
                                                                re.MULTILINE)
    return set(re.findall(r"%([\w/.]+)", text)) | {
        re.split(r"[/.]", name)[-1] for name in configurables}


def _read_gin(gin_files: Sequence[str], bindings: Sequence[str],
              search_paths: Sequence[str]) -> None:
    from gsid_jax import gin_setup  # registers what the files name
    del gin_setup
    with gin.unlock_config():
        gin.clear_config()
    for path in [*search_paths, _ROOT]:
        _add_search_path(path)
    try:
        logging.disable(logging.ERROR)  # gin logs every place where it does not find a file
        with gin.unlock_config():
            gin.parse_config_files_and_bindings(list(gin_files), list(bindings),
                                                finalize_config=False)
    except (OSError, ImportError, SyntaxError, NameError, AttributeError, ValueError,
            RuntimeError, TypeError) as error:
        raise UserError(explain(error)) from error
    finally:
        logging.disable(logging.NOTSET)


_search_paths: set[str] = set()


def _add_search_path(path: str) -> None:
    if path not in _search_paths:
        _search_paths.add(path)
        gin.add_config_file_search_path(path)


def check_values(bindings: Sequence[str]) -> None:
    """Raises UserError for values (NAME = ...) that are required or used but not set, and for
    those of the command line that nothing uses."""
    text = gin.config_str(max_line_length=10**6)
    used = {name for name in re.findall(r"%([\w/.]+)", text) if not name.startswith("gin.")}
    values = dict(re.findall(r"^(\w+) = (.*)$", text, re.MULTILINE))
    needed = sorted({name for name, value in values.items() if value == "%gin.REQUIRED"}
                    | {name for name in used if "/" not in name and name not in values})
    if needed:
        flag = " ".join(f"--gin.{name}=VALUE" for name in needed)
        raise UserError(f"required but not set: {', '.join(needed)}; expected a value in a gin "
                        "file (NETWORK comes with those of gin_configs/models) or on the command "
                        f"line: add {flag} (strings as \"'...'\")")
    for binding in bindings:
        name = binding.partition("=")[0].strip()
        if re.fullmatch(r"\w+", name) and name not in used:
            raise UserError(unknown_value(name, used))


def unknown_value(name: str, used: Iterable[str]) -> str:
    """What to say of a value on the command line that nothing uses."""
    return (f"unknown gin name in --gin.{name}: no gin file uses the value {name}; expected one of "
            f"{', '.join(sorted(used))}{_suggestion(name, used)}")


def _suggestion(name: str, known) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]}?" if close else ""


def explain(error: Exception) -> str:
    """A gin error as one message: what, where, and what was probably meant."""
    text = str(error)
    where = _place(text, error)
    missing_file = re.match(r"Unable to open file: (.*?)\. Searched config paths: (.*)\.", text)
    if missing_file:
        return (f"gin file {missing_file[1]!r} does not exist{where}; looked in "
                f"{', '.join(sorted(_search_paths))}: correct --gin_file, or add its directory to "
                "--gin_search_paths")
    unknown = re.match(r"No configurable matching (?:reference )?'@?([^'(]*)", text)
    if unknown:
        from gsid_jax import gin_setup
        name = unknown[1].split("/")[-1]
        return (f"unknown gin name {name!r}{where}; expected a configurable"
                f"{_suggestion(name, gin_setup.names()) or ': correct it'}")
    parameter = re.match(r"Configurable '([^']*)' doesn't have a parameter named '([^']*)'", text)
    if parameter:
        known = _parameters(gin.get_configurable(parameter[1]))
        return (f"unknown gin name {parameter[1]}.{parameter[2]}{where}; {parameter[1]} has the "
                f"parameters {', '.join(known)}{_suggestion(parameter[2], known)}")
    return f"the gin configuration cannot be read{where}: {text.splitlines()[0] if text else error}"


def _parameters(configurable: Callable[..., object]) -> list[str]:
    if inspect.isclass(configurable):  # gin's subclass hides the signature of its call
        return list(inspect.signature(configurable.__init__).parameters)[1:]
    return list(inspect.signature(configurable).parameters)


def _place(text: str, error: Exception) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f" in {error.filename}, line {error.lineno}"
    found = _LOCATION.search(text)
    if not found:
        return ""
    if found["file"]:
        return f" in {found['file']}, line {found['line']} ({found['text'].strip()})"
    return f" in --gin.{found['text'].strip()}"


def _unbound(text: str) -> str:
    names = re.search(r"for arguments: \[(.*?)\]", text)
    target = re.search(r"In call to configurable '([^']*)'", text)
    return (f"the gin configuration gives {target[1] if target else 'a call'} no value for "
            f"{names[1] if names else 'some arguments'}; expected a binding for each: include the "
            "gin file of a model and of a run")


def config_text() -> str:
    """The configuration in force, as gin text: what was used so far, defaults included."""
    return gin.operative_config_str()
