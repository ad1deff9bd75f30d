"""pydantic's errors in plain words."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

# What people know a setting by from elsewhere, where that is not close to our word for it.
SYNONYMS = {
    "cluster_cidr": "flannel_net",
    "cluster_domain": "domain",
    "dns_domain": "domain",
    "hosts": "nodes",
    "identity_file": "key",
    "ip": "address",
    "pod_cidr": "flannel_net",
    "pod_network_cidr": "flannel_net",
    "service_cluster_ip_range": "service_cidr",
    "ssh_user": "user",
}

# By pydantic's error type: what is expected, as in "expected a whole number".
EXPECTED = {
    "dict_type": "key: value pairs",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "ip_v4_address": "an IPv4 address, e.g. 10.0.0.5",
    "model_type": "key: value pairs",
    "path_type": "a path",
    "string_type": "one word or text",
    "tuple_type": "a list",
}

ROLE_REMEDY = "write a (master), i (minion), ai (both) or etcd (a member of etcd alone)"
NODE_REMEDY = "write it like  - ai: vcap@10.10.103.250"
REMEDIES = {
    "role": ROLE_REMEDY,
    "mode": "write iptables, nftables or ipvs",
    "store": "write kubernetes or etcd",
    "backend": "write vxlan or host-gw",
    "cni": "write flannel, or none to bring a network of your own (docs/network.md)",
    "hooks": "write refuse or ignore",
    "effect": "write NoSchedule, PreferNoSchedule or NoExecute",
}
MISSING = {"role": NODE_REMEDY, "host": NODE_REMEDY}


def explain(error: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    """What is wrong, and what to write instead, for one error of validating ``model``."""
    kind, value = error["type"], error["input"]
    place = [str(part) for part in error["loc"] if part != "[key]"]
    name = place[-1] if place else "it"
    context: dict[str, Any] = error.get("ctx", {})
    if kind == "kubeup":
        return context["what"], context["remedy"]
    if kind == "extra_forbidden":
        return f"unknown key {name}", did_you_mean(name, known_keys(model, error["loc"][:-1]))
    if kind == "missing":
        return f"{name} is missing", MISSING.get(name, f"add {name}:")
    if kind in ("enum", "literal_error"):
        return f"unknown {name} {value!r}", REMEDIES[name]
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        return f"{name} is {value}", f"write {bound}"
    if kind in EXPECTED:
        return f"{name} is {_shown(value)}", f"expected: {EXPECTED[kind]}"
    return f"{name}: {error['msg']}", ""


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    return repr(value)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A remedy for an unknown word: the known one that was probably meant, else all of them."""
    plain = word.lower().replace("-", "_")
    if SYNONYMS.get(plain) in known:
        return f"did you mean {SYNONYMS[plain]}?"
    close = get_close_matches(plain, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def known_keys(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The keys of the model that stands at ``place`` within ``model``."""
    for part in place:
        if isinstance(part, str):
            field = next(f for name, f in model.model_fields.items() if part in (name, f.alias))
            model = _model_in(field.annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a))), None)
