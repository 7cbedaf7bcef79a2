#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A block has one set of field names, in one order: struct block_info, the
# columns of the table blocks, and message BlockInfo (there also its numbers).
set -eu
root=${SOURCE_DIR:-$(dirname "$0")/../..}

# Each prints a name a line.
c_fields() {
	awk '/^struct block_info \{/ { inside = 1; next }
	     inside && /^\}/ { exit }
	     inside && match($0, /[a-z_0-9]+;/) {
		print substr($0, RSTART, RLENGTH - 1)
	     }' "$1"
}

# What SQLite itself makes of all migrations.
sql_fields() {
	cat "$1"/*.sql | sqlite3 :memory: -cmd '.bail on' \
		'.read /dev/stdin' \
		"SELECT name FROM pragma_table_info('blocks') ORDER BY cid"
}

proto_fields() {
	awk '/^message BlockInfo \{/ { inside = 1; next }
	     inside && /^\}/ { exit }
	     inside && match($0, /[a-z_0-9]+ *= *[0-9]+;/) {
		split(substr($0, RSTART, RLENGTH), part, / *= */)
		print part[1] (part[2] + 0 == ++n ? "" : " is not number " n)
	     }' "$1"
}

# $1: a folder like the checkout.
check() {
	c_fields "$1/src/packet/block.h" >"$work/c"
	sql_fields "$1/schema" >"$work/sql" || return 1
	proto_fields "$1/proto/pcap/v1/pcap.proto" >"$work/proto"
	[ -s "$work/c" ] && diff "$work/c" "$work/sql" &&
		diff "$work/c" "$work/proto"
}

if ! command -v sqlite3 >/dev/null; then
	echo "SKIPPED: no sqlite3; scripts/packages installs it"
	exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check "$root" || {
	echo "block_info (<), and the table or the message (>) differ"
	exit 1
}

# A difference in any of the three has to be found. sed on the copy: $2.
differs() {
	rm -rf "$work/copy"
	mkdir -p "$work/copy/src/packet"
	cp "$root/src/packet/block.h" "$work/copy/src/packet"
	cp -r "$root/schema" "$root/proto" "$work/copy"
	# shellcheck disable=SC2086 # a pattern
	sed -i "$2" "$work/copy/"$1
	if check "$work/copy" >/dev/null; then
		echo "not found: $2 in $1"
		exit 1
	fi
}
differs src/packet/block.h '/uint64_t raw_bytes;/d'
differs src/packet/block.h 's/int64_t min_ns;/int64_t least_ns;/'
differs 'schema/*.sql' 's/raw_bytes/bytes_raw/'
differs proto/pcap/v1/pcap.proto '/^message BlockInfo/,/^}/s/packets = 7/packets = 17/'
differs proto/pcap/v1/pcap.proto '/^message BlockInfo/,/^}/s/first_ns/start_ns/'
echo "a block has the same fields everywhere: $(tr '\n' ' ' <"$work/c")"
