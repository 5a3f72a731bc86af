//go:build !synctests

package main

const virtualTime = false
