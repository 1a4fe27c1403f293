#!/bin/bash
# Makes the file systems of the test machines: images.sh CACHE IMAGE...
#
# Debian's mail servers conflict with each other, so each has an image of its own:
# the layer of what its packages add to a common base. Images are made once and kept
# in CACHE; one that is there and complete, with the packages below, is used again.
#
#   CACHE/base/root      debootstrap's minbase, and what every machine needs
#   CACHE/NAME/layer     what the packages of NAME add (upper directory of an overlay)
#   CACHE/NAME/root      the same as a copy of all, where overlays cannot be mounted
#   CACHE/NAME/complete  the packages, written when all is in place
#   CACHE/debs           downloaded packages
set -euo pipefail

cache=$1
shift
mirror=${DOORS_MIRROR:-http://deb.debian.org/debian}
security=${DOORS_SECURITY:-http://deb.debian.org/debian-security}

# Of "fresh" the packages are downloaded and not installed: the test does that.
# systemd for sysusers, tmpfiles and analyze; the rest is for the recipes.
base_packages=systemd,systemd-sysv,openssl,sudo,bsdutils,procps,ca-certificates

packages() {
	case $1 in
	base) echo "$base_packages" ;;
	postfix) echo postfix opendkim procmail maildrop dovecot-lmtpd dovecot-sieve dovecot-imapd getmail6 fetchmail ;;
	rspamd) echo postfix rspamd ;;
	exim) echo exim4-daemon-heavy ;;
	opensmtpd) echo opensmtpd procmail ;;
	sendmail) echo sendmail-bin sensible-mda ;;
	package) echo man-db bash-completion ;;
	fresh) echo --download-only postfix libnss3-tools ;;
	*)
		echo "images.sh: error: no such image: $1" >&2
		return 1
		;;
	esac
}

complete() {
	[ "$(cat "$cache/$1/complete" 2>/dev/null)" = "$(packages "$1")" ]
}

# begin empties the place of an image.
begin() {
	echo "== image $1: $(packages "$1")"
	rm -rf "${cache:?}/$1"
	mkdir -p "$cache/$1"
}

make_base() {
	begin base
	mkdir -p "$cache/debs"
	debootstrap --variant=minbase --include="$base_packages" --cache-dir="$cache/debs" \
		bookworm "$cache/base/root" "$mirror" >"$cache/base/log" 2>&1 || fail base
	local root=$cache/base/root
	cat >"$root/etc/apt/sources.list" <<-END
		deb $mirror bookworm main
		deb $mirror bookworm-updates main
		deb $security bookworm-security main
	END
	# Packages of daemons start them, also the ones that a test is about to configure.
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	echo 'APT::Install-Recommends "false";' >"$root/etc/apt/apt.conf.d/90doors"
	in_root "$root" apt-get -q update >>"$cache/base/log" 2>&1 || fail base
	packages base >"$cache/base/complete"
}

# in_root runs a command in a root directory. What it mounts there goes with the
# mount namespace, whatever happens.
in_root() {
	# shellcheck disable=SC2016
	unshare --mount --uts --pid --fork --kill-child bash -c '
		root=$1 debs=$2; shift 2
		mount --make-rprivate /
		hostname mail.example.test
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs tmp "$root/tmp"
		mount --bind "$debs" "$root/var/cache/apt/archives"
		mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
		HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin \
			exec chroot "$root" "$@"' in_root "$1" "$cache/debs" "${@:2}" </dev/null
}

make_image() {
	begin "$1"
	local dir=$cache/$1
	mkdir "$dir/layer" "$dir/work" "$dir/merged"
	# shellcheck disable=SC2046
	if mount -t overlay overlay -o "lowerdir=$cache/base/root,upperdir=$dir/layer,workdir=$dir/work" "$dir/merged" 2>/dev/null; then
		trap 'umount "$dir/merged"' EXIT
		install_in "$1" "$dir/merged" $(packages "$1")
		umount "$dir/merged"
		trap - EXIT
		rm -rf "$dir/work" "$dir/merged"
	else
		echo "== image $1: overlays cannot be mounted here; a full copy instead"
		rm -rf "$dir/layer" "$dir/work" "$dir/merged"
		cp -a "$cache/base/root" "$dir/root"
		install_in "$1" "$dir/root" $(packages "$1")
	fi
	packages "$1" >"$dir/complete"
}

install_in() {
	# sendmail's installation hangs without a full host name.
	echo '127.0.0.1 mail.example.test mail localhost' >"$2/etc/hosts"
	echo mail.example.test >"$2/etc/hostname"
	echo example.test >"$2/etc/mailname"
	in_root "$2" apt-get -q -y -o Dpkg::Use-Pty=0 install "${@:3}" >"$cache/$1/log" 2>&1 || fail "$1"
}

fail() {
	echo "images.sh: error: image $1; the end of $cache/$1/log:" >&2
	tail -20 "$cache/$1/log" >&2
	exit 1
}

mkdir -p "$cache"
exec 9>"$cache/lock" # apt takes no second one at the same downloads
flock 9
for image in base "$@"; do
	if ! complete "$image"; then
		if [ "$image" = base ]; then make_base; else make_image "$image"; fi
	fi
done
