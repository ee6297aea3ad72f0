# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Completion of nbdtop(1) for bash.

_nbdtop_captures() {
	local IFS=$'\n' file
	compopt -o filenames
	COMPREPLY=()
	for file in $(compgen -f -- "$1"); do
		if [[ -d $file || $file =~ \.(pcap|pcapng|cap)(\.(gz|zst|lz4|xz|bz2))?$ ]]; then
			COMPREPLY+=("$file")
		fi
	done
	# Captures have any names: where none has a usual one, all files.
	((${#COMPREPLY[@]})) || mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_nbdtop() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} option
	local options='--interface= --listen= --connect= --write= --overwrite --snaplen= --latency-only
		--list-interfaces --relinquish-privileges= --replay= --port= --exclusive
		--severity= --tls-keys= --memory= --ring= --history= --color= --ascii --no-mouse
		--metrics= --metrics-file= --metrics-interval= --headless --help
		--version'

	COMPREPLY=()
	# --option=value comes in three words, or two
	if [[ $cur == = ]]; then
		cur='' option=$prev
	elif [[ $prev == = ]] && ((COMP_CWORD > 1)); then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	else
		option=$prev
	fi
	case $option in
	--severity)
		mapfile -t COMPREPLY < <(compgen -W 'violation suspect hazard note' -- "$cur")
		return
		;;
	--color)
		mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$cur")
		return
		;;
	-i | --interface)
		mapfile -t COMPREPLY < <(compgen -W \
			"any $(ls /sys/class/net 2>/dev/null)" -- "$cur")
		return
		;;
	-Z | --relinquish-privileges)
		mapfile -t COMPREPLY < <(compgen -u -- "$cur")
		return
		;;
	-w | --write | --tls-keys | --metrics-file)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--listen | --connect)
		mapfile -t COMPREPLY < <(compgen -W 'unix: vsock:' -- "$cur")
		compopt -o nospace
		return
		;;
	-s | --snaplen | --replay | -p | --port | --memory | --ring | --history | \
		--metrics | --metrics-interval)
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		[[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace
		return
	fi
	_nbdtop_captures "$cur"
}

complete -F _nbdtop nbdtop
