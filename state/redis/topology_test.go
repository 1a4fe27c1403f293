package redis

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"postseal/internal/test/redistest"
	"postseal/internal/test/statetest"
	"postseal/state"
)

// certificate writes a self-signed certificate for 127.0.0.1 and its key into a
// directory, readable for all.
func certificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), redistest.FreePort(t)
	cert, key := certificate(t, dir, "server")
	ours, oursKey := certificate(t, dir, "client")
	foreign, foreignKey := certificate(t, dir, "foreign")
	redistest.Start(t, fmt.Sprintf("tls-port %d", port), "tls-cert-file "+cert, "tls-key-file "+key, "tls-ca-cert-file "+ours)
	base := fmt.Sprintf("rediss://127.0.0.1:%d?ca=%s", port, cert)
	p := put(t, open(t, base+"&cert="+ours+"&key="+oursKey), statetest.Record("1", alice, ca))
	for name, url := range map[string]string{
		"no certificate of ours":      base,
		"a foreign one":               base + "&cert=" + foreign + "&key=" + foreignKey,
		"their certificate not known": fmt.Sprintf("rediss://127.0.0.1:%d?cert=%s&key=%s", port, ours, oursKey),
		"no TLS":                      fmt.Sprintf("redis://127.0.0.1:%d", port),
	} {
		_, err := open(t, url).Claim(p, "<c>", "<r>", time.Now())
		if err == nil {
			t.Errorf("%s: it works", name)
		}
		if strings.Contains(name, "not known") && errors.As(err, new(*state.UnreachableError)) {
			t.Errorf("%s: %v, and waiting will not help", name, err)
		}
	}
}

// answerOne orders, answers, and waits for the answer.
func answerOne(t *testing.T, issuer, mail *Store, id string) {
	t.Helper()
	p := put(t, issuer, statetest.Record(id, alice, ca))
	if found, err := mail.Pending(alice, time.Now()); err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		_, err := issuer.WaitAnswer(ctx, id, nil)
		answered <- err
	}()
	c := mustClaim(t, mail, p)
	if _, _, err := mail.AnswersWithin(time.Hour, ca, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Sending(), c.Sent(time.Now()), <-answered); err != nil {
		t.Fatal(err)
	}
	if all, err := issuer.Answers(100); err != nil || len(all) == 0 {
		t.Fatalf("%v, %v", all, err)
	}
}

// When the master is gone, Sentinel moves to the replica, and we follow.
func TestSentinel(t *testing.T) {
	t.Parallel()
	master := redistest.WithPort(t)
	replica := redistest.WithPort(t, fmt.Sprintf("replicaof 127.0.0.1 %d", master.Port))
	sentinel := redistest.Sentinel(t, "sentinel monitor mail 127.0.0.1 "+fmt.Sprint(master.Port)+" 1",
		"sentinel down-after-milliseconds mail 500", "sentinel failover-timeout mail 3000")
	url := "redis://" + sentinel.Addr() + "?master_name=mail"
	issuer, mail := open(t, url), open(t, url)
	x := mail.Index()
	defer x.Close()
	answerOne(t, issuer, mail, "1")
	until(t, "the replica to have it and Sentinel to know that", func() bool {
		s := open(t, replica.URL())
		defer s.Close()
		a, err := s.client.Exists(context.Background(), s.answerKey("1")).Result()
		known, _ := goredis.NewSentinelClient(&goredis.Options{Addr: sentinel.Addr()}).Replicas(context.Background(), "mail").Result()
		return err == nil && a == 1 && len(known) == 1 && known[0]["master-link-status"] == "ok"
	})
	master.Kill()
	answerOne(t, issuer, mail, "2") // Put waits for the failover
	until(t, "the index to be right after the failover", func() bool { found, err := x.Any(); return err == nil && found })
	if a, err := issuer.Answer("1"); err != nil || a == nil {
		t.Errorf("the first answer: %+v, %v", a, err)
	}
}

func until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ready() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// All keys are in one slot, wherever that is.
func TestCluster(t *testing.T) {
	t.Parallel()
	var nodes []*redistest.Server
	for i := range 3 {
		port := redistest.FreePort(t)
		node := redistest.OnPort(t, port, "cluster-enabled yes", fmt.Sprintf("cluster-port %d", redistest.FreePort(t)), "cluster-node-timeout 2000")
		s := open(t, node.URL())
		from, to := i*16384/3, (i+1)*16384/3-1
		if err := s.client.Do(context.Background(), "CLUSTER", "ADDSLOTSRANGE", from, to).Err(); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, node)
	}
	first := open(t, nodes[0].URL())
	for _, node := range nodes[1:] {
		other := open(t, node.URL())
		bus, err := other.client.ConfigGet(context.Background(), "cluster-port").Result()
		if err != nil {
			t.Fatal(err)
		}
		if err := first.client.Do(context.Background(), "CLUSTER", "MEET", "127.0.0.1", node.Port, bus["cluster-port"]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the cluster to be one", func() bool {
		for _, node := range nodes {
			info, err := open(t, node.URL()).client.ClusterInfo(context.Background()).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
				return false
			}
		}
		return true
	})
	for _, prefix := range []string{"postseal", "a", "b", "c"} {
		url := "redis://" + nodes[0].Addr() + "?addr=" + nodes[1].Addr() + "&prefix=" + prefix
		issuer, mail := open(t, url), open(t, url)
		x := mail.Index()
		answerOne(t, issuer, mail, "1")
		until(t, "the index", func() bool { found, err := x.Any(); return err == nil && found })
		x.Close()
		if err := errors.Join(issuer.Remove(alice, ca, ""), issuer.Purge(time.Now()), issuer.Forget(0, time.Now().Add(time.Hour))); err != nil {
			t.Error(err)
		}
	}
}
