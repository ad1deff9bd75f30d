"""kubeup brings a Kubernetes cluster up on plain Linux hosts over SSH, keeps it, and takes it away again."""

__version__ = "0.1.0"
