// Command mutants writes three mutants of the stand-in, as that of the library does.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	flag.Bool("all", false, "")
	dir := flag.String("write", "", "")
	flag.Parse()
	name := filepath.Join("internal", "sim", "promise.go")
	src, err := os.ReadFile(name)
	if err != nil {
		log.Fatal(err)
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		log.Fatal(err)
	}
	var index []map[string]string
	for _, m := range [][2]string{
		{"breaks", "kept() bool {\n\treturn false"},
		{"hangs", "ends() bool {\n\treturn false"},
		{"nothing", "kept() bool {\n\treturn true"},
	} {
		func_, _, _ := strings.Cut(m[1], "\n")
		broken := filepath.Join(*dir, m[0], "broken.go")
		list, _ := json.Marshal(map[string]any{"Replace": map[string]string{abs: broken}})
		must(os.MkdirAll(filepath.Dir(broken), 0o755))
		must(os.WriteFile(broken, []byte(strings.Replace(string(src), func_+"\n\treturn true", m[1], 1)), 0o644))
		must(os.WriteFile(filepath.Join(*dir, m[0], "overlay.json"), list, 0o644))
		index = append(index, map[string]string{"name": m[0], "package": "internal/sim", "symbol": "kept", "overlay": m[0] + "/overlay.json"})
	}
	index = append(index, map[string]string{"name": "elsewhere", "package": "internal/other", "symbol": "f", "overlay": "nothing/overlay.json"})
	text, _ := json.Marshal(index)
	must(os.WriteFile(filepath.Join(*dir, "index.json"), text, 0o644))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
