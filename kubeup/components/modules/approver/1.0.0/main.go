// Command kubeup-approver lets kubelets renew their serving certificates: it approves what a node asks for its own names
// and addresses, and denies it all others.
//
//	kubeup-approver --server URL --cacert F --cert F --key F --nodes F [--every 10s]
//
// Kubernetes signs serving certificates of kubelets but leaves it to the cluster's owner to approve them, because it
// does not know which names and addresses a node may have. Here the inventory says it; --nodes is a JSON file
// {"<node>": {"names": [...], "addresses": [...]}}.
//
// It runs on every master; when two decide on one request, the second finds it decided. All files are read anew each
// time, so it needs no restart when a certificate or the list of nodes changes.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

// largest is how many bytes of an answer are read.
const largest = 64 << 20

type files struct{ server, authority, certificate, key, nodes string }

func main() {
	var f files
	flag.StringVar(&f.server, "server", "https://127.0.0.1:6443", "the API's `URL`")
	flag.StringVar(&f.authority, "cacert", "", "a `file` with the certificates of the authorities to trust")
	flag.StringVar(&f.certificate, "cert", "", "a `file` with the certificate to show")
	flag.StringVar(&f.key, "key", "", "the `file` with its key")
	flag.StringVar(&f.nodes, "nodes", "", "a JSON `file` with the names and addresses of each node")
	every := flag.Duration("every", 10*time.Second, "how often to look for requests")
	flag.Parse()

	last := ""
	for ; ; time.Sleep(*every) {
		err := round(f)
		// The API may be down for hours: what is wrong is said once, and again when it is something else.
		if text := withoutNumbers(err); text != last {
			if err != nil {
				fmt.Fprintln(os.Stderr, "kubeup-approver:", err)
			}
			last = text
		}
	}
}

// withoutNumbers is what an error says, without times and ports, which are others each time.
func withoutNumbers(err error) string {
	if err == nil {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
}

// round looks at all requests once.
func round(f files) error {
	nodes, err := readNodes(f.nodes)
	if err != nil {
		return err
	}
	client, err := newClient(f)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()

	query := url.Values{"fieldSelector": {"spec.signerName=" + signer}}
	var list struct{ Items []Request }
	if err := call(client, http.MethodGet, f.server+requests+"?"+query.Encode(), nil, &list); err != nil {
		return err
	}
	var failed []error
	for _, request := range list.Items {
		if err := decide(client, f.server, request, nodes); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// decide approves or denies a request that nobody has decided on yet. One of a node that is not known is left alone.
func decide(client *http.Client, server string, request Request, nodes map[string]Node) error {
	if request.decided() {
		return nil
	}
	node, known := nodes[request.node()]
	if !known {
		return nil
	}
	kind, message := "Approved", "for the node's own names and addresses"
	if err := allowed(request, node); err != nil {
		kind, message = "Denied", err.Error()
	}
	// The object as it was read, with one more condition: what this program does not know of it stays.
	object := request.object
	status, _ := object["status"].(map[string]any)
	if status == nil {
		status = map[string]any{}
		object["status"] = status
	}
	conditions, _ := status["conditions"].([]any)
	status["conditions"] = append(conditions, map[string]any{
		"type": kind, "status": "True", "reason": "KubeupApprover", "message": message,
	})
	target := server + requests + "/" + url.PathEscape(request.Metadata.Name) + "/approval"
	err := call(client, http.MethodPut, target, object, nil)
	var answer *answerError
	if errors.As(err, &answer) && (answer.code == http.StatusConflict || answer.code == http.StatusNotFound) {
		return nil // another master's was quicker
	}
	if err != nil {
		return fmt.Errorf("%s: %w", request.Metadata.Name, err)
	}
	fmt.Printf("%s of %s: %s, %s\n", request.Metadata.Name, request.Spec.Username, kind, message)
	return nil
}

func readNodes(path string) (map[string]Node, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var nodes map[string]Node
	if err := json.Unmarshal(data, &nodes); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return nodes, nil
}

func newClient(f files) (*http.Client, error) {
	pem, err := os.ReadFile(f.authority)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", f.authority)
	}
	certificate, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}, nil
}

// answerError is an answer of the API that is not what was hoped for.
type answerError struct {
	code int
	text string
}

func (e *answerError) Error() string { return fmt.Sprintf("the API answers %d: %s", e.code, e.text) }

func call(client *http.Client, method, target string, body, into any) error {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(data)
	}
	request, err := http.NewRequest(method, target, reader)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, largest))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return &answerError{response.StatusCode, string(data[:min(len(data), 300)])}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(data, into)
}
