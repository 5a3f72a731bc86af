package esmtest_test

import (
	"os"
	"strings"
	"testing"
)

// TestPackageCommentShowsATestThatRuns: what the comment shows is TestRetries,
// to the letter.
func TestPackageCommentShowsATestThatRuns(t *testing.T) {
	comment, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("bubble_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, from, _ := strings.Cut(string(comment), "//\tfunc Test")
	var shown []string
	for line := range strings.Lines("//\tfunc Test" + from) {
		code, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			break
		}
		shown = append(shown, code)
	}
	if len(shown) < 10 || !strings.Contains(string(tests), strings.Join(shown, "")) {
		t.Errorf("bubble_test.go does not hold what doc.go shows:\n%s", strings.Join(shown, ""))
	}
}
