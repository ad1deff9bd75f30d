"""SSH sessions to a cluster's nodes, and pyinfra's work on them.

pyinfra is driven through its API, with one State a phase on one Inventory, and one operation a host in each: its
operations are matched across hosts by position, so hosts that differed in their number would silently be mixed up
(pyinfra issue 1370). Hosts are prepared in greenlets of their own; add_op would take them one after another.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import gevent
from gevent.lock import BoundedSemaphore
from paramiko import ChannelException, SSHException, Transport
from pyinfra.api import BaseStateCallback, Config, Host, Inventory, State, StringCommand
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.operation import OperationMeta
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.connectors.sshuserclient import client as pyinfra_ssh
from pyinfra.context import ctx_host, ctx_state

from kubeup.cluster import Cluster, Node
from kubeup.errors import HostFailure, HostsFailed
from kubeup.host.converge import APPLY, Material, Payload, converge
from kubeup.host.difference import Change
from kubeup.host.lock import Lock, refuse_busy
from kubeup.host.reading import HostReading, Reading
from kubeup.host.shell import NO_SUDO, privileged, split_exit_code
from kubeup.host.transfer import BROKEN, OUTPUT, broke, exchange
from kubeup.observer import Observer, Silent

# pyinfra logs every failure as it happens; here they are gathered and told once, with their host and command.
logging.getLogger("pyinfra").addHandler(logging.NullHandler())
logging.getLogger("pyinfra").propagate = False
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False

CONNECT_TIMEOUT = 10
"""Seconds that a host may take to answer."""

APPLY_TIMEOUT = 600
"""Seconds that one node may take for a change that is applied by itself: packages may have to be installed."""

KEEPALIVE = 15
"""Seconds between signs of life on an idle connection, so that firewalls on the way do not forget it."""

SILENCE = 40
"""Seconds without an answer after which a connection counts as broken. A network that drops packets tells nobody."""

AT_ONCE = 6
"""How many commands run on one host at once; more wait. sshd lets a connection have ten sessions (MaxSessions), and one
that has just ended counts for a moment longer."""

BUSY = 20
"""How often, at pauses of a quarter of a second, a session is asked for that sshd does not grant."""

NO_SUDO_REMEDY = "let this user use sudo without a password (NOPASSWD in /etc/sudoers.d), or connect as root"


T = TypeVar("T")


@dataclass(frozen=True)
class Output:
    """What a command on a host printed, by stream, and its exit code (None when it did not end)."""

    stdout: str
    stderr: str
    exit_code: int | None

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


def ssh_data(cluster: Cluster, node: Node, *, accept_new_host_keys: bool = False) -> dict[str, Any]:
    """A node's SSH settings in pyinfra's words. Unset ones are left to OpenSSH's config and defaults."""
    target = cluster.ssh_target(node)
    data: dict[str, Any] = {
        "ssh_hostname": target.host,
        "ssh_user": target.user,
        "ssh_port": target.port,
        "ssh_key": str(target.key) if target.key else None,
        "ssh_known_hosts_file": str(target.known_hosts) if target.known_hosts else None,
        "ssh_config_file": str(target.config) if target.config else None,
        "ssh_strict_host_key_checking": "accept-new" if accept_new_host_keys else "yes",
        # A key given for a node is the one to use: an agent full of others would run into sshd's MaxAuthTries.
        "ssh_look_for_keys": target.key is None,
        "ssh_allow_agent": target.key is None,
    }
    return {name: value for name, value in data.items() if value is not None}


class Session:
    """Connections to nodes of a cluster. Use as a context manager; ``close`` ends them all."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        accept_new_host_keys: bool = False,
        observer: Observer | None = None,
        connector: Callable[[Node], tuple[str, dict[str, Any]]] | None = None,
        connect_timeout: int = CONNECT_TIMEOUT,
    ) -> None:
        """``connector`` gives another pyinfra name and data for a node than SSH, as tests do with ``@fake``.

        ``connect_timeout``: seconds that a host may take to answer.
        """
        self.cluster = cluster
        self._connect_timeout = connect_timeout
        self.observer: Observer = observer or Silent()
        self.before_change: Callable[[], None] = lambda: None
        """Called before anything is changed on any host."""
        self._lock: Lock | None = None
        self.commands: Counter[str] = Counter()
        """How many commands were run on each host."""
        self._free = _semaphores()
        self._accept = accept_new_host_keys
        target = connector or (lambda node: (node.name, ssh_data(cluster, node, accept_new_host_keys=self._accept)))
        names = [target(node) for node in cluster.hosts]
        self._inventory = Inventory((names, {}))
        self._hosts: dict[str, Host] = {
            node.name: self._inventory.get_host(name) for node, (name, _) in zip(cluster.hosts, names, strict=True)
        }
        self._node_names = {host.name: node for node, host in self._hosts.items()}
        self._new_state()

    @classmethod
    def within(cls, cluster: Cluster, state: State) -> Session:
        """A Session on the connections of a State that pyinfra's own command has made (see deploy/under_pyinfra)."""
        session = cls.__new__(cls)
        session.cluster = cluster
        session.observer = Silent()
        session.commands = Counter()
        session._free = _semaphores()
        session.before_change = lambda: None
        session._lock = None
        session._accept = False
        session._connect_timeout = CONNECT_TIMEOUT
        session._inventory = state.inventory
        session._hosts = {node.name: state.inventory.get_host(node.name) for node in cluster.hosts}
        session._node_names = {name: name for name in session._hosts}
        session._state = state
        return session

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _new_state(self) -> State:
        """A State on the same Inventory, with the connections that exist (pyinfra would make new connectors)."""
        connectors = {host: getattr(host, "connector", None) for host in self._inventory}
        for host in self._inventory:
            host.op_hash_order.clear()
        config = Config(CONNECT_TIMEOUT=self._connect_timeout, PARALLEL=min(len(self._inventory), 100))
        state = State(self._inventory, config, check_for_changes=False)
        for host, connector in connectors.items():
            if connector is not None:
                host.connector = connector
                connector.state = state
        self._state = state
        return state

    def side_by_side(self, nodes: Iterable[str], function: Callable[[str], T]) -> dict[str, T | Exception]:
        """Call the function for each node's name, all at once; what each call returned, or raised."""

        def guarded(name: str) -> T | Exception:
            try:
                return function(name)
            except Exception as error:
                return error

        jobs = {name: gevent.spawn(guarded, name) for name in nodes}
        gevent.joinall(jobs.values())
        return {name: job.value for name, job in jobs.items()}

    def connect(self, nodes: Iterable[str] | None = None) -> None:
        """Connect to the nodes (all when not given) that are not connected yet, side by side.

        Raises HostsFailed with the reason for each that could not be reached.
        """
        if failures := self.reach(nodes):
            raise HostsFailed("connecting", failures)

    def reach(self, nodes: Iterable[str] | None = None) -> list[HostFailure]:
        """As ``connect``, for when some may be dead: the reason for each that could not be reached."""
        names = [name for name in (nodes or self._hosts) if not self._hosts[name].connected]
        # pyinfra asks on the terminal whether to trust an unknown jump host; kubeup treats it like any other host.
        policy = pyinfra_ssh.AcceptNewPolicy if self._accept else pyinfra_ssh.StrictPolicy
        pyinfra_ssh.AskPolicy = policy  # type: ignore[assignment, misc]  # another class in its place is the point
        if self._accept:
            known = self.cluster.ssh.known_hosts or Path("~/.ssh/known_hosts").expanduser()
            known.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            known.touch(mode=0o600)

        def connect_to(name: str) -> None:
            host = self._hosts[name]
            host.connect(show_errors=False, raise_exceptions=True)
            client = getattr(host.connector, "client", None)
            if client is not None:
                _notice_silence(client.get_transport())
                _tell_broken(host.connector)

        outcome = self.side_by_side(names, connect_to)
        return [self._connect_failure(name, error) for name, error in outcome.items() if error is not None]

    def connect_some(self, nodes: Iterable[str]) -> list[str]:
        """Connect to those of the nodes that answer, and return their names.

        For jobs that one living node is enough for. Raises HostsFailed when there is none.
        """
        names = list(nodes)
        try:
            self.connect(names)
        except HostsFailed:
            if not any(self._hosts[name].connected for name in names):
                raise
        return [name for name in names if self._hosts[name].connected]

    def _connect_failure(self, name: str, error: Exception) -> HostFailure:
        target = self.cluster.ssh_target(self.cluster.node(name))
        where = f"{target.user + '@' if target.user else ''}{target.host}{f':{target.port}' if target.port else ''}"
        if not isinstance(error, (ConnectError, SSHException, OSError)):
            text = f"{type(error).__name__}: {error}"
        else:
            text = str(error)
        remedy = "is the host up, and is this address right? (kubeup remove-node takes a dead one out of the cluster)"
        if "No host key" in text:
            text = f"the host key of {target.host} is not known"
            remedy = (
                f"check its fingerprint and add it (ssh-keyscan {target.host} >> ~/.ssh/known_hosts), "
                "or say --accept-new-host-keys"
            )
        elif "does not match" in text:
            text = f"the host key of {target.host} is not the one in known_hosts: another host may be answering"
            remedy = f"if the host was set up anew: ssh-keygen -R {target.host}"
        elif "uthentication" in text or "No existing session" in text or "not a valid" in text:
            key = f" with the key {target.key}" if target.key else ""
            text = f"the host does not let {target.user or 'this user'} in{key} ({text})"
            remedy = f"try: ssh {where}; set user: and key: in the inventory, or load the key into your agent"
        return HostFailure(name, f"ssh {where}", None, text, remedy)

    def hold(self, nodes: Iterable[str], job: str) -> dict[str, str]:
        """Hold those of these nodes that are connected for this kubeup alone, until ``close``; marks of their records.

        ``job`` tells others what they wait for. Raises BusyError when another kubeup holds one of them.
        """
        clients = [(name, getattr(self._hosts[name].connector, "client", None)) for name in nodes]
        self._lock = self._lock or Lock(job)
        return self._lock.acquire(
            [(name, client) for name, client in clients if client is not None and self._hosts[name].connected]
        )

    def close(self) -> None:
        """Give held nodes back, and end all connections."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        for host in self._hosts.values():
            client = getattr(host.connector, "client", None) if host.connected else None
            if client is not None:  # pyinfra's own disconnect leaves the TCP connection open
                client.close()
            host.connected = False

    def run(self, node: str, command: StringCommand, *, timeout: float | None = None) -> Output:
        """Run a privileged command (see kubeup.host.shell) on a node. ``timeout`` in seconds.

        Never raises: a command that was cut off has no exit code, and stderr says why.
        """
        host = self._hosts[node]
        if not host.connected:
            return Output("", f"{node} is not connected", None)
        self.commands[node] += 1
        try:
            if timeout:
                command.connector_arguments["_timeout"] = int(timeout + 1)
            with self._free[node]:
                succeeded, output = _granted(lambda: host.run_shell_command(command, **command.connector_arguments))
        except TimeoutError:
            return Output("", f"no answer within {timeout:.0f} s", None)
        except (*BROKEN, PyinfraError) as error:
            return Output("", broke(error), None)
        stderr, code = split_exit_code(output.stderr_lines)
        # No code is printed on success; it did not succeed then only when the connection broke.
        return Output(output.stdout, "\n".join(stderr), 0 if succeeded and code is None else code)

    def shell(self, node: str, script: str, *arguments: str, stdin: str | None = None, timeout: float = 60) -> Output:
        """Run a POSIX shell script as root on a node, with arguments as $1 and so on. ``timeout`` in seconds."""
        return self.run(node, privileged(script, *arguments, stdin=stdin), timeout=timeout)

    def stream(
        self,
        node: str,
        script: str,
        *arguments: str,
        source: Iterable[bytes] = (),
        sink: Callable[[bytes], object] | None = None,
        timeout: float = 120,
    ) -> Output:
        """Run a shell script as root with bytes for its standard input, and hand on the bytes that it prints.

        For what is too large for memory, or not text: nothing of it is kept here or in a temporary file. ``timeout``:
        seconds in which no byte moved. What ``sink`` or ``source`` raises is raised, and the script is cut off.
        """
        self.commands[node] += 1
        client = getattr(self._hosts[node].connector, "client", None)
        if client is None:
            return Output("", f"{node} is not connected by SSH", None)
        try:
            stdout, stderr, code = exchange(client, privileged(script, *arguments), source, sink, timeout)
        except TimeoutError:
            return Output("", f"nothing moved for {timeout:.0f} s", None)
        except BROKEN as error:
            return Output("", broke(error), None)
        lines, _ = split_exit_code(stderr.splitlines())
        return Output(stdout, "\n".join(lines), code if code >= 0 else None)

    def read(
        self,
        nodes: Iterable[str] | None = None,
        *,
        contents: tuple[str, ...] = (),
        deep: bool = False,
        alone: bool = False,
    ) -> dict[str, Reading]:
        """What the nodes (all when not given) are and hold, by name. One command a host.

        Raises HostsFailed, and BusyError where ``alone`` is asked for and another kubeup holds a node.
        (pyinfra's get_fact would log a failure and return None: the reason would be lost.)
        """
        fact = HostReading()

        def read_one(name: str) -> Reading | HostFailure:
            output = self.run(name, fact.command(contents, deep, alone), timeout=150)
            if alone:
                refuse_busy(name, output.stdout.strip())
            try:
                return fact.process(output.stdout.splitlines())
            except (ValueError, KeyError, IndexError) as error:
                # What it printed is all that it holds: many lines that tell a person nothing.
                return failure(name, "reading what the host holds", replace(output, stdout=""), str(error))

        readings: dict[str, Reading] = {}
        failures: list[HostFailure] = []
        for name, value in self.side_by_side(nodes or self._hosts, read_one).items():
            if isinstance(value, Exception):
                raise value
            if isinstance(value, HostFailure):
                failures.append(value)
            else:
                readings[name] = value
        if failures:
            raise HostsFailed("reading the hosts", failures)
        return readings

    def apply(self, title: str, changes: Mapping[str, Change], material: Material) -> None:
        """Apply each host's change, side by side. Hosts without a difference are not spoken to.

        Raises HostsFailed after all hosts have ended, with what failed on which.
        """
        changes = {name: change for name, change in changes.items() if change}
        started = time.monotonic()
        if not changes:
            return
        self._may_change()
        self.observer.phase_started(title)
        state = self._new_state()
        for name in changes:
            state.activate_host(self._hosts[name])
        state.add_callback_handler(_Bridge(self, title, changes))
        metas: dict[str, OperationMeta] = {}
        with ctx_state.use(state):
            state.set_stage(StateStage.Prepare)
            for name, change in changes.items():
                with ctx_host.use(self._hosts[name]):
                    metas[name] = converge(name=title, change=change, material=material)
            state.set_stage(StateStage.Execute)
            try:
                run_ops(state)
            except PyinfraError:
                if not state.failed_hosts:  # it says "no hosts remaining" when all failed: told below, with reasons
                    raise
        for name, meta in metas.items():
            self.commands[name] += len(meta._commands or ())
        failures = [
            self._operation_failure(title, name, meta) for name, meta in metas.items() if not meta.did_succeed()
        ]
        if failures:
            raise HostsFailed(title, failures)
        self.observer.phase_done(title, time.monotonic() - started)

    def _may_change(self) -> None:
        """See that nobody else changes the cluster."""
        self.before_change()
        if self._lock is not None:
            self._lock.check()

    def place(self, title: str, name: str, change: Change, material: Material) -> None:
        """Apply a change without large files to one node, in one command: for phases that take a node at a time.

        Not by an operation of pyinfra's, so also within one (see kubeup.deploy.under_pyinfra). Raises HostsFailed.
        """
        if not change:
            return
        self._may_change()
        started = time.monotonic()
        self.observer.host_started(title, name)
        payload = Payload(change, material)
        command = privileged(APPLY, payload.sha256, name="kubeup-apply", stdin=payload)
        change.dirty.clear()  # it is in the payload
        output = self.run(name, command, timeout=APPLY_TIMEOUT)
        self.observer.host_done(title, name, time.monotonic() - started, len(change.items), not output.ok)
        if not output.ok:
            raise HostsFailed(title, [failure(name, f"{title}: applying the change (kubeup-apply)", output)])

    def _operation_failure(self, title: str, name: str, meta: OperationMeta) -> HostFailure:
        command = (meta._commands or [None])[-1]
        if isinstance(command, StringCommand):
            lines, code = split_exit_code(meta.stderr_lines)
            what = "applying the change (kubeup-apply)"
        else:
            lines, code = split_exit_code(self._hosts[name].connector_data.get(OUTPUT, []))
            what = "sending components (kubeup-receive)"
        output = Output("", "\n".join(lines) or "the connection broke", code)
        return failure(name, f"{title}: {what}", output)


def _tell_broken(connector: Any) -> None:
    """Let a command whose connection breaks fail as pyinfra expects it: EOFError it would let through."""
    run = connector.run_shell_command

    def run_shell_command(*arguments: Any, **options: Any) -> Any:
        try:
            return run(*arguments, **options)
        except EOFError as error:
            raise SSHException("the other side closed it") from error

    connector.run_shell_command = run_shell_command


def _semaphores() -> defaultdict[str, BoundedSemaphore]:
    return defaultdict(lambda: BoundedSemaphore(AT_ONCE))


def _granted(run: Callable[[], T]) -> T:
    """Run a command, again where sshd has granted no session for it: then it has not begun. Raises what that raises."""
    for _ in range(BUSY):
        try:
            return run()
        except SSHException as error:
            if not isinstance(error, ChannelException) and "Unable to open channel" not in str(error):
                raise
        gevent.sleep(0.25)
    return run()


def _notice_silence(transport: Transport) -> None:
    """Let a connection break when the other side answers nothing; else that takes TCP a quarter of an hour."""
    transport.set_keepalive(KEEPALIVE)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux alone has it
    if option is not None and isinstance(
        transport.sock, socket.socket
    ):  # not through a jump host: a channel is no socket
        transport.sock.setsockopt(socket.IPPROTO_TCP, option, SILENCE * 1000)


def failure(name: str, doing: str, output: Output, otherwise: str = "") -> HostFailure:
    """A HostFailure from a command's output; ``otherwise`` is said when it printed nothing on stderr."""
    text = output.stderr.strip() or output.stdout.strip() or otherwise
    remedy = ""
    if output.exit_code == NO_SUDO:
        remedy = NO_SUDO_REMEDY
    elif "no space left" in text.lower():  # Go says it in small letters
        remedy = "free some space on this host, then run the same command again"
    return HostFailure(name, doing, output.exit_code, text, remedy)


class _Bridge(BaseStateCallback):
    """Tells the session's observer what pyinfra's callbacks say.

    (They are static methods in pyinfra's class, which calls them on an instance all the same.)
    """

    def __init__(self, session: Session, title: str, changes: Mapping[str, Change]) -> None:
        self.session = session
        self.title = title
        self.changes = changes
        self.started: dict[str, float] = {}

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]
        name = self.session._node_names[host.name]
        self.started[name] = time.monotonic()
        self.session.observer.host_started(self.title, name)

    def _done(self, host: Host, failed: bool) -> None:
        name = self.session._node_names[host.name]
        seconds = time.monotonic() - self.started[name]
        self.session.observer.host_done(self.title, name, seconds, len(self.changes[name].items), failed)

    def operation_host_success(  # type: ignore[override]
        self, state: State, host: Host, op_hash: str, retry_count: int = 0
    ) -> None:
        self._done(host, failed=False)

    def operation_host_error(  # type: ignore[override]
        self, state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        self._done(host, failed=True)
