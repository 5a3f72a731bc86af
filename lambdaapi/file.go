package lambdaapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/gofrs/flock"

	"github.com/seed429fd032/esm/internal/guard"
)

// File is a [Store] in one file of JSON, which people can read and keep in version control.
// It belongs to one process at a time: a lock beside it says so. A change is written to a
// file beside it, which then takes its name, so that a crash at any moment leaves the old
// one or the new one.
type File struct {
	path string
	lock *flock.Flock
	bell bell

	mu     sync.Mutex // guards the rest
	all    map[string]Record
	closed bool
}

// fileFormat is the version of the file.
const fileFormat = 1

type fileShape struct {
	Format   int
	Mappings map[string]Record
}

// OpenFile opens a file, which need not exist yet. It fails if another process has it. The
// file is readable by its owner only, once it was written. Behind a link, what the link leads
// to is replaced.
func OpenFile(path string) (*File, error) {
	if whole, err := filepath.EvalSymlinks(path); err == nil {
		path = whole
	}
	lock := flock.New(path + ".lock")
	switch got, err := lock.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("lambdaapi: the lock of %s: %w", path, err)
	case !got:
		return nil, fmt.Errorf("lambdaapi: %s belongs to another process, which has the lock %s.lock", path, path)
	}
	f := &File{path: path, lock: lock}
	var err error
	if f.all, err = f.read(); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lambdaapi: %s: %w", path, err)
	}
	return f, nil
}

// Close gives the file up. Change fails after it.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return f.lock.Close()
}

func (f *File) read() (map[string]Record, error) {
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]Record{}, nil
	}
	if err != nil {
		return nil, err
	}
	var is fileShape
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&is); err != nil {
		return nil, fmt.Errorf("it cannot be read, and is left as it is: %w", err)
	}
	if err := nothingBehind(data, d.InputOffset()); err != nil {
		return nil, fmt.Errorf("it cannot be read, and is left as it is: %w", err)
	}
	if is.Format != fileFormat {
		return nil, fmt.Errorf("it has the format %d, and this version reads %d", is.Format, fileFormat)
	}
	return named(is.Mappings), nil
}

// nothingBehind says where data goes on after what was read of it: the next write would drop
// that, which may be what is left of mappings.
func nothingBehind(data []byte, end int64) error {
	rest := bytes.TrimLeft(data[end:], " \t\r\n")
	if len(rest) == 0 {
		return nil
	}
	at := len(data) - len(rest)
	return fmt.Errorf("behind its object of JSON, in line %d (byte %d), there is more: %q; take it out or mend it", 1+bytes.Count(data[:at], []byte("\n")), at+1, guard.Cut(string(rest), 100))
}

// All returns all mappings.
func (f *File) All(context.Context) (map[string]Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cloned(f.all), nil
}

// Change writes what decide says, and returns when it is on the disk.
func (f *File) Change(_ context.Context, decide func(all map[string]Record) (Change, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errors.New("lambdaapi: the file was closed")
	}
	all := cloned(f.all)
	c, err := decide(cloned(all))
	if err != nil || c.UUID == "" {
		return err
	}
	c.apply(all)
	renamed, err := f.write(all)
	if renamed {
		f.all = all // it is what the next one who opens the file reads
	}
	if err != nil {
		return fmt.Errorf("lambdaapi: %w", err)
	}
	f.bell.ring()
	return nil
}

// Changed is rung after each change.
func (f *File) Changed() <-chan struct{} { return f.bell.rung() }

// write replaces the file, and reports whether it did: the error can be that the folder could
// not be written to the disk after that.
func (f *File) write(all map[string]Record) (renamed bool, err error) {
	data, err := json.MarshalIndent(fileShape{fileFormat, all}, "", "\t")
	if err != nil {
		return false, err
	}
	// One name, which nobody else writes: what a crash leaves is replaced.
	beside, err := os.OpenFile(f.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			_ = beside.Close()
			_ = os.Remove(beside.Name())
		}
	}()
	if _, err := beside.Write(append(data, '\n')); err != nil {
		return false, err
	}
	if err := beside.Sync(); err != nil {
		return false, err
	}
	if err := beside.Close(); err != nil {
		return false, err
	}
	if err := os.Rename(beside.Name(), f.path); err != nil {
		return false, err
	}
	return true, syncDir(filepath.Dir(f.path))
}

// syncDir has the names of a folder written to the disk. Windows has no such thing: after a
// power cut, the file can be the one of before there.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
