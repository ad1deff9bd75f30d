"""Large files to a host: compressed, in one stream, hashed there before anything is put in place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Protocol

import gevent
from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import Host, QuoteString, State, StringCommand

from kubeup.components import Artifact
from kubeup.host.difference import Item
from kubeup.host.resources import Blob
from kubeup.host.shell import privileged

if TYPE_CHECKING:
    from paramiko import SSHClient

RECEIVE = files("kubeup.host").joinpath("receive.sh").read_text()
CHUNK = 256 * 1024

BROKEN = (OSError, SSHException, EOFError)
"""What paramiko raises when a connection is gone: EOFError until it has noticed. (Left alone, that would end the whole
command with "Aborted.", because typer takes it for the end of what a person types.)"""


def broke(error: Exception) -> str:
    """What is said of a connection that one of these came of."""
    return f"the connection broke: {str(error) or 'the other side closed it'}"


OUTPUT = "kubeup_output"
"""Under this key of a host's connector_data lie the lines that a failed transfer printed (pyinfra keeps none)."""


Dirty = Sequence[tuple[str, str]]
"""Units that are to be marked first, see Change.dirty."""


class Artifacts(Protocol):
    unpacker: str

    def artifact(self, name: str, version: str, host: str) -> Artifact: ...


def send(state: State, host: Host, items: Sequence[Item], dirty: Dirty, material: Artifacts) -> bool:
    """Send the artifacts of the Blob items, after marking the ``dirty`` units; whether it succeeded.

    ``material`` hands out verified artifacts alone: a digest that is wrong in the local cache is found before the
    first byte leaves (ComponentError, in the output).
    """
    try:
        parcel = [
            (item, item.resource, material.artifact(item.resource.artifact, item.resource.version, host.name))
            for item in items
            if isinstance(item.resource, Blob)
        ]
        parcel.sort(key=lambda entry: entry[2].packing != "gzip")  # what unpacks the others comes first
        client: SSHClient | None = getattr(host.connector, "client", None)
        if client is None:
            ok, lines = _through_file(host, _stream(parcel, dirty), material.unpacker)
        else:
            ok, lines = _through_ssh(client, _stream(parcel, dirty), material.unpacker)
    except (SSHException, EOFError) as error:
        ok, lines = False, [broke(error)]
    except Exception as error:  # pyinfra would log it and lose it
        ok, lines = False, [str(error) or type(error).__name__]
    host.connector_data[OUTPUT] = lines
    if not ok:
        for line in lines:  # for pyinfra's own command; kubeup tells it by itself, and shows nothing of this logger
            logger.error(f"{host.print_prefix}{line}")
    return ok


def _stream(parcel: Sequence[tuple[Item, Blob, Artifact]], dirty: Dirty) -> Iterator[bytes]:
    for name, was in dirty:
        yield f"dirty\t{name}\t{was}\n".encode()
    for item, blob, artifact in parcel:
        before = item.entry.before if item.entry else "?"
        packed = (artifact.packing, str(artifact.packed_size))
        columns = (blob.path, blob.want, artifact.sha256, f"{blob.mode:04o}", *packed, before)
        yield ("\t".join(columns) + "\n").encode()
        with artifact.path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    yield b"end\n"


Outcome = tuple[bool, list[str]]


def _through_ssh(client: SSHClient, stream: Iterator[bytes], unpacker: str) -> Outcome:
    """Straight into the command's standard input: no temporary file, whatever the size."""
    transport = client.get_transport()
    if transport is None:
        raise OSError("the SSH connection is closed")
    channel = transport.open_session()
    channel.exec_command(privileged(RECEIVE, unpacker, name="kubeup-receive").get_raw_value())
    try:
        for chunk in stream:
            channel.sendall(chunk)
    except BROKEN:  # the other side ended early; what it said of that is what matters
        pass
    channel.shutdown_write()
    lines = channel.makefile_stderr("r").read().decode(errors="replace").splitlines()
    code = channel.recv_exit_status()
    return code == 0, lines


def exchange(
    client: SSHClient,
    command: StringCommand,
    source: Iterable[bytes],
    sink: Callable[[bytes], object] | None,
    timeout: float,
) -> tuple[str, str, int]:
    """Run a command with ``source`` as its standard input; its output goes to ``sink``, or is returned as text.

    Returns (standard output, standard error, exit code). Raises TimeoutError when nothing moved for ``timeout``
    seconds, OSError or SSHException when the connection broke, and what ``source`` or ``sink`` raise.
    """
    transport = client.get_transport()
    if transport is None:
        raise OSError("the SSH connection is closed")
    channel = transport.open_session()
    printed, told = bytearray(), bytearray()
    failed: list[Exception] = []

    def drain(receive: Callable[[int], bytes], take: Callable[[bytes], object]) -> None:
        try:
            while chunk := receive(CHUNK):
                take(chunk)
        except Exception as error:
            failed.append(error)
            channel.close()  # else the others would wait

    try:
        channel.settimeout(timeout)
        channel.exec_command(command.get_raw_value())
        # Both at once, and while writing: a program that fills one of them while nobody reads it would wait for ever.
        readers = [
            gevent.spawn(drain, channel.recv, sink or printed.extend),
            gevent.spawn(drain, channel.recv_stderr, told.extend),
        ]
        try:
            for chunk in source:
                channel.sendall(chunk)
            channel.shutdown_write()
        except TimeoutError:
            raise
        except BROKEN:  # the other side ended early; what it said of that is what matters
            if failed:
                raise failed[0] from None
        gevent.joinall(readers)
        if failed:
            raise failed[0]
        return printed.decode(errors="replace"), told.decode(errors="replace"), channel.recv_exit_status()
    finally:
        channel.close()


def _through_file(host: Host, stream: Iterator[bytes], unpacker: str) -> Outcome:
    """For pyinfra's other connectors, which have no stream: as one file, into a folder that only the user can read."""
    with tempfile.NamedTemporaryFile() as file:
        for chunk in stream:
            file.write(chunk)
        file.flush()
        ok, output = host.run_shell_command(StringCommand("mktemp", "-d"))
        if not ok:
            return False, output.output_lines
        folder = output.stdout.strip()
        try:
            host.put_file(file.name, f"{folder}/stream")
            receive = privileged(f'exec <"$2"\n{RECEIVE}', unpacker, f"{folder}/stream", name="kubeup-receive")
            ok, output = host.run_shell_command(receive)
        finally:
            host.run_shell_command(StringCommand("rm", "-rf", QuoteString(folder)))
        return ok, output.output_lines
