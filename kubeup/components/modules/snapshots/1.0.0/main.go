// Command kubeup-snapshots brings etcd's snapshots from one member's host to the others.
//
//	kubeup-snapshots receive --listen IP:2382 --folder DIR --keep 12 --cacert F --cert F --key F --client NAME
//	kubeup-snapshots send    --cacert F --cert F --key F FILE HOST:PORT...
//
// A snapshot holds every Secret of the cluster. So both show a certificate of etcd's authority, and it is taken only
// from who could read all of etcd anyway: the client whose certificate says NAME, which is etcd's user root.
//
// send exits with 0 when at least one host took the snapshot and read it back as it was sent.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
)

// Identity is the files by which one end knows the other, and shows who it is itself.
type Identity struct {
	Authority, Certificate, Key string
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	identity := &Identity{}
	flags.StringVar(&identity.Authority, "cacert", "", "a `file` with the certificate of the authority to trust")
	flags.StringVar(&identity.Certificate, "cert", "", "a `file` with the certificate to show")
	flags.StringVar(&identity.Key, "key", "", "the `file` with its key")
	var err error
	switch os.Args[1] {
	case "receive":
		listen := flags.String("listen", "", "the `address` to listen on")
		folder := flags.String("folder", "", "the `folder` that snapshots are kept in")
		keep := flags.Int("keep", 12, "how many are kept")
		client := flags.String("client", "", "the common `name` of who may send")
		flags.Parse(os.Args[2:])
		err = receive(*listen, Folder{*folder, *keep}, identity, *client)
	case "send":
		flags.Parse(os.Args[2:])
		if flags.NArg() < 2 {
			usage()
		}
		err = send(flags.Arg(0), flags.Args()[1:], identity)
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubeup-snapshots:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: kubeup-snapshots receive|send [flags] [file host:port...]   (-h after a command lists its flags)")
	os.Exit(2)
}

// load reads the files. It is done for every connection, so that renewed certificates are used at once.
func (identity *Identity) load() (*tls.Config, *x509.CertPool, error) {
	pair, err := tls.LoadX509KeyPair(identity.Certificate, identity.Key)
	if err != nil {
		return nil, nil, err
	}
	pem, err := os.ReadFile(identity.Authority)
	if err != nil {
		return nil, nil, err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(pem) {
		return nil, nil, errors.New(identity.Authority + " has no certificate")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, trusted, nil
}
