package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

var own = Node{Names: []string{"n1"}, Addresses: []string{"10.0.0.1"}}

// request is what the kubelet of n1 asks for, after change.
func request(t *testing.T, change func(*x509.CertificateRequest, *Request)) Request {
	t.Helper()
	template := &x509.CertificateRequest{
		Subject:     pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}},
		DNSNames:    []string{"n1"},
		IPAddresses: []net.IP{net.ParseIP("10.0.0.1")},
	}
	var r Request
	r.Metadata.Name = "csr-1"
	r.Spec.SignerName = signer
	r.Spec.Username = "system:node:n1"
	r.Spec.Groups = []string{"system:nodes", "system:authenticated"}
	r.Spec.Usages = []string{"digital signature", "server auth"}
	change(template, &r)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	if r.Spec.Request == nil {
		r.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	return r
}

func TestANodeMayHaveItsOwnNamesAndAddressesAndNothingElse(t *testing.T) {
	mailto, _ := url.Parse("spiffe://n1")
	cases := map[string]struct {
		change func(*x509.CertificateRequest, *Request)
		why    string
	}{
		"its own":           {func(*x509.CertificateRequest, *Request) {}, ""},
		"its address alone": {func(c *x509.CertificateRequest, _ *Request) { c.DNSNames = nil }, ""},
		"another's name":    {func(c *x509.CertificateRequest, _ *Request) { c.DNSNames = []string{"n1", "n2"} }, `"n2" is not the node's`},
		"a wildcard":        {func(c *x509.CertificateRequest, _ *Request) { c.DNSNames = []string{"*"} }, "not the node's"},
		"another's address": {func(c *x509.CertificateRequest, _ *Request) { c.IPAddresses = []net.IP{net.ParseIP("10.0.0.2")} }, "10.0.0.2 is not the node's"},
		"nothing":           {func(c *x509.CertificateRequest, _ *Request) { c.DNSNames, c.IPAddresses = nil, nil }, "names nothing"},
		"a mail address":    {func(c *x509.CertificateRequest, _ *Request) { c.EmailAddresses = []string{"a@n1"} }, "mail addresses"},
		"a URI":             {func(c *x509.CertificateRequest, _ *Request) { c.URIs = []*url.URL{mailto} }, "URIs"},
		"another's subject": {func(c *x509.CertificateRequest, _ *Request) { c.Subject.CommonName = "system:node:n2" }, "asked for by"},
		"more groups": {func(c *x509.CertificateRequest, _ *Request) {
			c.Subject.Organization = []string{"system:nodes", "system:masters"}
		}, "organizations"},
		"no kubelet":     {func(_ *x509.CertificateRequest, r *Request) { r.Spec.Groups = []string{"system:authenticated"} }, "not of the group"},
		"a client":       {func(_ *x509.CertificateRequest, r *Request) { r.Spec.Usages = []string{"client auth", "server auth"} }, "client auth"},
		"no server":      {func(_ *x509.CertificateRequest, r *Request) { r.Spec.Usages = []string{"digital signature"} }, "not for a server"},
		"another signer": {func(_ *x509.CertificateRequest, r *Request) { r.Spec.SignerName = "kubernetes.io/legacy-unknown" }, "signer"},
		"rubbish":        {func(_ *x509.CertificateRequest, r *Request) { r.Spec.Request = []byte("x") }, "PEM"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := allowed(request(t, c.change), own)
			if c.why == "" && err != nil {
				t.Errorf("denied: %v", err)
			}
			if c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
				t.Errorf("got %v, wanted one with %q", err, c.why)
			}
		})
	}
}

func TestASignatureThatIsNotTheKeysIsSeen(t *testing.T) {
	r := request(t, func(*x509.CertificateRequest, *Request) {})
	block, _ := pem.Decode(r.Spec.Request)
	block.Bytes[len(block.Bytes)-1] ^= 1
	r.Spec.Request = pem.EncodeToMemory(block)
	if err := allowed(r, own); err == nil {
		t.Error("allowed")
	}
}

// api answers as the API does, and keeps what it was told.
func api(t *testing.T, answer int) (*httptest.Server, *[]string) {
	t.Helper()
	told := &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*told = append(*told, r.Method+" "+r.URL.Path+" "+string(body))
		w.WriteHeader(answer)
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(server.Close)
	return server, told
}

// asRead is a request as it comes from the API, with what this program does not know of.
func asRead(t *testing.T, r Request, status string) Request {
	t.Helper()
	spec, _ := json.Marshal(r.Spec)
	text := `{"metadata": {"name": "csr-1", "resourceVersion": "7"}, "spec": ` + string(spec) + `, "status": ` + status + `}`
	var read Request
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		t.Fatal(err)
	}
	return read
}

func TestWhatIsDecided(t *testing.T) {
	good := func(*x509.CertificateRequest, *Request) {}
	bad := func(c *x509.CertificateRequest, _ *Request) { c.DNSNames = []string{"n2"} }
	stranger := func(_ *x509.CertificateRequest, r *Request) { r.Spec.Username = "system:node:n9" }
	person := func(_ *x509.CertificateRequest, r *Request) { r.Spec.Username = "n1" }
	cases := map[string]struct {
		change func(*x509.CertificateRequest, *Request)
		status string
		told   string
	}{
		"good":       {good, `{}`, `"type":"Approved"`},
		"bad":        {bad, `{}`, `"type":"Denied"`},
		"decided":    {good, `{"conditions": [{"type": "Denied"}]}`, ""},
		"a stranger": {stranger, `{}`, ""},
		"a person":   {person, `{}`, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server, told := api(t, http.StatusOK)
			if err := decide(server.Client(), server.URL, asRead(t, request(t, c.change), c.status), map[string]Node{"n1": own}); err != nil {
				t.Fatal(err)
			}
			if c.told == "" {
				if len(*told) != 0 {
					t.Errorf("told %v", *told)
				}
				return
			}
			if len(*told) != 1 || !strings.HasPrefix((*told)[0], "PUT "+requests+"/csr-1/approval ") ||
				!strings.Contains((*told)[0], c.told) || !strings.Contains((*told)[0], `"resourceVersion":"7"`) {
				t.Errorf("told %v", *told)
			}
		})
	}
}

func TestAnotherMasterMayBeQuicker(t *testing.T) {
	for code, fine := range map[int]bool{http.StatusConflict: true, http.StatusNotFound: true, http.StatusForbidden: false} {
		server, _ := api(t, code)
		r := asRead(t, request(t, func(*x509.CertificateRequest, *Request) {}), `{}`)
		if err := decide(server.Client(), server.URL, r, map[string]Node{"n1": own}); (err == nil) != fine {
			t.Errorf("%d: %v", code, err)
		}
	}
}
