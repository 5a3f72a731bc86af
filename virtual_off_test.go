//go:build !synctests

package esm_test

const virtualTime = false
