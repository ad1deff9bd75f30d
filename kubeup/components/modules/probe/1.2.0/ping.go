package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	headers       = 28 // of IPv4 and ICMP
	echoRequest   = 8
	echoReply     = 0
	ipMtuDiscover = 10 // IP_MTU_DISCOVER and IP_PMTUDISC_PROBE of linux/in.h: never in fragments, whatever is known of
	ipPmtuProbe   = 3  // the way, so that a packet that is too large for it is lost, and not split
)

// Pinged is the answer to an ICMP echo of one size, in bytes with all headers.
type Pinged struct {
	Address string `json:"address"`
	Size    int    `json:"size"`
	Error   string `json:"error"`
	Ms      int64  `json:"ms"`
}

func (p Pinged) OK() bool { return p.Error == "" }

// ping sends one packet of size bytes, which may not be fragmented, to address, and waits for its echo. It needs
// CAP_NET_RAW. Hosts have no ping(8) as a rule; this is enough of it.
func ping(timeout time.Duration, address string, size int) Answer {
	started := time.Now()
	err := echo(timeout, address, size, int(started.UnixNano()&0xffff))
	return Pinged{address, size, message(err), time.Since(started).Milliseconds()}
}

func echo(timeout time.Duration, address string, size, sequence int) error {
	target, err := net.ResolveIPAddr("ip4", address)
	if err != nil {
		return err
	}
	packets, err := net.ListenIP("ip4:icmp", nil)
	if err != nil {
		return err
	}
	defer packets.Close()
	if err := wholeOnly(packets); err != nil {
		return err
	}
	identity := os.Getpid() & 0xffff
	packets.SetDeadline(time.Now().Add(timeout))
	if _, err := packets.WriteTo(request(size, identity, sequence), target); err != nil {
		if errors.Is(err, syscall.EMSGSIZE) {
			return fmt.Errorf("a packet of %d bytes does not fit into the MTU of the device that leads there", size)
		}
		return err
	}
	buffer := make([]byte, 1<<16)
	for {
		length, from, err := packets.ReadFromIP(buffer)
		if err != nil {
			var failure net.Error
			if errors.As(err, &failure) && failure.Timeout() {
				return fmt.Errorf("no answer within %s to a packet of %d bytes", timeout, size)
			}
			return err
		}
		answer := buffer[:length]
		if length >= 8 && answer[0] == echoReply && from.IP.Equal(target.IP) &&
			int(binary.BigEndian.Uint16(answer[4:])) == identity && int(binary.BigEndian.Uint16(answer[6:])) == sequence {
			return nil
		}
	}
}

// wholeOnly forbids fragments.
func wholeOnly(packets *net.IPConn) error {
	raw, err := packets.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(descriptor uintptr) {
		failure = syscall.SetsockoptInt(int(descriptor), syscall.IPPROTO_IP, ipMtuDiscover, ipPmtuProbe)
	})
	return errors.Join(err, failure)
}

func request(size, identity, sequence int) []byte {
	packet := make([]byte, max(size-headers, 0)+8)
	packet[0] = echoRequest
	binary.BigEndian.PutUint16(packet[4:], uint16(identity))
	binary.BigEndian.PutUint16(packet[6:], uint16(sequence))
	binary.BigEndian.PutUint16(packet[2:], checksum(packet))
	return packet
}

// checksum is the Internet's (RFC 1071).
func checksum(packet []byte) uint16 {
	sum := uint32(0)
	for at := 0; at < len(packet); at += 2 {
		sum += uint32(packet[at]) << 8
		if at+1 < len(packet) {
			sum += uint32(packet[at+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
