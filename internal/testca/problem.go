package testca

import (
	"fmt"
	"net/http"
	"time"
)

// errorURN starts the type of each ACME problem (RFC 8555, Section 6.7).
const errorURN = "urn:ietf:params:acme:error:"

// problem is a problem document (RFC 7807) and an error.
type problem struct {
	Type        string       `json:"type"`
	Detail      string       `json:"detail"`
	Status      int          `json:"status,omitempty"`
	Instance    string       `json:"instance,omitempty"`
	Algorithms  []string     `json:"algorithms,omitempty"` // badSignatureAlgorithm
	Identifier  *identifier  `json:"identifier,omitempty"` // in subproblems
	Subproblems []subproblem `json:"subproblems,omitempty"`

	header http.Header // sent beside the document
}

// subproblem is a problem about one identifier of several (RFC 8555, Section
// 6.7.1).
type subproblem = problem

func (p *problem) Error() string { return p.Type + ": " + p.Detail }

// problemf makes a problem of an ACME error type.
func problemf(status int, kind, format string, args ...any) *problem {
	return &problem{Type: errorURN + kind, Status: status, Detail: fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) *problem {
	return problemf(http.StatusBadRequest, "malformed", format, args...)
}

func unauthorized(format string, args ...any) *problem {
	return problemf(http.StatusForbidden, "unauthorized", format, args...)
}

func notFound(what string) *problem {
	return problemf(http.StatusNotFound, "malformed", "there is no such %s", what)
}

// with adds a header field to the answer.
func (p *problem) with(name, value string) *problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Add(name, value)
	return p
}

// retryAfter says, in whole seconds and at least one, when to come back.
func retryAfter(d time.Duration) string {
	return fmt.Sprint(max(1, int((d+time.Second-1)/time.Second)))
}
