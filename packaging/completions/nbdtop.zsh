#compdef nbdtop
# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of nbdtop(1) for zsh.

_nbdtop_captures() {
	_files -g '*.(pcap|pcapng|cap)(|.(gz|zst|lz4|xz|bz2))' || _files
}

_arguments -s -S \
	'(-i --interface)'{-i+,--interface=}'[live traffic of an interface]:interface:_net_interfaces' \
	'--listen=[relay\: clients connect here]:address:(unix\: vsock\:)' \
	'--connect=[relay\: to this server]:address:(unix\: vsock\:)' \
	'(-w --write)'{-w+,--write=}'[also save the packets]:file:_files' \
	'--overwrite[do not ask before the file is overwritten]' \
	'(-s --snaplen)'{-s+,--snaplen=}'[so much of each packet]:bytes:' \
	'--latency-only[only the heads of messages]' \
	'(-D --list-interfaces)'{-D,--list-interfaces}'[the interfaces that there are]' \
	'(-Z --relinquish-privileges)'{-Z+,--relinquish-privileges=}'[whom root becomes]:user:_users' \
	'--replay=[play a file in its own time]:speed:' \
	'*'{-p+,--port=}'[further server ports]:ports:_ports' \
	'--exclusive[no writer stays outside the capture]' \
	'--severity=[leave out findings below]:level:(violation suspect hazard note)' \
	'--tls-keys=[look inside TLS with the keys of this log]:file:_files' \
	'--memory=[the most memory for contents and state]:size:' \
	'--ring=[memory for the last packets]:size:' \
	'--history=[messages that are kept]:number:' \
	'--color=[colours]:when:(auto always never)' \
	'--ascii[no line drawing characters]' \
	'--metrics=[serve metrics for Prometheus]:address and port:' \
	'--metrics-file=[write metrics to a file]:file:_files' \
	'--metrics-interval=[how often that file is written]:seconds:' \
	'--headless[without the screen, until a signal]' \
	'--no-mouse[leave the mouse to the terminal]' \
	'(-h --help)'{-h,--help}'[help]' \
	'(-V --version)'{-V,--version}'[the version]' \
	'*:capture:_nbdtop_captures'
