#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes every sample anew, in the tree or in the directory named.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
directory=${1:-$here/..}
for script in "$here"/*.sh; do
	name=$(basename "$script" .sh)
	case $name in
	all | lib) ;;
	*)
		echo "== $name"
		"$script" "$directory"
		;;
	esac
done
