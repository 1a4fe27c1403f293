package failure

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

func TestRoot(t *testing.T) {
	if got := Root(fmt.Errorf("a: %w", fmt.Errorf("b: %w", Later("", "c: %w", syscall.EPIPE)))); got != syscall.EPIPE {
		t.Error(got)
	}
	if Root(syscall.EPIPE) != syscall.EPIPE || Root(nil) != nil {
		t.Error("one error has no root")
	}
}

func TestChain(t *testing.T) {
	cause := &fs.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}
	for name, tc := range map[string]struct {
		err           error
		kind          Kind
		hint, setting string
		text          string
	}{
		"nil":              {nil, KindNone, "", "", ""},
		"another's":        {errors.New("x"), KindFailed, "", "", "x"},
		"wrapped":          {fmt.Errorf("y: %w", Later("wait", "x")), KindLater, "wait", "", "y: x"},
		"a setting":        {In("out", Usage("give a file", "%q is a pipe", "x")), KindUsage, "give a file", "out", `--out: "x" is a pipe`},
		"no setting":       {In("out", nil), KindNone, "", "", ""},
		"a hint above":     {WithHint(Config("below", "x"), "above"), KindConfig, "above", "", "x"},
		"a hint for none":  {WithHint(nil, "above"), KindNone, "", "", ""},
		"a hint further":   {WithHint(In("out", Failed("below", "x")), ""), KindFailed, "below", "out", "--out: x"},
		"nothing due":      {NotDue("force it", errors.New("x")), KindNotDue, "force it", "", "x"},
		"short of files":   {Unreadable(cause, "give a file", "%w", cause), KindLater, "the machine is short of memory, of open files, or of a disk that works: put that right", "", cause.Error()},
		"a broken disk":    {Unreadable(&fs.PathError{Op: "read", Path: "x", Err: syscall.EIO}, "give a file", "%w", syscall.EIO), KindLater, "the machine is short of memory, of open files, or of a disk that works: put that right", "", syscall.EIO.Error()},
		"cannot be opened": {Unreadable(fs.ErrPermission, "give a file", "x"), KindConfig, "give a file", "", "x"},
	} {
		if got := fmt.Sprint(tc.err); tc.err != nil && got != tc.text {
			t.Errorf("%s: %q, want %q", name, got, tc.text)
		}
		if KindOf(tc.err) != tc.kind || HintOf(tc.err) != tc.hint || SettingOf(tc.err) != tc.setting {
			t.Errorf("%s: kind %d, hint %q, setting %q", name, KindOf(tc.err), HintOf(tc.err), SettingOf(tc.err))
		}
	}
}
