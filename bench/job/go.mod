module github.com/seed429fd032/esm/bench/job

go 1.26.0
