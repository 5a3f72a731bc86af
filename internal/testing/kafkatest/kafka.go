// Package kafkatest runs a real Apache Kafka on this machine, for tests and
// benchmarks: what a fake says of a broker is an opinion.
//
// The broker comes as Maven artifacts, so Java 17 and Maven have to be there,
// and nothing else: no container, no download site, no root. What was resolved
// once is kept in the user's cache.
package kafkatest

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Version is the version of Kafka that is run.
const Version = "4.3.1"

//go:embed pom.xml
var pom []byte

// ErrMissing says that Java or Maven is not installed.
var ErrMissing = errors.New("a real Kafka needs Java 17 and Maven (java and mvn) in the path")

// Wanted reports whether tests should run on a real Kafka too, and NotWanted
// is what they say if not.
func Wanted() bool { return os.Getenv(wanted) == "1" }

const (
	wanted = "ESM_KAFKA"
	// NotWanted is why a test of a real Kafka is skipped.
	NotWanted = wanted + "=1 runs this on a real Kafka, which needs Java 17 and Maven"
)

// A Config says what to start.
type Config struct {
	// Brokers is how many brokers there are: each is a controller too. 0 is 1.
	Brokers int
	// Properties are added to each broker's.
	Properties map[string]string
	// Memory is the maximum of the Java heap of one broker. Default: 384m.
	Memory string
	// Fast makes the brokers fast rather than small: the compiler and the
	// garbage collector that Java would choose itself.
	Fast bool
	// Secure adds listeners with logins and TLS, and rights: see Security.
	Secure bool
	// Log gets what the brokers print. Default: nothing.
	Log *os.File
}

// A Cluster is a Kafka that runs.
type Cluster struct {
	// Addrs are the addresses of the brokers, host:port.
	Addrs []string
	// Security is how to come in otherwise, nil without Config.Secure.
	Security *Security
	brokers  []*broker
	dir      string
}

type broker struct {
	id      int
	args    []string
	log     *os.File
	cmd     *exec.Cmd
	exited  chan struct{}
	waitErr error
}

// Start gets Kafka if it is not there, starts it on free ports of the loopback
// interface, and returns when it answers. Stop it when it is not needed any
// more; it also ends with this process, on systems that can do that.
func Start(ctx context.Context, c Config) (*Cluster, error) {
	lib, err := Libraries(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "esm-kafka-")
	if err != nil {
		return nil, err
	}
	k := &Cluster{dir: dir}
	if err := k.start(ctx, c, lib); err != nil {
		_ = k.Stop() // the first error is the one that matters
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	return k, nil
}

// Libraries resolves the jars of Kafka and returns the directory that they are
// in. The first time takes as long as 54 MB take to come.
func Libraries(ctx context.Context) (string, error) {
	for _, program := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%w: %w", ErrMissing, err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	lib := filepath.Join(cache, "esm-kafka-"+Version)
	if _, err := os.Stat(filepath.Join(lib, "complete")); err == nil {
		return lib, nil
	}
	work, err := os.MkdirTemp("", "esm-kafka-get-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := os.WriteFile(filepath.Join(work, "pom.xml"), pom, 0o600); err != nil {
		return "", err
	}
	if err := os.MkdirAll(lib, 0o755); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "mvn", "-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+lib)
	cmd.Dir = work
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mvn could not resolve Kafka: %w\n%s", err, out)
	}
	return lib, os.WriteFile(filepath.Join(lib, "complete"), nil, 0o644)
}

func (k *Cluster) start(ctx context.Context, c Config, lib string) error {
	n := max(1, c.Brokers)
	ports, err := freePorts(2 * n)
	if err != nil {
		return err
	}
	if c.Memory == "" {
		c.Memory = "384m"
	}
	java := []string{"-Xms128m", "-Xmx" + c.Memory}
	if !c.Fast {
		java = append(java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
	}
	log4j := filepath.Join(k.dir, "log4j2.properties")
	if err := os.WriteFile(log4j, []byte("status=error\nappender.out.type=Console\nappender.out.name=out\nappender.out.layout.type=PatternLayout\nappender.out.layout.pattern=%d %p %c{1}: %m%n\nrootLogger.level=warn\nrootLogger.appenderRef.out.ref=out\n"), 0o600); err != nil {
		return err
	}
	java = append(java, "-Dlog4j2.configurationFile="+log4j, "-cp", filepath.Join(lib, "*"))

	cluster := uuid()
	var quorum, voters []string
	for i := range n {
		controller := "127.0.0.1:" + strconv.Itoa(ports[n+i])
		quorum = append(quorum, controller)
		voters = append(voters, fmt.Sprintf("%d@%s:%s", i+1, controller, uuid()))
		k.Addrs = append(k.Addrs, "127.0.0.1:"+strconv.Itoa(ports[i]))
	}
	if c.Secure {
		if err := k.secure(n); err != nil {
			return err
		}
	}
	for i := range n {
		props := properties(n, i, k.Addrs[i], quorum, filepath.Join(k.dir, strconv.Itoa(i+1)))
		if c.Secure {
			k.secured(i, props)
		}
		for key, value := range c.Properties {
			props[key] = value
		}
		file := filepath.Join(k.dir, fmt.Sprintf("server-%d.properties", i+1))
		if err := writeProperties(file, props); err != nil {
			return err
		}
		format := append(java[:len(java):len(java)], "kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", file)
		format = append(format, k.logins()...)
		if n == 1 {
			format = append(format, "--standalone")
		} else {
			format = append(format, "--initial-controllers", strings.Join(voters, ","))
		}
		if out, err := exec.CommandContext(ctx, "java", format...).CombinedOutput(); err != nil {
			return fmt.Errorf("format: %w\n%s", err, out)
		}
		b := &broker{id: i + 1, args: append(java[:len(java):len(java)], "kafka.Kafka", file), log: c.Log}
		k.brokers = append(k.brokers, b)
		if err := b.start(); err != nil {
			return err
		}
	}
	return k.ready(ctx, n)
}

// properties are what makes a broker small and quick to start.
func properties(n, i int, addr string, quorum []string, dir string) map[string]string {
	replicas := strconv.Itoa(min(3, n))
	return map[string]string{
		"process.roles":                       "broker,controller",
		"node.id":                             strconv.Itoa(i + 1),
		"controller.quorum.bootstrap.servers": strings.Join(quorum, ","),
		"listeners":                           "PLAINTEXT://" + addr + ",CONTROLLER://" + quorum[i],
		"advertised.listeners":                "PLAINTEXT://" + addr + ",CONTROLLER://" + quorum[i],
		"listener.security.protocol.map":      "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
		"controller.listener.names":           "CONTROLLER",
		"log.dirs":                            dir,

		"offsets.topic.replication.factor":                 replicas,
		"offsets.topic.num.partitions":                     "4",
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    "1",
		"transaction.state.log.num.partitions":             "4",
		"share.coordinator.state.topic.replication.factor": replicas,
		"share.coordinator.state.topic.min.isr":            "1",
		"share.coordinator.state.topic.num.partitions":     "1",
		"default.replication.factor":                       replicas,
		"min.insync.replicas":                              strconv.Itoa(min(2, n)),

		"group.initial.rebalance.delay.ms": "0",
		"group.min.session.timeout.ms":     "1000",
		"auto.create.topics.enable":        "false",
		"log.cleaner.dedupe.buffer.size":   "8388608",

		// A broker that is killed is missed within seconds.
		"broker.session.timeout.ms":             "3000",
		"broker.heartbeat.interval.ms":          "500",
		"controller.quorum.election.timeout.ms": "1000",
		"controller.quorum.fetch.timeout.ms":    "2000",
	}
}

func writeProperties(file string, props map[string]string) error {
	var b bytes.Buffer
	for key, value := range props {
		fmt.Fprintf(&b, "%s=%s\n", key, value)
	}
	return os.WriteFile(file, b.Bytes(), 0o600)
}

// freePorts finds ports that nobody listens on.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at once, so that no port is found twice
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// uuid is one as Kafka writes it.
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: see its documentation
	b[0] &= 0x7f           // Kafka refuses those that begin with a dash
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (b *broker) start() error {
	b.cmd = exec.Command("java", b.args...)
	b.cmd.Stdout, b.cmd.Stderr = b.log, b.log
	var tail bytes.Buffer
	if b.log == nil {
		b.cmd.Stdout, b.cmd.Stderr = &tail, &tail
	}
	b.exited = make(chan struct{})
	return StartChild(b.cmd, func(err error) {
		if err != nil && tail.Len() > 0 {
			err = fmt.Errorf("%w: %s", err, tail.Bytes()[max(0, tail.Len()-2000):])
		}
		b.waitErr = err
		close(b.exited)
	})
}

// ready waits until all brokers are known to all.
func (k *Cluster) ready(ctx context.Context, n int) error {
	ctx, done := context.WithTimeout(ctx, 90*time.Second)
	defer done()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Addrs...))
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		up := 0
		for _, b := range cl.SeedBrokers() {
			ask, done := context.WithTimeout(ctx, 2*time.Second)
			resp, err := b.Request(ask, kmsg.NewPtrMetadataRequest())
			done()
			if m, ok := resp.(*kmsg.MetadataResponse); err == nil && ok && len(m.Brokers) == n {
				up++
			}
		}
		if up == n {
			return nil
		}
		for _, b := range k.brokers {
			select {
			case <-b.exited:
				return fmt.Errorf("broker %d ended: %w", b.id, b.waitErr)
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d brokers answer: %w", up, n, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Kill ends one broker, counted from 0, as a power cut would.
func (k *Cluster) Kill(i int) error {
	b := k.brokers[i]
	if err := b.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill broker %d: %w", b.id, err)
	}
	<-b.exited
	return nil
}

// Restart starts a broker again that was killed, and returns when all know it.
func (k *Cluster) Restart(ctx context.Context, i int) error {
	if err := k.brokers[i].start(); err != nil {
		return err
	}
	return k.ready(ctx, len(k.brokers))
}

// Stop ends all brokers at once and removes what they wrote. It may be called
// twice.
func (k *Cluster) Stop() error {
	for _, b := range k.brokers {
		if b.cmd != nil && b.cmd.Process != nil {
			_ = b.cmd.Process.Kill() // it may have ended already
		}
	}
	for _, b := range k.brokers {
		if b.cmd != nil && b.cmd.Process != nil {
			<-b.exited
		}
	}
	return os.RemoveAll(k.dir)
}
