package esmpage_test

import (
	"context"
	"log"
	"net/http"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmpage"
)

// The page beside what a program serves already. Operators who are logged in may act.
func Example() {
	page, err := esmpage.New(esmpage.Config{
		Hosts:     []string{"ops.example"},
		Authorize: func(r *http.Request) bool { return isOperator(r) },
	})
	if err != nil {
		log.Fatal(err)
	}
	m, err := esm.New(
		esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"},
		esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }),
		esm.WithHooks(page.Hooks()),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := page.Add(m); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = page.Run(ctx) }()
	mux := http.NewServeMux()
	mux.Handle("/esm/", http.StripPrefix("/esm", page))
	// ... and then ListenAndServe, and m.Run.
}

func isOperator(*http.Request) bool { return false }
