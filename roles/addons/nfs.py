"""NFS: PersistentVolumes on a server that is there already, for claims of the StorageClass nfs.

The kubelet mounts them; what it calls for that (mount.nfs) comes with a package, see kubeup.roles.base.
"""

from collections.abc import Mapping, Sequence

from kubeup.cluster import Cluster, Node
from kubeup.cluster.addons import Nfs, NfsVolume
from kubeup.host.facts import HostFacts
from kubeup.templates import render

NAME = "nfs"


def images(cluster: Cluster) -> Mapping[str, Sequence[Node]]:
    return {}


def manifests(cluster: Cluster, host: HostFacts) -> Mapping[str, str]:
    settings = cluster.addons.nfs
    if not settings:
        return {}
    paths = {volume.name: _path(settings, volume) for volume in settings.volumes}
    return {NAME: render("nfs/nfs.yaml.j2", nfs=settings, paths=paths)}


def _path(settings: Nfs, volume: NfsVolume) -> str:
    """What is mounted: the volume's own path, or one below the addon's."""
    own = volume.path if volume.path is not None else volume.name
    return own if own.startswith("/") else f"{settings.path.rstrip('/')}/{own}"
