/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdrelay.c - the interface "NBD relay" for Wireshark: stands between clients and a server,
 * hands every byte on, and gives Wireshark synthetic packets of it.
 *
 * An extcap program: Wireshark starts it from its own folder, asks it for interfaces, link
 * types and arguments, and reads packets from a pipe (extcap(4), doc/extcap.adoc of
 * Wireshark).  What is not needed for that nbdaudit does better.
 *
 * Exit status: 0, or 2 with one line on standard error, which Wireshark shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/pcapng.h"
#include "capture/privileges.h"
#include "capture/sandbox.h"
#include "options/options.h"
#include "relay/relay.h"

enum { STATUS_OK = 0, STATUS_TROUBLE = NBDS_STATUS_TROUBLE, BATCH = 512 };

#define INTERFACE "nbdrelay"

struct relay_options {
	bool interfaces, dlts, config, capture;
	const char *interface, *fifo, *filter, *listen, *connect;
};

static struct nbds_relay *_Atomic relaying;

static void print_help(void)
{
	fputs("Usage: nbdrelay --capture --extcap-interface=" INTERFACE " --fifo=FILE\n"
	      "                --listen=ADDRESS --connect=ADDRESS\n"
	      "\n"
	      "Wireshark's interface \"NBD relay\": stands between clients, which connect to\n"
	      "the first ADDRESS, and the server at the second, hands every byte on, and writes\n"
	      "it as synthetic TCP to FILE. ADDRESS is unix:PATH, HOST:PORT or vsock:CID:PORT.\n"
	      "Wireshark starts it from its folder of extcap programs; nbdaudit and nbdtop have\n"
	      "the same options.\n"
	      "\n"
	      "  --extcap-interfaces     the interface\n"
	      "  --extcap-dlts           its link type\n"
	      "  --extcap-config         its arguments\n"
	      "  --extcap-capture-filter=FILTER\n"
	      "                          write only packets that match this pcap filter\n"
	      "  --help, --version\n",
	      stdout);
}

/* --- what Wireshark asks --- */

static int tell_interfaces(void)
{
	printf("extcap {version=%s}{display=NBD relay, of nbdscope}\n"
	       "interface {value=" INTERFACE "}{display=NBD relay}\n",
	       NBDSCOPE_VERSION);
	return nbds_finish_stdout(STATUS_OK);
}

static int tell_dlts(void)
{
	printf("dlt {number=%d}{name=RAW}{display=Raw IP, synthetic}\n", NBDS_SYNTHETIC_LINK);
	return nbds_finish_stdout(STATUS_OK);
}

static int tell_config(void)
{
	fputs("arg {number=0}{call=--listen}{display=Clients connect to}"
	      "{tooltip=unix:PATH, HOST:PORT or vsock:CID:PORT; a file that is made for the "
	      "capture}{type=string}{required=true}{placeholder=unix:/tmp/audited.sock}\n"
	      "arg {number=1}{call=--connect}{display=The server is at}"
	      "{tooltip=unix:PATH, HOST:PORT or vsock:CID:PORT}{type=string}{required=true}"
	      "{placeholder=unix:/tmp/server.sock}\n",
	      stdout);
	return nbds_finish_stdout(STATUS_OK);
}

/* --- the capture --- */

/* What goes into the pipe. */
struct pipe_writer {
	struct nbds_pcapng_writer *writer;
	int fd; /* the writer's */
	struct bpf_program filter;
	bool filtered, failed;
};

static bool compile(const char *text, struct bpf_program *program, char *err, size_t errsize)
{
	pcap_t *pcap = pcap_open_dead(NBDS_SYNTHETIC_LINK, NBDS_SYNTHETIC_SNAPLEN);
	bool good = pcap && pcap_compile(pcap, program, text, 1, PCAP_NETMASK_UNKNOWN) == 0;

	if (!good)
		snprintf(err, errsize, "%s", pcap ? pcap_geterr(pcap) : "out of memory");
	if (pcap)
		pcap_close(pcap);
	return good;
}

static void write_packet(void *ctx, struct nbds_packet *p)
{
	struct pipe_writer *w = ctx;
	struct pcap_pkthdr head = {.caplen = p->caplen, .len = p->len};

	if (w->failed || (w->filtered && !pcap_offline_filter(&w->filter, &head, p->data)))
		return;
	if (nbds_pcapng_write_packet(w->writer, p) < 0)
		w->failed = true;
}

/* Who reads the pipe has gone. */
static bool reader_gone(const struct pipe_writer *w)
{
	struct pollfd p = {.fd = w->fd};

	return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLNVAL));
}

static void on_signal(int number)
{
	struct nbds_relay *r = relaying;
	int before = errno;

	(void)number;
	if (r)
		nbds_relay_stop(r);
	errno = before;
}

static void catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction action = {.sa_handler = on_signal};

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static bool begin(struct pipe_writer *w, const struct relay_options *o,
		  const struct nbds_capture_origin *origin, char *err, size_t errsize)
{
	const struct nbds_pcapng_interface i = {
		.linktype = origin->linktype,
		.snaplen = origin->snaplen,
		.resolution = 9,
		.name = INTERFACE,
		.description = origin->name,
		.comment = origin->comment,
	};

	if (o->filter && *o->filter) {
		w->filtered = compile(o->filter, &w->filter, err, errsize);
		if (!w->filtered)
			return false;
	}
	/* Waits for the reader, which is there or about to come. */
	w->fd = open(o->fifo, O_WRONLY | O_CLOEXEC);
	if (w->fd < 0) {
		snprintf(err, errsize, "%s: %s", o->fifo, strerror(errno));
		return false;
	}
	w->writer = nbds_pcapng_writer_commented(w->fd, origin->comment);
	if (!w->writer || nbds_pcapng_describe_interface(w->writer, &i) < 0 ||
	    nbds_pcapng_flush(w->writer) < 0) {
		snprintf(err, errsize, "%s: %s", o->fifo,
			 w->writer ? strerror(errno) : "out of memory");
		return false;
	}
	return true;
}

static void confine(void)
{
	char err[256];

	if (nbds_sandbox_possible() && !nbds_sandbox_relay(NULL, 0, err, sizeof(err)))
		nbds_complain("%s", err);
}

/* Until the relay ends, or nobody reads any more. */
static void hand_out(struct pipe_writer *w, const struct nbds_capture_origin *origin)
{
	struct nbds_relay_status status;
	uint64_t refused = 0, dropped = 0;

	while (!origin->over(origin->origin)) {
		int got = origin->each(origin->origin, BATCH, write_packet, w);

		if (got < 0 || nbds_pcapng_flush(w->writer) < 0)
			w->failed = true;
		if (!got && reader_gone(w))
			w->failed = true;
		if (w->failed)
			break;
		nbds_relay_status(relaying, &status);
		if (status.refused > refused)
			nbds_complain("a client was closed, as the server is not reached: %s",
				      status.error);
		refused = status.refused;
	}
	dropped = origin->dropped(origin->origin);
	if (!w->failed && nbds_pcapng_write_drops(w->writer, 0, 0, 0, dropped) < 0)
		w->failed = true;
}

static int capture(const struct relay_options *o)
{
	struct nbds_endpoint listening, server;
	char err[512], name[NBDS_RELAY_NAME], comment[NBDS_ORIGIN_WORDS];
	struct pipe_writer w = {.fd = -1};
	struct nbds_view *view = NULL;
	struct nbds_relay *relay = NULL;
	const struct nbds_capture_origin *origin;
	int status = STATUS_TROUBLE;

	if (!o->listen || !o->connect || !*o->listen || !*o->connect) {
		nbds_complain("it needs to know where clients connect to, and where the server is");
		return STATUS_TROUBLE;
	}
	if (!nbds_endpoint_parse(o->listen, true, &listening, err, sizeof(err)) ||
	    !nbds_endpoint_parse(o->connect, false, &server, err, sizeof(err)))
		goto done;
	nbds_relay_name(o->listen, o->connect, false, name);
	nbds_relay_comment(&listening, &server, comment, sizeof(comment));
	catch_signals();
	view = nbds_view_new(NBDS_VIEW_BYTES, name, comment);
	if (!view) {
		snprintf(err, sizeof(err), "out of memory");
		goto done;
	}
	origin = nbds_view_origin(view);
	relay = nbds_relay_open(&listening, &server, view, err, sizeof(err));
	if (!relay || !begin(&w, o, origin, err, sizeof(err)) ||
	    nbds_privileges_drop(NULL, err, sizeof(err)) < 0 ||
	    !nbds_relay_start(relay, err, sizeof(err)))
		goto done;
	relaying = relay;
	confine();
	hand_out(&w, origin);
	relaying = NULL;
	/* That nobody reads any more is how a capture ends. */
	status = STATUS_OK;
done:
	if (status != STATUS_OK)
		nbds_complain("%s", err);
	nbds_relay_close(relay);
	if (w.writer)
		nbds_pcapng_finish(w.writer);
	else if (w.fd >= 0)
		close(w.fd);
	if (w.filtered)
		pcap_freecode(&w.filter);
	nbds_view_free(view);
	return status;
}

/* --- options --- */

enum {
	OPT_INTERFACES = 256,
	OPT_INTERFACE,
	OPT_DLTS,
	OPT_CONFIG,
	OPT_CAPTURE,
	OPT_FIFO,
	OPT_FILTER,
	OPT_LISTEN,
	OPT_CONNECT,
	OPT_IGNORED,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option long_options[] = {
	{"extcap-interfaces", no_argument, NULL, OPT_INTERFACES},
	{"extcap-interface", required_argument, NULL, OPT_INTERFACE},
	{"extcap-dlts", no_argument, NULL, OPT_DLTS},
	{"extcap-config", no_argument, NULL, OPT_CONFIG},
	{"extcap-capture-filter", required_argument, NULL, OPT_FILTER},
	{"extcap-version", optional_argument, NULL, OPT_IGNORED},
	{"extcap-reload-option", required_argument, NULL, OPT_IGNORED},
	{"log-level", required_argument, NULL, OPT_IGNORED},
	{"log-file", required_argument, NULL, OPT_IGNORED},
	{"capture", no_argument, NULL, OPT_CAPTURE},
	{"fifo", required_argument, NULL, OPT_FIFO},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"connect", required_argument, NULL, OPT_CONNECT},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct relay_options *o)
{
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case OPT_INTERFACES:
			o->interfaces = true;
			break;
		case OPT_INTERFACE:
			o->interface = optarg;
			break;
		case OPT_DLTS:
			o->dlts = true;
			break;
		case OPT_CONFIG:
			o->config = true;
			break;
		case OPT_CAPTURE:
			o->capture = true;
			break;
		case OPT_FIFO:
			o->fifo = optarg;
			break;
		case OPT_FILTER:
			o->filter = optarg;
			break;
		case OPT_LISTEN:
			o->listen = optarg;
			break;
		case OPT_CONNECT:
			o->connect = optarg;
			break;
		case OPT_IGNORED:
			break;
		case OPT_HELP:
			print_help();
			return nbds_finish_stdout(STATUS_OK);
		case OPT_VERSION:
			nbds_tell_version();
			return nbds_finish_stdout(STATUS_OK);
		default:
			return nbds_usage_error();
		}
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct relay_options o = {0};
	struct bpf_program program;
	char err[512];
	int status;

	nbds_program(argv, "nbdrelay");
	status = parse_options(argc, argv, &o);
	if (status >= 0)
		return status;
	/* Files and sockets are those of who runs the program. */
	if (nbds_privileges_borrowed() && nbds_privileges_drop(NULL, err, sizeof(err)) < 0) {
		nbds_complain("%s", err);
		return STATUS_TROUBLE;
	}
	if (o.interfaces)
		return tell_interfaces();
	if (!o.interface || strcmp(o.interface, INTERFACE) != 0) {
		nbds_complain("this is an interface for Wireshark, called " INTERFACE);
		return nbds_usage_error();
	}
	if (o.dlts)
		return tell_dlts();
	if (o.config)
		return tell_config();
	if (o.capture && o.fifo)
		return capture(&o);
	if (o.filter) {
		/* Whether it is valid: nothing is said then. */
		if (compile(o.filter, &program, err, sizeof(err)))
			pcap_freecode(&program);
		else
			puts(err);
		return nbds_finish_stdout(STATUS_OK);
	}
	nbds_complain("nothing is asked for, or --fifo is missing");
	return nbds_usage_error();
}
