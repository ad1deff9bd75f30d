"""Where checks find things on the hosts of a cluster."""

PROBE = "/opt/kubeup/bin/kubeup-probe"
"""On every host: asks, and prints what came of it as JSON."""
KUBELET_PORT = 10250
VXLAN_PORT = 8472
"""flannel's (pkg/backend/vxlan), which is also what Linux takes where nothing is said."""
