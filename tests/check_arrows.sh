#!/bin/sh
# Which folder may include what of which. Fails on an arrow that points the
# wrong way, and on itself if it does not find arrows that it plants.
#   usage: check_arrows.sh            the checkout's src, and the self-test
set -eu
root=${SOURCE_DIR:-$(dirname "$0")/..}

# from: to ...     (the folders of src; words is src itself)
allowed='words: words
capture: capture words
store: store words
control: control capture store words
server: server control capture store words proto
client: client words proto
cli: cli client words proto
pcapd: words capture store control server proto'

# Prints a line for each wrong include under $1; fails if there is one.
check() {
	(cd "$1" && find . -name '*.[ch]' | sort |
		xargs grep -n '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' \
			/dev/null) |
	awk -v src="$1" -v allowed="$allowed" '
	function folder(path) {
		if (path ~ /\.pb-c\.h$/) return "proto"
		if (path ~ /^rpc\/client/) return "client"
		if (path ~ /^rpc\//) return "server"
		if (path ~ /^pcapd\.c$/) return "pcapd"
		if (path !~ /\//) return "words"
		sub(/\/.*/, "", path)
		return path
	}
	# As the compiler looks: beside the including file, then from src.
	function resolve(dir, path,    line) {
		if (path ~ /^\.\.\//) return substr(path, 4)
		if ((getline line < (src "/" dir path)) < 0) return path
		close(src "/" dir path)
		return dir path
	}
	BEGIN {
		n = split(allowed, line, "\n")
		for (i = 1; i <= n; i++) {
			m = split(line[i], word, /:? +/)
			for (j = 2; j <= m; j++) ok[word[1], word[j]] = 1
		}
	}
	{
		split($0, part, ":")
		file = substr(part[1], 3)
		dir = file ~ /\// ? file : ""
		sub(/[^\/]*$/, "", dir)
		match($0, /"[^"]*"/)
		to = resolve(dir, substr($0, RSTART + 1, RLENGTH - 2))
		from = folder(file)
		if (!((from, folder(to)) in ok)) {
			printf "src/%s:%s: %s may not include %s of %s\n",
				file, part[2], from, to, folder(to)
			bad = 1
		}
		if (from == "cli" && folder(to) == "client" &&
		    to != "rpc/client.h") {
			printf "src/%s:%s: only rpc/client.h, not %s\n",
				file, part[2], to
			bad = 1
		}
		seen++
	}
	END {
		if (!seen) {
			print "no includes found"
			bad = 1
		}
		exit bad
	}'
}

check "$root/src" || exit 1

# A planted arrow has to be found, and to be the only thing that is.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
while read -r file include; do
	rm -rf "$copy/src"
	cp -r "$root/src" "$copy/src"
	printf '#include "err.h"\n  # include "%s"\n' "$include" \
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
done <<'EOF'
planted.c store/store.h
planted.h control/control.h
capture/planted.c ../store/store.h
capture/planted.c control/control.h
store/planted.c ../capture/capture.h
store/planted.h ../rpc/server.h
control/planted.c rpc/server.h
control/control.h pcap.pb-c.h
rpc/planted.c client.h
rpc/client_planted.c ../control/control.h
rpc/client_planted.c server.h
cli/planted.c ../rpc/server.h
cli/planted.c ../rpc/client_inner.h
cli/planted.c ../store/store.h
pcapd.c cli/cli.h
EOF
echo "arrows point the right way"
