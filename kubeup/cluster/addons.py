"""What an inventory can say of addons: which are on, and with what settings.

An addon's settings are a model, and None where the addon is off. In the inventory it is turned on by its settings or,
where it needs none, by ``on``; ``off`` turns off what is on by default.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, model_validator

from kubeup.cluster.values import Value


def _switch(value: Any) -> Any:
    """What stands behind an addon's name: ``on``, ``off``, or its settings."""
    words: dict[str, Any] = {"on": {}, "yes": {}, "true": {}, "off": None, "no": None, "false": None}
    return words.get(value, value) if isinstance(value, str) else value


Switch = BeforeValidator(_switch)


class CoreDns(Value):
    """The cluster's name service."""


class MetricsServer(Value):
    """What nodes and pods use of CPU and memory, for ``kubectl top`` and HorizontalPodAutoscalers."""


class Addons(Value):
    """The addons of a cluster, each with its settings, or None where it is off.

    In the inventory they are called as everywhere in Kubernetes: metrics-server for the field metrics_server.
    """

    model_config = ConfigDict(alias_generator=lambda field: field.replace("_", "-"))

    coredns: Annotated[CoreDns | None, Switch] = CoreDns()
    metrics_server: Annotated[MetricsServer | None, Switch] = None

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
