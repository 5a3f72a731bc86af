package esm

import (
	"bytes"
	"compress/gzip"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/kafka"
)

// unpacked is a user's own decompressor.
type unpacked struct{}

func (unpacked) Decompress(src []byte, _ kgo.CompressionCodecType) ([]byte, error) { return src, nil }

// TestDecompressorIsTheUsers, or the client's own with the user's limit.
func TestDecompressorIsTheUsers(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(make([]byte, 5000))
	_ = z.Close()
	for _, tt := range []struct {
		name  string
		opts  []kgo.Opt
		limit bool
	}{
		{"none", nil, false},
		{"a limit", []kgo.Opt{kgo.MaxDecompressBatchBytes(4999)}, true},
		{"a limit and the client's", []kgo.Opt{kgo.WithDecompressor(kgo.DefaultDecompressor()), kgo.MaxDecompressBatchBytes(4999)}, true},
		{"enough", []kgo.Opt{kgo.MaxDecompressBatchBytes(5000)}, false},
	} {
		s := Source{Brokers: []string{"localhost:1"}, Client: tt.opts}
		d, err := s.conflicts(kafka.NewProbe)
		if err != nil {
			t.Fatal(err)
		}
		out, err := d.Decompress(packed.Bytes(), kgo.CodecGzip)
		if errors.Is(err, kgo.ErrMaxDecompress) != tt.limit || !tt.limit && len(out) != 5000 {
			t.Errorf("%s: %d bytes, %v", tt.name, len(out), err)
		}
	}
	s := Source{Brokers: []string{"localhost:1"}, Client: []kgo.Opt{kgo.WithDecompressor(unpacked{})}}
	if d, err := s.conflicts(kafka.NewProbe); err != nil || d != (unpacked{}) {
		t.Errorf("%T, %v", d, err)
	}
}
