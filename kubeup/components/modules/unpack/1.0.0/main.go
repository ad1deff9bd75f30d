// Command kubeup-unpack unpacks what travels to hosts: zstd from stdin to stdout, checking the content's digest.
//
//	kubeup-unpack SHA256 <packed >content
//
// Hosts have gzip, but it unpacks 200 MB a second where zstd unpacks many times that, and that is the larger part of the
// time that bringing a cluster up takes. This program itself comes as gzip.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kubeup-unpack SHA256 <packed >content")
		os.Exit(2)
	}
	if err := unpack(os.Stdout, os.Stdin, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "kubeup-unpack:", err)
		os.Exit(1)
	}
}

// unpack writes the content of packed to out, and fails when its SHA-256, in hex, is not the expected one.
func unpack(out io.Writer, packed io.Reader, expected string) error {
	decoder, err := zstd.NewReader(packed)
	if err != nil {
		return err
	}
	defer decoder.Close()
	digest := sha256.New()
	// Only the copy is in large pieces: a decoder that is asked for little at a time answers in little.
	if _, err := io.CopyBuffer(io.MultiWriter(digest, out), struct{ io.Reader }{decoder}, make([]byte, 1<<20)); err != nil {
		return err
	}
	if found := hex.EncodeToString(digest.Sum(nil)); found != expected {
		return fmt.Errorf("the content has sha256 %s, expected %s", found, expected)
	}
	return nil
}
