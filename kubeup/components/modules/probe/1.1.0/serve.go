package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	defaultTimeout = 2 * time.Second
	stopWithin     = 5 * time.Second // for requests under way; less than the 30 s that kubelet gives a pod
)

// serve answers on address until SIGTERM or SIGINT, then finishes the requests under way.
//
//	GET /                          the pod's name, one line
//	GET /ready                     200
//	GET /get?url=...&timeout=2s    what fetching the URL from inside the pod gives, as JSON
//	GET /resolve?name=...          what looking the name up inside the pod gives, as JSON
func serve(address string) error {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()

	server := &http.Server{Addr: address, Handler: handler(podName()), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
	}
	finish, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return server.Shutdown(finish)
}

// podName is what the pod's manifest put into POD_NAME, or else the hostname, which is the pod's name as well unless
// the pod shares its host's network.
func podName() string {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name
	}
	name, _ := os.Hostname()
	return name
}

func handler(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, name)
	})
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("GET /get", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(timeout time.Duration) Answer { return fetch(timeout, r.FormValue("url"), nil) })
	})
	mux.HandleFunc("GET /resolve", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(timeout time.Duration) Answer { return resolve(timeout, r.FormValue("name"), "") })
	})
	return mux
}

// answer writes what the question gives within the request's timeout. It is 200 also when the question failed: that
// is what was asked for.
func answer(w http.ResponseWriter, r *http.Request, question func(time.Duration) Answer) {
	timeout := defaultTimeout
	if text := r.FormValue("timeout"); text != "" {
		var err error
		if timeout, err = time.ParseDuration(text); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	printJSON(w, question(timeout))
}
