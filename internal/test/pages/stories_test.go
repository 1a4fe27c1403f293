package pages

// A chapter that most recipes build upon.
var theUser = chapter{"contrib/systemd/README.md", "The user and the state directory"}

// milterAdded is Postfix with the milter.
var milterAdded = []chapter{theUser, {"contrib/postfix-milter/README.md", "Copy"}, {"contrib/postfix-milter/README.md", "Add"}}

// What machines are like before their page begins.
const (
	// postfix is a Postfix as Debian configures it, which delivers into Maildirs.
	postfix = `
cp /usr/share/postfix/main.cf.debian /etc/postfix/main.cf
cp /usr/share/postfix/master.cf.dist /etc/postfix/master.cf
postconf -e inet_interfaces=127.0.0.1 myhostname=mail.example.org mydestination=example.org mailbox_command= home_mailbox=Maildir/
newaliases
systemctl restart postfix`

	// signing makes postseal sign its replies.
	signing = `
chgrp postseal /etc/postseal/example.org.pem
cat >>/etc/postseal/postseal.toml <<end
[[dkim]]
domain = "example.org"
selector = "s1"
key = "/etc/postseal/example.org.pem"
end`

	// provider makes it a mail provider: mailboxes over IMAP, replies signed by opendkim.
	provider = `
cd /opt/kit/src/contrib
install -m 644 postfix-opendkim/opendkim.conf /etc/opendkim.conf
install -m 644 postfix-opendkim/tmpfiles.conf /usr/lib/tmpfiles.d/opendkim-postfix.conf
systemd-tmpfiles --create opendkim-postfix.conf
` + yours + `/etc/opendkim.conf
chown opendkim: /etc/postseal/example.org.pem
chmod 600 /etc/postseal/example.org.pem
systemctl restart opendkim
postconf -e smtpd_milters=unix:opendkim/opendkim.sock
postfix reload
printf 'mail_location = maildir:~/Maildir\ndisable_plaintext_auth = no\n' >/etc/dovecot/local.conf
systemctl restart dovecot
echo you:secret | chpasswd
echo 127.0.0.1 mail.example.org >>/etc/hosts`

	// enrollUnit has postseal-enroll.service ask all that the page says it can as it is,
	// order for whom they name, and mail what came of it; then Dovecot is away.
	enrollUnit = `
postconf -e myorigin=example.org
postfix reload
for name in erin frank grace; do useradd --create-home $name; done
echo erin@example.org::::::: >/etc/dovecot/users
chmod 644 /etc/dovecot/users
printf 'userdb {\n driver = passwd-file\n args = username_format=%%u /etc/dovecot/users\n}\n' >/etc/dovecot/local.conf
systemctl restart dovecot slapd postgresql
printf 'localhost:5432:*:postseal:secret' >/etc/postseal/pgpass
chmod 600 /etc/postseal/pgpass
runuser -u postgres -- psql -q -c "CREATE ROLE postseal LOGIN PASSWORD 'secret'" -c 'CREATE DATABASE mail OWNER postseal'
sqlite3 /srv/users.sqlite "CREATE TABLE users (name text); INSERT INTO users VALUES ('frank@example.org')"
{
	printf 'server = "%s"\nca-bundle = "%s"\nagree-tos = true\nkey-type = "p256"\n' "$POSTSEAL_SERVER" "$POSTSEAL_CA_BUNDLE"
	sed '/enroll/,$d' /etc/postseal/postseal.toml
	cat <<'end'
[[enroll]]
domain = "example.org"
source = """
cat /etc/postseal/owners && getent passwd >/dev/null && postmap -s hash:/etc/aliases >/dev/null &&
PGPASSFILE=/etc/postseal/pgpass psql -X -A -t -h localhost -U postseal mail -c "SELECT 'grace' || '@example.org'" &&
ldapsearch -x -LLL -H ldapi:/// -s base -b '' >/dev/null && doveadm user '*@example.org' && sqlite3 -readonly /srv/users.sqlite 'SELECT name FROM users'
"""
end
} >/etc/postseal/new
mv /etc/postseal/new /etc/postseal/postseal.toml
mailed() { timeout 20 sh -c 'until grep -rqs "$0" /root/Maildir/new /var/mail; do sleep 0.1; done' "$1" || { journalctl -n 50; exit 1; }; }
systemctl start postseal-enroll.service || { journalctl -n 50; exit 1; }
mailed 'frank@example.org: issued'
mailed 'erin@example.org: issued'
mailed 'grace@example.org: issued'
systemctl stop dovecot.socket dovecot.service
! systemctl start postseal-enroll.service
mailed 'Subject: .*postseal-enroll failed'
mailed 'error: source of example.org'`

	// yours puts the domain and the key of this world into a file of a recipe.
	yours = `sed -i 's/example\.test/example.org/; s,/etc/dkim/,/etc/postseal/,' `
)

// submission has postseal log in at the port for that, where tls has put a certificate.
const submission = `
chmod 640 /etc/postseal/smtp.password
cat >/etc/postseal/postseal.toml <<end
smtp = "smtp+starttls://postseal%40example.org@mail.example.org:587"
smtp-password-file = "/etc/postseal/smtp.password"
smtp-ca = "/etc/ssl/mail-root.pem"
end
`

// mailboxes is a Dovecot that keeps them, for a user who delivers into them.
func mailboxes(user string) string {
	return `
getent passwd ` + user + ` >/dev/null || useradd --system ` + user + `
cat >/etc/dovecot/local.conf <<end
mail_location = maildir:~/Maildir
auth_username_format = %Ln
service lmtp {
  unix_listener lmtp {
    user = ` + user + `
    mode = 0600
  }
}
end
systemctl restart dovecot
`
}

// tls puts a certificate of the mail server into a directory, and makes its name known.
func tls(dir, owner string) string {
	return `
mkdir -p ` + dir + `
cd ` + dir + `
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=mail.example.org \
	-addext subjectAltName=DNS:mail.example.org -keyout privkey.pem -out fullchain.pem
cp fullchain.pem /etc/ssl/mail-root.pem
chown -R ` + owner + `: .
echo 127.0.0.1 mail.example.org >>/etc/hosts
`
}

// Commands that many pages have.
const (
	orderCommand  = "postseal cert -e you@example.org --dry-run"
	milterJournal = "journalctl -u postseal-milter"
	pipeJournal   = "journalctl -t postseal-pipe"
	itSucceeded   = "dry run succeeded"
	itAnswered    = `challenge answered"? address=you@example.org`
)

// Of containers the tests of internal/test/release show as much as can be shown here.
const (
	noEngine     = "there is no engine on that machine; TestContainers gives podman the same settings"
	inContainers = "grep -q 'func TestContainers(' ../internal/test/release/containers_test.go"
	noAppArmor   = "the kernel of the tests has no AppArmor"
	noCluster    = "there is no cluster; TestManifests reads the objects as Kubernetes does"
	inManifests  = "grep -q 'func TestManifests(' ../internal/test/release/kubernetes_test.go"
)

const noSession = "you have no session with systemd on a machine that nobody logs in to"

// answered is what pages with one of the two journals promise.
func answered(journal string) map[string]string {
	return map[string]string{orderCommand: itSucceeded, journal: itAnswered}
}

// stories are the pages with commands, by the name of their test.
var stories = map[string]story{
	"README": { // the longest, so the first
		page: "README.md", dir: ".", bare: true, setup: postfix,
		hands: map[string]hand{
			"postseal init": {"Or the programs alone", "rm /usr/local/bin/postseal*"},
			"postfix reload": {"for the end of `/etc/postfix/main.cf`",
				"cat contrib/postfix-milter/main.cf >>/etc/postfix/main.cf\n" + signing},
			"postseal enroll --plan": {"who has a mailbox", `
printf '%s\n' you@example.org alice@example.org >/etc/postseal/owners
printf '[[enroll]]\ndomain = "example.org"\nsource = "file:/etc/postseal/owners"\n' >>/etc/postseal/postseal.toml`},
			"postseal-pipe --explain <challenge.eml": {"A saved message", "cp /home/alice/Maildir/new/* challenge.eml"},
		},
		other: map[string]other{
			"make dist": {"it compiles for three systems, and the tests of internal/test/release do that", "make -n dist"},
			"make test": {"it runs this test", "make -n test"},
		},
		wants: map[string]string{
			"go run ./cmd/postseal-demo":                     "postseal-demo/alice@example.test.p12",
			"postseal cert -e alice@example.org --agree-tos": "/var/lib/postseal/certs/alice@example.org/cert.p12, valid until",
			"postseal enroll --plan":                         "order 1, has 1",
			"postseal enroll":                                "you@example.org: issued",
			"postseal-pipe --explain <challenge.eml":         "verdict: ",
		},
	},
	"systemd": {
		page:  "contrib/systemd/README.md",
		setup: postfix,
		// In front of the page's own commands: a certificate that could be renewed.
		hands: map[string]hand{"systemctl list-timers postseal-renew.timer": {"Its units are part of the recipes for Postfix", signing + `
install -m 644 systemd/postseal-milter.socket systemd/postseal-milter.service /usr/lib/systemd/system/
systemctl daemon-reload
systemctl enable --now postseal-milter.socket
cat postfix-milter/main.cf >>/etc/postfix/main.cf
postfix reload
postseal cert --non-interactive -e you@example.org`}},
		wants: map[string]string{
			"systemctl list-timers postseal-renew.timer":             "postseal-renew.service",
			"systemctl start postseal-failed@postseal-renew.service": "",
			"postseal status": "you@example.org",
		},
	},
	"monitoring": {
		page:  "contrib/monitoring/README.md",
		first: milterAdded, setup: postfix,
		hands: map[string]hand{"systemctl restart postseal-milter": {"above the first table",
			"echo 'metrics = \"127.0.0.1:9891\"' >/etc/postseal/postseal.toml" + signing + "\nsystemctl start postseal-milter; postseal cert -n -e alice@example.org"}},
		wants: map[string]string{
			"curl -s http://127.0.0.1:9891/metrics":                                                    "postseal_",
			"cat /var/lib/prometheus/node-exporter/postseal.prom":                                      "postseal_issuer_certificates{kind=\"\",state=\"valid\"} 1",
			"journalctl POSTSEAL_ADDRESS=alice@example.org                 # one address, both halves": "challenge answered",
		},
	},
	"enroll": {
		page:  "contrib/enroll/README.md",
		first: append(milterAdded, chapter{"contrib/systemd/README.md", "Units for certificates"}), setup: postfix,
		hands: map[string]hand{
			"postseal enroll --plan": {"Each table below\nis for `/etc/postseal/postseal.toml`", "echo >/etc/postseal/postseal.toml" + signing + `
printf '%s\n' you@example.org alice@example.org alice@example.net >/etc/postseal/owners
printf '[[enroll]]\ndomain = "example.org"\nsource = "file:/etc/postseal/owners"\n' >>/etc/postseal/postseal.toml
systemctl restart postseal-milter`},
			// Under systemd: two servers as the source, and then none.
			"systemctl disable --now postseal-enroll.timer": {"runs the source as root with few rights", enrollUnit},
		},
		wants: map[string]string{
			"postseal enroll --plan": `example.org: 2 addresses \(1 line of another domain\): order 2\n`,
			"postseal enroll":        "(?s)(issued.*){2}",
		},
	},
	"handing-out": {
		page:  "contrib/handing-out.md",
		first: milterAdded, setup: postfix,
		hands: map[string]hand{
			"install -d -m 700 /root/handout": {"For admins who give owners their keys",
				"echo >/etc/postseal/postseal.toml" + signing + `
printf '[kind.sign]\nusage = ["digitalSignature"]\n' >>/etc/postseal/postseal.toml
systemctl restart postseal-milter
postseal cert -n -e alice@example.org
postseal cert -n -e you@example.org --kind sign`},
			"postseal export -e alice@example.org --to /root/handout/alice.p12 --passphrase-file /root/handout/chosen": {
				"types a passphrase into the file `chosen`", "echo 'correct horse' >/root/handout/chosen"},
			"rm -r /root/handout": {"names the files and never the passphrase", `cd /root/handout
openssl pkcs12 -in alice@example.org.p12 -noout -passin "pass:$(awk -F '\t' '$1 == "alice@example.org" { print $2 }' letters)"
openssl pkcs12 -in you@example.org.sign.p12 -noout -passin "pass:$(awk -F '\t' '$1 == "you@example.org" && $3 == "sign" { print $2 }' letters)"
[ "$(jq -r .exported[0].file list | head -1)" = /root/handout/alice@example.org.p12 ]
openssl pkcs12 -in alice.p12 -noout -passin 'pass:correct horse'
plistutil -i alice@example.org.mobileconfig >/dev/null`},
		},
		wants: map[string]string{
			"postseal export -e alice@example.org --to /root/handout": "passphrase in /var/lib/postseal/certs/alice@example.org/passphrase",
		},
	},
	"moving": {
		page:  "contrib/moving.md",
		first: append(milterAdded, chapter{"contrib/systemd/README.md", "Units for certificates"}), setup: postfix,
		hands: map[string]hand{
			"install -d -m 700 /root/backup": {"Everything that cannot be made again", "echo >/etc/postseal/postseal.toml" + signing + `
printf '[[enroll]]\ndomain = "example.org"\nsource = "echo alice@example.org"\n' >>/etc/postseal/postseal.toml
systemctl restart postseal-milter
postseal enroll`},
			// The new host is this one, without anything and with another number of the group.
			"tar -C / -xpzf /root/backup/postseal.tar.gz": {"Install postseal on the new host", `
systemctl stop postseal-milter.socket postseal-milter.service
rm -r /etc/postseal /var/lib/postseal
groupmod -g 4321 postseal
systemd-tmpfiles --create postseal.conf`},
		},
		other: map[string]other{
			"postseal enroll --plan": {"its exit status says that there is nothing to do", "postseal enroll --plan -v; [ $? -eq 2 ]"},
		},
		wants: map[string]string{
			"postseal check":         "state: /var/lib/postseal is root:postseal 0750, with the right owners",
			"postseal status":        "alice@example.org .* valid",
			"postseal enroll --plan": "example.org: 1 address: has 1",
		},
	},
	"postfix-milter": {
		page:  "contrib/postfix-milter/README.md",
		first: []chapter{theUser}, setup: postfix,
		hands: map[string]hand{"cat postfix-milter/main.cf >>/etc/postfix/main.cf": {"let postseal sign: `[[dkim]]`", signing}},
		wants: answered(milterJournal),
	},
	"postfix-pipe": {
		page:  "contrib/postfix-pipe/README.md",
		first: []chapter{theUser}, setup: postfix,
		hands: map[string]hand{"cat postfix-pipe/main.cf >>/etc/postfix/main.cf": {"or by `[[dkim]]`", signing}},
		wants: answered(pipeJournal),
	},
	"postfix-opendkim": {
		page:  "contrib/postfix-opendkim/README.md",
		first: []chapter{theUser, {"contrib/postfix-milter/README.md", "Copy"}}, setup: postfix,
		hands: map[string]hand{"systemctl restart opendkim": {"your domain, selector and key to `/etc/opendkim.conf`",
			yours + "/etc/opendkim.conf; chown opendkim: /etc/postseal/example.org.pem; chmod 600 /etc/postseal/example.org.pem"}},
		wants: map[string]string{orderCommand: itSucceeded,
			"journalctl -t opendkim": `DKIM-Signature field added \(s=mail, d=example.org\)`},
	},
	"redis": {
		page:  "contrib/redis/README.md",
		first: milterAdded, setup: postfix,
		hands: map[string]hand{"systemctl restart postseal-milter": {"to the top of `/etc/postseal/postseal.toml`",
			`echo 'state = "redis://postseal-mail@localhost:6379/0?password-file=/etc/postseal/redis.mail"' >/etc/postseal/postseal.toml` + signing}},
		wants: map[string]string{orderCommand: itSucceeded, "postseal status": "ANSWER FOR", milterJournal: itAnswered},
	},
	"performance": {
		page: "contrib/performance.md", dir: ".",
		other: map[string]other{"make bench": {"it takes minutes and wants an idle machine", "make -n bench"}},
	},
	"apparmor": {
		page:  "contrib/apparmor/README.md",
		first: milterAdded, setup: postfix,
		hands: map[string]hand{"install -m 644 apparmor/usr.* /etc/apparmor.d/": {"its configuration", signing}},
		other: map[string]other{
			"apparmor_parser -r -C /etc/apparmor.d/usr.*.postseal*": {noAppArmor, "apparmor_parser -Q -K -C /etc/apparmor.d/usr.*.postseal*"},
			"aa-status":                                          {noAppArmor, "command -v aa-status"},
			"journalctl -k -g 'apparmor=.*postseal'":             {noAppArmor, "journalctl -k -n 1"},
			"apparmor_parser -R /etc/apparmor.d/usr.*.postseal*": {noAppArmor, "apparmor_parser -Q -K -R /etc/apparmor.d/usr.*.postseal*"},
		},
		wants: map[string]string{orderCommand: itSucceeded},
	},
	"containers": {
		page: "contrib/containers/README.md",
		hands: map[string]hand{"echo COMPOSE_FILE=compose.yaml:compose.postseal.yaml >>.env": {"in which Postfix is the service",
			"touch compose.yaml"}},
		other: map[string]other{
			"make image": {"it compiles for two processors, and the tests of internal/test/release do it for one", "make -n -C .. image"},
			"for image in dist/postseal*_image.tar; do podman load -i \"$image\"; done": {noEngine, inContainers},
			"docker compose up -d":             {noEngine, inContainers},
			"docker compose run --rm postseal": {noEngine, inContainers},
			"docker compose ps milter":         {noEngine, inContainers},
			"docker compose run --rm postseal cert -e you@example.org --dry-run":                        {noEngine, inContainers},
			"docker compose run --rm postseal enroll --non-interactive":                                 {noEngine, inContainers},
			"docker compose logs milter":                                                                {noEngine, inContainers},
			"docker compose run --rm postseal status":                                                   {noEngine, inContainers},
			"docker compose rm -sf milter":                                                              {noEngine, inContainers},
			"kubectl create secret generic postseal-milter --from-file=redis.mail --from-file=dkim.pem": {noCluster, inManifests},
			"kubectl create secret generic postseal --from-file=redis.issuer":                           {noCluster, inManifests},
			"kubectl create configmap postseal-mailboxes --from-file=addresses":                         {noCluster, inManifests},
			"kubectl apply -k kubernetes":                                                               {noCluster, inManifests},
			"kubectl create job --from=cronjob/postseal-renew first-renewal":                            {noCluster, inManifests},
			"kubectl logs job/first-renewal":                                                            {noCluster, inManifests},
		},
	},
	"suites": {
		page:  "contrib/suites/README.md",
		first: []chapter{theUser, {"contrib/postfix-milter/README.md", "Copy"}}, setup: postfix,
		hands: map[string]hand{"postfix reload": {"Let postseal sign the replies", signing}},
		wants: map[string]string{orderCommand: itSucceeded, "postconf smtpd_milters": "unix:postseal/milter.sock"},
	},
	"scale": {
		page: "contrib/scale.md", dir: ".",
		other: map[string]other{
			"go test -v -run TestThreeMX ./internal/test/multimx -hosts.calm     # the counts of Redis": {
				"it takes minutes", "grep -r 'func TestThreeMX(' internal/test/multimx && grep -r 'hosts.calm' internal/test/multimx"},
			"go test -run '^$' -bench FromFile -benchtime 1x ./issuer     # those of the issuing half": {
				"it takes minutes", "grep -r 'func BenchmarkFromFile(' issuer"},
		},
	},

	// Those below want mail servers that `make deps` does not install. `make doors` runs
	// them.
	"postfix-rspamd": {
		page: "contrib/postfix-rspamd/README.md", image: "rspamd",
		first: []chapter{theUser, {"contrib/postfix-milter/README.md", "Copy"}}, setup: postfix,
		hands: map[string]hand{"rspamadm configtest": {"your domain, selector and key to `/etc/rspamd/local.d/dkim_signing.conf`",
			yours + "/etc/rspamd/local.d/dkim_signing.conf; chown _rspamd: /etc/postseal/example.org.pem"},
			"cat postfix-rspamd/main.cf >>/etc/postfix/main.cf": {"compiles its rules for 20 s",
				"until (exec 3<>/dev/tcp/127.0.0.1/11332) 2>/dev/null; do sleep 0.1; done"}},
		wants: map[string]string{orderCommand: itSucceeded, "rspamadm configdump dkim | grep sign_headers": `\(o\)from`},
	},
	"procmail": {
		page: "contrib/procmail/README.md", image: "postfix",
		first: []chapter{theUser}, setup: postfix + "\npostconf -e mailbox_command=procmail\npostfix reload",
		hands: map[string]hand{"cat procmail/etc-procmailrc >>/etc/procmailrc": {"on a host,\n`[[dkim]]`", signing}},
		wants: answered(""),
	},
	"maildrop": {
		page: "contrib/maildrop/README.md", image: "postfix",
		first: []chapter{theUser}, setup: postfix + "\npostconf -e 'mailbox_command=/usr/bin/maildrop -d ${USER}'\npostfix reload",
		hands: map[string]hand{
			"cat maildrop/etc-maildroprc >>/etc/maildroprc": {"on a host, `[[dkim]]`", signing},
			"maildrop -V 2 -d you <mail":                    {"delivers a saved mail", "printf 'Subject: lunch\\n\\nAt noon?\\n' >mail"},
		},
		wants: answered(""),
	},
	"dovecot": {
		page: "contrib/dovecot/README.md", image: "postfix",
		first: []chapter{theUser}, setup: postfix + `
cat >/etc/dovecot/local.conf <<end
mail_location = maildir:~/Maildir
auth_username_format = %Ln
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    user = postfix
    group = postfix
    mode = 0600
  }
}
end
postconf -e mailbox_transport=lmtp:unix:private/dovecot-lmtp
postfix reload
systemctl restart dovecot`,
		hands: map[string]hand{"doveadm reload": {"or by `[[dkim]]`", signing}},
		wants: answered(pipeJournal),
	},
	"exim": {
		page: "contrib/exim/README.md", image: "exim",
		first: []chapter{theUser}, setup: `
sed -i "s/configtype='local'/configtype='internet'/; s/split_config='false'/split_config='true'/; s/local_interfaces=.*/local_interfaces='127.0.0.1'/; s/other_hostnames=.*/other_hostnames='example.org'/" /etc/exim4/update-exim4.conf.conf
update-exim4.conf
systemctl restart exim4`,
		hands: map[string]hand{"update-exim4.conf": {"your domain, selector and key to `/etc/exim4/conf.d/main/00_postseal`",
			"test -e /etc/exim4/conf.d/main/00_postseal || exit 0\n" + yours + "/etc/exim4/conf.d/main/00_postseal; chown Debian-exim: /etc/postseal/example.org.pem"}},
		wants: map[string]string{orderCommand: itSucceeded, "grep T=postseal /var/log/exim4/mainlog": "T=postseal"},
	},
	"opensmtpd": {
		page: "contrib/opensmtpd/README.md", image: "opensmtpd",
		first: []chapter{theUser}, setup: `
touch /etc/aliases
sed -i 's/listen on localhost/listen on 127.0.0.1/; s/^# match from any for domain "example.org"/match from any for domain "example.org"/' /etc/smtpd.conf
systemctl restart opensmtpd`,
		hands: map[string]hand{"smtpd -n": {"the line of `smtpd.conf` above the actions, and `wrapper \"postseal\"` to each action that",
			signing + `
grep -v '^#' opensmtpd/smtpd.conf | cat - /etc/smtpd.conf >/tmp/smtpd.conf
sed 's/^action "local" maildir/& wrapper "postseal"/' /tmp/smtpd.conf >/etc/smtpd.conf`}},
		wants: answered(pipeJournal),
	},
	"sendmail": {
		page: "contrib/sendmail/README.md", image: "sendmail",
		first: []chapter{theUser}, setup: `
echo example.org >>/etc/mail/local-host-names
sed -i '/MASQUERADE_AS/s/example\.test/example.org/' /etc/mail/sendmail.mc`,
		hands: map[string]hand{"make -C /etc/mail": {"the line of `sendmail.mc` to `/etc/mail/sendmail.mc`, above MAILER_DEFINITIONS",
			"grep -q postseal /etc/mail/sendmail.mc && exit\n" + signing + `
sed -i '/^MAILER_DEFINITIONS/e cat sendmail/sendmail.mc' /etc/mail/sendmail.mc`}},
		wants: answered(milterJournal),
	},
	"chasquid": {
		page: "contrib/chasquid/README.md", image: "chasquid",
		first: []chapter{theUser}, setup: mailboxes("chasquid") + tls("/etc/chasquid/certs/mail.example.org", "chasquid") + `
cat >>/etc/chasquid/chasquid.conf <<end
mail_delivery_agent_bin: "/usr/bin/mda-lmtp"
mail_delivery_agent_args: "--addr"
mail_delivery_agent_args: "/run/dovecot/lmtp"
mail_delivery_agent_args: "-f"
mail_delivery_agent_args: "%from%"
mail_delivery_agent_args: "-d"
mail_delivery_agent_args: "%to%"
end
chasquid-util user-add you@example.org --password=secret
chgrp chasquid /etc/chasquid/domains/example.org/users
chmod 640 /etc/chasquid/domains/example.org/users
install -d /etc/systemd/system/chasquid-smtp.socket.d # the world has port 25 of another address
printf '[Socket]\nListenStream=\nListenStream=127.0.0.1:25\n' >/etc/systemd/system/chasquid-smtp.socket.d/local.conf
systemctl daemon-reload
systemctl stop chasquid 'chasquid-*.socket'
systemctl reset-failed 'chasquid*' # it had no domain when the machine started
systemctl restart chasquid`,
		hands: map[string]hand{orderCommand: {"In `/etc/postseal/postseal.toml` name the server", submission + signing}},
		wants: answered(pipeJournal),
	},
	"haraka": {
		page: "contrib/haraka/README.md", image: "haraka",
		first: []chapter{theUser}, setup: mailboxes("haraka") + `
/opt/haraka/node_modules/.bin/haraka -i /etc/haraka >/dev/null
install -d -o haraka /etc/haraka/queue` + tls("/etc/haraka/config", "haraka") + `
cd /etc/haraka/config
printf '%s\n' tls auth/flat_file rcpt_to.in_host_list queue/lmtp >plugins
printf '%s\n' listen=127.0.0.1:25,127.0.0.1:587 user=haraka group=haraka >smtp.ini
printf '%s\n' key=privkey.pem cert=fullchain.pem >tls.ini
printf '%s\n' '[core]' methods=PLAIN '[users]' postseal@example.org=secret >auth_flat_file.ini
echo example.org >host_list
echo mail.example.org >me
echo path=/run/dovecot/lmtp >lmtp.ini
echo local_mx_ok=true >outbound.ini
cat >/etc/systemd/system/haraka.service <<end
[Service]
ExecStart=/opt/haraka/node_modules/.bin/haraka -c /etc/haraka
end
systemctl daemon-reload`,
		hands: map[string]hand{"systemctl restart haraka": {"Add a line `postseal` to `/etc/haraka/config/plugins`",
			"if [ ! -e /etc/haraka/plugins/postseal.js ]; then sed -i /postseal/d /etc/haraka/config/plugins; exit; fi\n" +
				"sed -i 's,^queue/,postseal\\n&,' /etc/haraka/config/plugins\necho secret >/etc/postseal/smtp.password\nchgrp postseal /etc/postseal/smtp.password" +
				submission + signing}},
		wants: map[string]string{orderCommand: itSucceeded},
	},
	"courier": {
		page: "contrib/courier/README.md", image: "courier",
		first: []chapter{theUser}, setup: `
printf '%s\n' localhost example.org >/etc/courier/locals
echo example.org >/etc/courier/esmtpacceptmailfor.dir/default
sed -i 's/^PORT=smtp/PORT=25\nADDRESS=127.0.0.1/' /etc/courier/esmtpd
echo ":[127.0.0.9],2525" >/etc/courier/esmtproutes
runuser -u you -- maildirmake /home/you/Maildir
makeacceptmailfor
makesmtpaccess
makealiases
systemctl start courier-authdaemon courierfilter`,
		hands: map[string]hand{"cat courier/esmtpd >>/etc/courier/esmtpd": {"with `[[dkim]]`", signing}},
		wants: answered(pipeJournal),
	},
	"cyrus": {
		page: "contrib/cyrus/README.md", image: "cyrus",
		first: milterAdded, setup: postfix + `
echo 'autocreate_post: yes' >>/etc/imapd.conf
sed -i '/pop3d\|nntpd\|httpd\|timsieved\|imapd -U/d' /etc/cyrus.conf
adduser --quiet postfix mail
systemctl restart cyrus-imapd
postconf -e mailbox_transport=lmtp:unix:/run/cyrus/socket/lmtp
postconf -F lmtp/unix/chroot=n
postfix reload`,
		hands: map[string]hand{orderCommand: {"has answered a challenge before Postfix", signing + "\nsystemctl restart postseal-milter"}},
		wants: answered(milterJournal),
	},
	"getmail": {
		page: "contrib/getmail/README.md", image: "postfix", login: "you", setup: postfix + provider,
		hands: map[string]hand{"systemctl --user enable --now postseal-getmail postseal-look.timer": {"your account to `~/.config/getmail/postseal`",
			"sed -i 's/mail.example.test/mail.example.org/; s/alice/you/' ~/.config/getmail/postseal"}},
		other: map[string]other{
			"systemctl --user enable --now postseal-getmail postseal-look.timer": {noSession, `unit=~/.config/systemd/user/postseal-getmail.service
XDG_RUNTIME_DIR=/tmp systemd-analyze --user verify $unit && { $(sed -n "s,%h,$HOME,; s/^ExecStart=//p" $unit) &>/dev/null & getmail=$!; }
XDG_RUNTIME_DIR=/tmp systemd-analyze --user verify ~/.config/systemd/user/postseal-look.timer`},
			"journalctl --user -u postseal-getmail":                               {noSession, "kill -0 $getmail"},
			"systemctl --user disable --now postseal-getmail postseal-look.timer": {noSession, "kill $getmail"},
		},
		wants: map[string]string{orderCommand: itSucceeded},
	},
	"fetchmail": {
		page: "contrib/fetchmail/README.md", image: "postfix", login: "you", setup: postfix + provider,
		hands: map[string]hand{orderCommand: {"your account to `~/.fetchmailrc`",
			"sed -i 's/mail.example.test/mail.example.org/; s/alice/you/' ~/.fetchmailrc\n(fetchmail -N -d 5 &>/dev/null &)"}},
		other: map[string]other{"fetchmail -v -N -d 5": {"it runs until it is stopped, and there is one already",
			"fetchmail --quit; timeout 5 fetchmail -v -N -d 5; [ $? -eq 124 ]"}},
		wants: map[string]string{orderCommand: itSucceeded},
	},
}
