"""What is installed on the hosts, and where it comes from.

``catalogue`` says what there is, ``store`` keeps it, ``fetch`` fills the store from a provider: ``source`` builds Go
modules, ``release`` downloads what others have built. Roles need the first two alone::

    kubelet = Store().find("kubelet", DEFAULT_VERSIONS["kubernetes"])
"""

from kubeup.components.catalogue import (
    COMPONENTS,
    DEFAULT_VERSIONS,
    REQUIRED_VERSIONS,
    Component,
    Image,
    Program,
    architecture,
    image_reference,
)
from kubeup.components.fetch import Event, Provider, provide
from kubeup.components.store import Artifact, Store

__all__ = [
    "COMPONENTS",
    "DEFAULT_VERSIONS",
    "REQUIRED_VERSIONS",
    "Artifact",
    "Component",
    "Event",
    "Image",
    "Program",
    "Provider",
    "Store",
    "architecture",
    "image_reference",
    "provide",
]
