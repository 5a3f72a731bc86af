//go:build !synctests

package esm_test

const virtualTime = false

func primeClient() {} // nothing to prime
