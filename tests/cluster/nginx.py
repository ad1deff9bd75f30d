"""A real nginx for hosts that reach no registry: Debian's package as an image, under the name that people pull it by.

The image has what the tutorial uses of the one on Docker Hub: nginx with its page of welcome, a shell and curl.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from kubeup.lab import Lab, ensure_image
from kubeup.lab.hosts import container

TAGS = ("1.22", "1.22.1")
"""Two names of one version, as on Docker Hub: Debian 12's."""
IMAGE = "nginx:1.22"

# Runs in a container of the lab's host image; the image's file system goes to stdout.
_ROOT = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light; } >&2
root=$(mktemp -d)
cd "$root"
mkdir -p bin etc/nginx run tmp usr/bin usr/sbin usr/share/nginx/html var/lib/nginx var/log/nginx
for program in /usr/sbin/nginx /usr/bin/curl /bin/sh; do
    for path in "$program" $(ldd "$program" | grep -o '/[^ ]*'); do
        mkdir -p ".${path%/*}"
        [ -e ".$path" ] || cp -L "$path" ".$path"
    done
done
cp /usr/share/nginx/html/index.html usr/share/nginx/html/
cp /etc/nginx/mime.types etc/nginx/
echo 'root:x:0:0::/:/bin/sh
nginx:x:101:101::/:/bin/false' >etc/passwd
echo 'root:x:0:
nginx:x:101:' >etc/group
cat >etc/nginx/nginx.conf <<'END'
user nginx;
error_log stderr;
events {}
http {
    include mime.types;
    access_log /dev/stdout;
    server {
        listen 80;
        root /usr/share/nginx/html;
    }
}
END
tar -c .
"""


def import_nginx(lab: Lab, say: Callable[[str], None]) -> None:
    """Put the image onto all hosts of a lab. It is made the first time, which takes a minute, and kept by Docker."""
    reference = f"docker.io/library/{IMAGE}"
    if subprocess.run(["docker", "image", "inspect", reference], capture_output=True, check=False).returncode:
        say("making an image of Debian's nginx")
        root = subprocess.run(
            ["docker", "run", "--rm", "-i", ensure_image(say), "sh"],
            input=_ROOT.encode(),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        subprocess.run(
            ["docker", "import", "--change", 'CMD ["nginx", "-g", "daemon off;"]', "-", reference],
            input=root,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    for tag in TAGS[1:]:
        subprocess.run(["docker", "tag", reference, f"docker.io/library/nginx:{tag}"], check=True)
    archive = subprocess.run(
        ["docker", "save", *(f"docker.io/library/nginx:{tag}" for tag in TAGS)], stdout=subprocess.PIPE, check=True
    ).stdout
    for node in lab.nodes:
        # Pinned: the kubelet would delete it while no pod uses it, where the machine's disk is nearly full.
        into = ["ctr", "-n", "k8s.io", "images", "import", "--local", "--label", "io.cri-containerd.pinned=pinned", "-"]
        command = ["docker", "exec", "-i", container(node.name), *into]
        subprocess.run(command, input=archive, stdout=subprocess.DEVNULL, check=True)
