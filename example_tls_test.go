package esm_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/seed429fd032/esm"
)

// TLS and a password (SCRAM) are options of the Kafka client. Leave out RootCAs
// where the brokers have a certificate that the system trusts.
func ExampleSource_tls() {
	pem, err := os.ReadFile("ca.pem")
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		log.Fatal("ca.pem holds no certificate")
	}
	source := esm.Source{
		Brokers: []string{"kafka-1.example.com:9094", "kafka-2.example.com:9094"},
		Topics:  []string{"orders"},
		Group:   "billing",
		Client: []kgo.Opt{
			kgo.DialTLSConfig(&tls.Config{RootCAs: roots}),
			// It is asked at each connection, so that a password can change
			// while the process runs.
			kgo.SASL(scram.Sha512(func(context.Context) (scram.Auth, error) {
				return scram.Auth{User: "billing", Pass: os.Getenv("KAFKA_PASSWORD")}, nil
			})),
		},
	}
	m, err := esm.New(source, esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		return nil // what is done with b.Records
	}))
	if err != nil {
		log.Fatal(err)
	}
	// A login that is refused ends this at once, in the broker's words.
	if err := m.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
