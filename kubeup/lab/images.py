"""Container images into the nodes of a lab's cluster, without a registry."""

import os
import shlex
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kubeup.errors import LabError
from kubeup.lab.command import PATH, docker_command, run, tail
from kubeup.lab.hosts import Lab, container

_IMPORT = ("/usr/local/bin/ctr", "--namespace", "k8s.io", "images", "import", "--local", "-")


def load_image(lab: Lab, image: str) -> None:
    """Bring ``image`` to all hosts of the lab, side by side.

    ``image`` is the path of an archive (``docker save``, OCI; not compressed), or the name of an image that the Docker
    engine has. Pods use it with ``imagePullPolicy: IfNotPresent`` (the default unless its tag is ``latest``). Raises
    LabError when there is no such image, or a host cannot take it.
    """
    if Path(image).is_file():
        _import_everywhere(lab, Path(image))
        return
    if run(*docker_command(), "image", "inspect", image, check=False).returncode:
        raise LabError(f"{image}: there is no such file, and no such image in the Docker engine (docker image ls)")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        with archive.open("wb") as file:  # ours, also where docker is called through sudo
            _run([*docker_command(), "save", image], None, file.fileno())
        _import_everywhere(lab, archive)


def _import_everywhere(lab: Lab, archive: Path) -> None:
    def to_host(node: str) -> None:
        with archive.open("rb") as file:
            _run([*docker_command(), "exec", "-i", container(node), *_IMPORT], file.fileno(), subprocess.DEVNULL)

    # A host of etcd or one without a cluster has no container runtime: that is told by its name.
    nodes = [node.name for node in lab.nodes if node.role != "etcd"]
    with ThreadPoolExecutor(max_workers=4) as pool:
        futures = [pool.submit(to_host, node) for node in nodes]
    if errors := [str(error) for future in futures if (error := future.exception())]:
        raise LabError("\n".join(errors))


def _run(command: list[str], stdin: int | None, stdout: int) -> None:
    environment = {**os.environ, "PATH": PATH}
    done = subprocess.run(
        command, stdin=stdin if stdin is not None else subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
        timeout=300, check=False, env=environment,
    )  # fmt: skip
    if done.returncode:
        said = tail(done.stderr.decode(errors="replace"))
        raise LabError(f"{shlex.join(command)}: exit code {done.returncode}\n{said}")
