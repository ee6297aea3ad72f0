/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdaudit.c - audits NBD captures, or live traffic, and reports.
 *
 * Exit status: 0 nothing at or above --fail-on; 1 something was; 2 bad usage,
 * an input that could not be read to its end, or a report that could not be
 * written; 3 nothing was audited, or less than --min-judged.  Where several
 * hold: 2, then 1, then 3.  docs/nbdaudit.md is the manual.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "baseline/baseline.h"
#include "capture/create.h"
#include <base/assert.h>
#include <base/trace.h>

#include "capture/live.h"
#include "capture/privileges.h"
#include "evidence/evidence.h"
#include "log/log.h"
#include "merge/merge.h"
#include "metrics/metrics.h"
#include "options/keys.h"
#include "options/options.h"
#include "options/shared.h"
#include "pipeline/pipeline.h"
#include "probing.h"
#include "relay/relay.h"
#include "report/catalogue.h"
#include "report/report.h"

enum {
	STATUS_OK = 0,
	STATUS_FOUND = 1,
	STATUS_TROUBLE = NBDS_STATUS_TROUBLE,
	STATUS_UNAUDITED = 3,
};

/* Packets between two looks at the clock, the stop flag and the output. */
#define BATCH 512

struct audit_options {
	struct nbds_shared_options shared;
	struct nbds_report_options report;
	const char *output;   /* NULL: standard output */
	double min_judged;    /* percent */
	bool list_rules;      /* only that */
	const char *explain;  /* only this rule; NULL: none */
	const char *baseline; /* an earlier report; NULL: none */
	enum nbds_threads threads;
	uint64_t extract;        /* the number of a finding; 0: none */
	bool merge;              /* the files are reports */
	enum nbds_log_where log; /* where findings go besides */
	bool anonymize;
	struct nbds_metrics *running_metrics; /* NULL: none */
	struct probing probing;
};

/* What a signal stops; NULL: none. What the relay has handed on is still audited. */
static struct nbds_pipeline *_Atomic running;
static struct nbds_relay *_Atomic relaying;

/* Not of files. */
static bool is_live(const struct audit_options *o)
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
	else if (is_live(o))
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
	if (is_live(o) || o->shared.connect || o->shared.save || o->extract ||
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
	if (o->shared.metrics.address && !is_live(o))
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
	bool others = files || is_live(o) || o->extract || o->merge || o->shared.engine.shards ||
		      o->shared.metrics.address || o->shared.metrics.file || o->shared.tls_keys;

	o->probing.save = o->shared.save;
	o->probing.allow_unknown = o->report.allow_unaudited;
	o->shared.engine.exclusive |= o->probing.config.uri != NULL;
	return probing_check(&o->probing, others,
			     !o->report.quiet && (!o->output || !strcmp(o->output, "-")));
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct audit_options *o)
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
	if (o->shared.save && !is_live(o) && !o->extract && !o->probing.config.uri) {
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
	if (!is_live(o) && !o->probing.config.uri && optind == argc) {
		nbds_complain(o->merge ? "no report is named"
				       : "no capture file is named, nor an interface with -i");
		return nbds_usage_error();
	}
	return -1;
bad:
	nbds_complain("%s", err);
	return nbds_usage_error();
}

/* --- output --- */

/* An output that is one of the inputs would destroy it. */
static bool is_input(const char *output, char **files, int count)
{
	struct stat a, b;

	if (stat(output, &a) < 0 || !S_ISREG(a.st_mode))
		return false;
	for (int i = 0; i < count; i++)
		if (strcmp(files[i], "-") && stat(files[i], &b) == 0 && a.st_dev == b.st_dev &&
		    a.st_ino == b.st_ino)
			return true;
	return false;
}

/* The file is this one, by whatever name. */
static bool is_open(const char *path, FILE *file)
{
	struct stat a, b;

	return stat(path, &a) == 0 && fstat(fileno(file), &b) == 0 && S_ISREG(a.st_mode) &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static FILE *open_output(const char *path)
{
	char err[256];
	int fd = nbds_create(path, 0666, err, sizeof(err));
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");

	if (out)
		return out;
	nbds_complain("%s: %s", path, fd < 0 ? err : strerror(errno));
	if (fd >= 0)
		close(fd);
	return NULL;
}

static void prepare_paper(FILE *out, struct nbds_report_options *report)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	struct winsize size;

	/* The characters of the locale, and nothing else of it. */
	setlocale(LC_CTYPE, "");
	report->ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
	if (!isatty(fileno(out)))
		return;
	report->colour = !(no_color && *no_color) && term && strcmp(term, "dumb");
	if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
		report->width = size.ws_col;
}

/* --- progress --- */

struct progress {
	bool on, shown;
	bool lines; /* one line after the other, as the report is on the same terminal */
	bool live;
	struct timespec last;
	const char *file;
};

/* ms between two signs of life on an interface, and between two lines about a file. */
#define BEAT_LIVE  10000
#define BEAT_SHORT 200

static void progress_begin(struct progress *p, const char *file, const struct audit_options *o,
			   FILE *out)
{
	memset(p, 0, sizeof(*p));
	p->file = file;
	p->live = o->report.live;
	/* What is printed meanwhile on the same terminal would run into it. */
	p->lines = p->live && isatty(fileno(out));
	p->on = isatty(STDERR_FILENO) && !(o->report.messages && isatty(fileno(out)));
	clock_gettime(CLOCK_MONOTONIC, &p->last);
	/* The first sign of life comes sooner. */
	if (p->lines)
		p->last.tv_sec -= BEAT_LIVE / 1000 - 2;
}

static void progress_erase(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}

/* At most five times a second, and not in the first moment. */
static void progress_show(struct progress *p, struct nbds_pipeline *pipeline,
			  const struct nbds_report *report)
{
	struct nbds_engine_totals totals;
	struct nbds_pipeline_info info;
	struct winsize size;
	struct timespec now;
	char line[256];
	int len;

	if (!p->on)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if ((now.tv_sec - p->last.tv_sec) * 1000 + (now.tv_nsec - p->last.tv_nsec) / 1000000 <
	    (p->lines ? BEAT_LIVE : BEAT_SHORT))
		return;
	p->last = now;
	nbds_pipeline_info(pipeline, &info);
	if (p->lines) {
		nbds_engine_totals(nbds_pipeline_engine(pipeline), &totals);
		fprintf(stderr,
			"Listening on %s: %" PRIu64 " frames, %" PRIu64 " dropped, %" PRIu32
			" connections, %" PRIu64 " findings\n",
			p->file, info.capture.frames, info.capture.dropped, totals.connections,
			nbds_report_findings(report));
		return;
	}
	len = snprintf(line, sizeof(line), "%" PRIu64 " frames, %" PRIu64 " MiB",
		       info.capture.frames, info.capture.position >> 20);
	if (info.capture.size)
		len += snprintf(
			line + len, sizeof(line) - (size_t)len, " of %" PRIu64 " (%d %%)",
			info.capture.size >> 20,
			(int)((double)info.capture.position * 100 / (double)info.capture.size));
	len += snprintf(line + len, sizeof(line) - (size_t)len, ", %" PRIu64 " findings  ",
			nbds_report_findings(report));
	/* The name of the file, as far as there is room. */
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		size.ws_col = 80;
	if (len >= size.ws_col)
		len = size.ws_col - 1;
	nbds_escape_text(p->file, strlen(p->file), line + len, sizeof(line) - (size_t)len);
	if (strlen(line) >= size.ws_col)
		line[size.ws_col - 1] = '\0';
	fprintf(stderr, "\r\033[K%s", line);
	fflush(stderr);
	p->shown = true;
}

/* --- one capture --- */

static volatile sig_atomic_t stopped; /* a signal came */

static void on_signal(int number)
{
	struct nbds_pipeline *p = running;
	struct nbds_relay *r = relaying;
	int before = errno;

	(void)number;
	stopped = 1;
	probing_stop();
	if (r)
		nbds_relay_stop(r);
	else if (p)
		nbds_pipeline_stop(p);
	errno = before;
}

/*
 * Whatever would end the program ends the capture: the report is written, and the
 * saved file is whole.  Who asks twice by key or by kill(1) means it.
 */
static void catch_signals(void)
{
	static const struct {
		int number;
		bool once;
	} signals[] = {
		{SIGINT, true},   {SIGTERM, true},  {SIGQUIT, true},    {SIGHUP, false},
		{SIGUSR1, false}, {SIGUSR2, false}, {SIGALRM, false},   {SIGVTALRM, false},
		{SIGPROF, false}, {SIGPWR, false},  {SIGSTKFLT, false}, {SIGPOLL, false},
		{SIGXCPU, false},
	};
	struct sigaction action = {.sa_handler = on_signal}, before;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		/* nohup(1), and shells of what runs in the background. */
		if (sigaction(signals[i].number, NULL, &before) == 0 &&
		    before.sa_handler == SIG_IGN)
			continue;
		action.sa_flags = signals[i].once ? (int)SA_RESETHAND : 0;
		sigaction(signals[i].number, &action, NULL);
	}
}

/* Whoever read the report has gone, which is no error to speak of. */
static bool reader_gone(FILE *out)
{
	struct pollfd p = {.fd = fileno(out)};
	struct stat st;

	return fstat(p.fd, &st) == 0 && !S_ISREG(st.st_mode) && poll(&p, 1, 0) == 1 &&
	       (p.revents & POLLERR);
}

/* Said at once: who relies on the file can still do something. */
static void tell_save_error(const struct nbds_pipeline *p, const struct audit_options *o,
			    bool *told)
{
	if (*told || !nbds_pipeline_save_error(p)[0])
		return;
	*told = true;
	nbds_complain("%s: %s", o->shared.save, nbds_pipeline_save_error(p));
}

/* What packets can make of the program ends here: it asks for nothing more. */
static void confine(const struct nbds_metrics *metrics)
{
	char err[256];

	if (!nbds_shared_confine(metrics, relaying, err, sizeof(err)))
		nbds_complain("%s", err);
}

/* --- metrics --- */

/* Time has passed. */
static void update_metrics(struct nbds_metrics *metrics)
{
	const char *trouble;

	nbds_metrics_update(metrics);
	trouble = nbds_metrics_trouble(metrics);
	if (trouble)
		nbds_complain("%s", trouble);
}

/* What was said of the relay. */
struct relay_told {
	uint64_t refused, crowded, dropped;
	time_t last;
	bool unread; /* nobody reads the report */
};

/* What its user would not notice: at most once a second, and `finally` all of it. */
static void tell_relay(const struct nbds_pipeline *p, struct relay_told *told, bool finally)
{
	struct nbds_relay_status status;
	struct timespec now;
	uint64_t dropped;

	if (!relaying)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec == told->last && !finally)
		return;
	told->last = now.tv_sec;
	nbds_relay_status(relaying, &status);
	if (status.refused > told->refused)
		nbds_complain("the server is not reached, %" PRIu64 " client%s closed: %s",
			      status.refused - told->refused,
			      status.refused - told->refused == 1 ? " was" : "s were",
			      status.error);
	if (status.crowded && !told->crowded)
		nbds_complain(
			"clients wait: no more connections can be open at a time (ulimit -n)");
	dropped = nbds_pipeline_origin_dropped(p);
	if (dropped > told->dropped && (!told->dropped || finally))
		nbds_complain("the audit %s behind: %" PRIu64
			      " packets of it are missing; the traffic is not touched by that",
			      finally ? "was" : "is", dropped);
	told->refused = status.refused;
	told->crowded = status.crowded;
	told->dropped = dropped;
}

/* --- evidence --- */

/* What has to be open before the program is confined. */
struct extraction {
	int in, scratch, out; /* -1: none */
};

static void extraction_close(struct extraction *x)
{
	if (x->in >= 0)
		close(x->in);
	if (x->scratch >= 0)
		close(x->scratch);
	if (x->out >= 0)
		close(x->out);
	x->in = x->scratch = x->out = -1;
}

/* An empty file without a name, in $TMPDIR or /tmp. */
static int open_scratch(void)
{
	const char *folder = getenv("TMPDIR");
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/nbdaudit-XXXXXX", folder && *folder ? folder : "/tmp");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

static bool extraction_open(struct extraction *x, const char *file, const struct audit_options *o)
{
	char err[256];
	struct stat st;

	x->in = x->scratch = x->out = -1;
	if (!o->extract)
		return true;
	if (!strcmp(file, "-")) {
		nbds_complain("--extract reads the capture several times: standard input will not "
			      "do, name a file");
		return false;
	}
	x->in = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (x->in < 0)
		return true; /* which the audit says */
	if (fstat(x->in, &st) < 0 || !S_ISREG(st.st_mode)) {
		nbds_complain("%s: --extract reads the capture several times: it has to be a file",
			      file);
		extraction_close(x);
		return false;
	}
	x->scratch = open_scratch();
	if (x->scratch < 0) {
		nbds_complain("cannot make a temporary file: %s", strerror(errno));
		extraction_close(x);
		return false;
	}
	x->out = strcmp(o->shared.save, "-")
			 ? nbds_create_or_keep(o->shared.save, 0600, err, sizeof(err))
			 : dup(STDOUT_FILENO);
	if (x->out < 0) {
		nbds_complain("%s: %s", o->shared.save,
			      strcmp(o->shared.save, "-") ? err : strerror(errno));
		extraction_close(x);
		return false;
	}
	return true;
}

/* Cuts out what proves the finding, and says what that is. */
static bool extract(const struct extraction *x, struct nbds_pipeline *p, struct nbds_report *report,
		    const char *name, const struct audit_options *o)
{
	struct nbds_engine_config engine = o->shared.engine;
	struct nbds_evidence_config config = {
		.engine = &engine,
		.finding = nbds_report_finding(report, o->extract),
		.told = nbds_pipeline_engine(p),
		.name = name,
		.version = NBDSCOPE_VERSION,
		.in = x->in,
		.scratch = x->scratch,
		.out = x->out,
		.replace = strcmp(o->shared.save, "-") != 0,
		.anonymize = o->anonymize,
	};
	struct nbds_evidence_result result;

	/* Other addresses may be in other shards. */
	engine.shard = engine.shards = 0;
	if (!config.finding) {
		uint64_t count = nbds_report_numbered(report);

		if (count)
			nbds_complain("--extract=%" PRIu64 ": there are %" PRIu64
				      " findings in the report",
				      o->extract, count);
		else
			nbds_complain("--extract=%" PRIu64 ": there are no findings in the report",
				      o->extract);
		return false;
	}
	if (!nbds_evidence_cut(&config, &result)) {
		nbds_complain("%s: finding %" PRIu64 " is not extracted: %s", o->shared.save,
			      o->extract, result.error);
		return false;
	}
	fprintf(stderr,
		"%s: %" PRIu64 " of %" PRIu64 " frames (%" PRIu64 " bytes of %" PRIu64
		") prove finding %" PRIu64 ", the %s %s%s%s%s%s.\n",
		o->shared.save, result.frames, result.of_frames, result.bytes, result.of_bytes,
		o->extract, nbds_severity_name(config.finding->severity),
		config.finding->rule->name,
		result.renumbered ? "; connections have other numbers there" : "",
		o->anonymize ? "; addresses, names and contents are not the real ones" : "",
		result.by_bytes ? " (which bytes are zero, and which of one place are equal, can "
				  "be seen: the proof needs it)"
				: "",
		result.more ? "; by what was left out there are suspects that the capture does not "
			      "have"
			    : "");
	return true;
}

/* Steps to the end and reports. The exit status, findings apart. `last`: nothing is
 * opened after it. */
static int run(struct nbds_pipeline *p, struct nbds_report *report, const char *name,
	       const struct audit_options *o, const struct extraction *x, FILE *out, bool last)
{
	struct progress progress;
	enum nbds_step step;
	bool save_told = false, extracted = true;
	struct relay_told told = {0};

	progress_begin(&progress, name, o, out);
	if (!is_live(o))
		nbds_metrics_attach(o->running_metrics, p);
	nbds_report_begin(report, name, p);
	nbds_pipeline_threads(p);
	if (last)
		confine(o->running_metrics);
	for (;;) {
		step = nbds_pipeline_step(p, BATCH);
		if (step > NBDS_STEP_IDLE)
			break;
		if (ferror(out) || (step == NBDS_STEP_IDLE && reader_gone(out))) {
			/* Clients and server of a relay have nothing to do with that. */
			if (!relaying)
				break;
			if (!told.unread)
				nbds_complain("the report cannot be written any more; bytes are "
					      "handed on until a signal comes");
			told.unread = true;
		}
		progress_show(&progress, p, report);
		update_metrics(o->running_metrics);
		tell_save_error(p, o, &save_told);
		tell_relay(p, &told, false);
	}
	progress_erase(&progress);
	nbds_metrics_detach(o->running_metrics);
	tell_relay(p, &told, true);
	if (ferror(out) || step <= NBDS_STEP_IDLE)
		return STATUS_TROUBLE;
	if (step == NBDS_STEP_ERROR)
		nbds_complain("%s: %s", name, nbds_pipeline_error(p));
	if (x && x->in >= 0)
		extracted = extract(x, p, report, name, o);
	nbds_report_end(report, step == NBDS_STEP_ERROR ? nbds_pipeline_error(p) : "");
	return step == NBDS_STEP_ERROR || !extracted ? STATUS_TROUBLE : STATUS_OK;
}

static int audit_file(const char *file, struct nbds_pipeline_config *config,
		      struct nbds_report *report, const struct audit_options *o, FILE *out,
		      bool last)
{
	char err[512];
	struct extraction x;
	struct nbds_pipeline *p;
	int status;

	if (!extraction_open(&x, file, o))
		return STATUS_TROUBLE;
	p = nbds_pipeline_open(file, config, err, sizeof(err));
	if (!p) {
		nbds_complain("%s: %s", file, err);
		nbds_report_unreadable(report, file, err);
		extraction_close(&x);
		return STATUS_TROUBLE;
	}
	status = run(p, report, file, o, &x, out, last);
	/* What the last one took is given back by ending: taking it apart would take longer
	 * than some captures need to be read. Where it is looked for leaks it is done. */
	if (!last || NBDS_ASSERTING)
		nbds_pipeline_close(p, NULL, 0);
	extraction_close(&x);
	return status;
}

static bool save_packets(struct nbds_pipeline *p, const struct audit_options *o)
{
	if (!o->shared.save || nbds_pipeline_save(p, o->shared.save) == 0)
		return true;
	nbds_complain("%s: %s", o->shared.save, nbds_pipeline_error(p));
	return false;
}

static int audit_live(char **words, int count, struct nbds_pipeline_config *config,
		      struct nbds_report *report, const struct audit_options *o, FILE *out)
{
	char *filter = nbds_option_filter(words, count);
	bool borrowed = nbds_privileges_borrowed();
	struct nbds_pipeline *p;
	bool save_told;
	char err[512];
	int status;

	if (!filter) {
		nbds_complain("out of memory");
		return STATUS_TROUBLE;
	}
	catch_signals();
	p = nbds_pipeline_open_live(o->shared.interface, *filter ? filter : NULL, config, err,
				    sizeof(err));
	free(filter);
	if (!p) {
		nbds_complain("%s: %s", o->shared.interface, err);
		return STATUS_TROUBLE;
	}
	/* Root's own file may be one that only root can write. */
	if (!borrowed && !save_packets(p, o))
		goto failed;
	nbds_live_hurry();
	if (nbds_privileges_drop(o->shared.user, err, sizeof(err)) < 0) {
		nbds_complain("%s", err);
		goto failed;
	}
	if (borrowed && !save_packets(p, o))
		goto failed;
	nbds_metrics_attach(o->running_metrics, p);
	if (!nbds_metrics_begin(o->running_metrics, err, sizeof(err))) {
		nbds_complain("%s", err);
		goto failed;
	}
	nbds_shared_metrics_tell(&o->shared, o->running_metrics);
	running = p;
	if (stopped)
		nbds_pipeline_stop(p);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "Listening on %s; interrupt (Ctrl-C) for the report.\n",
			o->shared.interface);
	setvbuf(out, NULL, _IOLBF, 0);
	status = run(p, report, o->shared.interface, o, NULL, out, true);
	running = NULL;
	save_told = nbds_pipeline_save_error(p)[0];
	if (nbds_pipeline_close(p, err, sizeof(err)) < 0) {
		if (!save_told)
			nbds_complain("%s: %s",
				      o->shared.save ? o->shared.save : o->shared.interface, err);
		status = STATUS_TROUBLE;
	}
	return status;
failed:
	nbds_metrics_detach(o->running_metrics);
	nbds_pipeline_close(p, NULL, 0);
	return STATUS_TROUBLE;
}

/* One report of several. */
static int merge(struct nbds_merge *m, struct nbds_report *report, FILE *out)
{
	int status = STATUS_OK;
	char err[2048];

	for (size_t i = 0; i < nbds_merge_captures(m) && !ferror(out); i++) {
		if (nbds_merge_capture(m, i, report, err, sizeof(err)))
			continue;
		nbds_complain("%s: %s", nbds_merge_name(m, i), err);
		status = STATUS_TROUBLE;
	}
	if (nbds_merge_left_out(m))
		nbds_complain("%lu lines of messages, or of what --why, --baseline and --probe "
			      "added, are not merged",
			      nbds_merge_left_out(m));
	return status;
}

/* The reports, looked at so far; NULL: they cannot be merged. */
static struct nbds_merge *open_reports(char **files, int count, const struct audit_options *o)
{
	struct nbds_merge *m = nbds_merge_open(files, (size_t)count);
	const char *bare = m ? nbds_merge_summary_only(m) : NULL;

	if (!m) {
		nbds_complain("out of memory");
	} else if (bare && !o->report.summary && !o->report.quiet) {
		nbds_complain(
			"%s: the report was written with --summary, and has no findings: merge "
			"with --summary, too",
			bare);
		nbds_merge_free(m);
		m = NULL;
	}
	return m;
}

/* With the rights of who runs the program: files, and sockets. */
static int audit_relay(struct nbds_pipeline_config *config, struct nbds_report *report,
		       const struct audit_options *o, FILE *out)
{
	struct nbds_endpoint listening, server;
	char err[512], name[NBDS_RELAY_NAME], comment[NBDS_ORIGIN_WORDS];
	struct nbds_pipeline *p = NULL;
	struct nbds_relay *relay;
	struct nbds_view *view;
	int status = STATUS_TROUBLE;
	bool save_told;

	if (!nbds_endpoint_parse(o->shared.listen, true, &listening, err, sizeof(err)) ||
	    !nbds_endpoint_parse(o->shared.connect, false, &server, err, sizeof(err))) {
		nbds_complain("%s", err);
		return STATUS_TROUBLE;
	}
	catch_signals();
	nbds_relay_name(o->shared.listen, o->shared.connect, o->report.ascii, name);
	nbds_relay_comment(&listening, &server, comment, sizeof(comment));
	/* There is one order of all that it sees: strictly later is later. */
	config->engine.epsilon = 1;
	view = nbds_view_new(NBDS_VIEW_BYTES, name, comment);
	relay = view ? nbds_relay_open(&listening, &server, view, err, sizeof(err)) : NULL;
	if (!relay) {
		nbds_complain("%s", view ? err : "out of memory");
		nbds_view_free(view);
		return STATUS_TROUBLE;
	}
	p = nbds_pipeline_open_origin(nbds_view_origin(view), config, err, sizeof(err));
	if (!p) {
		nbds_complain("%s", err);
		nbds_relay_close(relay);
		return STATUS_TROUBLE;
	}
	if (!save_packets(p, o))
		goto done;
	nbds_metrics_attach(o->running_metrics, p);
	if (nbds_privileges_drop(o->shared.user, err, sizeof(err)) < 0 ||
	    !nbds_metrics_begin(o->running_metrics, err, sizeof(err)) ||
	    !nbds_relay_start(relay, err, sizeof(err))) {
		nbds_complain("%s", err);
		goto done;
	}
	nbds_shared_metrics_tell(&o->shared, o->running_metrics);
	relaying = relay;
	if (stopped)
		nbds_relay_stop(relay);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "Relaying %s to %s; interrupt (Ctrl-C) for the report.\n",
			o->shared.listen, o->shared.connect);
	setvbuf(out, NULL, _IOLBF, 0);
	status = run(p, report, name, o, NULL, out, true);
	relaying = NULL;
done:
	nbds_metrics_detach(o->running_metrics);
	nbds_relay_close(relay);
	save_told = nbds_pipeline_save_error(p)[0];
	if (nbds_pipeline_close(p, err, sizeof(err)) < 0) {
		if (!save_told)
			nbds_complain("%s: %s", o->shared.save, err);
		status = STATUS_TROUBLE;
	}
	return status;
}

/* The exit status of a report without trouble. */
static int judge(const struct nbds_report *report, const struct audit_options *o)
{
	if (!o->report.never_fail && nbds_report_reached(report, o->report.fail_on))
		return STATUS_FOUND;
	if (nbds_report_least_judged(report) < o->min_judged) {
		nbds_complain("%.1f %% of what clients read was judged, less than --min-judged=%g",
			      nbds_report_least_judged(report), o->min_judged);
		return STATUS_UNAUDITED;
	}
	if (nbds_report_unaudited(report) && !o->report.allow_unaudited)
		return STATUS_UNAUDITED;
	return STATUS_OK;
}

/* -1: the report could not be written. */
static int close_output(FILE *out, const struct audit_options *o)
{
	bool failed = ferror(out), gone;
	int reason = 0;

	/* What failed fails again, and says why. */
	clearerr(out);
	if (fflush(out)) {
		reason = errno;
		failed = true;
	}
	gone = reason == EPIPE || (failed && reader_gone(out));
	if (out != stdout && fclose(out) && !failed) {
		reason = errno;
		failed = true;
	}
	if (!failed)
		return 0;
	if (!gone)
		nbds_complain("cannot write the report%s%s: %s", o->output ? " to " : "",
			      o->output ? o->output : "",
			      reason ? strerror(reason) : "output error");
	return -1;
}

/* The earlier report, of as many captures as this one. */
static bool load_baseline(struct audit_options *o, char **files, int count, int captures)
{
	char err[256];

	for (int i = 0; !is_live(o) && i < count; i++) {
		if (strcmp(files[i], "-") || strcmp(o->baseline, "-"))
			continue;
		nbds_complain("the earlier report and the capture cannot both come from standard "
			      "input");
		return false;
	}
	o->report.compare = nbds_baseline_load(o->baseline, err, sizeof(err));
	if (!o->report.compare) {
		nbds_complain("%s: %s", o->baseline, err);
		return false;
	}
	if (nbds_compare_captures(o->report.compare) == (unsigned)captures)
		return true;
	nbds_complain("%s: it is the report of %u captures, and this one is of %d", o->baseline,
		      nbds_compare_captures(o->report.compare), captures);
	nbds_compare_free(o->report.compare);
	return false;
}

/* Asks before anything is overwritten, and opens the file of the report. */
static bool open_outputs(const struct audit_options *o, char **files, int count, FILE **out)
{
	if (o->shared.save && strcmp(o->shared.save, "-") &&
	    !nbds_may_write(o->shared.save, o->shared.overwrite))
		return false;
	if (o->extract && o->shared.save && is_input(o->shared.save, files, count)) {
		nbds_complain("%s: the evidence would overwrite the capture", o->shared.save);
		return false;
	}
	if (!o->output || !strcmp(o->output, "-"))
		return true;
	if (!is_live(o) && is_input(o->output, files, count)) {
		nbds_complain("%s: the report would overwrite the capture", o->output);
		return false;
	}
	if (!nbds_may_write(o->output, o->shared.overwrite))
		return false;
	*out = open_output(o->output);
	if (!*out || !o->shared.save || !is_open(o->shared.save, *out))
		return *out != NULL;
	nbds_complain("%s and the report cannot both go to %s",
		      o->extract ? "the evidence" : "the packets", o->output);
	fclose(*out);
	return false;
}

/* As the options want; also if they want none. */
static bool open_metrics(struct audit_options *o, char **files, int count)
{
	const char *file = o->shared.metrics.file;

	return nbds_shared_metrics_open(&o->shared, "nbdaudit",
					file && !is_live(o) && is_input(file, files, count),
					&o->running_metrics);
}

static bool close_metrics(struct audit_options *o)
{
	struct nbds_metrics *metrics = o->running_metrics;

	o->running_metrics = NULL;
	return nbds_shared_metrics_close(metrics);
}

/* --- log --- */

/* Connects, before anything is confined or confines. */
static bool open_log(struct audit_options *o)
{
	char err[256];

	if (!o->log)
		return true;
	o->report.hooks = &nbds_log_hooks;
	o->report.hooks_ctx = nbds_log_open(o->log, NBDSCOPE_VERSION, err, sizeof(err));
	if (!o->report.hooks_ctx)
		nbds_complain("--log: %s", err);
	return o->report.hooks_ctx;
}

/* False: the logger did not take all. What came too fast is said, and is no trouble. */
static bool close_log(const struct audit_options *o)
{
	struct nbds_log *log = o->report.hooks_ctx;
	uint64_t lost = log ? nbds_log_finish(log) : 0;
	int reason = log ? nbds_log_error(log) : 0;

	if (lost && reason)
		nbds_complain("--log: %" PRIu64 " entries were not logged: %s", lost,
			      strerror(reason));
	else if (lost)
		nbds_complain("--log: %" PRIu64
			      " findings were not logged: more than %u within %d s",
			      lost, NBDS_LOG_BURST, NBDS_LOG_INTERVAL);
	nbds_log_close(log);
	return !reason;
}

int main(int argc, char **argv)
{
	struct audit_options o = {.report.fail_on = NBDS_VIOLATION,
				  .probing.config.seed = 1,
				  .threads = NBDS_THREADS_USEFUL};
	struct nbds_pipeline_config config = {0};
	struct nbds_merge *reports = NULL;
	struct nbds_report *report;
	struct nbds_tls_reader *keys;
	bool follow;
	char err[NBDS_OPTION_ERROR];
	FILE *out = stdout;
	int status, captures;

	o.shared.severity = NBDS_NOTE;
	nbds_program(argv, "nbdaudit");
	status = parse_options(argc, argv, &o);
	if (status >= 0)
		return status;
	/* Files are read and written with the rights of who runs the program. */
	if (nbds_privileges_borrowed() && (!o.shared.interface || o.output)) {
		if (o.shared.interface) {
			nbds_complain("--output with --interface: not with the set-user-ID bit");
			return STATUS_TROUBLE;
		}
		if (nbds_privileges_drop(NULL, err, sizeof(err)) < 0) {
			nbds_complain("%s", err);
			return STATUS_TROUBLE;
		}
	}
	/* A reader that goes away, or a file that may not grow, is an error in writing, not
	 * an end. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	captures = is_live(&o) || o.probing.config.uri ? 1 : argc - optind;
	if (o.merge) {
		reports = open_reports(argv + optind, argc - optind, &o);
		if (!reports)
			return STATUS_TROUBLE;
		captures = (int)nbds_merge_captures(reports);
	}
	/* Before anything is written: it may be the same file. */
	if (o.baseline && !load_baseline(&o, argv + optind, argc - optind, captures)) {
		nbds_merge_free(reports);
		return STATUS_TROUBLE;
	}
	if (!o.shared.engine.memory)
		o.shared.engine.memory = NBDS_MEMORY_DEFAULT;
	follow = is_live(&o);
	for (int i = optind; i < argc && !o.shared.interface; i++)
		follow |= !strcmp(argv[i], "-"); /* which may come from a live capture */
	keys = nbds_keys_open(o.shared.tls_keys, follow, o.shared.engine.memory, err);
	if (!keys) {
		nbds_complain("%s", err);
		nbds_merge_free(reports);
		nbds_compare_free(o.report.compare);
		return STATUS_TROUBLE;
	}
	if (!open_outputs(&o, argv + optind, argc - optind, &out)) {
		nbds_merge_free(reports);
		nbds_compare_free(o.report.compare);
		nbds_tls_reader_free(keys);
		return STATUS_TROUBLE;
	}
	if (o.report.format == NBDS_REPORT_TEXT)
		prepare_paper(out, &o.report);
	o.report.live = is_live(&o);
	o.report.several = captures > 1;
	/* What findings take while they wait is a share of the whole. */
	o.report.memory = o.shared.engine.memory / 8;
	o.shared.engine.memory -= o.report.memory;
	o.report.version = NBDSCOPE_VERSION;
	if (!open_log(&o) || !open_metrics(&o, argv + optind, argc - optind)) {
		nbds_log_close(o.report.hooks_ctx);
		nbds_merge_free(reports);
		nbds_compare_free(o.report.compare);
		nbds_tls_reader_free(keys);
		return STATUS_TROUBLE;
	}
	report = nbds_report_new(out, &o.report);
	if (!report) {
		nbds_complain("out of memory");
		nbds_merge_free(reports);
		nbds_compare_free(o.report.compare);
		close_metrics(&o);
		nbds_log_close(o.report.hooks_ctx);
		nbds_tls_reader_free(keys);
		return STATUS_TROUBLE;
	}
	o.shared.engine.tls = keys;
	config.engine = o.shared.engine;
	config.threads = o.threads;
	nbds_keys_use(keys, &config);
	nbds_report_callbacks(report, &config.ops);
	config.ctx = report;

	status = STATUS_OK;
	if (reports) {
		status = merge(reports, report, out);
	} else if (o.probing.config.uri) {
		catch_signals();
		status = probing_run(&o.probing, &config, report, &stopped, STATUS_UNAUDITED);
	} else if (o.shared.interface) {
		status = audit_live(argv + optind, argc - optind, &config, report, &o, out);
	} else if (o.shared.listen) {
		status = audit_relay(&config, report, &o, out);
	} else {
		for (int i = optind; i < argc && !ferror(out); i++) {
			int one = audit_file(argv[i], &config, report, &o, out, i == argc - 1);

			if (one > status)
				status = one;
		}
	}
	if (!close_metrics(&o))
		status = STATUS_TROUBLE;
	if (!close_log(&o))
		status = STATUS_TROUBLE;
	nbds_report_finish(report);
	if (nbds_report_lost(report)) {
		nbds_complain("%" PRIu64 " findings are missing from the report: out of memory",
			      nbds_report_lost(report));
		status = STATUS_TROUBLE;
	}
	if (nbds_report_error(report)) {
		nbds_complain("%s are missing from the report: cannot keep them in a temporary "
			      "file: %s",
			      o.report.format == NBDS_REPORT_HTML ? "captures" : "messages",
			      strerror(nbds_report_error(report)));
		status = STATUS_TROUBLE;
	}
	if (status == STATUS_OK || status == STATUS_UNAUDITED) {
		int judged = judge(report, &o);

		if (judged == STATUS_FOUND || status == STATUS_OK)
			status = judged;
	}
	nbds_report_free(report);
	nbds_compare_free(o.report.compare);
	nbds_merge_free(reports);
	nbds_tls_reader_free(keys);

	if (close_output(out, &o) < 0)
		status = STATUS_TROUBLE;
	return status;
}
