#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The API keeps to buf.yaml and breaks no client of the last release. Fails on
# itself if buf does not find what it plants.
set -eu
root=${SOURCE_DIR:-$(dirname "$0")/../..}

"$root/scripts/buf"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
while IFS='|' read -r from to rule; do
	rm -rf "${copy:?}"/*
	mkdir -p "$copy/tests/check"
	cp -r "$root/proto" "$root/buf.yaml" "$copy"
	cp -r "$root/tests/check/released" "$copy/tests/check"
	sed -i "s/$from/$to/" "$copy/proto/pcap/v1/pcap.proto"
	if found=$("$root/scripts/buf" "$copy" 2>&1); then
		echo "not found: $rule"
		exit 1
	fi
	case $found in
	*"$rule"*) ;;
	*)
		echo "expected '$rule', got: $found"
		exit 1
		;;
	esac
done <<'END'
int64 until_ns = 2|int64 untilNs = 2|should be lower_snake_case
uint64 keep_bytes = 22|uint64 keep_bytes = 41|"22" with name "keep_bytes" on message "Capture"
service Pcap|service Tape|service "Pcap" was deleted
END
echo "the API fits"
