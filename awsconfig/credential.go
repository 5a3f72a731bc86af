package awsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/emmansun/gmsm/pkcs8"

	"github.com/seed429fd032/esm/internal/guard"
)

// The shapes of secrets, as AWS has them. What is wrong with one is said without what is
// in it.

// A password is the secret of BASIC_AUTH and of the SCRAM types.
type password struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

func passwordOf(text []byte) (p password, err error) {
	if !holds(text, &p) || p.Username == "" || p.Password == "" {
		return p, errors.New(`it must be JSON: {"username": "...", "password": "..."}`)
	}
	return p, nil
}

// A certificate is the secret of CLIENT_CERTIFICATE_TLS_AUTH, and without a key that of
// SERVER_ROOT_CA_CERTIFICATE.
type certificate struct {
	Certificate        string `json:"certificate"`
	PrivateKey         string `json:"privateKey"`
	PrivateKeyPassword string `json:"privateKeyPassword"`
}

// holds reads a secret, and reports whether it is JSON of that shape.
func holds(text []byte, into any) bool { return json.Unmarshal(text, into) == nil }

// clientCertificate is what a client shows of itself.
func clientCertificate(text []byte) (tls.Certificate, error) {
	var c certificate
	if !holds(text, &c) || c.Certificate == "" || c.PrivateKey == "" {
		return tls.Certificate{}, errors.New(`it must be JSON: {"certificate": "...", "privateKey": "..."}, both PEM, and "privateKeyPassword" if the key is encrypted`)
	}
	key, err := privateKey(c.PrivateKey, c.PrivateKeyPassword)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair([]byte(c.Certificate), key)
	if err != nil { // it says nothing of what is in them
		return tls.Certificate{}, fmt.Errorf("certificate and privateKey do not make a pair: %w", err)
	}
	return pair, nil
}

// privateKey is a key as PEM that is not encrypted.
func privateKey(text, password string) ([]byte, error) {
	block, _ := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, errors.New("privateKey is no PEM")
	case block.Type != "ENCRYPTED PRIVATE KEY" && !strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
		return []byte(text), nil
	case block.Type != "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("privateKey is encrypted in an old way: AWS takes PKCS #8 (openssl pkcs8 -topk8)")
	case password == "":
		return nil, errors.New("privateKey is encrypted, and there is no privateKeyPassword")
	}
	var key any
	var err error
	if failure := guard.Call(func() { key, _, err = pkcs8.ParsePrivateKey(block.Bytes, []byte(password)) }); failure != nil {
		err = errors.New("it cannot be read")
	}
	if err != nil { // it says nothing of the key and the password
		return nil, fmt.Errorf("privateKey cannot be decrypted with privateKeyPassword; PBES1 with DES or RC2, and PBES2, can be: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("privateKey is of no kind that TLS has: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// rootCAs are who signs the certificates of the brokers.
func rootCAs(text []byte) (*x509.CertPool, error) {
	var c certificate
	if !holds(text, &c) || c.Certificate == "" {
		return nil, errors.New(`it must be JSON: {"certificate": "..."}, which is PEM`)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(c.Certificate)) {
		return nil, errors.New("certificate has no certificate in PEM")
	}
	return pool, nil
}
