# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Completion of nbdaudit(1) for bash.

_nbdaudit_captures() {
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

_nbdaudit() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} option
	local levels='violation suspect hazard note'
	local options='--format= --output= --messages --severity= --log= --overwrite --summary --quiet
		--port= --why= --debug= --exclusive --fail-on= --min-judged= --allow-unaudited
		--tls-keys= --memory= --threads= --shard= --baseline= --merge --extract= --anonymize --interface= --write= --list-interfaces --relinquish-privileges=
		--metrics= --metrics-file= --metrics-interval=
		--listen= --connect=
		--probe= --scratch --probe-connections= --probe-rounds= --probe-seconds= --probe-seed= --probe-kill=
		--list-rules --explain= --help --version'

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
	-f | --format)
		mapfile -t COMPREPLY < <(compgen -W 'text json html junit sarif' -- "$cur")
		return
		;;
	--log)
		mapfile -t COMPREPLY < <(compgen -W 'journal syslog' -- "$cur")
		return
		;;
	--threads)
		mapfile -t COMPREPLY < <(compgen -W '1 2' -- "$cur")
		return
		;;
	--severity)
		mapfile -t COMPREPLY < <(compgen -W "$levels" -- "$cur")
		return
		;;
	--fail-on)
		mapfile -t COMPREPLY < <(compgen -W "$levels never" -- "$cur")
		return
		;;
	--debug)
		mapfile -t COMPREPLY < <(compgen -W 'tcp order contents judge' -- "$cur")
		return
		;;
	--explain)
		mapfile -t COMPREPLY < <(compgen -W \
			"$("${COMP_WORDS[0]}" --list-rules 2>/dev/null | cut -d ' ' -f 1)" -- "$cur")
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
	-o | --output | -w | --write | --baseline | --metrics-file)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--listen | --connect)
		mapfile -t COMPREPLY < <(compgen -W 'unix: vsock:' -- "$cur")
		compopt -o nospace
		return
		;;
	-p | --port | --why | --min-judged | --memory | --shard | --extract | --metrics | --metrics-interval | --probe | --probe-*)
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		[[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace
		return
	fi
	_nbdaudit_captures "$cur"
}

complete -F _nbdaudit nbdaudit
