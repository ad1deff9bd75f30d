// Command kubeup-reach finds out whether a host can take a cluster, before anything is placed on it.
//
//	kubeup-reach listen --for 15s --address IP --remove FOLDER tcp:PORT|udp:PORT...
//	kubeup-reach ask [--timeout 1s] [--payload N] tcp:IP:PORT|udp:IP:PORT...
//	kubeup-reach fsync [--limit 1s] FOLDER
//
// listen prints "listening" once it does, with those that it could not have. It ends after --for, or by SIGTERM, and takes
// the folder with it. Whatever comes by UDP is sent back. ask prints a JSON list of those targets that did not answer, and why. By UDP it asks with a
// small packet and with one of --payload bytes that nobody may cut in pieces, so a path that carries less is told.
// fsync writes as etcd's log does and prints a JSON object with the times in milliseconds.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	switch os.Args[1] {
	case "listen":
		listenCommand(os.Args[2:])
	case "ask":
		askCommand(os.Args[2:])
	case "fsync":
		fsyncCommand(os.Args[2:])
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: kubeup-reach listen|ask|fsync [flags] [argument...]")
	os.Exit(2)
}

func listenCommand(arguments []string) {
	flags := flag.NewFlagSet("listen", flag.ExitOnError)
	lasts := flags.Duration("for", 15*time.Second, "how long")
	address := flags.String("address", "", "the host's `IP`")
	folder := flags.String("remove", "", "a `folder` to remove at the end")
	flags.Parse(arguments)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	defer os.RemoveAll(*folder)
	refused := []string{}
	for _, what := range flags.Args() {
		if err := listen(what, *address); err != nil {
			refused = append(refused, what)
		}
	}
	fmt.Println("listening", strings.Join(refused, " "))
	os.Stdout.Close()
	select {
	case <-stop:
	case <-time.After(*lasts):
	}
}

func listen(what, address string) error {
	protocol, port, _ := strings.Cut(what, ":")
	at := net.JoinHostPort(address, port)
	if protocol == "tcp" {
		listener, err := net.Listen("tcp4", at)
		if err != nil {
			return err
		}
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				connection.Close()
			}
		}()
		return nil
	}
	packets, err := net.ListenPacket("udp4", at)
	if err != nil {
		return err
	}
	unbroken(packets.(*net.UDPConn))
	go func() {
		buffer := make([]byte, 65536)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err == nil {
				packets.WriteTo(buffer[:n], from)
			}
		}
	}()
	return nil
}

// unbroken forbids to cut what is sent in pieces.
func unbroken(connection *net.UDPConn) {
	if raw, err := connection.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DO)
		})
	}
}

// Silent is a target that did not answer.
type Silent struct {
	Target string `json:"target"`
	Error  string `json:"error"`
}

func askCommand(arguments []string) {
	flags := flag.NewFlagSet("ask", flag.ExitOnError)
	timeout := flags.Duration("timeout", time.Second, "how long one may take to answer; each is asked twice")
	payload := flags.Int("payload", 1472, "`bytes` of the large packet")
	flags.Parse(arguments)
	failures := make([]error, flags.NArg())
	var all sync.WaitGroup
	many := make(chan struct{}, 200)
	for i, target := range flags.Args() {
		all.Add(1)
		go func() {
			defer all.Done()
			many <- struct{}{}
			defer func() { <-many }()
			if failures[i] = ask(target, *timeout, *payload); failures[i] != nil {
				failures[i] = ask(target, *timeout, *payload)
			}
		}()
	}
	all.Wait()
	silent := []Silent{}
	for i, target := range flags.Args() {
		if failures[i] != nil {
			silent = append(silent, Silent{target, failures[i].Error()})
		}
	}
	json.NewEncoder(os.Stdout).Encode(silent)
}

func ask(target string, timeout time.Duration, payload int) error {
	protocol, at, _ := strings.Cut(target, ":")
	connection, err := net.DialTimeout(protocol+"4", at, timeout)
	if err != nil {
		return plain(err)
	}
	defer connection.Close()
	if protocol == "tcp" {
		return nil
	}
	unbroken(connection.(*net.UDPConn))
	for _, size := range []int{16, payload} {
		connection.SetDeadline(time.Now().Add(timeout))
		if _, err = connection.Write(make([]byte, size)); err == nil {
			_, err = connection.Read(make([]byte, 65536))
		}
		if err != nil && size == payload {
			return fmt.Errorf("small packets arrive, those of %d bytes do not", payload+28)
		}
		if err != nil {
			return plain(err)
		}
	}
	return nil
}

// plain is the innermost cause: "connection refused", "i/o timeout".
func plain(err error) error {
	for {
		inner, ok := err.(interface{ Unwrap() error })
		if !ok || inner.Unwrap() == nil {
			return err
		}
		err = inner.Unwrap()
	}
}

func fsyncCommand(arguments []string) {
	flags := flag.NewFlagSet("fsync", flag.ExitOnError)
	limit := flags.Duration("limit", time.Second, "when to stop at the latest")
	flags.Parse(arguments)
	file, err := os.CreateTemp(filepath.Clean(flags.Arg(0)), ".kubeup-fsync-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer os.Remove(file.Name())
	block := make([]byte, 2300) // what etcd's log writes at a time, by its own advice for fio
	times := []float64{}
	for started := time.Now(); len(times) < 50 && time.Since(started) < *limit; {
		from := time.Now()
		if _, err = file.Write(block); err == nil {
			err = syscall.Fdatasync(int(file.Fd()))
		}
		if err != nil {
			os.Remove(file.Name())
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		times = append(times, float64(time.Since(from).Microseconds())/1000)
	}
	sort.Float64s(times)
	json.NewEncoder(os.Stdout).Encode(map[string]float64{"median": times[len(times)/2], "worst": times[len(times)-1]})
}
