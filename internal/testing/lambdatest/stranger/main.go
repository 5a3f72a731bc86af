// Command stranger is somebody on the same machine who does harm, for tests: it
// holds as many connections to an address as it is told, sends half a request on
// every second of them, and opens each that is closed again, a second later. It
// says so once it has opened all.
//
//	stranger HOST:PORT CONNECTIONS
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

func main() {
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	var opened sync.WaitGroup
	opened.Add(n)
	for i := range n {
		go func() {
			done := sync.OnceFunc(opened.Done)
			for {
				c, err := net.Dial("tcp", os.Args[1])
				done() // or it is refused, which counts too
				if err != nil {
					time.Sleep(time.Second)
					continue
				}
				if i%2 == 0 {
					_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+os.Args[1]+"\r\nX: ")
				}
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
				time.Sleep(time.Second)
			}
		}()
	}
	opened.Wait()
	fmt.Println("opened")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
}
