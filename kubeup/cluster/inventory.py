"""From an inventory file to a ``Cluster``, or to every problem with it. Nothing is connected to."""

from ipaddress import IPv4Address
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kubeup.cluster.addresses import Resolve, parse_host, resolve_address
from kubeup.cluster.document import Document, Key, read_document
from kubeup.cluster.entries import Entry, Notes, read_entries
from kubeup.cluster.model import Cluster, Node, Role, Settings
from kubeup.cluster.rules import RULES
from kubeup.cluster.wording import explain
from kubeup.errors import InventoryError, Problem

OPENSSH_CONFIG = Path("~/.ssh/config")

# A node with one of these wrong is left out when the rules between nodes are looked at.
_IDENTITY = {"name", "role", "host", "port", "address"}

_Model = TypeVar("_Model", bound=BaseModel)


def load(path: str | PathLike[str], resolve: Resolve = resolve_address) -> Cluster:
    """Read an inventory.

    Args:
        path: the YAML file; relative paths in it are meant from its folder.
        resolve: finds the address of a host that is a name and has no ``address`` in the inventory.

    Raises:
        InventoryError: with every problem found, each with file and line and what to write instead.
    """
    return check(read_document(Path(path)), Path(path).absolute().parent, resolve)


def check(document: Document, folder: Path, resolve: Resolve = resolve_address) -> Cluster:
    """Make a cluster of a document. Parameters and errors as in ``load``; ``folder`` is where relative paths start.

    Where something is wrong it is noted, and the rest is looked at without it, so that one run tells everything.
    """
    notes = Notes(document, list(document.problems))
    if not isinstance(document.data, dict):
        notes.add("the inventory is not a map of settings", "start it with  nodes:  and a list of nodes under it", ())
        raise InventoryError(notes.problems)

    given = {k: v for k, v in document.data.items() if k not in ("nodes", "roles")}
    settings, wrong = _validated(Settings, given, folder)
    for place, what, remedy in wrong:
        notes.add(what, remedy, place)
    assert settings is not None  # noqa: S101 - every setting has a default
    unsure = {str(place[0]) for place, _, _ in wrong}

    ssh_config = settings.ssh.config or OPENSSH_CONFIG.expanduser()
    read = [
        (entry, entry and _node(entry, notes, folder, resolve, ssh_config)) for entry in read_entries(document, notes)
    ]
    known = [(entry, node) for entry, node in read if entry and node]
    if len(known) < len(read):
        unsure.add("nodes")
    entries, nodes = [entry for entry, _ in known], [node for _, node in known]

    if read:
        for finding in (f for rule in RULES for f in rule(settings, nodes)):
            if not finding.concerns & unsure:
                notes.add(finding.what, finding.remedy, *(_document_key(k, entries) for k in finding.keys))
    _note_missing_files(settings, known, notes)
    if notes.problems:
        raise InventoryError(sorted(dict.fromkeys(notes.problems), key=_line))
    etcd_hosts = tuple(node for node in nodes if node.role == Role.ETCD)
    return Cluster(
        **dict(settings), nodes=tuple(node for node in nodes if node not in etcd_hosts), etcd_hosts=etcd_hosts
    )


def _validated(
    model: type[_Model], data: dict[str, Any], folder: Path
) -> tuple[_Model | None, list[tuple[Key, str, str]]]:
    """``data`` as a model, and what is wrong with it: place, what, remedy.

    Fields that are wrong are left out of the model; it is None where it cannot be without them.
    """
    context = {"folder": folder}
    try:
        return model.model_validate(data, context=context), []
    except ValidationError as error:
        errors = error.errors()
    # pydantic marks an error of a map's key, as opposed to its value, by a last part "[key]".
    wrong = [(tuple(part for part in e["loc"] if part != "[key]"), *explain(e, model)) for e in errors]
    places: list[Key] = [place for place, _, _ in wrong]
    while all(places):
        for place in places:
            data = _without(data, place)
        try:
            return model.model_validate(data, context=context), wrong
        except ValidationError as error:  # what is left out is required: so that to which it belongs goes, too
            places = [tuple(part for part in e["loc"] if part != "[key]")[:-1] for e in error.errors()]
    return None, wrong


def _without(data: dict[str, Any], place: Key) -> dict[str, Any]:
    """``data`` without what stands at ``place``; a list goes as a whole."""
    name, rest = str(place[0]), place[1:]
    if rest and isinstance(data.get(name), dict):
        return {**data, name: _without(data[name], rest)}
    return {k: v for k, v in data.items() if k != name}


def _node(entry: Entry, notes: Notes, folder: Path, resolve: Resolve, ssh_config: Path) -> Node | None:
    """The node of an entry, what it leaves unsaid found out; None where its identity is wrong."""
    if isinstance(entry.fields.get("host"), str):
        _complete(entry, notes, resolve, ssh_config)
    node, wrong = _validated(Node, entry.fields, folder)
    for place, what, remedy in wrong:
        name = str(place[0])
        # A name and an address that are missing were to come from the host, whose problem is told.
        follows = name in ("name", "address") and name not in entry.fields
        if name not in entry.wrong and not follows:
            notes.add(what, remedy, entry.key_of(name, *place[1:]))
    return None if _IDENTITY & (entry.wrong | {str(place[0]) for place, _, _ in wrong}) else node


def _complete(entry: Entry, notes: Notes, resolve: Resolve, ssh_config: Path) -> None:
    """Take ``[user@]host[:port]`` apart, and let name and address follow from the host where they are not given."""
    at = entry.key_of("host")
    try:
        parts = parse_host(entry.fields["host"])
    except ValueError as error:
        notes.add(str(error), "write it like vcap@10.10.103.250 or vcap@10.10.103.250:2222", at)
        entry.wrong.add("host")
        return
    for name, value in (("user", parts.user), ("port", parts.port)):
        if value is not None and name in entry.fields:
            notes.add(f"{name} is given here and in the host {entry.fields['host']!r}", "leave one", entry.key_of(name))
        elif value is not None:
            entry.put(name, value, at)
    entry.put("host", parts.host, at)
    if "name" not in entry.fields:
        entry.put("name", parts.host.lower(), at)
    if "address" not in entry.fields:
        entry.put("address", _address(parts.host, resolve, ssh_config), at)
        if "address" not in entry.fields:
            remedy = f"say address: for node {entry.fields['name']}, with the one other nodes reach it by"
            notes.add(f"no address is known for host {parts.host}", remedy, at)
            entry.wrong.add("address")


def _address(host: str, resolve: Resolve, ssh_config: Path) -> IPv4Address | None:
    try:
        return IPv4Address(host)
    except ValueError:
        return resolve(host, ssh_config)


def _document_key(key: Key, entries: list[Entry]) -> Key:
    """A finding's key, in which nodes are numbered among those known, as a key of the document."""
    match key:
        case ("nodes", int(i), str(name)):
            return entries[i].key_of(name)
        case _:
            return key


def _note_missing_files(settings: Settings, known: list[tuple[Entry, Node]], notes: Notes) -> None:
    keys = [(("ssh", "key"), settings.ssh.key), *((entry.key_of("key"), node.key) for entry, node in known)]
    etcd = [(("etcd", name), getattr(settings.etcd, name)) for name in ("ca", "certificate", "key")]
    for key, path in [*keys, (("ssh", "config"), settings.ssh.config), *etcd]:
        if path and not path.is_file():
            remedy = "write the path of a file on this machine, from the inventory's folder or from ~/"
            notes.add(f"there is no file {path}", remedy, key)


def _line(problem: Problem) -> int:
    line = problem.where.rpartition(":")[2]
    return int(line) if line.isdigit() else 0
