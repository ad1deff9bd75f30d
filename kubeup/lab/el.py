"""A stand-in for a host of the family of Rocky and RHEL, where no image of theirs can be had.

It is the Debian host with what kubeup sees of such a host: their /etc/os-release, dnf and rpm instead of apt and dpkg,
firewalld, and a repository on its own disk from which dnf installs. The packages in that are
made on the spot, of what Debian's contain. So installing, removing and the firewall are real; the programs, the C
library, the kernel and SELinux are not theirs.
"""

from importlib.resources import files

PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3-minimal,sudo,iproute2,kmod,procps,ca-certificates,curl,socat,"
    "ethtool,ipset,mount,netbase,dnf,rpm,createrepo-c,libpam-systemd,firewalld"
)
"""Of Debian, in the image itself. Neither iptables, haproxy, keepalived nor conntrack: those come by dnf."""

SETUP = files("kubeup.lab").joinpath("el.sh").read_text()
"""Runs in the new system as root, after what every host gets."""
