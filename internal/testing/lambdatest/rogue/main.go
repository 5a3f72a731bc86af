// Command rogue is a Lambda function for tests that speaks the Runtime API by
// itself, and not as it should. The variable ROGUE says how, and ROGUE_CLOSES that
// each request has a connection of its own. Before an answer it waits for the
// server at ROGUE_GATE to let it, which it tells its address and the id.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

var api = "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime"

func main() {
	http.DefaultTransport.(*http.Transport).DisableKeepAlives = os.Getenv("ROGUE_CLOSES") != ""
	switch how := os.Getenv("ROGUE"); how {
	case "init-error":
		post("/init/error", `{"errorType":"NoBank","errorMessage":"the bank is closed"}`)
		time.Sleep(time.Hour)
	case "long-init-error":
		long := strings.Repeat("x", 5<<20)
		post("/init/error", `{"errorType":"NoBank","errorMessage":"`+long+`"}`)
		time.Sleep(time.Hour)
	case "tells":
		fmt.Fprintf(os.Stderr, "failed to GET %s: got unexpected status code: 500\n", api)
		os.Exit(1)
	case "long-last-words":
		fmt.Println(strings.Repeat("x", 5<<20))
		os.Exit(1)
	case "puppet": // the test does all for it
		wait("")
		time.Sleep(time.Hour)
	case "never-asks":
		time.Sleep(time.Hour)
	default:
		for {
			id := next()
			wait(id)
			switch how {
			case "no-answer":
				continue
			case "another-id":
				fmt.Println(post("/invocation/another/response", `"wrong"`))
			}
			post("/invocation/"+id+"/response", `"right"`)
			switch how {
			case "ends-idle":
				os.Exit(0)
			case "hangs-after":
				time.Sleep(time.Hour)
			case "gives-up":
				askAndGo()
				fmt.Println("gone")
				time.Sleep(time.Hour)
			}
		}
	}
}

// wait waits for the gate.
func wait(id string) {
	gate := os.Getenv("ROGUE_GATE")
	if gate == "" {
		return
	}
	resp, err := http.Get(gate + "?" + url.Values{"api": {api}, "id": {id}}.Encode())
	if err != nil {
		os.Exit(1)
	}
	resp.Body.Close()
}

func next() (id string) {
	resp, err := http.Get(api + "/invocation/next")
	if err != nil {
		os.Exit(1) // the pool has ended
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		os.Exit(1)
	}
	return resp.Header.Get("Lambda-Runtime-Aws-Request-Id")
}

// askAndGo asks for the next event, and does not wait for it.
func askAndGo() {
	host, path, _ := strings.Cut(strings.TrimPrefix(api, "http://"), "/")
	c, err := net.Dial("tcp", host)
	if err != nil {
		os.Exit(1)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /%s/invocation/next HTTP/1.1\r\nHost: %s\r\n\r\n", path, host)
}

func post(path, body string) (status int) {
	resp, err := http.Post(api+path, "application/json", strings.NewReader(body))
	if err != nil {
		os.Exit(1)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}
