"""The config-default.sh of 2015's cluster/ubuntu: its variables, and what each of them is here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path
from typing import get_args

from kubeup.cluster.model import Flannel, KubeProxy
from kubeup.elsewhere.imported import Imported
from kubeup.elsewhere.shell import Variable, read_file
from kubeup.errors import InventoryError, Problem

OFF = ("", "false", "False", "0", "no")

# Variables whose absence here takes nothing away from anybody.
_OF_NO_USE = (
    "KUBE_ROOT",
    "KUBERNETES_PROVIDER",
    "MASTER",
    "MASTER_IP",
    "NODE_IPS",
    "roles_array",
    "role",
    "roles",
    "nodes",
)

_ADMISSION = "kube-apiserver's own admission plugins are on, and NodeRestriction; what they do today covers these"
_WITHOUT_DOCKER = "containers are run by containerd; there is no Docker whose options these could be"
_ADDON = "not installed: this was an addon of 2015 that has no successor here"
_CNI = "pods' network is flannel's; another one is not taken over"

LEFT: Mapping[str, str] = {
    "ADMISSION_CONTROL": _ADMISSION,
    "ALLOW_PRIVILEGED": "privileged pods are allowed; a namespace's Pod Security Standard forbids them",
    "CNI_KUBELET_TRIGGER": _CNI,
    "CNI_PLUGIN_CONF": _CNI,
    "CNI_PLUGIN_EXES": _CNI,
    "DEBUG": "see kubeup --help for what it can show",
    "DNS_REPLICAS": "CoreDNS has two replicas where there are two nodes",
    "DOCKER_OPTS": _WITHOUT_DOCKER,
    "DOCKER_VERSION": _WITHOUT_DOCKER,
    "ELASTICSEARCH_LOGGING_REPLICAS": _ADDON,
    "ENABLE_CLUSTER_LOGGING": _ADDON,
    "ENABLE_CLUSTER_MONITORING": _ADDON,
    "ENABLE_CLUSTER_UI": _ADDON,
    "ENABLE_NODE_LOGGING": _ADDON,
    "ETCD_VERSION": "kubeup's catalogue says which there are: kubeup components list; hold one with versions:",
    "FLANNEL_VERSION": "kubeup's catalogue says which there are: kubeup components list; hold one with versions:",
    "KUBE_VERSION": "kubeup's catalogue says which there are: kubeup components list; hold one with versions:",
    "KUBELET_CONFIG": "pods of a node are not read from a folder",
    "LOGGING_DESTINATION": _ADDON,
    "RUNTIME_CONFIG": "the API's versions are those of its release; basic authentication is gone since Kubernetes 1.19",
}


def read(path: Path, given: Mapping[str, str]) -> Imported:
    """Raises InventoryError, see ``kubeup.elsewhere.imported.read``."""
    variables = read_file(path, given)
    variables = {**{name: Variable(0, value) for name, value in given.items()}, **variables}
    imported = Imported(str(path))
    _nodes(imported, path, variables)
    # The address of DNS last: it is compared with the services' network, wherever that stands.
    for name, variable in sorted(variables.items(), key=lambda item: item[0] == "DNS_SERVER_IP"):
        if name in KNOWN:
            KNOWN[name](imported, f"{path}:{variable.line}", name, variable.text)
        elif name in LEFT:
            # What was off and is not there is no difference.
            if variable.text not in OFF and not (
                name == "CNI_KUBELET_TRIGGER" and not _set(variables, "CNI_PLUGIN_CONF")
            ):
                imported.leave(f"{path}:{variable.line}", f"{name}={shlex.quote(variable.text)}", LEFT[name])
        elif name not in (*_OF_NO_USE, *_COUNTS) and variable.text and not name.startswith("KUBE_ENABLE_"):
            shown = f"{name}={shlex.quote(' '.join(variable.items))}"
            imported.leave(f"{path}:{variable.line}", shown, "not a variable of 2015's kube-up that is known here")
    return imported


def _set(variables: Mapping[str, Variable], name: str) -> bool:
    return name in variables and bool(variables[name].text)


_COUNTS = ("NUM_MINIONS", "NUM_NODES")


def _nodes(imported: Imported, path: Path, variables: Mapping[str, Variable]) -> None:
    nodes = variables.get("nodes") or variables.get("NODES")
    roles = variables.get("roles") or variables.get("role") or variables.get("ROLES")
    problems = []
    if nodes is None or not nodes.items:
        problems.append(Problem(str(path), "sets no nodes", 'a config-default.sh has nodes="USER@IP USER@IP …"'))
    if roles is None or not roles.items:
        problems.append(Problem(str(path), "sets no roles", 'a config-default.sh has roles=("ai" "i" "i")'))
    if nodes and roles and nodes.items and len(nodes.items) != len(roles.items):
        what = f"{len(nodes.items)} nodes and {len(roles.items)} roles"
        problems.append(Problem(f"{path}:{roles.line}", what, "write one role for each node, in the same order"))
    if problems or not nodes or not roles:
        raise InventoryError(problems)
    imported.nodes = [{role: host} for host, role in zip(nodes.items, roles.items, strict=True)]
    minions = sum("i" in role for role in roles.items)
    for name in _COUNTS:
        if (count := variables.get(name)) and count.text and count.text != str(minions):
            imported.leave(
                f"{path}:{count.line}", f"{name}={count.text}", f"the roles say {minions}, and they alone count"
            )


def _setting(*place: str) -> Callable[[Imported, str, str, str], None]:
    def take(imported: Imported, where: str, name: str, value: str) -> None:
        if value:
            imported.put(value, *place)

    return take


def _dns_address(imported: Imported, where: str, name: str, value: str) -> None:
    try:
        services = IPv4Network(str(imported.settings.get("service_cidr", "192.168.3.0/24")))
        ours = services[10]
        same = not value or IPv4Address(value) == ours
    except (AddressValueError, ValueError, IndexError):
        return  # the network itself is wrong, which is told where it is
    if not same:
        why = f"DNS has the tenth address of the service network, {ours}; pods learn it from their kubelet"
        imported.leave(where, f"{name}={value}", why)


def _dns(imported: Imported, where: str, name: str, value: str) -> None:
    if value in OFF:
        imported.leave(where, f"{name}={value}", "a cluster always has DNS")


def _flannel(imported: Imported, where: str, name: str, value: str) -> None:
    backend = re.search(r'"Backend"\s*:\s*\{\s*"Type"\s*:\s*"([\w-]+)"\s*\}', value)
    rest = value.replace(backend[0], "") if backend else value
    if backend and backend[1] in get_args(Flannel.model_fields["backend"].annotation):
        imported.put(backend[1], "flannel", "backend")
    elif backend:
        rest = value
    if rest.strip(" ,"):
        imported.leave(where, f"{name}={shlex.quote(value)}", "only the backend can be chosen: flannel: {backend: …}")


def _kube_proxy(imported: Imported, where: str, name: str, value: str) -> None:
    words = value.replace("--proxy-mode ", "--proxy-mode=").split()
    for word in words:
        mode = word.removeprefix("--proxy-mode=")
        if mode in get_args(KubeProxy.model_fields["mode"].annotation):
            imported.put(mode, "kube_proxy", "mode")
        elif mode == "userspace":
            imported.leave(where, word, "this mode is gone since Kubernetes 1.26; it is iptables")
        else:
            imported.leave(where, word, "kube-proxy gets a configuration file; this option is not taken over")


def _ssh(imported: Imported, where: str, name: str, value: str) -> None:
    try:
        words = iter(shlex.split(value))
    except ValueError as error:
        imported.leave(where, f"{name}={value}", f"cannot be read ({error}); write it into ~/.ssh/config")
        return
    for word in words:
        if word in ("-p", "-i", "-o", "-l"):
            word += next(words, "")
        option, _, argument = word[2:].partition("=") if word.startswith("-o") else (word[:2], "", word[2:])
        match option.lower(), argument:
            case ("port" | "-p", port) if port.isdigit():
                if port != "22":
                    imported.put(int(port), "ssh", "port")
            case ("user" | "-l", user) if user:
                imported.put(user, "ssh", "user")
            case ("identityfile" | "-i", key) if key:
                imported.put(key, "ssh", "key")
            case (("stricthostkeychecking" | "userknownhostsfile"), _):
                imported.leave(
                    where, word, "hosts' keys are checked; to trust new ones at first, say --accept-new-host-keys"
                )
            case (("loglevel" | "-c" | "-q"), _):
                pass
            case _:
                imported.leave(where, word, "write it into ~/.ssh/config, which kubeup honours")


def _proxy(imported: Imported, where: str, name: str, value: str) -> None:
    for word in value.split():
        variable, _, url = word.partition("=")
        kind = variable.lower().removesuffix("_proxy")
        if kind in ("http", "https") and url:
            imported.put(url, "proxy", kind)
        elif kind == "no" and url:
            imported.put(url.split(","), "proxy", "no_proxy")
        else:
            imported.leave(where, word, "proxy: {http: URL, https: URL, no_proxy: […]} was expected")


KNOWN: Mapping[str, Callable[[Imported, str, str, str], None]] = {
    "SERVICE_CLUSTER_IP_RANGE": _setting("service_cidr"),
    "PORTAL_NET": _setting("service_cidr"),
    "FLANNEL_NET": _setting("flannel_net"),
    "FLANNEL_OTHER_NET_CONFIG": _flannel,
    "SERVICE_NODE_PORT_RANGE": _setting("node_port_range"),
    "KUBE_PROXY_EXTRA_OPTS": _kube_proxy,
    "ENABLE_CLUSTER_DNS": _dns,
    "DNS_SERVER_IP": _dns_address,
    "DNS_DOMAIN": _setting("domain"),
    "SSH_OPTS": _ssh,
    "PROXY_SETTING": _proxy,
}
