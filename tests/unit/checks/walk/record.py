"""Records what a walk reads on a real cluster, for the tests here:

python record.py INVENTORY NAME FROM TO

writes recorded/NAME.json: what kubectl and read.sh printed, and what was tried. Of the API's answer, what no walk looks
at is left out (images, annotations of controllers and the like), so that the file can be read.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from kubeup.checks.kubectl import Kubectl  # noqa: E402
from kubeup.checks.walk.ends import parse_end  # noqa: E402
from kubeup.checks.walk.questions import ask_all  # noqa: E402
from kubeup.checks.walk.reading import Host, read_api, read_hosts  # noqa: E402
from kubeup.checks.walk.situation import Situation  # noqa: E402
from kubeup.cluster import load  # noqa: E402
from kubeup.host.session import Session  # noqa: E402

LEFT_OUT = {"managedFields", "images", "annotations", "uid", "resourceVersion", "creationTimestamp", "generateName",
            "volumes", "volumeMounts", "env", "capacity", "allocatable", "nodeInfo", "imageID", "containerID",
            "ownerReferences", "tolerations", "securityContext", "strategy", "observedGeneration", "serviceAccount",
            "lastTransitionTime", "lastHeartbeatTime", "lastProbeTime"}  # fmt: skip


def without(value: Any) -> Any:
    """A value without what is left out."""
    if isinstance(value, dict):
        return {key: without(item) for key, item in value.items() if key not in LEFT_OUT}
    return [without(item) for item in value] if isinstance(value, list) else value


def main() -> None:
    inventory, name, client, target = sys.argv[1:]
    cluster = load(Path(inventory))
    with Session(cluster) as session:
        session.connect()
        ends = parse_end(client, "default", cluster), parse_end(target, "default", cluster)
        api = read_api(Kubectl(cluster, session), ["default"])
        plan = Situation(cluster, api, *ends)
        hosts: dict[str, Host] = {}
        for host in read_hosts(session, plan.concerned, plan.looked_into, {}):
            hosts[host.name] = host
        answers = ask_all(session, Situation(cluster, api, *ends, hosts))
    recorded = {
        "from": client,
        "to": target,
        "log": api.log,
        "api": [without(item) for item in api.objects],
        "hosts": {host.name: {title: text.strip() for title, text in host.sections.items()} for host in hosts.values()},
        "answers": answers,
    }
    file = Path(__file__).parent / "recorded" / f"{name}.json"
    file.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
