#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Which folder of src may include what of which: a folder knows only those
# before it. Fails on an include that is not allowed, on one that does not name
# its folder, on a header that only its own .c includes, on a test of tests/e2e
# that imports another, and on itself if it does not find what it plants.
set -eu
root=${SOURCE_DIR:-$(dirname "$0")/../..}

# from: to ...          (itself may always)
allowed='base:
packet: base
zpack:
index: base packet
capture: base packet
store: base packet zpack index
fsck: base store
control: base packet capture store
tls: base
server: base packet store control tls proto
daemon: base packet capture store fsck control tls server
client: base tls proto
cli: base packet tls client proto'

# Prints a line for each wrong include under $1; fails if there is one.
check() {
	(cd "$1" && find . -name '*.h' | sed 's/$/ is a header/' &&
		find . -name '*.[ch]' | sort |
		xargs grep -n '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' \
			/dev/null) |
	awk -v allowed="$allowed" '
	BEGIN {
		n = split(allowed, line, "\n")
		for (i = 1; i <= n; i++) {
			m = split(line[i], word, /:? +|:/)
			ok[word[1], word[1]] = 1
			for (j = 2; j <= m; j++) ok[word[1], word[j]] = 1
		}
	}
	sub(/ is a header$/, "") {
		header[substr($0, 3)] = 1
		next
	}
	{
		split($0, part, ":")
		file = substr(part[1], 3)
		from = file
		sub(/\/.*/, "", from)
		match($0, /"[^"]*"/)
		path = to = substr($0, RSTART + 1, RLENGTH - 2)
		if (path ~ /\.pb-c\.h$/) to = "proto"
		else if (!sub(/\/.*/, "", to)) to = "no folder"
		if (!((from, to) in ok)) {
			printf "src/%s:%s: %s may not include %s of %s\n",
				file, part[2], from, path, to
			bad = 1
		}
		sub(/\.c$/, ".h", file)
		if (file != path) needed[path] = 1
		seen++
	}
	END {
		if (!seen) {
			print "no includes found"
			bad = 1
		}
		for (h in header) if (!(h in needed)) {
			printf "src/%s: nobody but its .c needs it\n", h
			bad = 1
		}
		exit bad
	}'
}

# A test imports modules that are no tests.
check_tests() {
	! (cd "$1" && grep -nE '^[[:space:]]*(from|import) +e2e_' e2e_*.py)
}

check "$root/src" || exit 1
check_tests "$root/tests/e2e" || exit 1

# A planted arrow has to be found, and to be the only thing that is.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$root/src" "$copy/src"
while read -r file include; do
	printf '#include "base/err.h"\n  # include "%s"\n' "$include" \
		>"$copy/src/$file"
	if found=$(check "$copy/src"); then
		echo "not found: $file including $include"
		exit 1
	fi
	case $found in
	"src/$file:2: "*) ;;
	*)
		echo "expected src/$file:2, got: $found"
		exit 1
		;;
	esac
	rm "$copy/src/$file"
done <<'EOF'
base/planted.c packet/block.h
packet/planted.c capture/capture.h
capture/planted.c store/store.h
capture/planted.c ../store/store.h
store/planted.c fsck/fsck.h
store/planted.c store.h
index/planted.c store/store.h
control/planted.c server/server.h
control/planted.c pcap/v1/pcap.pb-c.h
server/planted.c client/client.h
client/planted.c control/captures.h
cli/planted.c server/server.h
cli/planted.c store/store.h
EOF
printf '    from e2e_live import Live\n' >"$copy/e2e_planted.py"
if check_tests "$copy" >/dev/null; then
	echo "not found: a test that imports another"
	exit 1
fi
printf '#include "base/err.h"\n' >"$copy/src/base/planted.h"
if found=$(check "$copy/src"); then
	echo "not found: a header that nobody includes"
	exit 1
fi
[ "$found" = 'src/base/planted.h: nobody but its .c needs it' ] || {
	echo "expected base/planted.h, got: $found"
	exit 1
}
echo "arrows point the right way"
