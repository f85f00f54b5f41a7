#!/usr/bin/env bash
# Builds all that is released, of one static binary, into target/packages:
#
#   offhook-VERSION-ARCH-linux.tar.gz   the archive
#   offhook_VERSION-1_ARCH.deb          the Debian package
#   image/                              what packaging/Containerfile is built of
#   SHA256SUMS
#
# musl: one binary runs on every distribution and in an empty image, and it is what all three have, so what was
# tested in one holds for the others. The allocator is the program's own (mimalloc), not musl's.
#
# Needs: rustup target add ARCH-unknown-linux-musl, musl-gcc (musl-tools), cargo-deb. With cargo-auditable the binary
# holds the list of all crates that it is made of.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

machine=$(uname -m)
target=$machine-unknown-linux-musl
folder=target/packages
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)

build=(cargo build)
if cargo auditable --version >/dev/null 2>&1; then
  build=(cargo auditable build)
else
  echo "cargo-auditable is missing: the binary has no list of its crates"
fi
# With every engine: an image has nowhere to get another from.
"${build[@]}" --release --locked -p offhook --features postgres --target "$target"
built=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
built=$built/$target/release/offhook

rm -rf $folder
mkdir -p $folder/stage/man $folder/stage/completions $folder/image/data
strip -o $folder/stage/offhook "$built"
if [[ ${build[1]} == auditable ]]; then
  readelf -SW $folder/stage/offhook | grep -q '\.dep-v0' || { echo "the list of crates is not in the binary" >&2; exit 1; }
fi
$folder/stage/offhook man $folder/stage/man
for shell in bash zsh fish; do
  $folder/stage/offhook completions $shell >$folder/stage/completions/offhook.$shell
done

# A command finds the journal wherever it is started.
sed 's|^path = "data"  *#|path = "/var/lib/offhook/data"  #|' settings.toml >$folder/stage/settings.toml
grep -q '^path = "/var/lib/offhook/data"' $folder/stage/settings.toml

name=offhook-$version-$machine-linux
mkdir $folder/"$name"
cp -r $folder/stage/{offhook,man,completions} settings.toml README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT $folder/"$name"/
cp packaging/offhook.{service,socket} packaging/prometheus/*.yml $folder/"$name"/
tar -C $folder --owner=0 --group=0 --sort=name -czf $folder/"$name".tar.gz "$name"

gzip -9n $folder/stage/man/*.1
gzip -9nc CHANGELOG.md >$folder/stage/changelog.gz
cargo deb -p offhook --target "$target" --no-build --no-strip --quiet --output $folder/

cp $folder/stage/offhook $folder/image/
cp /etc/ssl/certs/ca-certificates.crt $folder/image/

(cd $folder && sha256sum "$name".tar.gz ./*.deb | sed 's| \./| |' >SHA256SUMS)
cat $folder/SHA256SUMS
