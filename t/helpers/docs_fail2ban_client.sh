#!/bin/sh
# fail2ban-client(1): `get JAIL banip` prints addresses in one line, `reload` says OK.
case $1 in
get) echo "192.0.2.66 198.51.100.77" ;;
*) echo OK ;;
esac
