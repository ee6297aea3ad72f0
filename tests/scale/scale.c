/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scale - is the work linear in the traffic?
 *
 *	scale [SHAPE...]           counts operations at n and 4 n
 *	scale --write SHAPE N      writes the traffic to standard output, as pcap
 *	scale --list               the shapes, and their n for --write
 *
 * Operations are basic blocks that the compiler counts (-fsanitize-coverage=trace-pc),
 * and what the C library moves, in pieces of 32 bytes; so a busy machine changes
 * nothing.  Four times the traffic may cost five times as much, for what doubles as
 * it grows; also where memory is short.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbdscope/tls.h>

#include "analyzer/pipeline/pipeline.h"
#include "shapes.h"

#define MOST_RATIO 5.0

static uint64_t operations;

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
	operations++;
}

void *__real_memcpy(void *to, const void *from, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n)
{
	operations += n / 32;
	return __real_memcpy(to, from, n);
}

void *__real_memmove(void *to, const void *from, size_t n);
void *__wrap_memmove(void *to, const void *from, size_t n);
void *__wrap_memmove(void *to, const void *from, size_t n)
{
	operations += n / 32;
	return __real_memmove(to, from, n);
}

void *__real_memset(void *to, int value, size_t n);
void *__wrap_memset(void *to, int value, size_t n);
void *__wrap_memset(void *to, int value, size_t n)
{
	operations += n / 32;
	return __real_memset(to, value, n);
}

int __real_memcmp(const void *a, const void *b, size_t n);
int __wrap_memcmp(const void *a, const void *b, size_t n);
int __wrap_memcmp(const void *a, const void *b, size_t n)
{
	operations += n / 32;
	return __real_memcmp(a, b, n);
}

static void to_pipeline(void *ctx, const struct nbds_packet *p)
{
	nbds_pipeline_packet(ctx, p);
}

/* All that the engine says is asked for once, as reports do. */
static uint64_t findings_seen;

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	(void)ctx;
	findings_seen += f->count;
}

/* TLS that nobody can read: what the client says waits until it is hopeless. */
struct nbds_tls_session {
	bool hopeless;
};

static struct nbds_tls_session *tls_open(struct nbds_tls_reader *reader, struct nbds_budget *budget,
					 const struct nbds_tls_sink *sink, void *ctx)
{
	(void)reader;
	(void)budget;
	(void)sink;
	(void)ctx;
	return calloc(1, sizeof(struct nbds_tls_session));
}

static void tls_close(struct nbds_tls_session *s)
{
	free(s);
}

static size_t tls_data(struct nbds_tls_session *s, enum nbds_side from, const uint8_t *data,
		       size_t len)
{
	(void)data;
	return from == NBDS_CLIENT && !s->hopeless ? 0 : len;
}

static void tls_gap(struct nbds_tls_session *s, enum nbds_side from, uint64_t len)
{
	(void)s;
	(void)from;
	(void)len;
}

static void tls_hurry(struct nbds_tls_session *s)
{
	s->hopeless = true;
}

static void tls_finish(struct nbds_tls_session *s)
{
	(void)s;
}

static enum nbds_tls_why tls_why(const struct nbds_tls_session *s, enum nbds_side from)
{
	if (from == NBDS_SERVER)
		return NBDS_TLS_READ;
	return s->hopeless ? NBDS_TLS_NO_KEY : NBDS_TLS_WAITS;
}

static void tls_facts(const struct nbds_tls_session *s, struct nbds_tls_facts *facts)
{
	(void)s;
	memset(facts, 0, sizeof(*facts));
}

static uint64_t tls_begun(const struct nbds_tls_session *s, enum nbds_side from)
{
	(void)s;
	(void)from;
	return 0;
}

static bool tls_refresh(struct nbds_tls_reader *reader)
{
	(void)reader;
	return false;
}

static bool tls_yes(const struct nbds_tls_reader *reader)
{
	(void)reader;
	return true;
}

static uint64_t tls_memory(const struct nbds_tls_reader *reader)
{
	(void)reader;
	return 0;
}

static struct nbds_tls_reader tls = {
	.open = tls_open,
	.close = tls_close,
	.data = tls_data,
	.gap = tls_gap,
	.hurry = tls_hurry,
	.finish = tls_finish,
	.why = tls_why,
	.facts = tls_facts,
	.begun = tls_begun,
	.refresh = tls_refresh,
	.growing = tls_yes,
	.memory = tls_memory,
	.any = tls_yes,
};

static uint64_t cost(const struct shape *shape, unsigned n, uint64_t memory)
{
	struct nbds_pipeline_config config = {.ops.finding = on_finding,
					      .engine = {.memory = memory, .tls = &tls}};
	struct wire w = {.sink = to_pipeline};
	char err[256];

	operations = 0;
	w.ctx = nbds_pipeline_open_packets(&config, err, sizeof(err));
	if (!w.ctx) {
		fprintf(stderr, "scale: %s\n", err);
		exit(2);
	}
	shape->make(&w, n);
	nbds_pipeline_finish(w.ctx);
	nbds_pipeline_close(w.ctx, NULL, 0);
	return operations;
}

static bool linear(const struct shape *shape, unsigned n, uint64_t memory)
{
	uint64_t few = cost(shape, n, memory), many = cost(shape, 4 * n, memory);
	double ratio = (double)many / (double)few;
	bool good = ratio <= MOST_RATIO;

	printf("%-22s %7u %12" PRIu64 "  %7u %13" PRIu64 "  %5.2f  %s%s%s\n", shape->name, n, few,
	       4 * n, many, ratio, shape->grows, memory ? ", where memory is short" : "",
	       good ? "" : "  NOT LINEAR");
	fflush(stdout);
	return good;
}

/* Those that give up most where memory is short: what is given up is looked for in time that
 * does not grow, either. */
static const struct {
	const char *shape;
	unsigned n;
	uint64_t memory;
} tight[] = {
	{"short-writers", 3000, UINT64_C(8) << 20},
	{"ports", 2000, UINT64_C(4) << 20},
};

/* --- pcap --- */

static void to_file(void *ctx, const struct nbds_packet *p)
{
	uint32_t head[4] = {(uint32_t)(p->time / 1000000000), (uint32_t)(p->time % 1000000000),
			    p->caplen, p->len};

	(void)ctx;
	fwrite(head, sizeof(head), 1, stdout);
	fwrite(p->data, p->caplen, 1, stdout);
}

static int write_pcap(const struct shape *shape, unsigned n)
{
	uint32_t head[6] = {0xa1b23c4d, 2 | 4 << 16, 0, 0, 262144, 228};
	struct wire w = {.sink = to_file};

	fwrite(head, sizeof(head), 1, stdout);
	shape->make(&w, n);
	return fflush(stdout) || ferror(stdout) ? 2 : 0;
}

int main(int argc, char **argv)
{
	int status = 0;

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (unsigned i = 0; i < shape_count; i++)
			printf("%s %u\n", shapes[i].name, shapes[i].attack);
		return 0;
	}
	if (argc == 4 && strcmp(argv[1], "--write") == 0) {
		const struct shape *shape = shape_find(argv[2]);

		if (!shape) {
			fprintf(stderr, "scale: no shape is called %s\n", argv[2]);
			return 2;
		}
		return write_pcap(shape, (unsigned)strtoul(argv[3], NULL, 10));
	}
	for (unsigned i = 0; i < shape_count; i++) {
		bool wanted = argc == 1;

		for (int k = 1; k < argc; k++)
			wanted |= strcmp(argv[k], shapes[i].name) == 0;
		if (wanted && !linear(&shapes[i], shapes[i].n, 0))
			status = 1;
		for (unsigned k = 0; wanted && k < sizeof(tight) / sizeof(tight[0]); k++)
			if (strcmp(tight[k].shape, shapes[i].name) == 0 &&
			    !linear(&shapes[i], tight[k].n, tight[k].memory))
				status = 1;
	}
	return status;
}
