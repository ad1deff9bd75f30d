package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// maxBody is how much of a body is kept: answers are read by people, and a wrong URL may lead to anything.
const maxBody = 64 << 10

// Answer is what came of asking one target.
type Answer interface {
	OK() bool
}

// Fetched is the answer to fetching a URL. Status is 0 when there was no answer.
type Fetched struct {
	URL    string   `json:"url"`
	Status int      `json:"status"`
	Body   string   `json:"body"`
	Bodies []string `json:"bodies,omitempty"` // where --times is more than 1: of each fetch that succeeded
	Error  string   `json:"error"`
	Ms     int64    `json:"ms"`
}

func (f Fetched) OK() bool { return f.Error == "" && f.Status >= 200 && f.Status < 300 }

// get fetches url, times times one after another, each within timeout. It stops at the first that fails.
func get(timeout time.Duration, url string, times int, secured *tls.Config) Fetched {
	started := time.Now()
	fetched := fetch(timeout, url, secured)
	bodies := []string{}
	for fetched.OK() {
		bodies = append(bodies, fetched.Body)
		if len(bodies) >= times {
			break
		}
		fetched = fetch(timeout, url, secured)
	}
	if times > 1 {
		fetched.Bodies = bodies
	}
	fetched.Ms = time.Since(started).Milliseconds()
	return fetched
}

// security is for https URLs: the authority to trust (instead of the system's), and a certificate to show. Each may be "".
func security(authority, certificate, key string) (*tls.Config, error) {
	config := &tls.Config{}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", authority)
		}
	}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func fetch(timeout time.Duration, url string, secured *tls.Config) Fetched {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	fetched := Fetched{URL: url}
	err := func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		// A new connection each time, so that a Service chooses its endpoint anew, and no proxy, because the
		// network itself is what is looked at. A redirect is an answer.
		client := &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: secured},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		fetched.Status = response.StatusCode
		body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
		fetched.Body = string(body)
		return err
	}()
	fetched.Error = message(err)
	fetched.Ms = time.Since(started).Milliseconds()
	return fetched
}

// Resolved is the answer to looking a name up.
type Resolved struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
	Error     string   `json:"error"`
	Ms        int64    `json:"ms"`
}

func (r Resolved) OK() bool { return r.Error == "" }

// resolve looks name up at server ("IP:port"), or as /etc/resolv.conf says when server is "".
func resolve(timeout time.Duration, name, server string) Resolved {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	// Go's own resolver: the C library's is not in a static program, and asks no server of our choice.
	resolver := &net.Resolver{PreferGo: true}
	if server != "" {
		resolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server)
		}
	}
	addresses, err := resolver.LookupHost(ctx, name)
	var failure *net.DNSError
	if server != "" && errors.As(err, &failure) {
		failure.Server = server // it names the one of /etc/resolv.conf, which was not asked
	}
	if addresses == nil {
		addresses = []string{} // a list in JSON, not null
	}
	return Resolved{name, addresses, message(err), time.Since(started).Milliseconds()}
}

// Connected is the answer to opening a TCP connection.
type Connected struct {
	Address string `json:"address"`
	Error   string `json:"error"`
	Ms      int64  `json:"ms"`
}

func (c Connected) OK() bool { return c.Error == "" }

// connect opens a connection to address ("host:port") and closes it.
func connect(timeout time.Duration, address string) Answer {
	started := time.Now()
	connection, err := net.DialTimeout("tcp", address, timeout)
	if err == nil {
		connection.Close()
	}
	return Connected{address, message(err), time.Since(started).Milliseconds()}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
