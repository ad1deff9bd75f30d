# Ends all containers, and takes away their mounts, network namespaces and cgroups. (kubelet and containerd have stopped.)
if [ "$1" = capture ]; then [ -d /run/netns ] && echo netns; exit 0; fi
before=$(cat)
# Containers by their cgroup, then the shims that watched them.
# shellcheck disable=SC2046  # one word a process
kill -9 $(grep -lE '[/:](kubepods|k8s\.io)' /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3) 2>/dev/null
for process in /proc/[0-9]*; do
    case $(readlink "$process/exe" 2>/dev/null) in
    /opt/kubeup/containerd/*/containerd-shim-runc-v2*) kill -9 "${process#/proc/}" 2>/dev/null ;;
    esac
done
# Mounts, the innermost first. What a dying process still holds is let go as soon as it is dead.
for round in 1 2 3 4 5; do
    mounts=$(awk '$2 ~ "^/(run/containerd|var/lib/containerd|var/lib/kubelet|run/netns/cni-)./?" && $2 != "/var/lib/containerd" && $2 != "/var/lib/kubelet" {print $2}' /proc/mounts | sort -r)
    [ -z "$mounts" ] && break
    for m in $mounts; do umount "$m" 2>/dev/null || { [ $round -ge 4 ] && umount -l "$m"; }; done
    [ $round -lt 5 ] && sleep 0.2
done
rm -f /run/netns/cni-*
case $before in *netns*) ;; *) if [ -d /run/netns ] && [ -z "$(ls -A /run/netns)" ]; then umount /run/netns 2>/dev/null; rmdir /run/netns 2>/dev/null; fi ;; esac
# With the cgroup driver systemd they are units of systemd's, which would have them on without their folders.
systemctl stop kubepods.slice 2>/dev/null
for top in /sys/fs/cgroup/*/kubepods /sys/fs/cgroup/*/k8s.io /sys/fs/cgroup/kubepods /sys/fs/cgroup/kubepods.slice /sys/fs/cgroup/*/kubepods.slice; do
    [ -d "$top" ] && find "$top" -depth -type d -exec rmdir {} + 2>/dev/null
done
rm -rf /run/containerd /run/nri /var/run/nri
exit 0
