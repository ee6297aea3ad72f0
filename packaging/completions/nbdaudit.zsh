#compdef nbdaudit
# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of nbdaudit(1) for zsh.

local -a levels
levels=(violation suspect hazard note)

_nbdaudit_rules() {
	local -a rules
	rules=(${(f)"$(_call_program rules $words[1] --list-rules 2>/dev/null | cut -d ' ' -f 1)"})
	_describe rule rules
}

_nbdaudit_captures() {
	_files -g '*.(pcap|pcapng|cap)(|.(gz|zst|lz4|xz|bz2))' || _files
}

_arguments -s -S \
	'(-f --format)'{-f+,--format=}'[form of the report]:form:(text json html junit sarif)' \
	'(-o --output)'{-o+,--output=}'[write the report to a file]:file:_files' \
	'(-m --messages)'{-m,--messages}'[also every decoded message]' \
	"--severity=[leave out findings below]:level:($levels)" \
	'--log=[also send each finding to the journal, or to syslog]:log:(journal syslog)' \
	'--overwrite[do not ask before a file is overwritten]' \
	'--summary[only the verdict and the counts a rule]' \
	'(-q --quiet)'{-q,--quiet}'[no report, only the exit status]' \
	'*'{-p+,--port=}'[further server ports]:ports:_ports' \
	'--why=[also why the reads of a frame were judged as they were]:frame:' \
	'--debug=[print the steps of the engine]:topic:_values -s , topic tcp order contents judge' \
	'--exclusive[no writer stays outside the capture]' \
	"--fail-on=[exit 1 on findings at or above]:level:($levels never)" \
	'--min-judged=[exit 3 if less was judged]:percent:' \
	'--allow-unaudited[exit 0 if there was nothing to audit]' \
	'--tls-keys=[look inside TLS with the keys of this log]:file:_files' \
	'--memory=[the most memory for contents and state]:size:' \
	'--threads=[how many work on a capture]:threads:(1 2)' \
	'--shard=[judge only the servers of shard K/N]:shard:' \
	'--baseline=[compare with an earlier report in JSON]:file:_files' \
	'--merge[make one report of reports in JSON]' \
	'--extract=[also write what proves a finding]:number:' \
	'--anonymize[with other addresses, names and contents]' \
	'--probe=[drive a server on purpose]:uri:' \
	'--scratch[what the export holds may be destroyed]' \
	'--probe-connections=[connections at a time]:number:' \
	'--probe-rounds=[how often each question is asked]:number:' \
	'--probe-seconds=[begin nothing new after so long]:seconds:' \
	'--probe-seed=[of contents and of what is left to chance]:number:' \
	'--probe-kill=[a command that starts the server anew]:command:_cmdstring' \
	'(-i --interface)'{-i+,--interface=}'[audit live traffic]:interface:_net_interfaces' \
	'(-w --write)'{-w+,--write=}'[also save the packets]:file:_files' \
	'(-D --list-interfaces)'{-D,--list-interfaces}'[the interfaces that there are]' \
	'(-Z --relinquish-privileges)'{-Z+,--relinquish-privileges=}'[whom root becomes]:user:_users' \
	'--metrics=[serve metrics for Prometheus]:address and port:' \
	'--metrics-file=[write metrics to a file]:file:_files' \
	'--metrics-interval=[how often that file is written]:seconds:' \
	'--listen=[relay\: clients connect here]:address:(unix\: vsock\:)' \
	'--connect=[relay\: to this server]:address:(unix\: vsock\:)' \
	'--list-rules[what is looked for]' \
	'--explain=[what a rule means]:rule:_nbdaudit_rules' \
	'(-h --help)'{-h,--help}'[help]' \
	'(-V --version)'{-V,--version}'[the version]' \
	'*:capture:_nbdaudit_captures'
