#!/bin/sh
# What Debian's `webhook` runs for each request that it has verified: appends the body, which is in the
# file $BODY, to the file it is told, as one line.
set -e
{ cat "$BODY"; echo; } >>"$1"
