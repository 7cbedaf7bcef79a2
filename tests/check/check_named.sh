#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What the documents name in `quotes` is there: a file or folder, under src or
# not, and of "file.c function" the function in it. CONTRIBUTING.md names every
# file with a lock. Fails also if it does not find what it plants.
set -eu
cd "${SOURCE_DIR:-$(dirname "$0")/../..}"

# Names a line, "file" or "file function"; prints those that are not there.
missing() {
	while read -r file function; do
		case $file in
		../*) continue ;; # beside the tree
		*/*) path=$(ls -d "$file" "src/$file" 2>/dev/null || :) ;;
		*) path=$(find . -name "$file" -not -path './build/*') ;;
		esac
		if [ -z "$path" ]; then
			echo "there is no $file"
		elif [ "${file%.c}" != "$file" ] && [ "$function" ] &&
			! grep -Eq "^([a-z].*[ *])?$function\(" "$path"; then
			echo "$file has no $function"
		fi
	done
}

[ "$(printf 'no.c\nserver/no.h\nserver/wire.c\nserver/wire.c no\n' | missing |
	wc -l)" = 3 ] || {
	echo "$0 does not find what is missing" >&2
	exit 1
}

documents="README.md GLOSSARY.md CONTRIBUTING.md SECURITY.md"
folders=$(ls -d .ci */ src/*/ | sed 's:/$::; s:^src/::' | paste -sd '|')
# A quote may go over the end of a line.
wrong=$(for d in $documents; do
	sed '/^```/,/^```/d' "$d" | tr '\n' ' ' | grep -oE '`[^`]+`' | tr -d '`' |
		grep -E "^($folders)/|^[a-z_/]+\.(c|h|py|sh|proto)( |$)" |
		missing | sed "s/^/$d: /"
done
grep -rlE '^(static |	)pthread_mutex_t ' src | while read -r file; do
	grep -q "\`$file\`" CONTRIBUTING.md ||
		echo "CONTRIBUTING.md: the lock in $file is not in the table"
done)
[ -z "$wrong" ] || {
	echo "$wrong" >&2
	exit 1
}
