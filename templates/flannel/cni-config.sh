#!/bin/sh
# Writes the container runtime's network configuration for the subnet that flanneld got for this node. It is what
# flannel's own CNI plugin would do, which only delegates to the bridge plugin.
set -eu
. /run/flannel/subnet.env
# flanneld writes the bridge's address, the first of the subnet, where the plugin wants the subnet.
address=${FLANNEL_SUBNET%/*}
subnet=${address%.*}.$((${address##*.} - 1))/${FLANNEL_SUBNET#*/}
conf=/etc/cni/net.d/10-kubeup.conflist
cat >$conf.new <<CONF
{
  "cniVersion": "1.0.0",
  "name": "kubeup",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "mtu": $FLANNEL_MTU,
      "isGateway": true, "isDefaultGateway": true, "hairpinMode": true, "ipMasq": false,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": "$subnet"}]], "routes": [{"dst": "$FLANNEL_NETWORK"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
CONF
chmod 0644 $conf.new
mv -f $conf.new $conf
