package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"postseal/internal/challenge"
	"postseal/internal/failure"
	"postseal/internal/submit"
	"postseal/milter"
	"postseal/state"
)

const metricsExample = "for example: --metrics 127.0.0.1:9891"

// meter counts decisions and replies.
type meter struct {
	set       *metrics.Set
	responder *challenge.Responder
	latency   *metrics.Summary
}

// newMeter makes the responder count its submissions.
func newMeter(store state.Store, r *challenge.Responder) *meter {
	m := &meter{set: metrics.NewSet(), responder: r}
	m.latency = m.set.NewSummary("postseal_milter_answer_seconds")
	for _, v := range []challenge.Verdict{challenge.None, challenge.Refused, challenge.Later, challenge.Answered} {
		m.set.GetOrCreateCounter(verdictName(v))
	}
	for _, result := range []string{"sent", "refused", "in_doubt", "later"} {
		m.set.GetOrCreateCounter(replyName(result))
	}
	m.set.NewGauge("postseal_milter_pending", func() float64 {
		n, err := store.CountPending()
		if err != nil {
			return -1 // not known
		}
		return float64(n)
	})
	send := r.Send
	r.Send = func(ctx context.Context, env submit.Envelope, raw []byte, beforeDot func() error) error {
		err := send(ctx, env, raw, beforeDot)
		m.set.GetOrCreateCounter(replyName(replyResult(err))).Inc()
		return err
	}
	return m
}

func verdictName(v challenge.Verdict) string {
	return `postseal_milter_challenges_total{verdict="` + v.String() + `"}`
}

func replyName(result string) string {
	return `postseal_milter_replies_total{result="` + result + `"}`
}

func replyResult(err error) string {
	var failed *submit.Error
	switch {
	case err == nil:
		return "sent"
	case errors.As(err, &failed) && failed.Class == submit.Unknown:
		return "in_doubt"
	case errors.As(err, &failed) && failed.Class == submit.Failed:
		return "refused"
	}
	return "later"
}

func (m *meter) answer(ctx context.Context, msg challenge.Message) challenge.Outcome {
	start := time.Now()
	out := m.responder.Answer(ctx, msg)
	m.latency.UpdateDuration(start)
	m.set.GetOrCreateCounter(verdictName(out.Verdict)).Inc()
	return out
}

// watch adds the milter's own counters.
func (m *meter) watch(s *milter.Stats) {
	m.set.NewGauge("postseal_milter_connections", func() float64 { return float64(s.Connections.Load()) })
	for name, n := range map[string]*atomic.Uint64{
		`postseal_milter_messages_total`:                       &s.Messages,
		`postseal_milter_accepted_early_total{stage="mail"}`:   &s.AcceptedAtMail,
		`postseal_milter_accepted_early_total{stage="header"}`: &s.AcceptedAtHeader,
		`postseal_milter_errors_total{kind="pending"}`:         &s.PendingErrors,
		`postseal_milter_errors_total{kind="over_cap"}`:        &s.RefusedOverCap,
		`postseal_milter_errors_total{kind="connection"}`:      &s.BrokenConnections,
		`postseal_milter_errors_total{kind="accept"}`:          &s.AcceptErrors,
		`postseal_milter_errors_total{kind="memory"}`:          &s.OutOfMemory,
	} {
		m.set.NewGauge(name, func() float64 { return float64(n.Load()) })
	}
}

// serve answers HTTP at addr, unless it is empty, until stop is called.
func (m *meter) serve(addr string) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, failure.Failed(metricsExample, "cannot serve metrics at %q: %v", addr, cause(err))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		m.set.WritePrometheus(w)
		metrics.WriteProcessMetrics(w)
	})
	server := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	go server.Serve(l)
	return func() { server.Close() }, nil
}
