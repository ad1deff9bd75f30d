"""Large files to a host: compressed, in one stream, hashed there before anything is put in place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

from pyinfra.api import Host, QuoteString, State, StringCommand

from kubeup.components import Artifact
from kubeup.host.difference import Item
from kubeup.host.resources import Blob
from kubeup.host.shell import privileged

if TYPE_CHECKING:
    from paramiko import SSHClient

RECEIVE = files("kubeup.host").joinpath("receive.sh").read_text()
CHUNK = 256 * 1024

OUTPUT = "kubeup_output"
"""Under this key of a host's connector_data lie the lines that a failed transfer printed (pyinfra keeps none)."""


class Artifacts(Protocol):
    def artifact(self, name: str, version: str, host: str) -> Artifact: ...


def send(state: State, host: Host, items: Sequence[Item], material: Artifacts) -> bool:
    """Send the artifacts of the Blob items; whether it succeeded.

    ``material`` hands out verified artifacts alone: a digest that is wrong in the local cache is found before the
    first byte leaves (ComponentError, in the output).
    """
    try:
        parcel = [
            (item, item.resource, material.artifact(item.resource.artifact, item.resource.version, host.name))
            for item in items
            if isinstance(item.resource, Blob)
        ]
        client = getattr(host.connector, "client", None)
        run = _through_ssh if client is not None else _through_file
        ok, lines = run(state, host, client, lambda: _stream(parcel))
    except Exception as error:  # pyinfra would log it and lose it
        ok, lines = False, [str(error) or type(error).__name__]
    host.connector_data[OUTPUT] = lines
    return ok


def _stream(parcel: Sequence[tuple[Item, Blob, Artifact]]) -> Iterator[bytes]:
    for item, blob, artifact in parcel:
        before = item.entry.before if item.entry else "?"
        digests = (artifact.sha256, artifact.packed_sha256)
        columns = (blob.path, blob.want, *digests, f"{blob.mode:04o}", str(artifact.packed_size), before)
        yield ("\t".join(columns) + "\n").encode()
        with artifact.path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    yield b"end\n"


Outcome = tuple[bool, list[str]]


def _through_ssh(state: State, host: Host, client: SSHClient, stream: Callable[[], Iterator[bytes]]) -> Outcome:
    """Straight into the command's standard input: no temporary file, whatever the size."""
    transport = client.get_transport()
    if transport is None:
        raise OSError("the SSH connection is closed")
    channel = transport.open_session()
    channel.exec_command(privileged(RECEIVE, name="kubeup-receive").get_raw_value())
    try:
        for chunk in stream():
            channel.sendall(chunk)
    except OSError:  # the other side ended early; what it said of that is what matters
        pass
    channel.shutdown_write()
    lines = channel.makefile_stderr("r").read().decode(errors="replace").splitlines()
    code = channel.recv_exit_status()
    return code == 0, lines


def _through_file(state: State, host: Host, client: Any, stream: Callable[[], Iterator[bytes]]) -> Outcome:
    """For pyinfra's other connectors, which have no stream: as one file, into a folder that only the user can read."""
    with tempfile.NamedTemporaryFile() as file:
        for chunk in stream():
            file.write(chunk)
        file.flush()
        ok, output = host.run_shell_command(StringCommand("mktemp", "-d"))
        if not ok:
            return False, output.output_lines
        folder = output.stdout.strip()
        try:
            host.put_file(file.name, f"{folder}/stream")
            receive = privileged(f'exec <"$1"\n{RECEIVE}', f"{folder}/stream", name="kubeup-receive")
            ok, output = host.run_shell_command(receive)
        finally:
            host.run_shell_command(StringCommand("rm", "-rf", QuoteString(folder)))
        return ok, output.output_lines
