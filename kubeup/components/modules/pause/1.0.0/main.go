// Command pause holds a pod's namespaces open. It is the first process of every pod and does nothing until it is
// told to stop.
//
// It imports no more than it must: one runs for every pod of every node.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for sig := range signals {
		if sig != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reap collects every child that has ended. With shareProcessNamespace the pause process is the pod's PID 1, and
// orphans of all its containers become its children. Signals of several children may arrive as one.
func reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if pid <= 0 {
			return
		}
	}
}
