package glance

import (
	"testing"

	"postseal/state/redis"
)

var redisURLs = map[string]bool{
	"redis://mx":        true,
	"redis://mx:6379/0": true,
	"rediss://postseal-mail@mx.example.org:6380/3?password-file=/etc/postseal/redis.mail": true,
	"redis://mail@mx?password-file=/x":       true,
	"redis://":                               false,
	"redis://mail@":                          false,
	"redis://@mx":                            false,
	"redis://mail:secret@mx":                 false,
	"redis://mx/x":                           false,
	"redis://mx/10":                          false,
	"redis://mx?password=x":                  false,
	"redis://mx?password-file=/x&password=y": false,
	"redis://mx?addr=b:1":                    false,
	"unix:///run/redis/s":                    false,
	"/var/lib/postseal":                      false,
}

func TestRedisURLs(t *testing.T) {
	for url, want := range redisURLs {
		if got := isRedis(url); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
}

// FuzzRedisURL wants nothing that the rest of the program refuses.
func FuzzRedisURL(f *testing.F) {
	for url := range redisURLs {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		if err := redis.Check(url); isRedis(url) && err != nil {
			t.Errorf("%q: %v", url, err)
		}
	})
}
