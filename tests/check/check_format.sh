#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Every C file is as clang-format 14 writes it with .clang-format.
set -eu
cd "${SOURCE_DIR:-$(dirname "$0")/../..}"

format=$(command -v clang-format-14 || command -v clang-format) || {
	echo "SKIPPED: no clang-format; scripts/packages installs it"
	exit 77
}
case $($format --version) in
*' version 14.'*) ;;
*)
	echo "SKIPPED: $($format --version) is not version 14"
	exit 77
	;;
esac
files=$(find src tests bench -name '*.[ch]' | sort)
[ -n "$files" ] || exit 1
# shellcheck disable=SC2086 # names without blanks
$format --dry-run -Werror $files || {
	echo "Mend it with: $format -i \$(find src tests bench -name '*.[ch]')"
	exit 1
}
