#!/bin/bash
# Prepare a Debian 12 machine to run SpamCannibal from this checkout: bin/_setup.sh [run|test]
#
# Debian packages, a virtual environment in .venv made with Debian's own Python, the Python packages, the C extension,
# and a look whether the kernel can queue packets. `test` adds what the tests need. Whatever is there is skipped: no
# apt call when every package is present, no pip call or build when nothing that it was made from has changed.
# One line a step; everything the tools print goes to build/setup.log, the end of which is shown when a step fails.

set -eu
want=${1:-run}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
umask 022

packages_run=(
    python3 python3-venv python3-dev gcc libc6-dev libdb5.3-dev libnetfilter-queue-dev libnfnetlink-dev
    iptables nftables conntrack iproute2 procps util-linux bind9-dnsutils gpg gpg-agent gpgconf
)
packages_test=(
    git curl openssl clang-14 libclang-rt-14-dev db5.3-util ipset tcpdump
    bind9 bind9-utils rbldnsd knot-dnsutils ldnsutils postfix swaks unbound nsd knot rspamd
    tor tor-geoipdb # the country database, which needs tor
    chromium nginx-light fcgiwrap lighttpd apache2-bin crowdsec-firewall-bouncer wrk # a browser, CGI servers, readers of the API
    poppler-utils # reads the reports that are PDF
    build-essential debhelper chrpath lintian mmdebstrap systemd systemd-container # builds the package, tries it
    logrotate man-db zsh fish # read what is made for them
    libgnutls-dane0 libidn12 # for exim4-daemon-light, which tests unpack: Debian does not install it beside postfix
)

python=/usr/bin/python3 # not PATH's: that may be a pyenv shim, or a Python without Debian's headers
venv=$root/.venv
log=$root/build/setup.log
ticker=
policy=

finish() {
    [ -z "$ticker" ] || kill "$ticker" 2>/dev/null || true
    [ -z "$policy" ] || rm -f "$policy"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# step TITLE FUNCTION: run it with its output in the log; what it writes to descriptor 3 is the remark on its line.
step() {
    local title=$1 began=$EPOCHREALTIME code=0 remark seconds
    if [ -t 1 ]; then
        (while :; do printf '\r  ..  %-18s %4d s' "$title" $((EPOCHSECONDS - ${began%.*})); sleep 1; done) &
        ticker=$!
    fi
    printf '\n== %s\n' "$title" >>"$log"
    set +e
    (set -e; "$2") >>"$log" 2>&1 3>"$root/build/remark" </dev/null
    code=$?
    set -e
    if [ -n "$ticker" ]; then
        kill "$ticker" 2>/dev/null || true
        wait "$ticker" 2>/dev/null || true
        ticker=
        printf '\r\033[K'
    fi
    remark=$(tail -n 1 "$root/build/remark")
    seconds=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    if [ "$code" -ne 0 ]; then
        printf '  NO  %-18s %-54s %6s s\n\n' "$title" "$remark" "$seconds"
        tac "$log" | sed '/^== /q' | head -n 25 | tac | sed 's/^/      /'
        printf '\nset-up failed at "%s"; everything it printed is in %s\n' "$title" "$log"
        exit "$code"
    fi
    printf '  ok  %-18s %-54s %6s s\n' "$title" "$remark" "$seconds"
}

hash_of() { { printf '%s\n' "$root" "$("$python" -V)"; cat "$@"; } | sha256sum | cut -d ' ' -f 1; }
is_stamped() { [ "$(cat "$venv/.stamp-$1" 2>/dev/null)" = "$2" ]; }
stamp() { printf '%s\n' "$2" >"$venv/.stamp-$1"; }

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Installing postfix removes any other mail server, and this may be somebody's mail host.
other_mail_server() {
    dpkg-query -W -f '${db:Status-Status}\t${Package}\t${Provides}\n' |
        awk -F '\t' '$1 == "installed" && $2 != "postfix" && $3 ~ /mail-transport-agent/ { print $2; exit }'
}

debian_packages() {
    local missing=() package other remark
    for package in "${packages[@]}"; do
        if is_installed "$package"; then continue; fi
        if [ "$package" = postfix ]; then
            other=$(other_mail_server)
            if [ -n "$other" ]; then left_out="; no postfix: $other is this host's mail server"; continue; fi
        fi
        missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        echo "all ${#packages[@]} are there${left_out-}" >&3
        return
    fi
    echo "installing ${#missing[@]}: ${missing[*]}" >&3
    command -v apt-get >/dev/null || { echo "no apt-get here; install by hand: ${missing[*]}"; return 1; }
    if [ ! -e /usr/sbin/policy-rc.d ]; then # so that no package starts a server on this machine
        printf '#!/bin/sh\nexit 101\n' >"$policy_file"
        chmod 755 "$policy_file"
    fi
    echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    apt-get -q -o DPkg::Lock::Timeout=300 update
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends --no-remove "${missing[@]}"
    # Nor at the next boot: the tests start their own.
    for package in "${missing[@]}"; do
        case $package in
        bind9) systemctl disable --quiet named ;;
        postfix | rbldnsd | unbound | nsd | knot | tor | rspamd | nginx-light | fcgiwrap | lighttpd | crowdsec-firewall-bouncer) systemctl disable --quiet "${package%-light}" ;;
        esac 2>/dev/null || true
    done
    echo "installed ${#missing[@]}${left_out-}" >&3
}

virtual_environment() {
    if is_stamped venv "$(hash_of /dev/null)" && "$venv/bin/python" -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)'; then
        echo ".venv, $("$venv/bin/python" -V)" >&3
        return
    fi
    rm -rf "$venv"
    "$python" -m venv "$venv"
    stamp venv "$(hash_of /dev/null)"
    echo "made .venv, $("$venv/bin/python" -V)" >&3
}

python_packages() {
    local hash
    hash=$(hash_of setup.py "${requirements[@]}")
    if is_stamped "$want" "$hash"; then
        echo "unchanged" >&3
        return
    fi
    local arguments=(-e .) file
    for file in "${requirements[@]}"; do arguments+=(-r "$file"); done
    "$venv/bin/python" -m pip install --no-input --root-user-action=ignore "${arguments[@]}"
    stamp "$want" "$hash"
    stamp run "$(hash_of setup.py)" # what tests need holds what running needs
    stamp core "$(hash_of "${core[@]}")"
    echo "installed; .venv has $("$venv/bin/python" -m pip list 2>/dev/null | tail -n +3 | wc -l)" >&3
}

c_extension() {
    local hash
    hash=$(hash_of "${core[@]}")
    if is_stamped core "$hash" && compgen -G 'lib/spamcannibal/_core*.so' >/dev/null; then
        echo "up to date, ${#core[@]} files" >&3
    else
        "$venv/bin/python" setup.py -q build_ext --inplace
        stamp core "$hash"
        echo "built from ${#core[@]} files" >&3
    fi
    "$venv/bin/python" -c 'import spamcannibal._core'
}

# In a namespace of its own: nothing of this host's firewall is touched.
kernel_queue() {
    local rule='INPUT -p tcp --dport 25 -m conntrack --ctstate NEW,INVALID -j NFQUEUE --queue-num 0 --queue-bypass'
    modprobe -q -a xt_NFQUEUE nfnetlink_queue nf_conntrack_netlink 2>/dev/null || true
    if unshare --net sh -c "iptables -w -A $rule && ip6tables -w -A $rule"; then
        echo "NFQUEUE for IPv4 and IPv6, Linux $(uname -r)" >&3
        return
    fi
    if [ "$want" = test ]; then
        echo "absent: tests on the real kernel will be skipped" >&3
        return
    fi
    echo "Linux $(uname -r) has no NFQUEUE target here" >&3
    echo 'Load xt_NFQUEUE and nfnetlink_queue (a container needs them loaded by its host), and CAP_NET_ADMIN.'
    return 69
}

case $want in
run) packages=("${packages_run[@]}") requirements=() ;;
test) packages=("${packages_run[@]}" "${packages_test[@]}") requirements=(t/requirements.txt) ;;
*) echo "usage: bin/_setup.sh [run|test]" >&2; exit 2 ;;
esac
if [ "$(id -u)" -ne 0 ]; then
    echo "This needs root (packages, network namespaces, the kernel's packet queue): use sudo." >&2
    exit 1
fi
unset PYTHONPATH PYTHONHOME
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p build
: >"$log"
# Two set-ups of one checkout at once would break each other; the second waits.
exec 9>build/setup.lock
flock 9
policy_file=/usr/sbin/policy-rc.d
[ -e "$policy_file" ] || policy=$policy_file

echo "Set-up ($log)"
step 'Debian packages' debian_packages
core=(setup.py lib/spamcannibal/core/*.[ch])
step 'Python' virtual_environment
step 'Python packages' python_packages
step 'C extension' c_extension
step 'kernel' kernel_queue
rm -f build/remark
