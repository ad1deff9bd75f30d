"""Shell commands as root on a host, whoever SSH logs in as."""

from collections.abc import Sequence
from typing import cast

from pyinfra.api import QuoteString, StringCommand

NO_SUDO = 77
"""Exit code of a privileged command whose user may not become root (EX_NOPERM of sysexits.h)."""

# Not pyinfra's own _sudo: when sudo wants a password it asks on the terminal, in the middle of a run over many hosts.
# The exit code is printed because pyinfra's connectors keep it to themselves.
_EXIT = "kubeup-exit-code "
_AS_ROOT = (
    'if [ "$(id -u)" = 0 ]; then sh -c "$@"; '
    'elif sudo -n true 2>/dev/null; then sudo -n -- sh -c "$@"; '
    f'else echo "user $(id -un) may not become root: sudo is missing or wants a password" >&2; (exit {NO_SUDO}); fi; '
    f'rc=$?; [ $rc = 0 ] || echo "{_EXIT}$rc" >&2; exit $rc'
)


def privileged(script: str, *arguments: str, name: str = "kubeup", stdin: object = None) -> StringCommand:
    """A command that runs the POSIX shell script as root, with the arguments as $1 and so on.

    ``name`` is its $0, which is what an operator sees in ps. ``stdin``: text for its standard input, or an object
    with a ``readlines`` method, called when the command runs.
    """
    words = ["sh", "-c", QuoteString(_AS_ROOT), "sh", QuoteString(script), name, *map(QuoteString, arguments)]
    command = StringCommand(*words)
    if stdin is not None:
        # pyinfra takes what has readlines too, see connectors/util.py; its annotation says text alone
        command.connector_arguments["_stdin"] = cast(str, stdin)
    return command


def split_exit_code(lines: Sequence[str]) -> tuple[list[str], int | None]:
    """What a privileged command printed, and its exit code; None when it was cut off before it ended."""
    kept = [line for line in lines if not line.startswith(_EXIT)]
    codes = [int(line.removeprefix(_EXIT)) for line in lines if line.startswith(_EXIT)]
    return kept, codes[-1] if codes else None
