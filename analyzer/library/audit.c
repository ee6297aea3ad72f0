/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * audit.c - libnbdscope's engine: one pipeline, and the findings that came of it. See
 * nbdscope/audit.h.
 *
 *	file ─────► pipeline ──┐
 *	packets ──► pipeline ──┼──► engine ── finding() ──► kept ──► next()
 *	streams ──► feed ──────┘       │                      └────┐
 *	                               └── at the end ──► report ◄─┘
 *
 * Findings are kept as copies, so that a report can be made in any form afterwards: it is
 * told them as if they happened then.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <base/budget.h>
#include <base/vector.h>
#include <nbdscope/audit.h>

#include "../pipeline/pipeline.h"
#include "../report/report.h"

#define MEMORY_DEFAULT ((uint64_t)1 << 30)
#define MEMORY_LEAST   ((uint64_t)1 << 20)
#define BATCH          512

/* Ports that clients without an address have, one after the other. */
#define PORT_FIRST 1024u

enum feeding { FED_NOTHING, FED_FILE, FED_PACKETS, FED_STREAMS };

struct nbdscope_finding {
	struct nbds_finding *f;
};

struct nbdscope_stream {
	struct nbdscope_audit *audit;
	struct nbdscope_stream **before, *next; /* of those that are open */
	struct nbds_feed_flow *flow;            /* NULL: the audit is finished */
	bool ended[2];
	uint64_t told[2]; /* bytes of each side so far */
};

NBDS_VECTOR(finding_vector, struct nbdscope_finding *);

/* The report as a page draws what happened when, so that it has to be there from the
 * beginning. */
struct audit_page {
	bool wanted;
	struct nbds_report *report; /* NULL: there is none, or it is finished */
	struct nbds_engine_ops ops; /* what it wants to be told */
	FILE *out;                  /* to `text` */
	char *text;
	size_t size;
};

struct nbdscope_audit {
	struct nbds_engine_config config;
	enum feeding feeding;
	struct nbds_pipeline *pipeline; /* NULL: nothing is fed yet */
	struct nbdscope_stream *streams;
	uint64_t number; /* of packets or calls */
	uint16_t client_port;
	bool finished;
	struct nbds_budget budget;   /* of findings */
	struct finding_vector found; /* in the order in which they became certain */
	size_t handed;               /* how many next() handed out */
	uint64_t lost;               /* findings, for want of memory */
	char *name;                  /* of the capture, for the report */
	const char *verdict;         /* NULL: not known yet */
	char *report;                /* the last one */
	struct audit_page page;
	char error[512];
};

const char *nbdscope_version(void)
{
	return NBDSCOPE_VERSION;
}

const char *nbdscope_level_name(enum nbdscope_level level)
{
	return level >= NBDSCOPE_NOTE && level <= NBDSCOPE_VIOLATION
		       ? nbds_severity_name((enum nbds_severity)level)
		       : "unknown";
}

struct nbdscope_audit *nbdscope_audit_new(void)
{
	struct nbdscope_audit *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->config.memory = MEMORY_DEFAULT;
	a->client_port = PORT_FIRST;
	return a;
}

static void page_free(struct audit_page *page)
{
	nbds_report_free(page->report);
	page->report = NULL;
	if (page->out)
		fclose(page->out);
	page->out = NULL;
	free(page->text);
	page->text = NULL;
}

static void streams_free(struct nbdscope_audit *a)
{
	while (a->streams) {
		struct nbdscope_stream *s = a->streams;

		a->streams = s->next;
		free(s);
	}
}

void nbdscope_audit_free(struct nbdscope_audit *a)
{
	if (!a)
		return;
	nbdscope_audit_finish(a);
	nbds_pipeline_close(a->pipeline, NULL, 0);
	page_free(&a->page);
	streams_free(a);
	for (size_t i = 0; i < a->found.count; i++) {
		nbds_finding_free(a->found.at[i]->f);
		free(a->found.at[i]);
	}
	nbds_vector_free(&a->found, &a->budget);
	free(a->name);
	free(a->report);
	free(a);
}

/* --- before --- */

static bool settable(const struct nbdscope_audit *a)
{
	if (a->feeding == FED_NOTHING && !a->finished)
		return true;
	errno = EBUSY;
	return false;
}

int nbdscope_audit_set_memory(struct nbdscope_audit *a, uint64_t bytes)
{
	if (!settable(a))
		return -1;
	if (bytes < MEMORY_LEAST) {
		errno = EINVAL;
		return -1;
	}
	a->config.memory = bytes;
	return 0;
}

int nbdscope_audit_set_exclusive(struct nbdscope_audit *a, int exclusive)
{
	if (!settable(a))
		return -1;
	a->config.exclusive = exclusive != 0;
	return 0;
}

int nbdscope_audit_keep_page(struct nbdscope_audit *a)
{
	if (!settable(a))
		return -1;
	a->page.wanted = true;
	return 0;
}

int nbdscope_audit_add_port(struct nbdscope_audit *a, unsigned port)
{
	if (!settable(a))
		return -1;
	if (!port || port > UINT16_MAX) {
		errno = EINVAL;
		return -1;
	}
	if (a->config.port_count == NBDS_PORTS_MAX) {
		errno = ENOSPC;
		return -1;
	}
	a->config.ports[a->config.port_count++] = (uint16_t)port;
	return 0;
}

/* --- feeding --- */

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	struct nbdscope_audit *a = ctx;
	struct nbdscope_finding *copy = NULL;
	size_t size = nbds_finding_size(f) + sizeof(*copy);

	if (a->page.report)
		a->page.ops.finding(a->page.report, f);
	if (a->budget.used + size <= a->budget.limit)
		copy = calloc(1, sizeof(*copy));
	if (copy)
		copy->f = nbds_finding_copy(f);
	if (!copy || !copy->f || !nbds_vector_push(&a->found, &a->budget, copy)) {
		if (copy)
			nbds_finding_free(copy->f);
		free(copy);
		a->lost++;
		return;
	}
	nbds_budget_take(&a->budget, size);
}

static void on_connection(void *ctx, struct nbds_connection *c)
{
	struct audit_page *page = &((struct nbdscope_audit *)ctx)->page;

	if (page->ops.connection)
		page->ops.connection(page->report, c);
}

static void on_message(void *ctx, struct nbds_connection *c, const struct nbds_message *m)
{
	struct audit_page *page = &((struct nbdscope_audit *)ctx)->page;

	if (page->ops.message)
		page->ops.message(page->report, c, m);
}

static void on_message_end(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
			   uint64_t came)
{
	struct audit_page *page = &((struct nbdscope_audit *)ctx)->page;

	if (page->ops.message_end)
		page->ops.message_end(page->report, c, m, came);
}

static void on_end(void *ctx, struct nbds_connection *c)
{
	struct audit_page *page = &((struct nbdscope_audit *)ctx)->page;

	if (page->ops.end)
		page->ops.end(page->report, c);
}

static bool page_begin(struct audit_page *page, uint64_t memory)
{
	struct nbds_report_options options = {
		.format = NBDS_REPORT_HTML,
		.severity = NBDS_NOTE,
		.fail_on = NBDS_VIOLATION,
		.memory = memory,
		.version = NBDSCOPE_VERSION,
	};

	page_free(page);
	page->out = open_memstream(&page->text, &page->size);
	if (page->out)
		page->report = nbds_report_new(page->out, &options);
	if (!page->report)
		return false;
	nbds_report_callbacks(page->report, &page->ops);
	return true;
}

/* What findings take is a share of the whole, and so is what a page keeps. False: no
 * memory. */
static bool configure(struct nbdscope_audit *a, struct nbds_pipeline_config *config)
{
	*config = (struct nbds_pipeline_config){
		.engine = a->config,
		.ops = {.finding = on_finding},
		.ctx = a,
	};
	a->budget.limit = a->config.memory / 8;
	config->engine.memory -= a->budget.limit;
	if (!a->page.wanted)
		return true;
	config->engine.memory -= a->budget.limit;
	config->ops.connection = on_connection;
	config->ops.message = on_message;
	config->ops.message_end = on_message_end;
	config->ops.end = on_end;
	if (page_begin(&a->page, a->budget.limit))
		return true;
	errno = ENOMEM;
	return false;
}

/* From now on this kind of feeding, and no other. */
static bool begin(struct nbdscope_audit *a, enum feeding feeding, const char *name)
{
	struct nbds_pipeline_config config;
	char err[64];

	if (a->finished || (a->feeding != FED_NOTHING && a->feeding != feeding)) {
		errno = EBUSY;
		return false;
	}
	if (a->pipeline)
		return true;
	if (!configure(a, &config))
		return false;
	if (feeding == FED_STREAMS)
		config.engine.patience = 1; /* no other copies of the bytes will come */
	free(a->name);
	a->name = strdup(name);
	if (a->name)
		a->pipeline = nbds_pipeline_open_packets(&config, err, sizeof(err));
	if (!a->pipeline) {
		errno = ENOMEM;
		return false;
	}
	a->feeding = feeding;
	if (a->page.report)
		nbds_report_begin(a->page.report, a->name, a->pipeline);
	return true;
}

static int64_t clock_time(int64_t time)
{
	struct timespec now;

	if (time != NBDSCOPE_NOW)
		return time;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int nbdscope_audit_file(struct nbdscope_audit *a, const char *path)
{
	struct nbds_pipeline_config config;
	enum nbds_step step;

	if (a->finished || a->feeding != FED_NOTHING) {
		errno = EBUSY;
		return -1;
	}
	if (!configure(a, &config))
		return -1;
	free(a->name);
	a->name = strdup(path);
	if (!a->name) {
		errno = ENOMEM;
		return -1;
	}
	a->pipeline = nbds_pipeline_open(path, &config, a->error, sizeof(a->error));
	if (!a->pipeline) {
		errno = EIO;
		return -1;
	}
	a->feeding = FED_FILE;
	if (a->page.report)
		nbds_report_begin(a->page.report, a->name, a->pipeline);
	while ((step = nbds_pipeline_step(a->pipeline, BATCH)) <= NBDS_STEP_IDLE)
		;
	if (step == NBDS_STEP_ERROR)
		snprintf(a->error, sizeof(a->error), "%s", nbds_pipeline_error(a->pipeline));
	if (nbdscope_audit_finish(a) < 0)
		return -1;
	if (step == NBDS_STEP_ERROR) {
		errno = EIO;
		return -1;
	}
	return 0;
}

int nbdscope_audit_packet(struct nbdscope_audit *a, int linktype, const void *bytes,
			  uint32_t captured, uint32_t length, int64_t time)
{
	struct nbds_packet packet = {
		.time = clock_time(time),
		.caplen = captured,
		.len = length,
		.linktype = linktype,
		.data = bytes,
	};

	if (captured > length) {
		errno = EINVAL;
		return -1;
	}
	if (!begin(a, FED_PACKETS, "packets"))
		return -1;
	packet.frame = ++a->number;
	nbds_pipeline_packet(a->pipeline, &packet);
	return 0;
}

/* --- streams --- */

/* "192.0.2.1:10809", "[2001:db8::1]:10809" */
static bool parse_address(const char *text, struct nbds_addr *address)
{
	const char *colon = strrchr(text, ':'), *from = text, *to = colon;
	char ip[INET6_ADDRSTRLEN], *end;
	long port;

	memset(address, 0, sizeof(*address));
	if (!colon || colon[1] < '0' || colon[1] > '9')
		return false;
	port = strtol(colon + 1, &end, 10);
	if (*end || port < 1 || port > UINT16_MAX)
		return false;
	if (*from == '[') {
		from++;
		if (--to < from || *to != ']')
			return false;
	}
	if ((size_t)(to - from) >= sizeof(ip))
		return false;
	memcpy(ip, from, (size_t)(to - from));
	ip[to - from] = '\0';
	address->family = *text == '[' ? 6 : 4;
	address->port = (uint16_t)port;
	return inet_pton(address->family == 6 ? AF_INET6 : AF_INET, ip, address->ip) == 1;
}

static struct nbds_addr loopback(uint16_t port)
{
	return (struct nbds_addr){.ip = {127, 0, 0, 1}, .port = port, .family = 4};
}

static struct nbds_addr unused_client(struct nbdscope_audit *a)
{
	if (a->client_port == NBDS_PORT || a->client_port < PORT_FIRST)
		a->client_port = a->client_port < PORT_FIRST ? PORT_FIRST : NBDS_PORT + 1;
	return loopback(a->client_port++);
}

static struct nbds_mark mark(struct nbdscope_audit *a, int64_t time)
{
	int64_t now = clock_time(time);
	uint64_t number = ++a->number;

	return (struct nbds_mark){
		.frame = number,
		.time = now,
		.lo_frame = number,
		.lo_time = now,
		.ack = NBDS_NO_ACK,
	};
}

struct nbdscope_stream *nbdscope_audit_stream(struct nbdscope_audit *a, const char *client,
					      const char *server, int64_t time)
{
	struct nbds_addr from = loopback(0), to = loopback(NBDS_PORT);
	struct nbdscope_stream *s;
	struct nbds_mark where;

	if ((client && !parse_address(client, &from)) || (server && !parse_address(server, &to))) {
		errno = EINVAL;
		return NULL;
	}
	if (!begin(a, FED_STREAMS, "streams"))
		return NULL;
	if (!client)
		from = unused_client(a);
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->audit = a;
	where = mark(a, time);
	nbds_pipeline_fed(a->pipeline, where.time, 0);
	s->flow = nbds_feed_open(nbds_pipeline_feed(a->pipeline), &from, &to, true, &where);
	if (!s->flow) {
		free(s);
		errno = ENOMEM;
		return NULL;
	}
	s->next = a->streams;
	s->before = &a->streams;
	if (s->next)
		s->next->before = &s->next;
	a->streams = s;
	return s;
}

/* Can `len` more bytes come from `side`? */
static bool feedable(const struct nbdscope_stream *s, enum nbdscope_side side, uint64_t len)
{
	if (!s->flow) {
		errno = EBUSY;
		return false;
	}
	if ((side == NBDSCOPE_CLIENT || side == NBDSCOPE_SERVER) && !s->ended[side] &&
	    len <= NBDSCOPE_MOST - s->told[side])
		return true;
	errno = EINVAL;
	return false;
}

/*
 * Of packets it is known what their sender had received.  Here it is known what it can have
 * received: no more than what passed.  Of the server's bytes that is as good, since what is
 * concluded from the number is that the server had not got more (an answer cannot be to what
 * came later).  Of the client's it would be concluded that the client had got as much: that is
 * known only where nothing has passed yet.
 */
static void can_have(const struct nbdscope_stream *s, enum nbdscope_side side,
		     struct nbds_mark *where)
{
	if (side == NBDSCOPE_SERVER) {
		where->ack = s->told[NBDSCOPE_CLIENT];
	} else if (!s->told[NBDSCOPE_SERVER]) {
		where->ack = 0;
		where->flags = NBDS_MARK_FIRST_TX;
	}
}

static int64_t fed(struct nbdscope_stream *s, enum nbdscope_side side, const void *bytes,
		   uint64_t len, int64_t time)
{
	struct nbds_mark where;

	if (!feedable(s, side, len))
		return -1;
	where = mark(s->audit, time);
	can_have(s, side, &where);
	s->told[side] += len;
	/* the client opened the connection: it sends direction 0 */
	nbds_feed_frame(s->flow, side == NBDSCOPE_SERVER, &where);
	nbds_feed_bytes(s->flow, side == NBDSCOPE_SERVER, bytes, len, false, &where);
	nbds_pipeline_fed(s->audit->pipeline, where.time, len);
	return (int64_t)where.frame;
}

int64_t nbdscope_stream_data(struct nbdscope_stream *s, enum nbdscope_side side, const void *bytes,
			     size_t len, int64_t time)
{
	/* no bytes, at no address, are no gap */
	return fed(s, side, bytes ? bytes : "", bytes ? len : 0, time);
}

int64_t nbdscope_stream_gap(struct nbdscope_stream *s, enum nbdscope_side side, uint64_t len,
			    int64_t time)
{
	return fed(s, side, NULL, len, time);
}

int64_t nbdscope_stream_end(struct nbdscope_stream *s, enum nbdscope_side side, int64_t time)
{
	struct nbds_mark where;

	if (!feedable(s, side, 0))
		return -1;
	s->ended[side] = true;
	where = mark(s->audit, time);
	nbds_feed_frame(s->flow, side == NBDSCOPE_SERVER, &where);
	nbds_feed_half_close(s->flow, side == NBDSCOPE_SERVER, &where);
	nbds_pipeline_fed(s->audit->pipeline, where.time, 0);
	return (int64_t)where.frame;
}

int64_t nbdscope_stream_close(struct nbdscope_stream *s, int64_t time)
{
	struct nbdscope_audit *a = s->audit;
	struct nbds_mark where = mark(a, time);
	bool open = s->flow;

	if (open) {
		nbds_feed_over(s->flow, !s->ended[0] || !s->ended[1], &where);
		nbds_pipeline_fed(a->pipeline, where.time, 0);
	}
	*s->before = s->next;
	if (s->next)
		s->next->before = s->before;
	free(s);
	if (open)
		return (int64_t)where.frame;
	errno = EBUSY;
	return -1;
}

/* --- the end --- */

/* A report in the form of `options` to `out`. */
static bool write_report(struct nbdscope_audit *a, FILE *out,
			 const struct nbds_report_options *options)
{
	struct nbds_report *r = nbds_report_new(out, options);
	struct nbds_engine_ops ops;
	bool whole;

	if (!r)
		return false;
	if (a->pipeline) {
		nbds_report_callbacks(r, &ops);
		nbds_report_begin(r, a->name, a->pipeline);
		for (size_t i = 0; i < a->found.count; i++)
			ops.finding(r, a->found.at[i]->f);
		nbds_report_end(r, a->error);
	} else {
		nbds_report_unreadable(r, a->name, a->error);
	}
	nbds_report_finish(r);
	whole = !nbds_report_lost(r);
	a->verdict = nbds_report_verdict(r);
	nbds_report_free(r);
	return whole;
}

int nbdscope_audit_finish(struct nbdscope_audit *a)
{
	if (a->finished) {
		if (!a->lost)
			return 0;
		errno = ENOMEM;
		return -1;
	}
	/* Also an audit to which nothing came has a report; not one whose file is none. */
	if (!a->pipeline && !a->error[0] && !begin(a, FED_STREAMS, "nothing"))
		return -1;
	a->finished = true;
	for (struct nbdscope_stream *s = a->streams; s; s = s->next) {
		struct nbds_mark where = mark(a, nbds_feed_newest(nbds_pipeline_feed(a->pipeline)));

		nbds_feed_close(s->flow, &where);
		s->flow = NULL;
	}
	if (a->pipeline)
		nbds_pipeline_finish(a->pipeline);
	return nbdscope_audit_finish(a);
}

static const struct form {
	const char *name;
	enum nbds_report_format format;
} forms[] = {
	{"text", NBDS_REPORT_TEXT},
	{"json", NBDS_REPORT_JSON},
	{"junit", NBDS_REPORT_JUNIT},
	{"sarif", NBDS_REPORT_SARIF},
};

const char *nbdscope_audit_verdict(struct nbdscope_audit *a)
{
	struct nbds_report_options options = {.quiet = true, .memory = a->budget.limit};
	FILE *out;

	if (nbdscope_audit_finish(a) < 0)
		return NULL;
	if (a->verdict)
		return a->verdict;
	out = fopen("/dev/null", "w");
	if (!out || !write_report(a, out, &options))
		a->verdict = NULL;
	if (out)
		fclose(out);
	if (!a->verdict)
		errno = ENOMEM;
	return a->verdict;
}

/* The page, once it is finished. */
static const char *page_text(struct nbdscope_audit *a)
{
	struct audit_page *page = &a->page;
	bool whole = true;

	if (page->report) {
		if (a->pipeline)
			nbds_report_end(page->report, a->error);
		else
			nbds_report_unreadable(page->report, a->name, a->error);
		nbds_report_finish(page->report);
		whole = !nbds_report_lost(page->report);
		nbds_report_free(page->report);
		page->report = NULL;
	}
	if (page->out) {
		whole &= !ferror(page->out);
		whole &= fclose(page->out) == 0;
		page->out = NULL;
	}
	if (!whole)
		page_free(page);
	if (!page->text)
		errno = ENOMEM;
	return page->text;
}

const char *nbdscope_audit_report(struct nbdscope_audit *a, const char *form)
{
	struct nbds_report_options options = {
		.severity = NBDS_NOTE,
		.fail_on = NBDS_VIOLATION,
		.memory = UINT64_MAX, /* they are kept already */
		.version = NBDSCOPE_VERSION,
	};
	const struct form *f = forms, *end = forms + sizeof(forms) / sizeof(forms[0]);
	char *text = NULL;
	size_t size = 0;
	bool whole;
	FILE *out;

	if (a->page.wanted && strcmp(form, "html") == 0)
		return nbdscope_audit_finish(a) < 0 ? NULL : page_text(a);
	while (f < end && strcmp(f->name, form) != 0)
		f++;
	if (f == end) {
		errno = EINVAL;
		return NULL;
	}
	options.format = f->format;
	if (nbdscope_audit_finish(a) < 0)
		return NULL;
	out = open_memstream(&text, &size);
	whole = out && write_report(a, out, &options) && !ferror(out);
	if (out && fclose(out))
		whole = false;
	if (!whole || !text) {
		free(text);
		errno = ENOMEM;
		return NULL;
	}
	free(a->report);
	a->report = text;
	return text;
}

const struct nbdscope_finding *nbdscope_audit_next(struct nbdscope_audit *a)
{
	return a->handed < a->found.count ? a->found.at[a->handed++] : NULL;
}

const char *nbdscope_audit_error(const struct nbdscope_audit *a)
{
	return a->error;
}

/* --- one finding --- */

const char *nbdscope_finding_rule(const struct nbdscope_finding *finding)
{
	return finding->f->rule->name;
}

const char *nbdscope_finding_ref(const struct nbdscope_finding *finding)
{
	return finding->f->rule->ref;
}

enum nbdscope_level nbdscope_finding_level(const struct nbdscope_finding *finding)
{
	return (enum nbdscope_level)finding->f->severity;
}

const char *nbdscope_finding_at_fault(const struct nbdscope_finding *finding)
{
	switch (nbds_finding_side(finding->f)) {
	case NBDS_FAULT_SERVER:
		return "server";
	case NBDS_FAULT_CLIENT:
		return "client";
	case NBDS_FAULT_EITHER:
		break;
	}
	return "either";
}

const char *nbdscope_finding_message(const struct nbdscope_finding *finding)
{
	return finding->f->message;
}

const char *nbdscope_finding_advice(const struct nbdscope_finding *finding)
{
	return finding->f->rule->advice ? finding->f->rule->advice : "";
}

uint32_t nbdscope_finding_connection(const struct nbdscope_finding *finding)
{
	return finding->f->connection;
}

const char *nbdscope_finding_export(const struct nbdscope_finding *finding, size_t *len)
{
	*len = finding->f->export_name ? finding->f->export_name_len : 0;
	return finding->f->export_name;
}

const char *nbdscope_finding_command(const struct nbdscope_finding *finding)
{
	return finding->f->command;
}

int nbdscope_finding_range(const struct nbdscope_finding *finding, uint64_t *offset,
			   uint64_t *length)
{
	if (!finding->f->has_range)
		return 0;
	*offset = finding->f->offset;
	*length = finding->f->length;
	return 1;
}

const char *nbdscope_role_name(unsigned role)
{
	return role < NBDS_ROLE_MAX ? nbds_role_names[role] : NULL;
}

uint64_t nbdscope_finding_frame(const struct nbdscope_finding *finding, const char *role)
{
	for (unsigned i = 0; i < NBDS_ROLE_MAX; i++)
		if (!strcmp(nbds_role_names[i], role))
			return finding->f->frames[i];
	return 0;
}

int64_t nbdscope_finding_time(const struct nbdscope_finding *finding)
{
	return finding->f->time;
}

uint64_t nbdscope_finding_count(const struct nbdscope_finding *finding)
{
	return finding->f->count;
}
