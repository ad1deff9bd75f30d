"""What an inventory can say of addons: which are on, and with what settings.

An addon's settings are a model, and None where the addon is off. In the inventory it is turned on by its settings or,
where it needs none, by ``on``; ``off`` turns off what is on by default.
"""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from kubeup.cluster.charts import ChartError, about, read_chart, values_text
from kubeup.cluster.document import syntax_problem
from kubeup.cluster.manifests import ManifestError, owned
from kubeup.cluster.values import DnsLabel, LocalPath, Value, is_dns_name, local_path, refuse


def _switch(value: Any) -> Any:
    """What stands behind an addon's name: ``on``, ``off``, or its settings."""
    words: dict[str, Any] = {"on": {}, "yes": {}, "true": {}, "off": None, "no": None, "false": None}
    if isinstance(value, bool):  # where it does not come from an inventory, whose scalars are texts
        return {} if value else None
    if isinstance(value, dict) and "enabled" in value:  # off, with settings that wait for it to be on again
        enabled = _switch(str(value["enabled"]).lower())
        if enabled is not None and enabled != {}:
            refuse(f"enabled is {str(value['enabled'])!r}", "write yes or no")
        return None if enabled is None else {name: one for name, one in value.items() if name != "enabled"}
    return words.get(value, value) if isinstance(value, str) else value


Switch = BeforeValidator(_switch)


def _host_path(text: str) -> str:
    if not re.fullmatch(r"(/[\w.@-]+){2,}", text) or "/../" in f"{text}/":
        refuse(f"{text!r} is no folder for volumes", "write a path from the root with two parts or more: /srv/volumes")
    return text


def name_of(path: Path) -> str:
    """A name made of a file's or folder's own."""
    return _slug(path.absolute().name.removesuffix(path.suffix))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _text_of(path: Path, remedy: str) -> str:
    """What a file holds; ``remedy`` is for one that is not there."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        refuse(f"there is no file {path}", remedy)
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"{path} cannot be read: {error}")


def _manifests(path: Path, addon: str) -> str:
    """The text of a file, or of all files of a folder, in which each object could be marked as the addon's."""
    files = sorted(f for f in path.rglob("*") if f.suffix in (".yaml", ".yml", ".json")) if path.is_dir() else [path]
    if not files:
        refuse(f"no file in {path} is called *.yaml, *.yml or *.json", "write the path of a folder with manifests")
    texts = []
    for file in files:
        text = _text_of(file, "write its path from the inventory's folder")
        try:
            owned(text, addon)
        except ManifestError as error:
            refuse(f"{file}:{error.line}: {error}", "kubectl apply --dry-run=client -f FILE says more")
        texts.append(f"# {file.name}\n{text}")
    return "\n---\n".join(texts)


def _size(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*(\.\d+)?(Ki|Mi|Gi|Ti|Pi|K|M|G|T|P)", text):
        refuse(f"{text!r} is no size", "write it like 10Gi")
    return text


def _nfs_server(text: str) -> str:
    if not is_dns_name(text.lower()):
        refuse(f"{text!r} is not a server's name or address", "write it like 10.10.103.5 or files.example.com")
    return text


def _nfs_path(text: str) -> str:
    if not re.fullmatch(r"/[\w./@-]*", text) or ".." in text.split("/"):
        refuse(f"{text!r} is not a path that a server exports", "write it from the root, like /srv/nfs")
    return text


def _volumes(volumes: "tuple[NfsVolume, ...]") -> "tuple[NfsVolume, ...]":
    if not volumes:
        refuse("nfs has no volumes", "write at least one, e.g. volumes: [{name: data, size: 10Gi}]")
    names = [volume.name for volume in volumes]
    if twice := [name for name in names if names.count(name) > 1]:
        refuse(f"there are two volumes with the name {twice[0]}", "give one of them another")
    for volume in volumes:
        if volume.path is not None:
            _nfs_path(f"/{volume.path.removeprefix('/')}")
    return volumes


class CoreDns(Value):
    """The cluster's name service."""


class MetricsServer(Value):
    """What nodes and pods use of CPU and memory, for ``kubectl top`` and HorizontalPodAutoscalers."""


class AddressRange(Value):
    """Addresses from ``first`` to ``last``. Written as ``FIRST-LAST``, as a network, or as one address."""

    first: IPv4Address
    last: IPv4Address

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return data
        remedy = "write it like 10.10.103.200-10.10.103.219 or 10.10.103.192/27"
        first, dash, last = (part.strip() for part in str(data).partition("-"))
        try:
            if dash:
                ends = IPv4Address(first), IPv4Address(last)
            else:
                network = IPv4Network(first)  # of one address where it says no length
                ends = network[0], network[-1]
        except ValueError:
            refuse(f"{str(data)!r} is not a range of IPv4 addresses", remedy)
        if ends[0] > ends[1]:
            refuse(f"{data} ends before it begins", f"write {last}-{first}")
        return {"first": ends[0], "last": ends[1]}

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __iter__(self) -> Iterator[IPv4Address]:  # type: ignore[override]  # not a model's fields
        return (IPv4Address(number) for number in range(int(self.first), int(self.last) + 1))

    def overlaps(self, network: IPv4Network) -> bool:
        """Whether an address of the network is among these."""
        return self.first <= network[-1] and network[0] <= self.last

    def __str__(self) -> str:
        """As MetalLB writes it too."""
        return f"{self.first}-{self.last}"


def _some(ranges: tuple[AddressRange, ...]) -> tuple[AddressRange, ...]:
    if not ranges:
        refuse("metallb has no addresses", "write at least one range, e.g. [10.10.103.200-10.10.103.219]")
    return ranges


class MetalLb(Value):
    """Services of type LoadBalancer: the ``addresses`` that they get, in the network of the ``nodes`` that answer for
    them there (layer 2). No nodes mean all.
    """

    addresses: Annotated[tuple[AddressRange, ...], AfterValidator(_some)]
    nodes: tuple[str, ...] = ()


class Traefik(Value):
    """Ingress: on ports 80 and 443 of the ``nodes``; no nodes mean all that run users' pods."""

    nodes: tuple[str, ...] = ()


class IngressVip(Value):
    """An ``address`` that keepalived keeps on one of the ``nodes`` where ingress works; no nodes mean Traefik's."""

    address: IPv4Address
    nodes: tuple[str, ...] = ()


class LocalPathStorage(Value):
    """Volumes that are folders of the node where their pod runs.

    ``path`` is where they lie. Without one of the user's own it is below what `kubeup destroy` removes.
    ``default``: a claim that names no StorageClass gets one of these.
    """

    path: Annotated[str, AfterValidator(_host_path)] = "/var/lib/kubeup/volumes"
    default: bool = True


def _registry_name(text: str) -> str:
    if not is_dns_name(text) or "." not in text:
        refuse(f"{text!r} cannot be a registry's name", "write it like registry.local: images are registry.local/NAME")
    return text


class Registry(Value):
    """A registry for images of one's own, on one ``node`` (the first that runs users' pods, when none is said).

    Images in it are called NAME/..., ``path`` is the folder on the node where they are kept.
    """

    node: str | None = None
    name: Annotated[str, AfterValidator(_registry_name)] = "registry.local"
    path: Annotated[str, AfterValidator(_host_path)] = "/var/lib/kubeup/registry"


class NfsVolume(Value):
    """A PersistentVolume: a folder of the server's, below the addon's ``path`` when it does not begin with a slash."""

    name: DnsLabel
    size: Annotated[str, AfterValidator(_size)]
    path: str | None = None


class Nfs(Value):
    """Volumes on an NFS server that is there already, of the StorageClass nfs."""

    server: Annotated[str, AfterValidator(_nfs_server)]
    path: Annotated[str, AfterValidator(_nfs_path)]
    volumes: Annotated[tuple[NfsVolume, ...], AfterValidator(_volumes)]
    options: tuple[str, ...] = ("nfsvers=4.1", "hard")


class ManifestsEntry(Value):
    r"""Objects of the user's own: a file, or a folder with files (\*.yaml, \*.yml, \*.json, also further down).

    Written as the path alone, or with a name for it. ``text`` is what they hold; an inventory does not say it.
    """

    name: DnsLabel
    path: LocalPath
    text: str = Field(repr=False)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, str):
            data = {"path": data}
        if not isinstance(data, dict) or not isinstance(data.get("path"), str | Path):
            return data  # what is wrong with that is pydantic's to say
        if "text" in data:
            refuse("unknown key text", "write the objects into a file, and its path here")
        path = local_path(Path(data["path"]), info)
        name = data.get("name") or name_of(path)
        return {**data, "name": name, "text": _manifests(path, f"manifests.{name}")}


class HelmEntry(Value):
    """A chart of Helm, rendered by the masters and applied like any manifest.

    ``chart``: a folder or an archive, from the inventory's folder, or an address, oci://HOST/PATH. ``values``: a map,
    or the path of a file. ``version``: of a chart that comes from an address. ``hooks: ignore``: apply a chart that has
    hooks, without them. ``plain_http``: the address is one of a registry without TLS. ``files`` and ``text`` are the
    chart and the values as read; an inventory does not say them.
    """

    name: DnsLabel
    chart: str
    version: str = ""
    namespace: DnsLabel = "default"
    values: Any = Field(None, repr=False)
    hooks: Literal["refuse", "ignore"] = "refuse"
    plain_http: bool = False
    files: dict[str, str] = Field({}, repr=False)
    text: str = Field("", repr=False)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, str):
            data = {"chart": data}
        if not isinstance(data, dict) or not isinstance(data.get("chart"), str):
            return data  # what is wrong with that is pydantic's to say
        for key in ("files", "text"):
            if key in data:
                refuse(f"unknown key {key}", "write chart: with the chart's folder, and values:")
        address = data["chart"].startswith("oci://")
        files = {} if address else _chart(data, info)
        last = re.sub(r"[:@].*", "", data["chart"].rpartition("/")[2]) if address else about(files)[0]
        return {
            **data,
            "name": data.get("name") or _slug(last),
            "version": data.get("version") or ("" if address else about(files)[1]),
            "files": files,
            "text": _values(data.get("values"), info),
        }


def _chart(data: dict[str, Any], info: ValidationInfo) -> dict[str, str]:
    path = local_path(Path(data["chart"]), info)
    try:
        files = read_chart(path)
        version = about(files)[1]
    except FileNotFoundError:
        refuse(f"there is no chart {path}", "write the path of a folder or a .tgz, or an address oci://HOST/PATH")
    except (OSError, ChartError) as error:
        refuse(str(error), "helm lint CHART says more")
    if data.get("version", version) != version:
        refuse(f"the chart {path} has the version {version}, not {data['version']}", "leave version: out")
    return files


def _values(values: Any, info: ValidationInfo) -> str:
    if isinstance(values, str) and "\n" not in values:
        text = _text_of(local_path(Path(values), info), "write values: as a map, or the path of a file")
    else:
        text = values if isinstance(values, str) else values_text(values or {})
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = syntax_problem("values", error)
        refuse(f"{problem.where}: {problem.what}")
    if not isinstance(data, dict | None):
        refuse("the values are no map", "write key: value pairs")
    return text


class Addons(Value):
    """The addons of a cluster, each with its settings, or None where it is off.

    In the inventory they are called as everywhere in Kubernetes: metrics-server for the field metrics_server.
    """

    model_config = ConfigDict(alias_generator=lambda field: field.replace("_", "-"))

    coredns: Annotated[CoreDns | None, Switch] = CoreDns()
    metrics_server: Annotated[MetricsServer | None, Switch] = None
    local_path: Annotated[LocalPathStorage | None, Switch] = None
    metallb: Annotated[MetalLb | None, Switch] = None
    traefik: Annotated[Traefik | None, Switch] = None
    ingress_vip: Annotated[IngressVip | None, Switch] = None
    nfs: Annotated[Nfs | None, Switch] = None
    registry: Annotated[Registry | None, Switch] = None
    manifests: tuple[ManifestsEntry, ...] = ()
    helm: tuple[HelmEntry, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        """A name with nothing behind it is an addon that is on: its settings are comments, perhaps."""
        if not isinstance(data, dict):
            return data
        lists = [name for name in data if name in cls.model_fields and name not in cls.switches()]
        return {
            name: "on" if value is None else value
            for name, value in data.items()
            if value is not None or name not in lists
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The addons of kubeup that are on, as the inventory calls them."""
        return tuple(name for name, field in self.switches().items() if getattr(self, field) is not None)

    @classmethod
    def switches(cls) -> dict[str, str]:
        """The addons of kubeup, which are on or off: as the inventory calls them -> the field's name."""
        return {field.alias or name: name for name, field in cls.model_fields.items() if field.default != ()}
