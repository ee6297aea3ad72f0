/* SPDX-License-Identifier: GPL-2.0-or-later */
/* audit_options.c - the command line of nbdaudit. See audit_options.h. */
#include "audit_options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/trace.h>

#include "report/catalogue.h"

/* Not of files. */
bool audit_is_live(const struct audit_options *o)
{
	return o->shared.interface || o->shared.listen;
}

static void print_help(void)
{
	fputs("Usage: nbdaudit [OPTION]... FILE...\n"
	      "       nbdaudit [OPTION]... -i INTERFACE [FILTER]\n"
	      "       nbdaudit [OPTION]... --listen=ADDRESS --connect=ADDRESS\n"
	      "       nbdaudit [OPTION]... --merge REPORT...\n"
	      "       nbdaudit [OPTION]... --probe=URI --scratch\n"
	      "\n"
	      "Decodes the NBD traffic in capture files, or on an interface, and reports what\n"
	      "each connection did and where flush, FUA or multi-conn promises were broken.\n"
	      "FILE is pcap or pcapng, plain or compressed with gzip, zstd, lz4, xz or bzip2;\n"
	      "'-' is standard input. Several FILEs are one capture each. FILTER is a pcap\n"
	      "filter, such as 'tcp port 10809'; live traffic is audited until interrupted.\n"
	      "\n"
	      "Report:\n"
	      "  -f, --format=FORMAT     text (default), json (JSON Lines), html (a page in one\n"
	      "                          file), junit or sarif\n"
	      "  -o, --output=FILE       write the report to FILE, not to standard output\n"
	      "  -m, --messages          also every decoded message, in capture order\n"
	      "      --severity=LEVEL    leave out findings below LEVEL (note)\n"
	      "      --log=WHERE         also send each finding to systemd's journal, or to\n"
	      "                          syslog, as it is told: journal or syslog\n"
	      "      --overwrite         do not ask before FILE is overwritten; without a\n"
	      "                          terminal nobody is asked\n"
	      "      --summary           only the verdict and the counts a rule\n"
	      "  -q, --quiet             no report, only the exit status\n"
	      "\n"
	      "Judgement:\n"
	      "  -p, --port=PORT[,PORT...]\n"
	      "                          further server ports; a server that greets is\n"
	      "                          recognised on any port without it\n"
	      "      --why=FRAME         also why the reads that end in FRAME were judged as\n"
	      "                          they were, or not, and what would have been needed\n"
	      "      --debug=TOPIC[,TOPIC...]\n"
	      "                          print the engine's steps on standard error: tcp,\n"
	      "                          order, contents, judge\n"
	      "      --exclusive         you vouch that no writer stays outside the capture\n"
	      "      --fail-on=LEVEL     exit 1 on findings at or above LEVEL (violation), or\n"
	      "                          'never'\n"
	      "      --min-judged=PERCENT\n"
	      "                          exit 3 if less was judged of the bytes that clients\n"
	      "                          read\n"
	      "      --allow-unaudited   exit 0, not 3, if there was nothing to audit\n"
	      "      --shard=K/N         judge only the servers of shard K of N; the findings\n"
	      "                          of all N together are those of the whole\n"
	      "      --tls-keys=FILE     look inside TLS with the keys of FILE, a key log as\n"
	      "                          SSLKEYLOGFILE makes clients and servers write it;\n"
	      "                          keys inside of a capture are used without it\n"
	      "      --memory=SIZE       the most memory for contents and state, such as 256M\n"
	      "                          or 4G (1G); past it the oldest contents are forgotten\n"
	      "      --threads=N         1: one thread does all; 2: another one reads the file,\n"
	      "                          or the interface; by default 2 where it pays\n"
	      "\n"
	      "Comparing:\n"
	      "      --baseline=FILE     compare with FILE, an earlier report in JSON: new and\n"
	      "                          gone findings, latencies and flushes; only new ones\n"
	      "                          count for --fail-on\n"
	      "\n"
	      "      --merge             the FILEs are reports in JSON, of captures or of\n"
	      "                          shards: make one report of them\n"
	      "\n"
	      "Evidence:\n"
	      "      --extract=N -w FILE\n"
	      "                          also write a small pcapng with the frames that prove\n"
	      "                          finding N of this report\n"
	      "      --anonymize         with --extract: with other addresses, names and\n"
	      "                          contents\n"
	      "\n"
	      "Live:\n"
	      "  -i, --interface=INTERFACE\n"
	      "                          audit this interface, 'any' for all\n"
	      "  -w, --write=FILE        also save the packets, as pcapng\n"
	      "  -D, --list-interfaces   the interfaces that there are\n"
	      "  -Z, --relinquish-privileges=USER\n"
	      "                          whom root becomes once the interface is open (tcpdump,\n"
	      "                          or nobody)\n"
	      "\n"
	      "Metrics:\n"
	      "      --metrics=ADDRESS:PORT\n"
	      "                          live: serve OpenMetrics over HTTP, for Prometheus;\n"
	      "                          ':PORT' is this machine's loopback\n"
	      "      --metrics-file=FILE     write them to FILE, for node_exporter's textfile\n"
	      "                          collector, and for the last time at the end\n"
	      "      --metrics-interval=SECONDS\n"
	      "                          how often FILE is written (15)\n"
	      "\n"
	      "Relay:\n"
	      "      --listen=ADDRESS    stand between clients, which connect here, and the\n"
	      "                          server of --connect; every byte is handed on, and\n"
	      "                          audited. For Unix sockets and vsock, which no\n"
	      "                          interface shows\n"
	      "      --connect=ADDRESS   the server; ADDRESS is unix:PATH, HOST:PORT or\n"
	      "                          vsock:CID:PORT\n"
	      "\n"
	      "Probing:\n"
	      "      --probe=URI         drive a server on purpose, and audit that: does it\n"
	      "                          keep what flush, FUA and multi-conn promise? URI is\n"
	      "                          nbd://, nbd+unix:// or nbd+vsock://; nobody may be\n"
	      "                          connected\n"
	      "      --scratch           what the export holds may be destroyed, and nobody\n"
	      "                          else writes there meanwhile (as with --exclusive);\n"
	      "                          needed\n"
	      "      --probe-connections=N\n"
	      "                          connections at a time (4)\n"
	      "      --probe-rounds=N    how often each question is asked, in other ways (4)\n"
	      "      --probe-seconds=N   begin nothing new after so long (10)\n"
	      "      --probe-seed=N      of contents and of what is left to chance (1)\n"
	      "      --probe-kill=COMMAND\n"
	      "                          ends the server and starts it anew: is what was\n"
	      "                          flushed still there?\n"
	      "\n"
	      "Rules:\n"
	      "      --list-rules        what is looked for, one rule a line\n"
	      "      --explain=RULE      what a rule means, and what to do; RULE is its name,\n"
	      "                          or its row of the catalogue, such as V2\n"
	      "                          both as JSON with --format=json\n"
	      "\n"
	      "  -h, --help              this help\n"
	      "  -V, --version           the version\n"
	      "\n"
	      "LEVEL is violation (proved: nothing that obeys the protocol explains it),\n"
	      "suspect (wrong unless something outside the capture explains it), hazard (legal,\n"
	      "and dangerous) or note.\n"
	      "\n"
	      "Exit status: 0 if nothing was at or above --fail-on, 1 if something was, 2 for\n"
	      "bad usage or an input that could not be read to its end, 3 if nothing was\n"
	      "audited or less than --min-judged. Where several hold: 2, then 1, then 3.\n",
	      stdout);
}

/* --- rules --- */

static int unknown_rule(const char *name)
{
	const struct nbds_rule *similar[NBDS_SIMILAR];

	nbds_catalogue_similar(name, similar);
	nbds_complain("there is no rule '%s'%s", name,
		      similar[0] ? "; do you mean one of these?" : "");
	for (int k = 0; k < NBDS_SIMILAR && similar[k]; k++)
		fprintf(stderr, "  %s\n", similar[k]->name);
	fputs("'nbdaudit --list-rules' lists them all.\n", stderr);
	return STATUS_TROUBLE;
}

/* --list-rules or --explain. */
static int tell_rules(const struct audit_options *o)
{
	bool json = o->report.format == NBDS_REPORT_JSON;

	if (o->report.format != NBDS_REPORT_TEXT && !json) {
		nbds_complain("rules are listed and explained as text or json");
		return nbds_usage_error();
	}
	if (!o->explain)
		nbds_catalogue_list(stdout, json);
	else if (!nbds_catalogue_explain(stdout, o->explain, json))
		return unknown_rule(o->explain);
	return nbds_finish_stdout(STATUS_OK);
}

/* --- options --- */

static bool parse_format(const char *text, enum nbds_report_format *format)
{
	static const struct {
		const char *name;
		enum nbds_report_format format;
	} formats[] = {
		{"text", NBDS_REPORT_TEXT},   {"json", NBDS_REPORT_JSON},
		{"html", NBDS_REPORT_HTML},   {"junit", NBDS_REPORT_JUNIT},
		{"sarif", NBDS_REPORT_SARIF},
	};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (!strcmp(text, formats[i].name)) {
			*format = formats[i].format;
			return true;
		}
	}
	nbds_complain("'%s' is not a format: text, json, html, junit or sarif", text);
	return false;
}

/* "tcp,judge" */
static bool parse_topics(const char *text)
{
	static const struct {
		const char *name;
		unsigned topic;
	} topics[] = {
		{"tcp", NBDS_TRACE_TCP},
		{"order", NBDS_TRACE_ORDER},
		{"contents", NBDS_TRACE_CONTENTS},
		{"judge", NBDS_TRACE_JUDGE},
	};
	const char *at = text;

	for (;;) {
		size_t len = strcspn(at, ","), i = 0;

		while (i < 4 && (strlen(topics[i].name) != len || strncmp(at, topics[i].name, len)))
			i++;
		if (i == 4)
			break;
		nbds_trace_topics |= topics[i].topic;
		if (!at[len])
			return true;
		at += len + 1;
	}
	nbds_complain("--debug: '%s' is not a list of tcp, order, contents, judge", text);
	return false;
}

static bool parse_number(const char *option, const char *text, const char *of, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	if (isdigit((unsigned char)*text) && !errno && !*end && *number)
		return true;
	nbds_complain("%s: '%s' is not a %s's number", option, text, of);
	return false;
}

static bool parse_log(const char *text, enum nbds_log_where *where)
{
	if (!strcmp(text, "journal"))
		*where = NBDS_LOG_JOURNAL;
	else if (!strcmp(text, "syslog"))
		*where = NBDS_LOG_SYSLOG;
	else
		*where = NBDS_LOG_NOWHERE;
	if (*where == NBDS_LOG_NOWHERE)
		nbds_complain("--log: '%s' is not journal or syslog", text);
	return *where != NBDS_LOG_NOWHERE;
}

/* So many shards at most: each reads the whole capture. */
#define SHARDS_MOST 65536

/* "2/8" */
static bool parse_shard(const char *text, struct nbds_engine_config *config)
{
	unsigned long shard, shards;
	char *end;

	errno = 0;
	shard = strtoul(text, &end, 10);
	if (isdigit((unsigned char)*text) && *end == '/' && isdigit((unsigned char)end[1])) {
		shards = strtoul(end + 1, &end, 10);
		if (!errno && !*end && shard && shard <= shards && shards <= SHARDS_MOST) {
			config->shard = (unsigned)shard;
			config->shards = (unsigned)shards;
			return true;
		}
	}
	nbds_complain("--shard: '%s' is not a shard's number and how many there are, such as 2/8",
		      text);
	return false;
}

static bool parse_threads(const char *text, enum nbds_threads *threads)
{
	if (strcmp(text, "1") && strcmp(text, "2")) {
		nbds_complain("--threads: '%s' is neither 1 nor 2", text);
		return false;
	}
	*threads = *text == '2' ? NBDS_THREADS_TWO : NBDS_THREADS_ONE;
	return true;
}

static bool parse_percent(const char *text, double *percent)
{
	char *end;

	errno = 0;
	*percent = strtod(text, &end);
	if (*end == '%')
		end++;
	if (isdigit((unsigned char)*text) && !errno && !*end && *percent >= 0 && *percent <= 100)
		return true;
	nbds_complain("--min-judged: '%s' is not a percentage from 0 to 100", text);
	return false;
}

enum {
	OPT_FAIL_ON = 256,
	OPT_LIST_RULES,
	OPT_EXPLAIN,
	OPT_SUMMARY,
	OPT_MIN_JUDGED,
	OPT_ALLOW_UNAUDITED,
	OPT_WHY,
	OPT_DEBUG,
	OPT_EXTRACT,
	OPT_ANONYMIZE,
	OPT_BASELINE,
	OPT_SHARD,
	OPT_MERGE,
	OPT_LOG,
	OPT_THREADS,
};

static const struct option long_options[] = {
	NBDS_SHARED_LONG_OPTIONS,
	{"format", required_argument, NULL, 'f'},
	{"output", required_argument, NULL, 'o'},
	{"messages", no_argument, NULL, 'm'},
	{"fail-on", required_argument, NULL, OPT_FAIL_ON},
	{"summary", no_argument, NULL, OPT_SUMMARY},
	{"quiet", no_argument, NULL, 'q'},
	{"debug", required_argument, NULL, OPT_DEBUG},
	{"why", required_argument, NULL, OPT_WHY},
	{"min-judged", required_argument, NULL, OPT_MIN_JUDGED},
	{"allow-unaudited", no_argument, NULL, OPT_ALLOW_UNAUDITED},
	{"extract", required_argument, NULL, OPT_EXTRACT},
	{"anonymize", no_argument, NULL, OPT_ANONYMIZE},
	{"baseline", required_argument, NULL, OPT_BASELINE},
	{"shard", required_argument, NULL, OPT_SHARD},
	{"merge", no_argument, NULL, OPT_MERGE},
	{"log", required_argument, NULL, OPT_LOG},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"probe", required_argument, NULL, OPT_PROBE},
	{"scratch", no_argument, NULL, OPT_SCRATCH},
	{"probe-connections", required_argument, NULL, OPT_PROBE_CONNECTIONS},
	{"probe-rounds", required_argument, NULL, OPT_PROBE_ROUNDS},
	{"probe-seconds", required_argument, NULL, OPT_PROBE_SECONDS},
	{"probe-seed", required_argument, NULL, OPT_PROBE_SEED},
	{"probe-kill", required_argument, NULL, OPT_PROBE_KILL},
	{"list-rules", no_argument, NULL, OPT_LIST_RULES},
	{"explain", required_argument, NULL, OPT_EXPLAIN},
	{NULL, 0, NULL, 0},
};

/* --extract and what goes with it. */
static bool check_extract(const struct audit_options *o, int files)
{
	if (o->anonymize && !o->extract)
		nbds_complain("--anonymize is for evidence: it needs --extract");
	else if (!o->extract)
		return true;
	else if (audit_is_live(o))
		nbds_complain("--extract is for capture files, not for --%s",
			      o->shared.interface ? "interface" : "listen");
	else if (!o->shared.save)
		nbds_complain("--extract needs --write, the file for the evidence");
	else if (files > 1)
		nbds_complain("--extract is for one capture file, not %d", files);
	else if (!strcmp(o->shared.save, "-") && !o->report.quiet &&
		 (!o->output || !strcmp(o->output, "-")))
		nbds_complain("the evidence and the report cannot both go to standard output: use "
			      "--output or --quiet");
	else if (o->output && !strcmp(o->shared.save, o->output) && strcmp(o->shared.save, "-"))
		nbds_complain("the evidence and the report cannot both go to %s", o->shared.save);
	else
		return true;
	return false;
}

/* --merge and what does not go with it. */
static bool check_merge(const struct audit_options *o)
{
	if (audit_is_live(o) || o->shared.connect || o->shared.save || o->extract ||
	    o->shared.metrics.address || o->shared.metrics.file)
		nbds_complain("--merge is for reports, not for captures or interfaces");
	else if (o->report.messages || o->report.why)
		nbds_complain("--merge does not know messages, nor why reads were judged as they "
			      "were: ask of the captures themselves");
	else if (o->shared.engine.shards || o->shared.engine.exclusive ||
		 o->shared.engine.port_count)
		nbds_complain("--shard, --exclusive and --port are for audits: give them where the "
			      "reports are made");
	else
		return true;
	return false;
}

/* --metrics and what goes with it. */
static bool check_metrics(const struct audit_options *o)
{
	if (o->shared.metrics.address && !audit_is_live(o))
		nbds_complain(
			"--metrics serves while traffic is live: it needs --interface or --listen; of "
			"capture files there is --metrics-file");
	else if (o->shared.metrics.interval && !o->shared.metrics.file)
		nbds_complain("--metrics-interval is for the file: it needs --metrics-file");
	else
		return true;
	return false;
}

/* --listen and --connect. */
static bool check_relay(const struct audit_options *o, char **words, int count)
{
	if (!o->shared.listen && !o->shared.connect)
		return true;
	if (!o->shared.listen || !o->shared.connect)
		nbds_complain("a relay needs both --listen and --connect");
	else if (o->shared.interface)
		nbds_complain("--listen and --interface exclude each other");
	else if (count)
		nbds_complain("--listen takes no file and no filter: '%s'", *words);
	else if (o->shared.engine.shards)
		nbds_complain("--listen stands before one server: there is nothing to --shard");
	else
		return true;
	return false;
}

/* --probe and what goes with it. */
static bool check_probe(struct audit_options *o, int files)
{
	bool others = files || audit_is_live(o) || o->extract || o->merge ||
		      o->shared.engine.shards || o->shared.metrics.address ||
		      o->shared.metrics.file || o->shared.tls_keys;

	o->probing.save = o->shared.save;
	o->probing.allow_unknown = o->report.allow_unaudited;
	o->shared.engine.exclusive |= o->probing.config.uri != NULL;
	return probing_check(&o->probing, others,
			     !o->report.quiet && (!o->output || !strcmp(o->output, "-")));
}

int audit_options_parse(int argc, char **argv, struct audit_options *o)
{
	char err[NBDS_OPTION_ERROR];
	int c;

	while ((c = getopt_long(argc, argv, NBDS_SHARED_OPTIONS "f:o:mq", long_options, NULL)) !=
	       -1) {
		switch (nbds_shared_option(c, optarg, &o->shared, err)) {
		case NBDS_SHARED_TAKEN:
			continue;
		case NBDS_SHARED_BAD:
			goto bad;
		case NBDS_SHARED_DONE:
			return STATUS_OK;
		case NBDS_SHARED_FAILED:
			return STATUS_TROUBLE;
		case NBDS_SHARED_NOT:
			break;
		}
		switch (c) {
		case 'f':
			if (!parse_format(optarg, &o->report.format))
				return nbds_usage_error();
			break;
		case 'o':
			o->output = optarg;
			break;
		case 'm':
			o->report.messages = true;
			break;
		case OPT_FAIL_ON:
			o->report.never_fail = !strcmp(optarg, "never");
			if (!o->report.never_fail &&
			    !nbds_option_level("--fail-on", optarg, ", never", &o->report.fail_on,
					       err))
				goto bad;
			break;
		case OPT_SUMMARY:
			o->report.summary = true;
			break;
		case 'q':
			o->report.quiet = true;
			break;
		case OPT_DEBUG:
			if (!parse_topics(optarg))
				return nbds_usage_error();
			break;
		case OPT_WHY:
			if (!parse_number("--why", optarg, "frame", &o->report.why))
				return nbds_usage_error();
			break;
		case OPT_EXTRACT:
			if (!parse_number("--extract", optarg, "finding", &o->extract))
				return nbds_usage_error();
			o->report.keep = true;
			break;
		case OPT_BASELINE:
			o->baseline = optarg;
			break;
		case OPT_SHARD:
			if (!parse_shard(optarg, &o->shared.engine))
				return nbds_usage_error();
			o->report.shard = o->shared.engine.shard;
			o->report.shards = o->shared.engine.shards;
			break;
		case OPT_LOG:
			if (!parse_log(optarg, &o->log))
				return nbds_usage_error();
			break;
		case OPT_MERGE:
			o->merge = true;
			break;
		case OPT_THREADS:
			if (!parse_threads(optarg, &o->threads))
				return nbds_usage_error();
			break;
		case OPT_ANONYMIZE:
			o->anonymize = true;
			break;
		case OPT_MIN_JUDGED:
			if (!parse_percent(optarg, &o->min_judged))
				return nbds_usage_error();
			break;
		case OPT_ALLOW_UNAUDITED:
			o->report.allow_unaudited = true;
			break;
		case OPT_LIST_RULES:
			o->list_rules = true;
			break;
		case OPT_EXPLAIN:
			o->explain = optarg;
			break;
		case 'h':
			print_help();
			return nbds_finish_stdout(STATUS_OK);
		default:
			if (!probing_option(&o->probing, c, optarg))
				return nbds_usage_error();
			break;
		}
	}
	o->report.severity = o->shared.severity;
	if (o->list_rules || o->explain)
		return tell_rules(o);
	if (!check_probe(o, argc - optind) || !check_extract(o, argc - optind) || !check_metrics(o))
		return nbds_usage_error();
	if (!check_relay(o, argv + optind, argc - optind))
		return nbds_usage_error();
	if (o->shared.save && !audit_is_live(o) && !o->extract && !o->probing.config.uri) {
		nbds_complain("--write saves live packets: it needs --interface or --listen (or "
			      "--extract, or --probe)");
		return nbds_usage_error();
	}
	if (o->report.messages && o->report.format != NBDS_REPORT_TEXT &&
	    o->report.format != NBDS_REPORT_JSON) {
		nbds_complain("--messages is for the text and json forms");
		return nbds_usage_error();
	}
	if (o->report.summary &&
	    (o->report.format == NBDS_REPORT_JUNIT || o->report.format == NBDS_REPORT_SARIF)) {
		nbds_complain("--summary is for the text, json and html forms");
		return nbds_usage_error();
	}
	if (o->merge && !check_merge(o))
		return nbds_usage_error();
	if (o->shared.engine.shards && o->baseline) {
		nbds_complain("--baseline is for the whole: compare with what --merge makes of the "
			      "shards");
		return nbds_usage_error();
	}
	if (o->report.messages && (o->report.summary || o->report.quiet)) {
		nbds_complain("--messages and %s exclude each other",
			      o->report.summary ? "--summary" : "--quiet");
		return nbds_usage_error();
	}
	if (!audit_is_live(o) && !o->probing.config.uri && optind == argc) {
		nbds_complain(o->merge ? "no report is named"
				       : "no capture file is named, nor an interface with -i");
		return nbds_usage_error();
	}
	return -1;
bad:
	nbds_complain("%s", err);
	return nbds_usage_error();
}
