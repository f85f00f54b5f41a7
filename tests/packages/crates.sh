#!/usr/bin/env bash
# The crates as crates.io would get them: each may be published, in their order, and the command can be installed of
# their archives alone, without a network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

crates=(offhook-handlers offhook-durability offhook)
named=()
for crate in "${crates[@]}"; do named+=(-p "$crate"); done
dirty=()
# For a developer; CI has everything committed.
[[ -z $(git status --porcelain) ]] || dirty=(--allow-dirty)
built=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
# Elsewhere: below this folder it would be taken for a part of the workspace.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "crates: $*" >&2; exit 1; }

# What the archive holds is built below, once.
cargo publish --dry-run --no-verify --locked "${dirty[@]}" "${named[@]}" 2>&1 | tee target/publish.log | grep -E '^ +(Packaged|Uploading)|^warning|^error' ||
  fail "$(<target/publish.log)"
if grep -E '^warning: manifest has no|^error' target/publish.log; then fail "the metadata is not complete"; fi
[[ $(grep -c Uploading target/publish.log) == "${#crates[@]}" ]] || fail "$(<target/publish.log)"

cargo package --no-verify --locked --quiet "${dirty[@]}" "${named[@]}" 2>/dev/null
patches=()
for crate in "${crates[@]}"; do
  archive=$(echo "$built/package/$crate"-[0-9]*.crate)
  tar -C "$work" -xzf "$archive"
  folder=$work/$(basename "$archive" .crate)
  for file in README.md LICENSE-MIT LICENSE-APACHE Cargo.lock; do
    [[ $file == Cargo.lock && $crate != offhook ]] || [[ -s $folder/$file ]] || fail "$crate has no $file"
  done
  [[ $crate == offhook ]] || patches+=(--config "patch.crates-io.$crate.path=\"$folder\"")
done
cargo install --quiet --debug --offline --no-track --root "$work/root" --target-dir "$built" "${patches[@]}" \
  --path "$work"/offhook-[0-9]*
mkdir "$work/try"
(cd "$work/try" && "$work/root/bin/offhook" init >/dev/null 2>&1 && "$work/root/bin/offhook" check >/dev/null)
"$work/root/bin/offhook" --version
