package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"
)

// The time comes first in a snapshot's name, so the order of names is that of time.
var snapshotName = regexp.MustCompile(`^etcd-[0-9]{8}T[0-9]{6}Z-[a-z0-9][a-z0-9.-]*\.db$`)

const (
	patience   = time.Hour     // for a whole snapshot
	unfinished = ".receiving-" // begins the name of one that is under way
	largest    = 64 << 30      // etcd's own limit is far below
)

// Folder is where snapshots are kept, and how many.
type Folder struct {
	Path string
	Keep int
}

// receive takes snapshots until it is killed.
func receive(address string, folder Folder, identity *Identity, client string) error {
	log.SetFlags(0) // the journal knows the time
	if err := os.MkdirAll(folder.Path, 0o700); err != nil {
		return err
	}
	left, _ := filepath.Glob(filepath.Join(folder.Path, unfinished+"*"))
	for _, path := range left {
		os.Remove(path)
	}
	var one sync.Mutex
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /{name}", func(w http.ResponseWriter, r *http.Request) {
		one.Lock()
		defer one.Unlock()
		digest, err := folder.take(r.PathValue("name"), r.Body, r.Header.Get("X-Sha256"))
		if err != nil {
			log.Printf("%s from %s: %v", r.PathValue("name"), r.RemoteAddr, err)
			http.Error(w, err.Error(), http.StatusInsufficientStorage)
			return
		}
		log.Printf("%s from %s: sha256 %s", r.PathValue("name"), r.RemoteAddr, digest)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintln(w, digest)
	})
	config := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		config, trusted, err := identity.load()
		if err != nil {
			return nil, err
		}
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, trusted
		config.VerifyPeerCertificate = func(_ [][]byte, chains [][]*x509.Certificate) error {
			if name := chains[0][0].Subject.CommonName; client == "" || name != client {
				return fmt.Errorf("%q may not send snapshots", name)
			}
			return nil
		}
		// Else a resumed session would not be looked at again.
		config.SessionTicketsDisabled = true
		return config, nil
	}}
	server := &http.Server{
		Addr: address, Handler: mux, TLSConfig: config,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: time.Minute,
	}
	return server.ListenAndServeTLS("", "")
}

// take writes a snapshot, and lets it count only when what lies on the disk is what was sent and what etcd made. It
// returns the SHA-256 of what was read back, in hex.
func (folder Folder) take(name string, content io.Reader, expected string) (string, error) {
	if !snapshotName.MatchString(name) {
		return "", errors.New("this is not the name of a snapshot")
	}
	file, err := os.CreateTemp(folder.Path, unfinished) // 0600
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := io.Copy(file, io.LimitReader(content, largest)); err != nil {
		return "", err
	}
	if err := file.Sync(); err != nil {
		return "", err
	}
	found, err := verify(file)
	if err != nil {
		return "", err
	}
	if found != expected {
		return "", fmt.Errorf("what was written has sha256 %s, and %s was sent", found, expected)
	}
	if err := os.Rename(file.Name(), filepath.Join(folder.Path, name)); err != nil {
		return "", err
	}
	return found, folder.prune()
}

// verify reads a snapshot and checks it against the digest that etcd put at its end. It returns that of the file.
func verify(file *os.File) (string, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	if size <= sha256.Size {
		return "", errors.New("this is not a snapshot: it is too short")
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	whole, database := sha256.New(), sha256.New()
	if _, err := io.CopyN(io.MultiWriter(whole, database), file, size-sha256.Size); err != nil {
		return "", err
	}
	end, err := io.ReadAll(file)
	if err != nil {
		return "", err
	}
	whole.Write(end)
	if !bytes.Equal(database.Sum(nil), end) {
		return "", errors.New("this is not a snapshot as etcd made it: the digest at its end is of something else")
	}
	return hex.EncodeToString(whole.Sum(nil)), nil
}

// prune removes all snapshots but the newest.
func (folder Folder) prune() error {
	entries, err := os.ReadDir(folder.Path)
	if err != nil {
		return err
	}
	var names []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "etcd-") && strings.HasSuffix(entry.Name(), ".db") {
			names = append(names, entry.Name())
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(names)))
	for _, name := range names[min(folder.Keep, len(names)):] {
		if err := os.Remove(filepath.Join(folder.Path, name)); err != nil {
			return err
		}
	}
	return nil
}
