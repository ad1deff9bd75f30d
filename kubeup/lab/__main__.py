"""Make this machine ready for labs, or remove what killed test runs left: ``python -m kubeup.lab prepare|sweep``.

For the Makefile; people use ``kubeup lab``.
"""

import sys

from kubeup.errors import KubeupError
from kubeup.lab import ensure_engine, ensure_image, sweep


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments: list[str]) -> int:
    """Do ``prepare`` (an engine, installed where there is none, and the host image) or ``sweep``.

    Returns the exit code: 0 done, 1 failed, 2 usage.
    """
    try:
        match arguments:
            case ["prepare"]:
                ensure_engine(install=True, say=_say)
                ensure_image(_say)
            case ["sweep"]:
                sweep(_say)
            case _:
                print("usage: python -m kubeup.lab prepare|sweep", file=sys.stderr)
                return 2
    except KubeupError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
