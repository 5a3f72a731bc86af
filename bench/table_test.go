package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden document")

func TestTablesOfAResultsFile(t *testing.T) {
	f, err := os.Open("testdata/results.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rs, err := readResults(f)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	document(&got, rs)
	if *update {
		if err := os.WriteFile("testdata/tables.md", got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/tables.md")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the document is not testdata/tables.md; -update writes it:\n%s", got.String())
	}
}

func TestALineThatIsCutOffIsSaid(t *testing.T) {
	_, err := readResults(strings.NewReader("{\"run\":\"A\"}\n{\"run\":"))
	if err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("%v", err)
	}
	if rs, err := readResults(strings.NewReader("{\"run\":\"A\"}\n\n{\"run\":\"B\"}")); err != nil || len(rs) != 2 {
		t.Errorf("%v, %v", rs, err)
	}
}

func TestWhatIsKeptIsReadAgain(t *testing.T) {
	file := t.TempDir() + "/results.jsonl"
	for _, who := range []string{"one", "two"} {
		if err := keep(file, result{Who: who, Poison: &poison{Good: 7}}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rs, err := readResults(f)
	if err != nil || len(rs) != 2 || rs[1].Who != "two" || rs[0].Poison.Good != 7 || rs[0].Churn != nil {
		t.Errorf("%+v, %v", rs, err)
	}
}
