"""What can be installed: every component, its versions, the programs it consists of and the images made of them.

A component is a Go module of ours in ``modules/<component>/<version>/`` that requires the upstream module and nothing
else. Its ``go.mod`` and ``go.sum`` are the pin of every byte that is compiled. Adding a component, or a version of one,
is such a folder and a line here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kubeup.errors import ComponentError

MODULES = Path(__file__).parent / "modules"

# Everything kubeup builds or downloads is for Linux; these are the machines it can be for: uname's word -> Go's.
_BY_MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}
ARCHITECTURES = tuple(_BY_MACHINE.values())

# Images are imported on the hosts, never pulled: a reserved name cannot be mistaken for a registry's.
IMAGE_REGISTRY = "kubeup.local"

# The user "nonroot" of distroless images: no file on any host belongs to it.
NONROOT = "65532:65532"


Packing = Literal["zstd", "gzip"]


@dataclass(frozen=True)
class Program:
    """One executable. ``name`` is what it is called on a host, ``package`` the Go package it is built from."""

    name: str
    package: str

    @property
    def built_name(self) -> str:
        """What ``go build`` calls it: the last element of the package's path that is not a major version."""
        *parents, last = self.package.split("/")
        is_major = last[:1] == "v" and last[1:].isdigit()
        return parents[-1] if is_major else last


@dataclass(frozen=True)
class Image:
    """A container image that holds one static program and nothing else.

    ``program`` is the executable of the same component that becomes the image's only file, at ``/<program>``.
    ``args`` follow it in the entry point, ``user`` is ``UID:GID``, or empty for root.
    """

    name: str
    program: str
    args: tuple[str, ...] = ()
    user: str = NONROOT

    @property
    def artifact(self) -> str:
        """The name under which the store keeps it."""
        return f"image-{self.name}"


@dataclass(frozen=True)
class Component:
    """One version of something that can be installed, and how it is built.

    ``packing`` is how its files are compressed for the way to a host. ``libraries`` are C libraries in pkg-config's
    names that cgo links, ``tags`` Go build tags, ``variables`` Go string variables set at link time, mostly the version
    that the program prints. ``optional``: not every cluster needs it, so it is fetched only when it is asked for.
    """

    name: str
    version: str
    programs: tuple[Program, ...]
    images: tuple[Image, ...] = ()
    cgo: bool = False
    libraries: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    packing: Packing = "zstd"
    optional: bool = field(default=False, repr=False)  # nothing of how it is made

    @property
    def module_dir(self) -> Path:
        """The folder with the component's ``go.mod``, ``go.sum`` and, for our own programs, the source."""
        return MODULES / self.name / self.version

    @property
    def ldflags(self) -> str:
        """What the linker is told: no symbol tables, everything static, and the variables."""
        # A program that cgo links to the build machine's C library would run only where that library is as new.
        static = ["-extldflags", "-static"] if self.cgo else []
        return " ".join(["-s", "-w", *static, *(f"-X {name}={value}" for name, value in self.variables.items())])

    @property
    def artifacts(self) -> tuple[str, ...]:
        """The names of all that it puts into the store."""
        return (*(program.name for program in self.programs), *(image.artifact for image in self.images))


def _versions(
    name: str,
    versions: Iterable[str],
    *,
    programs: Mapping[str, str],
    images: tuple[Image, ...] = (),
    cgo: bool = False,
    libraries: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
    packing: Packing = "zstd",
    optional: bool = False,
) -> list[Component]:
    """One component for each of ``versions``. Values of ``variables`` may say {version}, {major} and {minor}."""

    def fill(value: str, version: str) -> str:
        major, _, rest = version.partition(".")
        return value.format(version=version, major=major, minor=rest.partition(".")[0])

    return [
        Component(
            name,
            version,
            tuple(Program(program, package) for program, package in programs.items()),
            images,
            cgo,
            libraries,
            tags,
            {variable: fill(value, version) for variable, value in (variables or {}).items()},
            packing,
            optional,
        )
        for version in versions
    ]


# Small ones first, so that much is soon done. Of several versions the newest comes last: it is the default.
COMPONENTS: tuple[Component, ...] = (
    *_versions(
        "unpack",
        ["1.0.0"],
        programs={"kubeup-unpack": "kubeup.invalid/unpack"},
        packing="gzip",  # what unpacks the others on a host must be unpacked by what a host has
    ),
    *_versions(
        "reach",
        ["1.0.0"],
        programs={"kubeup-reach": "kubeup.invalid/reach"},
        packing="gzip",  # it is sent to hosts on which nothing of ours is yet
    ),
    *_versions(
        "pause",
        ["1.0.0"],
        programs={"pause": "kubeup.invalid/pause"},
        images=(Image("pause", program="pause"),),
    ),
    *_versions(
        "probe",
        ["1.1.0"],
        programs={"kubeup-probe": "kubeup.invalid/probe"},
        images=(Image("probe", program="kubeup-probe", args=("serve",)),),
    ),
    *_versions(
        "snapshots",
        ["1.0.0"],
        programs={"kubeup-snapshots": "kubeup.invalid/snapshots"},
    ),
    *_versions(
        "approver",
        ["1.0.0"],
        programs={"kubeup-approver": "kubeup.invalid/approver"},
    ),
    *_versions(
        "cni-plugins",
        ["1.9.1"],
        programs={
            "bridge": "github.com/containernetworking/plugins/plugins/main/bridge",
            "host-local": "github.com/containernetworking/plugins/plugins/ipam/host-local",
            "loopback": "github.com/containernetworking/plugins/plugins/main/loopback",
            "portmap": "github.com/containernetworking/plugins/plugins/meta/portmap",
        },
        variables={"github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion": "v{version}"},
    ),
    *_versions(
        "runc",
        ["1.5.2"],
        programs={"runc": "github.com/opencontainers/runc"},
        cgo=True,  # nsenter, which enters namespaces before Go's runtime starts, is C
        libraries=("libseccomp",),
        tags=("seccomp", "netgo", "osusergo"),
    ),
    *_versions(
        "containerd",
        ["2.4.2"],
        programs={
            "containerd": "github.com/containerd/containerd/v2/cmd/containerd",
            "containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "ctr": "github.com/containerd/containerd/v2/cmd/ctr",
        },
        variables={"github.com/containerd/containerd/v2/version.Version": "v{version}"},
    ),
    *_versions(
        "etcd",
        ["3.6.7", "3.6.8"],
        programs={
            "etcd": "go.etcd.io/etcd/server/v3",
            "etcdctl": "go.etcd.io/etcd/etcdctl/v3",
            "etcdutl": "go.etcd.io/etcd/etcdutl/v3",
        },
    ),
    *_versions(
        "flannel",
        ["0.28.4"],
        programs={"flanneld": "github.com/flannel-io/flannel"},
        cgo=True,  # the udp backend's packet loop is C
        tags=("netgo", "osusergo"),
        variables={"github.com/flannel-io/flannel/pkg/version.Version": "v{version}"},
    ),
    *_versions(
        "cri-tools",
        ["1.36.0"],
        programs={"crictl": "sigs.k8s.io/cri-tools/cmd/crictl"},
        variables={"sigs.k8s.io/cri-tools/pkg/version.Version": "v{version}"},
    ),
    *_versions(
        "coredns",
        ["1.15.0"],
        programs={"coredns": "github.com/coredns/coredns"},
        # root, because it binds port 53; a pod's securityContext can take everything else from it
        images=(Image("coredns", program="coredns", user=""),),
    ),
    *_versions(
        "kubernetes",
        ["1.35.4", "1.36.3"],
        programs={
            program: f"k8s.io/kubernetes/cmd/{program}"
            for program in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            )
        },
        variables={
            "k8s.io/component-base/version.gitVersion": "v{version}",
            "k8s.io/component-base/version.gitMajor": "{major}",
            "k8s.io/component-base/version.gitMinor": "{minor}",
            "k8s.io/component-base/version.gitTreeState": "clean",
        },
    ),
    # Of addons: only a cluster that has the addon needs them.
    *_versions(
        "metrics-server",
        ["0.9.0"],
        programs={"metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server"},
        images=(Image("metrics-server", program="metrics-server"),),
        variables={"k8s.io/component-base/version.gitVersion": "v{version}"},
        optional=True,
    ),
    *_versions(
        "metallb",
        ["0.15.2"],
        programs={
            "metallb-controller": "go.universe.tf/metallb/controller",
            "metallb-speaker": "go.universe.tf/metallb/speaker",
        },
        # root in the speaker, because it opens raw sockets; a pod's securityContext can take everything else from it
        images=(
            Image("metallb-controller", program="metallb-controller"),
            Image("metallb-speaker", program="metallb-speaker", user=""),
        ),
        variables={"go.universe.tf/metallb/internal/version.version": "{version}"},
        optional=True,
    ),
    *_versions(
        "traefik",
        ["3.6.12"],
        programs={"traefik": "github.com/traefik/traefik/v3/cmd/traefik"},
        images=(Image("traefik", program="traefik", user=""),),  # root, because it binds ports 80 and 443
        variables={"github.com/traefik/traefik/v3/pkg/version.Version": "{version}"},
        optional=True,
    ),
    *_versions(
        "volume-helper",
        ["1.0.0"],
        programs={"kubeup-volume-helper": "kubeup.invalid/volume-helper"},
        # root, because it makes folders on hosts
        images=(Image("volume-helper", program="kubeup-volume-helper", user=""),),
        optional=True,
    ),
    *_versions(
        "local-path-provisioner",
        ["0.0.30"],
        programs={"local-path-provisioner": "github.com/rancher/local-path-provisioner"},
        images=(Image("local-path-provisioner", program="local-path-provisioner"),),
        variables={"main.VERSION": "v{version}"},
        optional=True,
    ),
    *_versions(
        "registry",
        ["3.1.2"],
        programs={"registry": "kubeup.invalid/registry"},
        variables={"github.com/distribution/distribution/v3/version.version": "v{version}"},
        optional=True,
    ),
    *_versions(
        "helm",
        ["4.3.1"],
        programs={"helm": "helm.sh/helm/v4/cmd/helm"},
        variables={"helm.sh/helm/v4/internal/version.version": "v{version}"},
        optional=True,
    ),
)

# The version of each component that is installed when the inventory names none.
DEFAULT_VERSIONS: dict[str, str] = {component.name: component.version for component in COMPONENTS}

# What every cluster is made of, in those versions.
REQUIRED_VERSIONS: dict[str, str] = {c.name: c.version for c in COMPONENTS if not c.optional}


def architecture(machine: str) -> str:
    """What Go calls a machine that uname calls so, e.g. "x86_64" -> "amd64". One that is not known stays as it is."""
    return _BY_MACHINE.get(machine, machine)


def get(name: str, version: str | None = None) -> Component:
    """The component ``name`` in ``version``, e.g. ("etcd", "3.6.8"); no version means the default one.

    Raises ComponentError naming what there is when there is no such component or version.
    """
    version = version or DEFAULT_VERSIONS.get(name)
    for component in COMPONENTS:
        if (component.name, component.version) == (name, version):
            return component
    versions = [component.version for component in COMPONENTS if component.name == name]
    if versions:
        raise ComponentError(f"{name} {version} is not in the catalogue; there is: {', '.join(versions)}")
    raise ComponentError(f"no component is called {name!r}; there are: {', '.join(sorted(DEFAULT_VERSIONS))}")


def image_reference(name: str, version: str) -> str:
    """What containerd calls the imported image, e.g. ("pause", "1.0.0") -> ``kubeup.local/pause:1.0.0``."""
    return f"{IMAGE_REGISTRY}/{name}:{version}"


def maker(image: str) -> str:
    """The name of the component that an image is of, e.g. metallb for ``metallb-speaker``."""
    return next(component.name for component in COMPONENTS if image in (i.name for i in component.images))
