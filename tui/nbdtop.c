/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdtop.c - NBD traffic on a terminal, live or of a file.
 *
 * Exit status: 0; 2 for bad usage, what cannot be opened, no terminal, or packets or
 * metrics that could not be saved; without a screen also for a file that could not be read
 * to its end.  docs/nbdtop.md is the manual.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../analyzer/capture/live.h"
#include "../analyzer/capture/privileges.h"
#include "../analyzer/capture/sandbox.h"
#include "../analyzer/metrics/metrics.h"
#include "../analyzer/options/options.h"
#include "../analyzer/options/shared.h"
#include "../analyzer/relay/relay.h"
#include "ui.h"

enum { STATUS_OK = 0, STATUS_TROUBLE = NBDS_STATUS_TROUBLE };

struct top_options {
	struct worker_config worker;
	struct screen_options screen;
	const char *colour; /* auto, always, never */
	bool headless;      /* no screen */
	struct nbds_shared_options shared;
};

static void print_help(void)
{
	fputs("Usage: nbdtop [OPTION]... -i INTERFACE [FILTER]\n"
	      "       nbdtop [OPTION]... --listen=ADDRESS --connect=ADDRESS\n"
	      "       nbdtop [OPTION]... FILE\n"
	      "\n"
	      "Shows NBD traffic on the terminal: who talks to which export over how many\n"
	      "connections, what is written and not flushed, how each flush ordered it, how\n"
	      "fast and how slow, and where a promise is broken, the moment that it happens.\n"
	      "FILE is pcap or pcapng, plain or compressed with gzip, zstd, lz4, xz or bzip2;\n"
	      "'-' is standard input. FILTER is a pcap filter, such as 'tcp port 10809'. Press\n"
	      "F1 for the keys.\n"
	      "\n"
	      "Source:\n"
	      "  -i, --interface=INTERFACE\n"
	      "                          live traffic of this interface, 'any' for all\n"
	      "      --listen=ADDRESS    stand between clients, which connect here, and the\n"
	      "                          server of --connect; every byte is handed on, and\n"
	      "                          shown. For Unix sockets and vsock, which no interface\n"
	      "                          shows\n"
	      "      --connect=ADDRESS   the server; ADDRESS is unix:PATH, HOST:PORT or\n"
	      "                          vsock:CID:PORT\n"
	      "  -w, --write=FILE        live: also save the packets, as pcapng\n"
	      "      --overwrite         do not ask before that FILE is overwritten\n"
	      "  -s, --snaplen=BYTES     live: so much of each packet; what is cut off is not\n"
	      "                          judged\n"
	      "      --latency-only      live: only the heads of messages, to measure latencies\n"
	      "                          where traffic is too much to be judged\n"
	      "  -D, --list-interfaces   the interfaces that there are\n"
	      "  -Z, --relinquish-privileges=USER\n"
	      "                          whom root becomes once the interface is open (tcpdump,\n"
	      "                          or nobody)\n"
	      "      --replay=SPEED      play FILE in its own time: 1, 0.5, 10 times as fast\n"
	      "\n"
	      "Judgement:\n"
	      "  -p, --port=PORT[,PORT...]\n"
	      "                          further server ports; a server that greets is\n"
	      "                          recognised on any port without it\n"
	      "      --exclusive         you vouch that no writer stays outside the capture\n"
	      "      --severity=LEVEL    leave out findings below LEVEL: violation, suspect,\n"
	      "                          hazard, note\n"
	      "      --memory=SIZE       the most memory for contents and state, such as 256M\n"
	      "                          or 4G (1G)\n"
	      "      --tls-keys=FILE     look inside TLS with the keys of FILE, a key log as\n"
	      "                          SSLKEYLOGFILE makes clients and servers write it;\n"
	      "                          keys inside of a capture are used without it\n"
	      "      --ring=SIZE         live: memory for the last packets, so that they can be\n"
	      "                          saved afterwards (a 16th of --memory); 0: none\n"
	      "      --history=NUMBER    messages that are kept (live 65536, file 1000000);\n"
	      "                          findings and finished connections in proportion\n"
	      "\n"
	      "Metrics:\n"
	      "      --metrics=ADDRESS:PORT\n"
	      "                          live: serve OpenMetrics over HTTP, for Prometheus;\n"
	      "                          ':PORT' is this machine's loopback\n"
	      "      --metrics-file=FILE     write them to FILE, for node_exporter's textfile\n"
	      "                          collector, and for the last time at the end\n"
	      "      --metrics-interval=SECONDS\n"
	      "                          how often FILE is written (15)\n"
	      "      --headless          without the screen, and without a terminal, until a\n"
	      "                          signal; so it is with metrics where there is no\n"
	      "                          terminal\n"
	      "\n"
	      "Screen:\n"
	      "      --color=WHEN        auto (default), always, never; NO_COLOR is respected\n"
	      "      --ascii             no line drawing characters\n"
	      "      --no-mouse          leave the mouse to the terminal\n"
	      "\n"
	      "  -h, --help              this help\n"
	      "  -V, --version           the version\n"
	      "\n"
	      "Without a terminal: --headless, or nbdaudit.\n",
	      stdout);
}

/* The point is a point in every locale, as the locale of numbers stays "C". */
static bool parse_speed(const char *text, double *speed)
{
	char *end;

	*speed = strtod(text, &end);
	if (isdigit((unsigned char)*text) && *end == 'x')
		end++;
	if (!isdigit((unsigned char)*text) || *end || !(*speed >= 0.001) || *speed > 1e6) {
		nbds_complain("'%s' is not a speed: a number from 0.001 to 1000000", text);
		return false;
	}
	return true;
}

/* With fewer bytes there would be no header of TCP. */
#define SNAPLEN_LEAST 96
#define SNAPLEN_MOST  262144
/* Link, IP and TCP headers with their options, and that of a request or chunk. */
#define SNAPLEN_HEADS 192

static bool parse_snaplen(const char *text, uint32_t *snaplen)
{
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || number < SNAPLEN_LEAST ||
	    number > SNAPLEN_MOST) {
		nbds_complain("'%s' is not a number of bytes from %d to %d", text, SNAPLEN_LEAST,
			      SNAPLEN_MOST);
		return false;
	}
	*snaplen = (uint32_t)number;
	return true;
}

static bool parse_history(const char *text, uint64_t *history)
{
	char *end;

	errno = 0;
	*history = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || *history < 1000 ||
	    *history > 100000000) {
		nbds_complain("'%s' is not a number of messages from 1000 to 100000000", text);
		return false;
	}
	return true;
}

enum {
	OPT_REPLAY = 256,
	OPT_RING,
	OPT_LATENCY_ONLY,
	OPT_HISTORY,
	OPT_COLOUR,
	OPT_ASCII,
	OPT_NO_MOUSE,
	OPT_HEADLESS,
};

static const struct option long_options[] = {
	NBDS_SHARED_LONG_OPTIONS,
	{"replay", required_argument, NULL, OPT_REPLAY},
	{"history", required_argument, NULL, OPT_HISTORY},
	{"snaplen", required_argument, NULL, 's'},
	{"latency-only", no_argument, NULL, OPT_LATENCY_ONLY},
	{"ring", required_argument, NULL, OPT_RING},
	{"color", required_argument, NULL, OPT_COLOUR},
	{"colour", required_argument, NULL, OPT_COLOUR},
	{"ascii", no_argument, NULL, OPT_ASCII},
	{"no-mouse", no_argument, NULL, OPT_NO_MOUSE},
	{"headless", no_argument, NULL, OPT_HEADLESS},
	{NULL, 0, NULL, 0},
};

/* What goes with --listen and --connect. -1: go on. */
static int check_relay(int argc, const struct top_options *o, char **argv)
{
	if (!o->worker.listen || !o->worker.connect)
		nbds_complain("a relay needs both --listen and --connect");
	else if (o->worker.interface)
		nbds_complain("--listen and --interface exclude each other");
	else if (o->worker.replay > 0)
		nbds_complain("--replay is for files");
	else if (o->worker.snaplen || o->worker.heads)
		nbds_complain("%s is for packets of an interface: it needs --interface",
			      o->worker.heads ? "--latency-only" : "--snaplen");
	else if (optind < argc)
		nbds_complain("--listen takes no file and no filter: '%s'", argv[optind]);
	else
		return -1;
	return nbds_usage_error();
}

/* What options mean together. -1: go on. */
static int check(int argc, struct top_options *o, char **argv)
{
	if (o->shared.metrics.interval && !o->shared.metrics.file) {
		nbds_complain("--metrics-interval is for the file: it needs --metrics-file");
		return nbds_usage_error();
	}
	if (o->worker.listen || o->worker.connect)
		return check_relay(argc, o, argv);
	if (o->worker.interface) {
		if (o->worker.replay > 0) {
			nbds_complain("--replay is for files");
			return nbds_usage_error();
		}
		if (o->worker.heads && !o->worker.snaplen)
			o->worker.snaplen = SNAPLEN_HEADS;
		return -1;
	}
	if (o->shared.metrics.address) {
		nbds_complain(
			"--metrics serves while traffic is live: it needs --interface or --listen; "
			"of a capture file there is --metrics-file");
		return nbds_usage_error();
	}
	if (o->worker.snaplen || o->worker.heads) {
		nbds_complain("%s is for live packets: it needs --interface",
			      o->worker.heads ? "--latency-only" : "--snaplen");
		return nbds_usage_error();
	}
	if (o->worker.save) {
		nbds_complain("--write saves live packets: it needs --interface or --listen");
		return nbds_usage_error();
	}
	if (optind == argc) {
		nbds_complain("no capture file is named, nor an interface with -i");
		return nbds_usage_error();
	}
	if (argc - optind > 1) {
		nbds_complain("one file at a time: '%s' is the second", argv[optind + 1]);
		return nbds_usage_error();
	}
	o->worker.file = argv[optind];
	return -1;
}

/* What the worker has to know of the options that nbdaudit has, too. */
static void take_shared(struct top_options *o)
{
	const struct nbds_shared_options *s = &o->shared;

	o->worker.interface = s->interface;
	o->worker.listen = s->listen;
	o->worker.connect = s->connect;
	o->worker.save = s->save;
	o->worker.user = s->user;
	o->worker.tls_keys = s->tls_keys;
	o->worker.severity = s->severity;
	o->worker.engine = s->engine;
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct top_options *o)
{
	char err[NBDS_OPTION_ERROR];
	int c;

	while ((c = getopt_long(argc, argv, NBDS_SHARED_OPTIONS "s:", long_options, NULL)) != -1) {
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
		case OPT_REPLAY:
			if (!parse_speed(optarg, &o->worker.replay))
				return nbds_usage_error();
			break;
		case 's':
			if (!parse_snaplen(optarg, &o->worker.snaplen))
				return nbds_usage_error();
			break;
		case OPT_LATENCY_ONLY:
			o->worker.heads = true;
			break;
		case OPT_RING:
			o->worker.ring_given = true;
			if (strcmp(optarg, "0") != 0 &&
			    !nbds_option_memory(optarg, &o->worker.ring, err))
				goto bad;
			break;
		case OPT_HISTORY:
			if (!parse_history(optarg, &o->worker.history))
				return nbds_usage_error();
			break;
		case OPT_COLOUR:
			if (strcmp(optarg, "auto") && strcmp(optarg, "always") &&
			    strcmp(optarg, "never")) {
				nbds_complain("--color: '%s' is not one of auto, always, never",
					      optarg);
				return nbds_usage_error();
			}
			o->colour = optarg;
			break;
		case OPT_ASCII:
			o->screen.ascii = true;
			break;
		case OPT_NO_MOUSE:
			o->screen.mouse = false;
			break;
		case OPT_HEADLESS:
			o->headless = true;
			break;
		case 'h':
			print_help();
			return nbds_finish_stdout(STATUS_OK);
		default:
			return nbds_usage_error();
		}
	}
	take_shared(o);
	return check(argc, o, argv);
bad:
	nbds_complain("%s", err);
	return nbds_usage_error();
}

static bool same_file(const char *one, const char *other)
{
	struct stat a, b;

	return stat(one, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* True also where none is needed. */
static bool has_terminal(struct top_options *o, const char *filter)
{
	bool from_stdin = o->worker.file && !strcmp(o->worker.file, "-");
	const char *which = !isatty(STDOUT_FILENO)                 ? "output"
			    : !from_stdin && !isatty(STDIN_FILENO) ? "input"
								   : NULL;

	if (!which || o->headless)
		return true;
	/* Somebody else looks. */
	if (o->shared.metrics.address || o->shared.metrics.file) {
		o->headless = true;
		return true;
	}
	if (o->worker.listen)
		nbds_complain("standard %s is no terminal; without one, use: nbdaudit --listen=%s "
			      "--connect=%s",
			      which, o->worker.listen, o->worker.connect);
	else if (o->worker.interface)
		nbds_complain("standard %s is no terminal; without one, use: nbdaudit -i %s%s%s%s",
			      which, o->worker.interface, *filter ? " '" : "", filter,
			      *filter ? "'" : "");
	else
		nbds_complain("standard %s is no terminal; without one, use: nbdaudit %s", which,
			      o->worker.file);
	return false;
}

static bool wants_colour(const struct top_options *o)
{
	const char *no_color = getenv("NO_COLOR");

	if (!strcmp(o->colour, "auto"))
		return !(no_color && *no_color);
	return !strcmp(o->colour, "always");
}

/* What would be gone with the screen. */
static void last_words(const struct snapshot *s)
{
	struct nbds_buf b = {0};

	if (!s)
		return;
	nbds_buf_count(&b, s->totals.connections, "connection", NULL);
	nbds_buf_puts(&b, " to ");
	nbds_buf_count(&b, s->totals.exports, "export", NULL);
	for (int level = NBDS_VIOLATION; level >= NBDS_NOTE; level--) {
		nbds_buf_puts(&b, level == NBDS_VIOLATION ? ": " : ", ");
		nbds_buf_count(&b, s->totals.findings[level],
			       nbds_severity_name((enum nbds_severity)level), NULL);
	}
	nbds_buf_puts(&b, "; ");
	nbds_buf_count(&b, s->info.capture.frames, "packet", NULL);
	nbds_buf_printf(&b, ", %" PRIu64 " dropped", s->info.capture.dropped);
	puts(nbds_buf_text(&b));
	nbds_buf_free(&b);
}

/* --- metrics --- */

/* As the options want; also if they want none. */
static bool open_metrics(struct top_options *o)
{
	const char *file = o->shared.metrics.file;

	return nbds_shared_metrics_open(&o->shared, "nbdtop",
					file && o->worker.file && same_file(file, o->worker.file),
					&o->worker.metrics);
}

/* --- the end --- */

/* What packets can make of the program ends here. False: reason in `err`. */
static bool confine(const struct top_options *o, char *err, size_t errsize)
{
	return nbds_shared_confine(o->worker.metrics, o->worker.listen, err, errsize);
}

/* Of a file that could not be read to its end, as there is no screen that shows it. */
static int headless_status(const struct snapshot *s)
{
	if (!s || s->state != STATE_FAILED)
		return STATUS_OK;
	nbds_complain("%s", s->error);
	return STATUS_TROUBLE;
}

int main(int argc, char **argv)
{
	struct top_options o = {.screen = {.mouse = true}, .colour = "auto"};
	static struct ui ui;
	char err[512], source[2 * NBDS_RELAY_NAME], relay[NBDS_RELAY_NAME],
		setup_path[PATH_MAX] = "", *filter;
	const char *name;
	int status;

	nbds_program(argv, "nbdtop");
	status = parse_options(argc, argv, &o);
	if (status >= 0)
		return status;
	/* With the rights of others no file is read that the environment names. */
	config_init(&ui.setup);
	if (!nbds_privileges_borrowed())
		config_path(setup_path, sizeof(setup_path));
	o.worker.setup_path = setup_path;
	if (!config_read(&ui.setup, setup_path, err, sizeof(err)))
		ui_notice(&ui, "%s", err);
	ui_catch_signals();
	setlocale(LC_CTYPE, "");
	filter = nbds_option_filter(argv + optind, o.worker.interface ? argc - optind : 0);
	if (!filter) {
		nbds_complain("out of memory");
		return STATUS_TROUBLE;
	}
	if (!has_terminal(&o, filter)) {
		free(filter);
		return STATUS_TROUBLE;
	}
	if (o.worker.save && strcmp(o.worker.save, "-") &&
	    !nbds_may_write(o.worker.save, o.shared.overwrite)) {
		free(filter);
		return STATUS_TROUBLE;
	}
	o.worker.filter = *filter ? filter : NULL;
	o.worker.headless = o.headless;
	if (!open_metrics(&o)) {
		free(filter);
		return STATUS_TROUBLE;
	}
	ui.worker = worker_start(&o.worker, err, sizeof(err));
	if (!ui.worker) {
		if (o.worker.listen)
			nbds_complain("%s", err);
		else
			nbds_complain("%s: %s", o.worker.file ? o.worker.file : o.worker.interface,
				      err);
		nbds_metrics_close(o.worker.metrics, err, sizeof(err));
		free(filter);
		return STATUS_TROUBLE;
	}
	name = o.worker.file ? o.worker.file : o.worker.interface;
	if (o.worker.listen) {
		nbds_relay_name(o.worker.listen, o.worker.connect,
				o.screen.ascii || strcmp(nl_langinfo(CODESET), "UTF-8") != 0,
				relay);
		name = relay;
	}
	if (!name)
		name = ""; /* worker_start() had failed */
	nbds_escape_text(name, strlen(name), source, sizeof(source));
	ui.source = source;
	ui.config = &o.worker;
	o.screen.colour = wants_colour(&o);
	o.screen.keyboard_from_tty = o.worker.file && !strcmp(o.worker.file, "-");
	if (o.headless) {
		nbds_shared_metrics_tell(&o.shared, o.worker.metrics);
		if (!confine(&o, err, sizeof(err)))
			nbds_complain("%s", err);
		worker_go(ui.worker);
		headless_run(&ui);
		status = headless_status(ui.s);
		last_words(ui.s);
		status = nbds_finish_stdout(status);
	} else if (screen_open(&o.screen, err, sizeof(err))) {
		if (!confine(&o, err, sizeof(err)))
			ui_notice(&ui, "%s", err);
		worker_go(ui.worker);
		ui_run(&ui);
		screen_close();
		last_words(ui.s);
		status = nbds_finish_stdout(STATUS_OK);
	} else {
		nbds_complain("%s", err);
		status = STATUS_TROUBLE;
	}
	if (worker_stop(ui.worker, err, sizeof(err)) < 0) {
		nbds_complain("%s", err);
		status = STATUS_TROUBLE;
	}
	if (!nbds_shared_metrics_close(o.worker.metrics))
		status = STATUS_TROUBLE;
	free(filter);
	return status;
}
