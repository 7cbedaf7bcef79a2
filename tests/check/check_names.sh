#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A name is one thing: no function of src is defined in two files, no tag of a
# struct, union or enum means two things. Fails on itself if it does not find
# what it plants.
set -eu
root=${SOURCE_DIR:-$(dirname "$0")/../..}

command -v ctags >/dev/null || {
	echo "SKIPPED: no ctags; scripts/packages installs it"
	exit 77
}

# Prints a line for each name that is in two places; fails if there is one.
check() {
	(cd "$1" && ctags -x --languages=C --langmap=C:.c.h \
		--c-kinds=fsug --_xformat='%N %K %F' -R src) |
	awk '
	$1 ~ /^__anon/ || $1 == "main" { next }
	{ seen++ }
	$2 != "function" { $2 = "tag" }
	($2, $1) in at {
		if (at[$2, $1] != $3 || $2 == "tag") {
			printf "%s %s: in %s and in %s\n", $2, $1, at[$2, $1], $3
			bad = 1
		}
		next
	}
	{ at[$2, $1] = $3 }
	END {
		if (!seen) {
			print "no names found"
			bad = 1
		}
		exit bad
	}'
}

check "$root" || exit 1

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$root/src" "$copy/src"
while read -r text; do
	printf '%s\n' "$text" >"$copy/src/base/planted.c"
	if found=$(check "$copy"); then
		echo "not found: $text"
		exit 1
	fi
	case $found in
	*src/base/planted.c*) ;;
	*)
		echo "expected src/base/planted.c, got: $found"
		exit 1
		;;
	esac
done <<'EOF'
static int64_t monotonic_ns(void) { return 0; }
struct block { int planted; };
enum err_kind { PLANTED };
EOF
echo "a name is one thing"
