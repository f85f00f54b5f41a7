#!/usr/bin/env bash
# Walks "Behind nginx" of docs/deploy.md: its nginx.conf and its settings, with other ports and a certificate of our own.
# usage: nginx.sh OFFHOOK FOLDER
set -euo pipefail
offhook=$1 work=$2
page=$(dirname "${BASH_SOURCE[0]}")/../../docs/deploy.md
secret=a-secret-of-the-test

fail() { echo "nginx: $*" >&2; exit 1; }

nginx=$(PATH=$PATH:/usr/sbin type -P nginx || true)
mkdir -p "$work"
if [[ ! $nginx ]]; then
  # Unpacked only: installing it would start a server on port 80.
  (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root nginx && dpkg-deb -x nginx_*.deb .) >"$work/apt.log" 2>&1 || {
    echo "packages: THE SET-UP WITH NGINX IS NOT TESTED: nginx is missing" >&2
    exit 0
  }
  nginx=$work/usr/sbin/nginx
fi

block() { # language; the first one below the heading
  sed -n '/^## Behind nginx/,/^## /p' "$page" | sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" | sed '/^```/d'
}

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
  -keyout "$work/key.pem" -out "$work/cert.pem" 2>"$work/openssl.log" || fail "$(<"$work/openssl.log")"

{
  block toml | sed 's/127.0.0.1:5000/127.0.0.1:0/'
  printf '[admin]\nbind = "127.0.0.1:0"\n[journal]\npath = "%s/data"\n' "$work"
  printf '[[sources]]\nname = "codeskytz"\nsecrets = ["%s"]\n' $secret
} >"$work/settings.toml"
"$offhook" serve --settings "$work/settings.toml" >"$work/offhook.log" 2>&1 &
server=$!
stop() { kill "$server" 2>/dev/null || true; [[ ! -f $work/nginx.pid ]] || kill "$(<"$work/nginx.pid")" 2>/dev/null || true; }
trap stop EXIT
for _ in $(seq 300); do grep -q 'is listening' "$work/offhook.log" && break; sleep 0.1; done
port=$(sed -n 's|.*http://127.0.0.1:\([0-9]*\)/webhook.*|\1|p' "$work/offhook.log" | head -n 1)
[[ $port ]] || fail "offhook does not listen: $(<"$work/offhook.log")"
tls=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

{
  printf 'worker_processes 1;\npid %s/nginx.pid;\nerror_log %s/error.log;\nevents {}\nhttp {\naccess_log off;\n' "$work" "$work"
  for name in client_body proxy fastcgi uwsgi scgi; do printf '%s_temp_path %s/%s;\n' $name "$work" $name; done
  block nginx | sed "s|listen 443 ssl|listen 127.0.0.1:$tls ssl|; s|hooks.example.com;|localhost;|; s|127.0.0.1:5000|127.0.0.1:$port|;
    s|/etc/letsencrypt/live/.*/fullchain.pem|$work/cert.pem|; s|/etc/letsencrypt/live/.*/privkey.pem|$work/key.pem|"
  echo '}'
} >"$work/nginx.conf"
((EUID)) || sed -i '1i user root;' "$work/nginx.conf"
"$nginx" -p "$work" -c "$work/nginx.conf" -e "$work/error.log" || fail "$(<"$work/error.log")"

"$offhook" send --ca "$work/cert.pem" --secret $secret "https://localhost:$tls/webhook" >"$work/sent" 2>&1 ||
  fail "no event comes through: $(<"$work/sent"); $(<"$work/error.log")"
# A wrong secret is refused, and the log names the sender that nginx names. A sender cannot name another one.
"$offhook" send --ca "$work/cert.pem" --secret another-secret "https://localhost:$tls/webhook" >"$work/refused" 2>&1 &&
  fail "a wrong secret is accepted"
for _ in $(seq 100); do grep -q 'answered 401' "$work/offhook.log" && break; sleep 0.1; done
grep -q 'from 127.0.0.1: answered 401' "$work/offhook.log" || fail "$(<"$work/offhook.log")"
head=$(python3 - "$tls" <<'PY'
import ssl, sys, urllib.request, urllib.error
context = ssl._create_unverified_context()
try:
    urllib.request.urlopen(f"https://localhost:{sys.argv[1]}/api/events", context=context, timeout=30)
except urllib.error.HTTPError as error:
    print(error.code)
PY
)
[[ $head == 404 ]] || fail "the API is open to the world: $head"
kill -TERM $server
wait $server || fail "offhook has not stopped: $(<"$work/offhook.log")"
