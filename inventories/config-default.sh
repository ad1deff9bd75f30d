# A cluster in the form of 2015: what cluster/ubuntu/config-default.sh held, for KUBERNETES_PROVIDER=ubuntu.
# kubeup reads it as data: kubeup import inventories/config-default.sh. See docs/from-kube-up.md.

# The hosts, as USER@ADDRESS with a blank between, and what each of them is: a (master), i (minion), ai (both).
export nodes=${nodes:-"vcap@10.10.103.250 vcap@10.10.103.162 vcap@10.10.103.223"}
roles=("ai" "i" "i")

# How many of them are minions.
export NUM_MINIONS=${NUM_MINIONS:-3}

# Addresses of services, and of pods: they may not overlap.
export SERVICE_CLUSTER_IP_RANGE=${SERVICE_CLUSTER_IP_RANGE:-192.168.3.0/24}  # PORTAL_NET before
export FLANNEL_NET=${FLANNEL_NET:-172.16.0.0/16}
FLANNEL_OTHER_NET_CONFIG=${FLANNEL_OTHER_NET_CONFIG:-''}

# Which ports of hosts services may have.
SERVICE_NODE_PORT_RANGE=${SERVICE_NODE_PORT_RANGE:-"30000-32767"}

# What kube-apiserver asks before it keeps an object.
export ADMISSION_CONTROL=NamespaceLifecycle,LimitRanger,ServiceAccount,ResourceQuota

# Names within the cluster.
ENABLE_CLUSTER_DNS="${KUBE_ENABLE_CLUSTER_DNS:-true}"
DNS_SERVER_IP=${DNS_SERVER_IP:-"192.168.3.10"}
DNS_DOMAIN=${DNS_DOMAIN:-"cluster.local"}
DNS_REPLICAS=${DNS_REPLICAS:-1}

# Further addons.
ENABLE_CLUSTER_UI="${KUBE_ENABLE_CLUSTER_UI:-true}"
ENABLE_CLUSTER_MONITORING="${KUBE_ENABLE_CLUSTER_MONITORING:-false}"
ENABLE_CLUSTER_LOGGING=false

# Options for programs.
DOCKER_OPTS=${DOCKER_OPTS:-""}
KUBE_PROXY_EXTRA_OPTS=${KUBE_PROXY_EXTRA_OPTS:-"--proxy-mode=iptables"}
ALLOW_PRIVILEGED=${ALLOW_PRIVILEGED:-"false"}
SSH_OPTS="-oPort=22 -oStrictHostKeyChecking=no -oLogLevel=ERROR -C"
