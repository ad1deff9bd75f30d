// Command kubeup-probe is how kubeup looks at a cluster from the inside: as a pod that answers and asks, and as a
// program on the hosts that asks.
//
//	kubeup-probe serve   [--listen :8080]
//	kubeup-probe get     [--timeout 2s] [--times 1] [--until 0s] [--cacert F] [--cert F --key F] URL...
//	kubeup-probe resolve [--timeout 2s] [--until 0s] [--server IP:53] NAME...
//	kubeup-probe connect [--timeout 1s] [--until 0s] HOST:PORT...
//
// get, resolve and connect print one JSON list with an element for each argument, in the arguments' order, and exit
// with 0 when all went well, 1 when not, 2 when they were called wrongly.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// pauseBetweenTries is how long --until waits before it asks again those that failed.
const pauseBetweenTries = 200 * time.Millisecond

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	arguments := os.Args[2:]
	switch os.Args[1] {
	case "serve":
		serveCommand(arguments)
	case "get":
		getCommand(arguments)
	case "resolve":
		resolveCommand(arguments)
	case "connect":
		connectCommand(arguments)
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: kubeup-probe serve|get|resolve|connect [flags] [target...]   (-h after a command lists its flags)")
	os.Exit(2)
}

func serveCommand(arguments []string) {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	listen := flags.String("listen", ":8080", "the `address` to serve on")
	flags.Parse(arguments)
	if err := serve(*listen); err != nil {
		fmt.Fprintln(os.Stderr, "kubeup-probe:", err)
		os.Exit(1)
	}
}

func getCommand(arguments []string) {
	flags := flag.NewFlagSet("get", flag.ExitOnError)
	asking := askingFlags(flags, 2*time.Second)
	times := flags.Int("times", 1, "how often to fetch each URL, each time by a new connection; more than once lists all bodies")
	authority := flags.String("cacert", "", "a `file` with the certificate of the authority to trust")
	certificate := flags.String("cert", "", "a `file` with a certificate to show")
	key := flags.String("key", "", "the `file` with its key")
	flags.Parse(arguments)
	secured, err := security(*authority, *certificate, *key)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubeup-probe:", err)
		os.Exit(2)
	}
	ask(flags, asking, func(timeout time.Duration, url string) Answer { return get(timeout, url, *times, secured) })
}

func resolveCommand(arguments []string) {
	flags := flag.NewFlagSet("resolve", flag.ExitOnError)
	asking := askingFlags(flags, 2*time.Second)
	server := flags.String("server", "", "the DNS server to ask, `IP:port`; by default those of /etc/resolv.conf")
	flags.Parse(arguments)
	ask(flags, asking, func(timeout time.Duration, name string) Answer { return resolve(timeout, name, *server) })
}

func connectCommand(arguments []string) {
	flags := flag.NewFlagSet("connect", flag.ExitOnError)
	asking := askingFlags(flags, time.Second)
	flags.Parse(arguments)
	ask(flags, asking, connect)
}

// Asking is what get, resolve and connect have in common.
type Asking struct {
	Timeout time.Duration // for one try of one target
	Until   time.Duration // how long to go on trying those that fail; 0 is one try
}

func askingFlags(flags *flag.FlagSet, timeout time.Duration) *Asking {
	asking := &Asking{}
	flags.DurationVar(&asking.Timeout, "timeout", timeout, "how long one try may take")
	flags.DurationVar(&asking.Until, "until", 0, "how long to try again, every 200ms, what did not succeed")
	return asking
}

// ask asks all targets at once, prints the answers and ends the program.
func ask(flags *flag.FlagSet, asking *Asking, question func(time.Duration, string) Answer) {
	targets := flags.Args()
	if len(targets) == 0 {
		fmt.Fprintln(os.Stderr, "kubeup-probe: nothing to ask: no target given")
		os.Exit(2)
	}
	answers := make([]Answer, len(targets))
	deadline := time.Now().Add(asking.Until)
	var all sync.WaitGroup
	for i, target := range targets {
		all.Add(1)
		go func() {
			defer all.Done()
			answers[i] = askUntil(target, asking.Timeout, deadline, question)
		}()
	}
	all.Wait()

	printJSON(os.Stdout, answers)
	for _, answer := range answers {
		if !answer.OK() {
			os.Exit(1)
		}
	}
}

// askUntil asks at least once, and again while the answer is not good and the deadline is ahead.
func askUntil(target string, timeout time.Duration, deadline time.Time, question func(time.Duration, string) Answer) Answer {
	for {
		answer := question(timeout, target)
		if answer.OK() || time.Now().Add(pauseBetweenTries).After(deadline) {
			return answer
		}
		time.Sleep(pauseBetweenTries)
	}
}

func printJSON(w io.Writer, value any) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // bodies are read by people too
	encoder.Encode(value)
}
