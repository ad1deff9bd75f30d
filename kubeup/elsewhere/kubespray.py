"""kubespray's inventories: hosts.yaml or inventory.ini, the group_vars and host_vars beside it, as data.

What Ansible would compute (Jinja, vaults) is not: it is listed with what it says.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from kubeup.cluster.document import syntax_problem
from kubeup.cluster.model import Flannel, KubeProxy
from kubeup.components.catalogue import COMPONENTS
from kubeup.elsewhere.imported import Imported
from kubeup.errors import InventoryError, Problem

MASTERS = ("kube_control_plane", "kube-master", "kube_master")
NODES = ("kube_node", "kube-node")
ETCD = ("etcd",)

_OFF: tuple[Any, ...] = (None, "", "false", "False", "no", [], {})


@dataclass(frozen=True)
class Value:
    """The value of a variable, every scalar in it as text, and where it stands."""

    value: Any
    where: str


Variables = dict[str, Value]


@dataclass
class Groups:
    """An Ansible inventory: the hosts and children of each group, and the variables of groups and hosts."""

    hosts: dict[str, list[str]] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    group_vars: dict[str, Variables] = field(default_factory=dict)
    host_vars: dict[str, Variables] = field(default_factory=dict)

    def members(self, names: tuple[str, ...]) -> list[str]:
        """The hosts of the first of these groups that is there, with those of its children, each once."""
        found: dict[str, None] = {}
        seen: set[str] = set()

        def walk(group: str) -> None:
            if group not in seen:
                seen.add(group)
                found.update(dict.fromkeys(self.hosts.get(group, [])))
                for child in self.children.get(group, []):
                    walk(child)

        for name in names:
            if name in self.hosts or name in self.children:
                walk(name)
                break
        return list(found)

    def of_all(self) -> Variables:
        """The variables of the cluster: those of all hosts and of the groups that every cluster has."""
        merged: Variables = {}
        for group in ("all", "k8s-cluster", "k8s_cluster", *ETCD, *reversed(NODES), *reversed(MASTERS)):
            merged |= self.group_vars.get(group, {})
        return merged


def read(path: Path) -> Imported:
    """Raises InventoryError, see ``kubeup.elsewhere.imported.read``."""
    groups = _yaml_inventory(path) if path.suffix in (".yaml", ".yml") else _ini_inventory(path)
    for folder in ("group_vars", "host_vars"):
        _beside(path.parent / folder, groups.group_vars if folder == "group_vars" else groups.host_vars)
    imported = Imported(str(path))
    variables = groups.of_all()
    _nodes(imported, path, groups, variables)
    for name, value in sorted(variables.items()):
        _take(imported, name, value)
    return imported


def _refuse(where: str, what: str, remedy: str = "") -> InventoryError:
    return InventoryError([Problem(where, what, remedy)])


def _load(path: Path) -> tuple[Any, dict[str, int]]:
    """A YAML file with every scalar as text, and the line of each key at its top."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("$ANSIBLE_VAULT"):
            return {}, {}
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        data = _plain(root) if root else {}
    except (OSError, UnicodeDecodeError) as error:
        raise _refuse(str(path), f"cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InventoryError([syntax_problem(str(path), error)]) from None
    except RecursionError:
        raise _refuse(str(path), "is nested too deeply, or in itself") from None
    lines = (
        {key.value: key.start_mark.line + 1 for key, _ in root.value if isinstance(key, yaml.ScalarNode)}
        if isinstance(root, yaml.MappingNode)
        else {}
    )
    return data, lines


def _plain(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _plain(value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    empty = getattr(node, "style", None) is None and node.value in ("", "~", "null")
    return None if empty else node.value


def _yaml_inventory(path: Path) -> Groups:
    data, _ = _load(path)
    if not isinstance(data, dict):
        raise _refuse(str(path), "is not an inventory of Ansible", "it is a map that begins with all:")
    groups = Groups()

    def group(name: str, body: Any) -> None:
        body = body if isinstance(body, dict) else {}
        hosts = body.get("hosts") if isinstance(body.get("hosts"), dict) else {}
        groups.hosts.setdefault(name, [])
        for pattern, variables in (hosts or {}).items():
            for host in _expanded(pattern):
                groups.hosts[name].append(host)
                own = groups.host_vars.setdefault(host, {})
                own.update(_values(variables, f"{path} ({host})"))
        groups.group_vars.setdefault(name, {}).update(_values(body.get("vars"), f"{path} ({name})"))
        children = body.get("children") if isinstance(body.get("children"), dict) else {}
        for child, inner in (children or {}).items():
            groups.children.setdefault(name, []).append(child)
            group(child, inner)

    for name, body in data.items():
        group(name, body)
    return groups


def _values(data: Any, where: str) -> Variables:
    return {name: Value(value, where) for name, value in data.items()} if isinstance(data, dict) else {}


def _ini_inventory(path: Path) -> Groups:
    groups = Groups()
    section, kind = "ungrouped", "hosts"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _refuse(str(path), f"cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if match := re.fullmatch(r"\[([^\[\]:]+)(?::(hosts|children|vars))?\]\s*(?:[#;].*)?", line):
            section, kind = match[1].strip(), match[2] or "hosts"
            groups.hosts.setdefault(section, [])
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise _refuse(where, f"cannot be read: {error}", "close the quotation") from error
        if kind == "children":
            groups.children.setdefault(section, []).append(words[0])
        elif kind == "vars":
            name, _, value = line.partition("=")
            groups.group_vars.setdefault(section, {})[name.strip()] = Value(value.strip().strip("'\""), where)
        else:
            for host in _expanded(words[0]):
                groups.hosts.setdefault(section, []).append(host)
                groups.host_vars.setdefault(host, {}).update(
                    {name: Value(value, where) for name, _, value in (word.partition("=") for word in words[1:])}
                )
    return groups


def _expanded(pattern: str) -> Iterator[str]:
    """The hosts that Ansible means by node[1:3], or by a plain name."""
    match = re.fullmatch(r"(.*)\[(\d+):(\d+)\](.*)", pattern)
    if not match:
        yield pattern
        return
    width = len(match[2]) if match[2].startswith("0") else 0
    for number in range(int(match[2]), min(int(match[3]), int(match[2]) + 10_000) + 1):
        yield f"{match[1]}{number:0{width}}{match[4]}"


def _beside(folder: Path, into: dict[str, Variables]) -> None:
    """The variables of the files in group_vars or host_vars: NAME, NAME.yml, or NAME/*.yml."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix not in (".yml", ".yaml", ""):
            continue
        parts = path.relative_to(folder).parts
        name = parts[0] if len(parts) > 1 else path.stem
        data, lines = _load(path)
        if isinstance(data, dict):
            variables = {key: Value(value, f"{path}:{lines.get(key, 1)}") for key, value in data.items()}
            into.setdefault(name, {}).update(variables)


def _computed(value: Any) -> bool:
    """Whether Ansible would compute it, or decrypt it."""
    if isinstance(value, dict):
        return any(map(_computed, value.values()))
    if isinstance(value, list):
        return any(map(_computed, value))
    return isinstance(value, str) and ("{{" in value or "{%" in value or value.startswith("$ANSIBLE_VAULT"))


def _nodes(imported: Imported, path: Path, groups: Groups, variables: Variables) -> None:
    masters, nodes, members = (groups.members(names) for names in (MASTERS, NODES, ETCD))
    if not masters:
        raise _refuse(
            str(path),
            f"has no host in the group {MASTERS[0]}",
            "name kubespray's inventory (hosts.yaml, inventory.ini); its group_vars are read from the folder beside it",
        )
    apart = [host for host in members if host not in masters]
    if apart and len(apart) < len(members):
        imported.leave(
            str(path),
            "etcd",
            f"{', '.join(apart)} would have members beside the masters' own: here all masters have one, or hosts of "
            "etcd alone have all; the members are the masters'",
        )
        apart = []
    elif members and not apart and set(members) != set(masters):
        imported.leave(str(path), "etcd", f"every master has a member here: {', '.join(masters)}")
    for host in dict.fromkeys([*masters, *nodes, *apart]):
        if host in apart:
            if host in nodes:
                imported.leave(str(path), host, "a host of etcd that is no master runs no pods here: it is etcd alone")
            role = "etcd"
        else:
            role = ("a" if host in masters else "") + ("i" if host in nodes else "")
        imported.nodes.append(_node(imported, host, role, {**variables, **groups.host_vars.get(host, {})}))
    strangers = [host for host in groups.host_vars if host not in {*masters, *nodes, *apart}]
    for host in strangers:
        imported.leave(str(path), host, "is in none of the groups of masters, nodes and etcd")


def _node(imported: Imported, host: str, role: str, variables: Variables) -> dict[str, Any]:
    def of(name: str) -> Any:
        value = variables.get(name)
        return None if value is None or _computed(value.value) else value.value

    node: dict[str, Any] = {"role": role, "host": of("ansible_host") or of("ansible_ssh_host") or host, "name": host}
    address = of("ip") or of("access_ip")
    if address and address != node["host"]:
        node["address"] = address
    if of("ip") and of("access_ip") and of("ip") != of("access_ip"):
        imported.leave(variables["access_ip"].where, f"access_ip={of('access_ip')}", "nodes find each other by ip")
    for theirs, ours in (
        ("ansible_user", "user"),
        ("ansible_ssh_user", "user"),
        ("ansible_port", "port"),
        ("ansible_ssh_port", "port"),
        ("ansible_ssh_private_key_file", "key"),
        ("ansible_private_key_file", "key"),
    ):
        if of(theirs) and ours not in node:
            node[ours] = int(of(theirs)) if ours == "port" and str(of(theirs)).isdigit() else of(theirs)
    if role != "etcd":
        labels, taints = of("node_labels"), of("node_taints")
        if isinstance(labels, dict) and labels:
            node["labels"] = labels
        if isinstance(taints, list) and taints:
            node["taints"] = taints
    return node


_PER_HOST = (
    "ansible_host", "ansible_ssh_host", "ip", "access_ip", "ansible_user", "ansible_ssh_user", "ansible_port",
    "ansible_ssh_port", "ansible_ssh_private_key_file", "ansible_private_key_file", "node_labels", "node_taints",
)  # fmt: skip

# How Ansible gets to a host and what it needs there, and what is so here in any case.
_OF_NO_USE = (
    "ansible_become", "ansible_become_method", "ansible_become_user", "ansible_connection",
    "ansible_python_interpreter", "ansible_ssh_common_args", "etcd_member_name",
    "bin_dir", "kube_config_dir", "kube_cert_dir", "kube_token_dir",
    "kube_script_dir", "kube_manifest_dir", "local_release_dir", "retry_stagger", "kube_owner", "kube_cert_group",
    "kube_log_level", "dns_mode", "download_run_once", "download_localhost", "credentials_dir",
)  # fmt: skip


def _take(imported: Imported, name: str, value: Value) -> None:
    if name in _PER_HOST or name in _OF_NO_USE or value.value in _OFF:
        return
    if _computed(value.value):
        if name in KNOWN and (name, value.value) not in _AS_IT_COMES:
            imported.leave(
                value.where, f"{name}={_shown(value)}", "Ansible would compute or decrypt this; set it yourself"
            )
        return
    why = KNOWN[name](imported, value.value) if name in KNOWN else WHY.get(name, "no counterpart")
    if why:
        imported.leave(value.where, f"{name}={_shown(value)}", why)


def _shown(value: Value) -> str:
    return value.value if isinstance(value.value, str) else "…"


_AS_IT_COMES = (("dns_domain", "{{ cluster_name }}"),)
"""What is computed, and as kubespray's own examples have it: it is taken from elsewhere."""

Take = Callable[[Imported, Any], str]
"""Puts a value into the inventory; returns why it could not be, or ""."""


def _setting(*place: str) -> Take:
    def take(imported: Imported, value: Any) -> str:
        imported.put(value, *place)
        return ""

    return take


def _one_of(known: Mapping[str, str], why: str, *place: str) -> Take:
    """One of these values; place is where it goes, nowhere where it is so in any case."""

    def take(imported: Imported, value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            return why
        if place:
            imported.put(known[value], *place)
        return ""

    return take


def _number(*place: str) -> Take:
    def take(imported: Imported, value: Any) -> str:
        imported.put(int(value) if str(value).isdigit() else value, *place)
        return ""

    return take


def _choices(model: type[BaseModel], name: str) -> Mapping[str, str]:
    """The values that a setting of ours can have."""
    return {choice: choice for choice in get_args(model.model_fields[name].annotation)}


def _version(component: str) -> Take:
    def take(imported: Imported, value: Any) -> str:
        version = str(value).removeprefix("v")
        known = [c.version for c in COMPONENTS if c.name == component]
        if version not in known:
            return f"not in kubeup's catalogue, which has {', '.join(known)}; the default is used"
        imported.put(version, "versions", component.replace("-", "_"))
        return ""

    return take


def _dns_domain(imported: Imported, value: Any) -> str:
    if "." in str(value):  # kubespray's cluster_name is the DNS domain
        imported.put(value, "domain")
        return ""
    return "kubespray takes this for the DNS domain; here the domain is cluster.local"


def _balancer(imported: Imported, value: Any) -> str:
    if not isinstance(value, dict) or not value.get("address"):
        return "a map with address: and port: was expected"
    port = value.get("port")
    imported.put(f"{value['address']}:{port}" if port else value["address"], "api", "balancer")
    return ""


def _words(*place: str) -> Take:
    def take(imported: Imported, value: Any) -> str:
        imported.put([word.strip() for word in str(value).split(",") if word.strip()], *place)
        return ""

    return take


KNOWN: Mapping[str, Take] = {
    "http_proxy": _setting("proxy", "http"),
    "https_proxy": _setting("proxy", "https"),
    "additional_no_proxy": _words("proxy", "no_proxy"),
    "kube_service_addresses": _setting("service_cidr"),
    "kube_pods_subnet": _setting("flannel_net"),
    "kube_network_node_prefix": _number("node_subnet"),
    "kube_apiserver_port": _number("api_port"),
    "kube_apiserver_node_port_range": _setting("node_port_range"),
    "kube_vip_address": _setting("api", "address"),
    "cluster_name": _dns_domain,
    "dns_domain": _setting("domain"),
    "loadbalancer_apiserver": _balancer,
    "kube_proxy_mode": _one_of(
        _choices(KubeProxy, "mode"), "this mode is not here; it is iptables", "kube_proxy", "mode"
    ),
    "kube_network_plugin": _one_of({"flannel": ""}, "pods' network is flannel's"),
    "flannel_backend_type": _one_of(
        _choices(Flannel, "backend"), "this backend is not here; it is vxlan", "flannel", "backend"
    ),
    "container_manager": _one_of(
        {"containerd": ""}, "containers are run by containerd, or by a runtime that is there already (docs/runtimes.md)"
    ),
    "etcd_deployment_type": _one_of({"host": ""}, "etcd is a systemd service on its hosts"),
    "kube_version": _version("kubernetes"),
    "etcd_version": _version("etcd"),
    "containerd_version": _version("containerd"),
    "flannel_version": _version("flannel"),
    "coredns_version": _version("coredns"),
    "runc_version": _version("runc"),
}

WHY: Mapping[str, str] = {
    "kube_vip_enabled": "the virtual address is moved by keepalived: api: {address: …}",
    "loadbalancer_apiserver_localhost": "every node has a balancer of its own where there are several masters",
    "calico_version": "pods' network is flannel's",
    "auto_renew_certificates": "kubeup certs renew, and every up, renew what ends soon",
    "kube_encrypt_secret_data": "Secrets are not encrypted in etcd",
    "kubelet_rotate_server_certificates": "kubelets renew their certificates in any case",
}
