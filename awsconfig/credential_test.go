package awsconfig

import (
	"encoding/json"
	"strings"
	"testing"
)

// The certificate of one key, and the key as openssl writes it, encrypted with the
// password wedding in each way.
const (
	certificatePEM = `-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUMjFRCMUX2fXkd1VyjXNK0IRbDCowCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYzAgFw0yNjExMjcxMTU4NDJaGA8yMTI2MTEwMzExNTg0Mlow
DDEKMAgGA1UEAwwBYzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABA6+y5s4Pg8T
jsvycWOsg0q8r0BSpytGtEJRPGW67DEh/Ezmyg2KkiXojIcrWOAgOOJ+uvgOgF8b
Yx5OMORMZqejUzBRMB0GA1UdDgQWBBTYjR+0jWZKTgPjWIgMMv4qjIF6MDAfBgNV
HSMEGDAWgBTYjR+0jWZKTgPjWIgMMv4qjIF6MDAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCIAiTjuiwJ2MXqEkwpWacncTB8hWdd0xlyRsqG5e3gcQE
AiEA5c08/cW6FndTmp2bqfelowVLV4lEzzvQ+18N/PM7Lss=
-----END CERTIFICATE-----`
	plainKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJBXZgcclCqBeF5Yo
kXWdriiGNJipxOYZ1KP/KI1TI7OhRANCAAQOvsubOD4PE47L8nFjrINKvK9AUqcr
RrRCUTxluuwxIfxM5soNipIl6IyHK1jgIDjifrr4DoBfG2MeTjDkTGan
-----END PRIVATE KEY-----`
)

var encryptedKeys = map[string]string{
	"PBES1, MD5 and DES": `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGwMBsGCSqGSIb3DQEFAzAOBAjLKXph9F9/ZgICCAAEgZBrJklic+pcajVKKAoc
YMcMoBZkbT7wguzrF0K/K6QFz6qG+nfCsaGgIU9xI4Vj08e6o9r13yQ+1vCAMVOY
a5OU4bh2LSUmTIkoufe33/lA1J/r0z9isPLz2MbJA8IGmnQEUuvznQowwTlI6Nc9
I89nH+VVWiGxt6AaAvxLSsybTCfYEaOkaOjmI2HF1DATzZk=
-----END ENCRYPTED PRIVATE KEY-----`,
	"PBES1, SHA-1 and DES": `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGwMBsGCSqGSIb3DQEFCjAOBAhiEBlRxzgCOAICCAAEgZAM6+rVtt8ZzDZq9/gy
PoE/yqkIhJLWOceVXYAlV94DbXqKpuagvb2P7m3VTR4ulAE6dbxyOOXWOhrAyQ1p
ak/mL3+ArsS1nMW/eNWHAT+Y4B1HI3csjL9PH37QCEYBxh9mHeCjhO5ucy6EQ7jZ
GsHYMouhu4qbcV7EMFBu3rdKo8Y/iqeF5sBHYSes+0Iky+Q=
-----END ENCRYPTED PRIVATE KEY-----`,
	"PBES2, AES-256": `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg/QFZ4RwiQQgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEGvax79sS6BA27565GBi8V8EgZCx
+6XzJGpNet1Y3/DQUY8bxI9tlb88Z36f9dIgExevi4zNYNIAmKQRU1F2lXDWJfX+
htVygQFb73tGxlm7P9Y+nH25a1qlLmjfm9DfSwGKSTp9DCF9Ob0+bQazrQEEugl3
qJcOBT2/KSy7CGFpUpYKp0yBNFuolioo7r3erDPX29dZYXGrRCaxalWO/85yOWY=
-----END ENCRYPTED PRIVATE KEY-----`,
	"PBES2, 3DES": `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAgmyfiIEYw/dQICCAAw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQI6fsXRbbsCe0EgZAYVdaQ2xvMmzBo
YZja9Y0bl9P0xOACSoGn0hWVEF7dz7vYSKnNkO6OGVzQUVEAlDYMjP41src+cRUW
vchGG0lOOQsv8kZK6lIRJXUC1z+OxhzcFE1z0sxacnrQ3r6jvJ7pY/mn95M2LdXd
IhZpkqkEhFFuqR6cCQ6qQ99gENAcgiTUtqrFLhL3K1lkRtu5LSk=
-----END ENCRYPTED PRIVATE KEY-----`,
	"PBES2, scrypt": `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAg0922hDKvG7AICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBAU+2EhLjsVCuFXVfNWQDAbBIGQ1STkddZK0Q2x
LLynGJGHlQwyAqCR1KEHLOTMGB6fS0YAz89ZdxwxVYbbGA0uZm04MDrVNMcKkSzU
sdAWwYyWyZIuWHkawlTf2h7YoG2Tjr95rNnNwKphl29wZSDm5SUely0cBiLg4BbF
uHy4q5WhhvpND11R10c9q/eoYspncDt7rB/iQ9Cj3Uls7WWUYW6g
-----END ENCRYPTED PRIVATE KEY-----`,
}

// TestAClientCertificateIsRead, however its key is encrypted.
func TestAClientCertificateIsRead(t *testing.T) {
	read := func(certificate, key, password string) error {
		text, err := json.Marshal(map[string]string{"certificate": certificate, "privateKey": key, "privateKeyPassword": password})
		if err != nil {
			t.Fatal(err)
		}
		pair, err := clientCertificate(text)
		if err == nil && (len(pair.Certificate) != 1 || pair.PrivateKey == nil) {
			t.Errorf("it has %d certificates", len(pair.Certificate))
		}
		return err
	}
	if err := read(certificatePEM, plainKey, ""); err != nil {
		t.Error(err)
	}
	if err := read(certificatePEM, plainKey, "of no use"); err != nil {
		t.Error(err)
	}
	for how, key := range encryptedKeys {
		if err := read(certificatePEM, key, "wedding"); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		for password, says := range map[string]string{"": "there is no privateKeyPassword", "another": "cannot be decrypted"} {
			if err := read(certificatePEM, key, password); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "another") {
				t.Errorf("%s, with the password %q: %v", how, password, err)
			}
		}
		for cut := range 8 { // of what is no key, and of what is no more one
			lines := strings.Split(key, "\n")
			lines = append(lines[:1], lines[1+cut%(len(lines)-2):]...)
			if err := read(certificatePEM, strings.Join(lines, "\n"), "wedding"); err == nil && cut%(len(lines)-2) > 0 {
				t.Errorf("%s, without its first %d lines: it is read", how, cut)
			}
		}
	}
}

// TestWhatIsWrongWithACertificateIsSaid, without what is in it.
func TestWhatIsWrongWithACertificateIsSaid(t *testing.T) {
	tests := map[string]struct{ secret, says string }{
		"no JSON":             {"wedding", "it must be JSON"},
		"another shape":       {`{"username": "a", "password": "wedding"}`, "it must be JSON"},
		"numbers":             {`{"certificate": 1, "privateKey": 2}`, "it must be JSON"},
		"no PEM":              {secretOf(certificatePEM, "wedding"), "privateKey is no PEM"},
		"no certificate":      {secretOf("wedding", plainKey), "do not make a pair"},
		"the key of another":  {secretOf(certificatePEM, otherKey), "do not make a pair"},
		"encrypted like 1993": {secretOf(certificatePEM, oldKey), "openssl pkcs8 -topk8"},
		"a scheme of PKCS 12": {secretOf(certificatePEM, pkcs12Key), "PBES1 with DES or RC2"},
	}
	for name, tt := range tests {
		_, err := clientCertificate([]byte(tt.secret))
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "wedding") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func secretOf(certificate, key string) string {
	text, _ := json.Marshal(map[string]string{"certificate": certificate, "privateKey": key, "privateKeyPassword": "wedding"})
	return string(text)
}

const (
	otherKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBG7hZwAdCe+Bdygi
r8594htG/DuksvA+qaTP27M3NoahRANCAAQqaiBaCsCawdEvhZFh41Bn4zSpe/IR
86CzMUFedF1Eqf2xCraboyXNUgJvBlz0723VHG4nQ2H4iWv9njU8Z8Mo
-----END PRIVATE KEY-----`
	oldKey = `-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,2BDA4C24687F663DE8247A6246E12E9E

JqH42IziiBLJhviZOrdQQeyisf9f1NlPbSu0TCblM+YlCTsUHh9bqAGVft08MDqD
Z5Mh5uQzGfoh0kCsT8HuxVHF5BQjxg7EjofhjHZQ0fEl5blnMV9Xw+qJsxlFpMVZ
2SBK1Bky6udDA0/pIJeJlorn9oKhqRmgc05beJmcbMQ=
-----END EC PRIVATE KEY-----`
	pkcs12Key = `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGxMBwGCiqGSIb3DQEMAQMwDgQIDIddYpedqs0CAggABIGQCwfGj3+m3J0ib7D2
YN6ZdY+IeQcnBq5HraYb01p5j5khJvOHrfQqrkOhhl2UdLggR+Xk9h1FY8JGs1R3
qMVuKDEcVCWF2GdxmnAhfmCnBnSmUrqDsr6E34I0hZtuH0yA+AFIaHkgu5K1pS+n
hjQ13sbp4ylQDt4VC3dLhvhMe1gqzQbuilSppe5TFi+X2899
-----END ENCRYPTED PRIVATE KEY-----`
)
