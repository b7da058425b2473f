#!/bin/bash
# Print what a unit has written: journalctl [OPTIONS] -u UNIT.
while [ $# -gt 0 ]; do
    case $1 in
    -u) unit=${2%.service}; shift ;;
    -n) lines=$2; shift ;;
    esac
    shift
done
tail -n "${lines:-1000}" "/run/units/$unit.log"
