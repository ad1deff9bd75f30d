"""What an inventory can say of addons: which are on, and with what settings.

An addon's settings are a model, and None where the addon is off. In the inventory it is turned on by its settings or,
where it needs none, by ``on``; ``off`` turns off what is on by default.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, model_validator

from kubeup.cluster.values import Value, refuse


def _switch(value: Any) -> Any:
    """What stands behind an addon's name: ``on``, ``off``, or its settings."""
    words: dict[str, Any] = {"on": {}, "yes": {}, "true": {}, "off": None, "no": None, "false": None}
    if isinstance(value, bool):  # where it does not come from an inventory, whose scalars are texts
        return {} if value else None
    return words.get(value, value) if isinstance(value, str) else value


Switch = BeforeValidator(_switch)


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


class Addons(Value):
    """The addons of a cluster, each with its settings, or None where it is off.

    In the inventory they are called as everywhere in Kubernetes: metrics-server for the field metrics_server.
    """

    model_config = ConfigDict(alias_generator=lambda field: field.replace("_", "-"))

    coredns: Annotated[CoreDns | None, Switch] = CoreDns()
    metrics_server: Annotated[MetricsServer | None, Switch] = None
    metallb: Annotated[MetalLb | None, Switch] = None
    traefik: Annotated[Traefik | None, Switch] = None
    ingress_vip: Annotated[IngressVip | None, Switch] = None

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        """A name with nothing behind it is an addon that is on: its settings are comments, perhaps."""
        if not isinstance(data, dict):
            return data
        return {name: "on" if value is None else value for name, value in data.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The addons that are on, as the inventory calls them."""
        return tuple(name for name, value in self._by_name() if value)

    @classmethod
    def known(cls) -> tuple[str, ...]:
        """All addons, as the inventory calls them."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    def _by_name(self) -> Iterator[tuple[str, Any]]:
        return ((field.alias or name, getattr(self, name)) for name, field in type(self).model_fields.items())
