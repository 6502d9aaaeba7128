#!/bin/sh
# Ask every image server of a range of ports how it is: one JSON object a line on stdout, talk on stderr.
#
#     scripts/check_workers.sh [FIRST [LAST]]      default: 8090 8094, the documented ports
#     WORKERS_HOST=10.1.0.9 scripts/check_workers.sh       another machine
#
# The exit code is 0 when all are well, else 1.
set -eu

first=${1:-8090}
last=${2:-$((first + 4))}
host=${WORKERS_HOST:-127.0.0.1}  # not HOST, which some shells export as the name of this machine
case "$first$last" in *[!0-9]*) echo "expected port numbers, as in: $0 8090 8094" >&2; exit 2 ;; esac
command -v curl >/dev/null 2>&1 || { echo "curl is needed" >&2; exit 2; }

bad=0
port=$first
while [ "$port" -le "$last" ]; do
    # The body is followed by a line of its own with the status, 000 where nobody answers.
    answer=$(curl -s --noproxy '*' --max-time 10 -w '\n%{http_code}' "http://$host:$port/health") || true
    status=${answer##*
}
    body=$(printf '%s' "${answer%
*}" | tr -d '\r\n')
    case "$body" in '{'*'}') ;; *) body=null ;; esac
    printf '{"port": %s, "http": %s, "health": %s}\n' "$port" "${status#"${status%%[!0]*}"}" "$body" \
        | sed 's/"http": ,/"http": null,/'
    if [ "$status" = 200 ] && [ "$body" != null ]; then
        echo "port $port: well" >&2
    elif [ "$status" = 000 ]; then
        echo "port $port: nobody answers" >&2
        bad=$((bad + 1))
    else
        echo "port $port: not well, status $status" >&2
        bad=$((bad + 1))
    fi
    port=$((port + 1))
done

if [ "$bad" -gt 0 ]; then
    echo "$bad of $((last - first + 1)) workers are not well" >&2
    exit 1
fi
