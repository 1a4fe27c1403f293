#!/bin/bash
# The system's half of package machine, in a mount and a PID namespace of its own:
#
#   image CACHE NAME               makes the file system CACHE/NAME, if it is not there
#   run ROOT HOST STAGE BIND...    runs /opt/report/test on a machine called HOST, over
#                                  ROOT; STAGE is "boot" if systemd is to start it; BIND
#                                  is DIRECTORY:WHERE
#
# CACHE/NAME.complete has the packages, and is written when all is in place.
set -euo pipefail

mirror=${DOORS_MIRROR:-http://deb.debian.org/debian}
security=${DOORS_SECURITY:-http://deb.debian.org/debian-security}

# Debian's mail servers conflict with each other, so each has an image of its own. Of
# "fresh" the packages are downloaded and not installed: the test does that.
packages() {
	case $1 in
	base) echo systemd,systemd-sysv,openssl,sudo,bsdutils,procps,ca-certificates,iproute2 ;;
	postfix) echo postfix opendkim procmail maildrop dovecot-lmtpd dovecot-sieve dovecot-imapd getmail6 fetchmail ;;
	rspamd) echo postfix rspamd ;;
	exim) echo exim4-daemon-heavy ;;
	opensmtpd) echo opensmtpd procmail ;;
	sendmail) echo sendmail-bin sensible-mda ;;
	chasquid) echo chasquid dovecot-lmtpd ;;
	courier) echo courier-mta ;;
	cyrus) echo postfix cyrus-imapd ;;
	haraka) echo nodejs dovecot-lmtpd ;;
	package) echo man-db bash-completion ;;
	fresh) echo --download-only postfix libnss3-tools ;;
	*) echo "unknown" >&2 && return 1 ;;
	esac
}

# What npm installs below /opt/NAME, beside the packages.
modules() {
	case $1 in
	haraka) echo Haraka@3.1.1 ;;
	esac
}

make_base() {
	debootstrap --variant=minbase --include="$(packages base)" bookworm "$root" "$mirror"
	cat >"$root/etc/apt/sources.list" <<-END
		deb $mirror bookworm main
		deb $mirror bookworm-updates main
		deb $security bookworm-security main
	END
	cat >"$root/etc/apt/apt.conf.d/90machine" <<-END
		APT::Install-Recommends "false";
		Dpkg::Use-Pty "0";
	END
	# Packages of daemons start them, also the ones that a test is about to configure.
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	# sendmail's installation hangs without a full host name.
	echo '127.0.0.1 mail.example.test mail localhost' >"$root/etc/hosts"
	echo mail.example.test >"$root/etc/hostname"
	echo example.test >"$root/etc/mailname"
	rm -f "$root"/var/cache/apt/archives/*.deb
	in_image apt-get -q update
}

make_image() {
	# Packages replace files of /usr and do not write into them.
	mkdir "$root"
	cp -a --link "$cache/base/usr" "$root"
	find "$cache/base" -mindepth 1 -maxdepth 1 ! -name usr -exec cp -a -t "$root" {} +
	cat /etc/resolv.conf >"$root/etc/resolv.conf"
	# shellcheck disable=SC2046
	in_image apt-get -q -y -o APT::Keep-Downloaded-Packages=false install $(packages "$1")
	[ -z "$(modules "$1")" ] || install_modules "$1" "$root/opt/$1"
}

# The host's npm: Debian's comes with 400 packages. The modules run no script of theirs.
install_modules() {
	mkdir -p "$2"
	# shellcheck disable=SC2046
	npm install --prefix "$2" --cache "$cache/npm" --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error $(modules "$1")
}

in_image() {
	mount -t tmpfs run /run
	mkdir /run/root
	mount --bind "$root" /run/root
	contain --hostname=mail.example.test --setenv=LC_ALL=C.UTF-8 --setenv=DEBIAN_FRONTEND=noninteractive --pipe --as-pid2 "$@"
}

image() {
	local cache=$1 root=$1/$2 want
	want="$(packages base) $(packages "$2")"
	[ -z "$(modules "$2")" ] || want+=" $(modules "$2")"
	mkdir -p "$cache"
	exec 8>"$cache/lock"
	flock 8
	[ "$(cat "$root.complete" 2>/dev/null)" != "$want" ] || return 0
	rm -rf "$root" "$root.complete"
	if [ "$2" = base ]; then make_base; else make_image "$2"; fi
	echo "$want" >"$root.complete"
}

run() {
	local base=$1 host=$2 stage=$3 dir options=() n=0
	mount -t tmpfs run /run
	mkdir /run/upper /run/work /run/root
	mount -t overlay -o "lowerdir=$base,upperdir=/run/upper,workdir=/run/work" overlay /run/root
	for dir in "${@:4}" /run/upper:/opt/changes; do
		mkdir "/run/$((++n))"
		mount --bind "${dir%:*}" "/run/$n"
		options+=(--bind="/run/$n:${dir##*:}")
	done
	if [ "$stage" = boot ]; then
		unit >/run/machine-test.service
		# A getty waits for the end of the boot, which is the test's, with all sockets of
		# systemd in its hands.
		set -- --bind-ro=/run/machine-test.service:/run/systemd/system/machine-test.service --boot \
			systemd.wants=machine-test.service systemd.mask=console-getty.service systemd.hostname="$host" --log-target=console --show-status=no
	else
		set -- --as-pid2 --pipe /opt/report/test
	fi
	contain --hostname="$host" --private-network "${options[@]}" "$@"
}

# The end of the test is the end of the machine, which has its status.
unit() {
	cat <<-END
		[Unit]
		Description=The test
		After=multi-user.target
		SuccessAction=exit-force
		FailureAction=exit-force

		[Service]
		Type=oneshot
		ExecStart=/opt/report/test
	END
}

# contain runs systemd-nspawn over /run/root as if there were no systemd on the host, in a
# cgroup of its own, which goes at the end with those of machines that were killed.
contain() {
	local group status=0 before
	before=$(sed -n 's/^0:://p' /proc/self/cgroup)
	mount -t tmpfs tmp /tmp # it leaves directories there
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	exec 9</sys/fs/cgroup
	flock 9
	group=$(mktemp -d /sys/fs/cgroup/postseal-machine-XXXXXX)
	echo $$ >"$group/cgroup.procs"
	flock -u 9
	systemd-nspawn --quiet --directory=/run/root --machine=machine --register=no --keep-unit --link-journal=no \
		--resolv-conf=off --timezone=off --system-call-filter=@known "$@" 9<&- || status=$?
	flock 9
	echo $$ >"/sys/fs/cgroup$before/cgroup.procs"
	for group in /sys/fs/cgroup/postseal-machine-*; do
		grep -q 'populated 1' "$group/cgroup.events" || find "$group" -depth -type d -exec rmdir {} + || true
	done
	return $status
}

mount --make-rprivate /
mount -t proc proc /proc
"$@"
