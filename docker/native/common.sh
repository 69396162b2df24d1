# What the scripts of all servers share. Sourced, never run.
# shellcheck shell=bash

OTHERWISE='Or let Docker run the servers: docker compose -f docker/compose.yaml up (see docs/servers.md).'
if [ "$(uname -s)" != Linux ]; then
    printf '%s\n' 'These scripts run servers on Linux only.' "$OTHERWISE" >&2
    exit 1
fi

SERVICES_DIR=$(realpath -m "${SERVICES_DIR:-.services}")
SERVICES_CACHE=$(realpath -m "${SERVICES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/saga-shop}")

# Who speaks: the server at hand.
server=services

say() { printf '%-8s  %s\n' "$server" "$*"; }

complain() { # complain LINE…
    local line
    for line in "$@"; do say "$line" >&2; done
}

# fail MESSAGE [WHAT-TO-DO]: on standard error, and the end of this server's turn.
fail() {
    complain "$@"
    exit 1
}

needs() { # needs COMMAND WHERE-FROM
    command -v "$1" >/dev/null || fail "$1 is missing: $2." "$OTHERWISE"
}

# Install Debian packages; their own services are kept from starting.
debian() { # debian PACKAGE…
    local quiet=/usr/sbin/policy-rc.d made=''
    if ! { command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; }; then
        fail "$* must be installed, which this script only does as root on Debian." "$OTHERWISE"
    fi
    say "installing $* …"
    exec 8>"$SERVICES_CACHE/apt.lock"
    flock 8
    if [ ! -e "$quiet" ]; then
        made=1
        printf '#!/bin/sh\nexit 101\n' >"$quiet"
        chmod +x "$quiet"
    fi
    local outcome=0
    install_packages "$@" >"$SERVICES_CACHE/apt.log" 2>&1 || outcome=$?
    [ -z "$made" ] || rm "$quiet"
    exec 8>&-
    if [ "$outcome" != 0 ]; then
        tail -n 5 "$SERVICES_CACHE/apt.log" >&2
        fail "$* could not be installed: the whole story is in $SERVICES_CACHE/apt.log."
    fi
}

install_packages() {
    local options=(-y --no-install-recommends -o DPkg::Lock::Timeout=120)
    export DEBIAN_FRONTEND=noninteractive
    # A fresh machine has no package lists, or old ones.
    timeout 300 apt-get "${options[@]}" install "$@" && return
    timeout 120 apt-get update && timeout 300 apt-get "${options[@]}" install "$@"
}

# Where this machine gets Debian's packages from.
debian_site() {
    local site
    # shellcheck disable=SC2016 # apt's own placeholders
    site=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" { print $2; exit }')
    [ -n "$site" ] || fail "apt knows no source of Debian's packages: run apt-get update first."
    echo "$site"
}

# Make a file or folder of the cache, unless it is there. It has its name only once it is whole, and
# two who want it at the same time make it once.
once() { # once PATH COMMAND: called with the path to make it at
    [ ! -e "$1" ] || return 0
    exec 8>"$SERVICES_CACHE/$(basename "$1").lock"
    flock -w 900 8 || fail "somebody else has been making $1 for 15 minutes."
    if [ ! -e "$1" ]; then
        "$2" "$1.new"
        mv "$1.new" "$1"
    fi
    exec 8>&-
}

# ------------------------------------------------------------------------------------- processes

# Process ids come round again: with the time of its start one is the same process for certain.
born() { # born PID
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The name in brackets may hold anything; fields are counted behind it.
    read -ra stat <<<"${stat##*) }"
    [ "${stat[0]}" != Z ] && printf '%s\n' "${stat[19]}"
}

running() { # running NAME: is the process that was launched under this name alive?
    local pid start
    read -r pid start 2>/dev/null <"$SERVICES_DIR/$1.pid" || return 1
    # Without a start it was gone before it could be looked at.
    [ -n "$start" ] && [ "$(born "$pid")" = "$start" ]
}

# Start a server in a session of its own, so that Ctrl-C at this script leaves it alone.
launch() { # launch NAME COMMAND…
    local name=$1
    shift
    setsid "$@" >>"$SERVICES_DIR/$name.log" 2>&1 </dev/null 7>&- &
    printf '%s %s\n' "$!" "$(born $!)" >"$SERVICES_DIR/$name.pid"
}

# End what `launch` started, and nothing else.
halt() { # halt NAME SECONDS
    local pid tenths=$(($2 * 10))
    if running "$1"; then
        read -r pid _ <"$SERVICES_DIR/$1.pid"
        kill "$pid" 2>/dev/null || true # it may just have ended
        while running "$1" && [ $((tenths -= 1)) -gt 0 ]; do sleep 0.1; done
        if running "$1"; then
            say "$1 has not ended within $2 s and is killed"
            kill -KILL "$pid" 2>/dev/null || true
        fi
    fi
    rm -f "$SERVICES_DIR/$1.pid"
}

# Try until it succeeds, in a shell of its own; tells when that takes long, gives up when the
# process has ended.
ready() { # ready NAME SECONDS COMMAND…
    local name=$1 limit=$2 begun=$SECONDS told=2
    shift 2
    until ("$@") >/dev/null 2>&1; do
        if ! running "$name" || [ $((SECONDS - begun)) -ge "$limit" ]; then
            tail -n 15 "$SERVICES_DIR/$name.log" >&2
            running "$name" || fail "$name ended by itself; see $SERVICES_DIR/$name.log."
            halt "$name" 5
            fail "$name was not ready within $limit s; see $SERVICES_DIR/$name.log."
        fi
        if [ $((SECONDS - begun)) -ge $told ]; then
            say "waiting for $name, $((SECONDS - begun)) s so far …"
            told=$((told + 5))
        fi
        sleep 0.1
    done
}

# A server that somebody else runs there would be taken for ours.
must_be_free() { # must_be_free PORT VARIABLE
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
        fail "port $1 is taken by another program: stop it, or choose another port with $2."
    fi
}
