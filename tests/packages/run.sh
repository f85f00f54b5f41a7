#!/usr/bin/env bash
# Builds the packages, and uses each as a user does: see `./test packages`. Every step says how long it took.
#
#   run.sh            does nothing where the tools for it cannot be had
#   run.sh required   fails there
#   run.sh built      the same, with what packaging/build.sh has built before
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mode=${1:-}
work=$PWD/target/packages-test
offhook=$PWD/target/packages/stage/offhook
secret=a-secret-of-the-test
# What else to ask a server while it runs.
check=true

fail() { echo "packages: $*" >&2; exit 1; }

timed() { # what, command
  local from=$SECONDS
  "${@:2}"
  echo "    packages: $1: $((SECONDS - from)) s"
}

# What is missing comes by apt-get and rustup for root. Returns 1 with a loud line if something cannot be had.
tools() {
  local missing=() name
  for name in musl-gcc:musl-tools lintian:lintian mmdebstrap:mmdebstrap buildah:buildah; do
    command -v "${name%%:*}" >/dev/null || missing+=("${name#*:}")
  done
  if ((${#missing[@]})) && ((EUID == 0)) && command -v apt-get >/dev/null; then
    apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$work/apt.log" 2>&1 ||
      true
  fi
  for name in musl-gcc lintian mmdebstrap buildah; do
    command -v $name >/dev/null || { skip "$name is missing (packages musl-tools, lintian, mmdebstrap, buildah)"; return 1; }
  done
  ((EUID == 0)) || { skip "a clean root needs root"; return 1; }
  rustup target list --installed 2>/dev/null | grep -q "^$(uname -m)-unknown-linux-musl$" ||
    rustup target add "$(uname -m)-unknown-linux-musl" || { skip "the musl target cannot be installed"; return 1; }
  export PATH=$PWD/target/tools/bin:$PATH
  cargo deb --version >/dev/null 2>&1 && return
  # Optimised little: the build is what takes the time.
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 cargo install --quiet --locked --root target/tools \
    --target-dir target/tools/build --no-default-features cargo-deb@3.8.0
  rm -rf target/tools/build
}

skip() { echo "packages: NOT TESTED, NOTHING WAS BUILT: $*" >&2; }

# The first block of this language below a heading of docs/deploy.md, or all of them.
block() { # heading, language
  sed -n "/^## $1\$/,/^## /p" docs/deploy.md | sed -n "/^\`\`\`$2\$/,/^\`\`\`\$/p" | sed '/^```/d'
}

# The profile of a release would take four times as long. What is checked here does not depend on it.
build() {
  [[ $mode == built ]] || CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    CARGO_PROFILE_RELEASE_DEBUG=0 packaging/build.sh
  if ldd "$offhook" 2>/dev/null | grep -q '=>'; then fail "the binary is not static"; fi
}

# Starts a server, waits until it listens, sends it a signed event, and stops it: it must end by itself with 0.
receives() { # name, the command
  local log=$work/$1.log url found pid
  "${@:2}" >"$log" 2>&1 </dev/null &
  local job=$!
  for _ in $(seq 300); do
    grep -q 'is listening' "$log" && break
    kill -0 $job 2>/dev/null || fail "$1 has ended: $(<"$log")"
    sleep 0.1
  done
  url=$(grep -o 'http://127.0.0.1:[0-9]*/webhook' "$log" | head -n 1)
  [[ $url ]] || fail "$1 does not listen: $(<"$log")"
  "$offhook" send "$url" --secret $secret >"$work/$1.sent" 2>&1 || fail "$1 takes no event: $(<"$work/$1.sent")"
  "$offhook" send "$url" --secret another-secret >"$work/$1.refused" 2>&1 && fail "$1 takes an event with a wrong secret"
  grep -q 401 "$work/$1.refused" || fail "$1: $(<"$work/$1.refused")"
  $check || fail "$1 is not healthy: $(cat "$work"/health.log)"
  pid=$(last_of $job)
  kill -TERM "$pid"
  wait $job || fail "$1 has not stopped gracefully: $(<"$log")"
  grep -q 'stopped' "$log" || fail "$1 has not stopped: $(<"$log")"
  grep -q 'New message from' "$log" || fail "$1 has handed nothing to its handler: $(<"$log")"
}

# The innermost process: buildah runs others in between.
last_of() { # process
  local pid=$1 child
  while child=$(pgrep -P "$pid" -x offhook || pgrep -P "$pid" | head -n 1); [[ $child ]]; do pid=$(head -n 1 <<<"$child"); done
  echo "$pid"
}

settings() { # file, journal
  cat >"$1" <<TOML
[server]
bind = "127.0.0.1:0"
[admin]
bind = "127.0.0.1:0"
[journal]
path = "$2"
[[sources]]
name = "codeskytz"
secrets = ["$secret"]
[[handlers]]
name = "console"
use = "log"
TOML
}

archive() {
  mkdir "$work/archive"
  tar -C "$work/archive" --strip-components=1 -xzf target/packages/offhook-*.tar.gz
  (cd target/packages && sha256sum --quiet -c SHA256SUMS)
  for file in offhook offhook.service settings.toml LICENSE-MIT completions/offhook.bash man/offhook-serve.1; do
    [[ -s $work/archive/$file ]] || fail "the archive has no $file"
  done
  settings "$work/archive.toml" "$work/archive-data"
  receives archive "$work/archive/offhook" serve --settings "$work/archive.toml"
}

lint() {
  local told
  told=$(lintian --allow-root --fail-on error --info target/packages/*.deb 2>&1) || fail "lintian: $told"
  echo "$told" | grep '^W:' || true
}

# Everything in a root but what dpkg itself writes.
contents() { (cd "$work/root" && find . -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -print | LC_ALL=C sort); }

debian() {
  local root=$work/root deb
  mmdebstrap --quiet --variant=essential --include=init-system-helpers "$(. /etc/os-release && echo "$VERSION_CODENAME")" \
    "$root" >"$work/mmdebstrap.log" 2>&1 || fail "mmdebstrap: $(<"$work/mmdebstrap.log")"
  mkdir -p "$root/etc/systemd/system/sockets.target.wants"
  contents >"$work/before"
  deb=$(echo target/packages/*.deb)
  cp "$deb" "$root/offhook.deb"
  in_root dpkg -i /offhook.deb
  [[ -L $root/etc/systemd/system/multi-user.target.wants/offhook.service ]] || fail "the service is not enabled"
  # As it is installed, it would start.
  in_root offhook check --settings /etc/offhook/settings.toml
  in_root offhook --version
  sed -i "s/127.0.0.1:500[01]/127.0.0.1:0/; s/your-secret-key/$secret/" "$root/etc/offhook/settings.toml"
  in_root install -d -o 65532 -g 65532 /var/lib/offhook
  as_service() { chroot --userspec=65532:65532 "$root" /usr/bin/offhook serve --settings /etc/offhook/settings.toml; }
  receives debian as_service
  in_root offhook journal verify --settings /etc/offhook/settings.toml
  block 'Back up and restore' sh | sed '/systemctl/d; s/^sudo //' >"$root/restore"
  in_root sh -e /restore
  [[ -d $root/var/lib/offhook/data.old ]] || fail "docs/deploy.md restores no backup"
  receives restored as_service
  rm -r "$root/restore" "$root/var/backups/offhook-monday"
  # The same again, as an upgrade: changed settings stay.
  in_root dpkg -i --force-confold /offhook.deb
  grep -q $secret "$root/etc/offhook/settings.toml" || fail "an upgrade has replaced the settings"
  in_root dpkg -r offhook
  [[ ! -e $root/usr/bin/offhook ]] || fail "the program is still there after its removal"
  [[ -e $root/etc/offhook/settings.toml && -e $root/var/lib/offhook/data/journal.db ]] ||
    fail "a removal has taken settings or events with it"
  # As `systemctl enable` leaves it.
  ln -s /lib/systemd/system/offhook.socket "$root/etc/systemd/system/sockets.target.wants/"
  in_root dpkg -P offhook
  rm "$root/offhook.deb"
  contents | diff "$work/before" - || fail "a purge leaves files behind"
}

in_root() { chroot "$work/root" "$@" >"$work/in-root.log" 2>&1 || fail "in the clean root: $*: $(<"$work/in-root.log")"; }

image() {
  local name=offhook-test container shown admin settings=$work/image.toml
  export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
  images() { buildah --root "$work/images" --runroot "$work/images-run" "$@"; }
  images build --format docker -f packaging/Containerfile -t $name target/packages/image >"$work/build.log" 2>&1 ||
    fail "buildah: $(<"$work/build.log")"
  container=$(images from $name)
  shown=$(images inspect --format '{{.Docker.Config.User}} {{.Docker.Config.Healthcheck.Test}}' "$container")
  [[ $shown == '65532:65532 [CMD /usr/bin/offhook health '* ]] || fail "the image's user or health check: $shown"
  # The settings of docs/deploy.md, with other ports.
  block 'In a container' toml | sed 's/0.0.0.0:5000/0.0.0.0:0/' >"$settings"
  printf %s $secret >"$work/image.secret"
  chmod 644 "$settings" "$work/image.secret"
  admin=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  run() {
    images run --user 65532:65532 --env "OFFHOOK__ADMIN__BIND=127.0.0.1:$admin" \
      -v "$settings:/etc/offhook/settings.toml:ro" -v "$work/image.secret:/run/secrets/codeskytz:ro" "$container" -- "$@"
  }
  healthy() { run /usr/bin/offhook health --settings /etc/offhook/settings.toml >"$work/health.log" 2>&1; }
  check=healthy
  receives image run /usr/bin/offhook serve --settings /etc/offhook/settings.toml
  check=true
  # Nobody listens any more.
  if healthy; then fail "a stopped server is healthy"; fi
  images rm "$container" >/dev/null
}

alerts() {
  local promtool=promtool folder=$work/prometheus
  if ! command -v promtool >/dev/null; then
    mkdir -p "$folder"
    (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg-deb -x prometheus_*.deb .) || {
      echo "packages: THE ALERT RULES ARE NOT CHECKED: promtool is missing (package prometheus)" >&2
      return
    }
    promtool=$folder/usr/bin/promtool
  fi
  "$promtool" check config packaging/prometheus/offhook-scrape.yml
  "$promtool" test rules tests/packages/alerts_test.yml
}

rm -rf "$work"
mkdir -p "$work"
timed "alert rules" alerts
tools || { [[ ! $mode ]]; exit; }
timed "release build" build
timed "archive" archive
timed "lintian" lint
timed "Debian package in a clean root" debian
timed "image" image
timed "behind nginx, as docs/deploy.md says" tests/packages/nginx.sh "$offhook" "$work/nginx"
rm -rf "$work"
