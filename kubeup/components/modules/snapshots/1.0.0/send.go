package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// send brings the snapshot to each of the hosts, one after another. It fails when none has taken it.
func send(path string, hosts []string, identity *Identity) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	digest, err := verify(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	config, trusted, err := identity.load()
	if err != nil {
		return err
	}
	config.RootCAs = trusted
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: config, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
	}}
	taken := 0
	for _, host := range hosts {
		if err := sendTo(client, host, file, digest); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", host, err)
			continue
		}
		fmt.Printf("%s: has %s\n", host, filepath.Base(path))
		taken++
	}
	if taken == 0 {
		return errors.New("no other host has taken the snapshot")
	}
	return nil
}

func sendTo(client *http.Client, host string, file *os.File, digest string) error {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	// A section, because the client closes what it sends.
	body := io.NewSectionReader(file, 0, size)
	request, err := http.NewRequest(http.MethodPut, "https://"+host+"/"+filepath.Base(file.Name()), body)
	if err != nil {
		return err
	}
	request.ContentLength = size
	request.Header.Set("X-Sha256", digest)
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(said))
	if answer.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s: %s", answer.Status, text)
	}
	if text != digest {
		return fmt.Errorf("it holds sha256 %s, and %s was sent", text, digest)
	}
	return nil
}
