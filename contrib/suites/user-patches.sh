#!/bin/bash
# docker-data/dms/config/user-patches.sh, or the lines for yours: docker-mailserver runs it
# when all else is configured, before it starts Postfix, and again in a container that is
# started once more.
milter='{ inet:milter:8891, default_action=accept, connect_timeout=2s, command_timeout=5s, content_timeout=30s }'
milters=$(postconf -h smtpd_milters)
case $milters in
*"$milter"*) ;;
*) postconf -e "smtpd_milters = $milters $milter" ;;
esac
