package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// signer is the name of what signs serving certificates of kubelets.
const signer = "kubernetes.io/kubelet-serving"

// Names of users and groups that the API gives to kubelets by their client certificates.
const (
	userPrefix = "system:node:"
	nodesGroup = "system:nodes"
)

// usages are what a serving certificate may be for. (Kubernetes' own check of this signer asks for the same.)
var usages = []string{"digital signature", "key encipherment", "server auth"}

// Node is what a node may be called, and the addresses that it has.
type Node struct {
	Names     []string `json:"names"`
	Addresses []string `json:"addresses"`
}

// Request is a CertificateSigningRequest.
type Request struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Request    []byte   `json:"request"`
		SignerName string   `json:"signerName"`
		Usages     []string `json:"usages"`
		Username   string   `json:"username"`
		Groups     []string `json:"groups"`
	} `json:"spec"`
	Status struct {
		Conditions []struct {
			Type string `json:"type"`
		} `json:"conditions"`
	} `json:"status"`

	object map[string]any // all of it, as the API sent it
}

// UnmarshalJSON keeps the whole object, too.
func (r *Request) UnmarshalJSON(data []byte) error {
	type plain Request
	if err := json.Unmarshal(data, (*plain)(r)); err != nil {
		return err
	}
	return json.Unmarshal(data, &r.object)
}

func (r *Request) decided() bool { return len(r.Status.Conditions) > 0 }

// node is the name of the node whose kubelet asks, or "".
func (r *Request) node() string {
	name, isNode := strings.CutPrefix(r.Spec.Username, userPrefix)
	if !isNode {
		return ""
	}
	return name
}

// allowed says why a request of a node's kubelet must not be granted; nil when it may be.
//
// The API has put username and groups into it, by the credentials of who made the request; all else is what that one says.
func allowed(request Request, node Node) error {
	if request.Spec.SignerName != signer {
		return fmt.Errorf("it is for the signer %q", request.Spec.SignerName)
	}
	if !slices.Contains(request.Spec.Groups, nodesGroup) {
		return fmt.Errorf("%s is not of the group %s", request.Spec.Username, nodesGroup)
	}
	for _, usage := range request.Spec.Usages {
		if !slices.Contains(usages, usage) {
			return fmt.Errorf("the usage %q is not a server's", usage)
		}
	}
	if !slices.Contains(request.Spec.Usages, "server auth") {
		return errors.New("it is not for a server")
	}
	block, rest := pem.Decode(request.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return errors.New("it is not one certificate request in PEM form")
	}
	wanted, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	if err := wanted.CheckSignature(); err != nil {
		return fmt.Errorf("its signature is wrong: %w", err)
	}
	return allowedNames(wanted, request.Spec.Username, node)
}

func allowedNames(wanted *x509.CertificateRequest, username string, node Node) error {
	if wanted.Subject.CommonName != username {
		return fmt.Errorf("it is for %q, asked for by %s", wanted.Subject.CommonName, username)
	}
	if !slices.Equal(wanted.Subject.Organization, []string{nodesGroup}) {
		return fmt.Errorf("it is for the organizations %q", wanted.Subject.Organization)
	}
	if len(wanted.EmailAddresses) > 0 || len(wanted.URIs) > 0 {
		return errors.New("it names mail addresses or URIs")
	}
	if len(wanted.DNSNames)+len(wanted.IPAddresses) == 0 {
		return errors.New("it names nothing")
	}
	for _, name := range wanted.DNSNames {
		if !slices.Contains(node.Names, name) {
			return fmt.Errorf("the name %q is not the node's", name)
		}
	}
	for _, address := range wanted.IPAddresses {
		if !slices.ContainsFunc(node.Addresses, func(own string) bool { return address.Equal(net.ParseIP(own)) }) {
			return fmt.Errorf("the address %s is not the node's", address)
		}
	}
	return nil
}
