/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tcpbytes.c - what the TCP layer makes of a capture, as lines of text.
 *
 * Purpose: tests compare these lines with what another program reads from the
 * same capture; people look at them when the two disagree.
 *
 *	tcpbytes [-b] FILE...
 *
 * For each FILE a line "file NAME", then one line for each event, flows being
 * numbered from 0 in the order in which they open:
 *
 *	open FLOW A B syn|middle FRAME
 *	data FLOW DIR OFFSET LENGTH FRAME ACK LO first|late|- [HEX]   (HEX with -b)
 *	gap FLOW DIR OFFSET LENGTH lost|snaplen|limit|end FRAME
 *	conflict FLOW DIR OFFSET LENGTH FRAME
 *	fin FLOW DIR FRAME
 *	close FLOW fin|rst|reused|idle|open BY FRAME
 *	stats NAME VALUE
 *
 * DIR and BY are 0 for the side that opened the connection, 1 for the other;
 * BY is -1 for nobody.  ACK is -1 if there is none.  Exit status 1 if a file
 * cannot be read to its end.
 */
#include "analyzer/capture/capture.h"
#include "analyzer/capture/ip.h"
#include "analyzer/tcp/tcp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool bytes;
static uintptr_t flows;

static unsigned id(const void *user)
{
	return (unsigned)((uintptr_t)user - 1);
}

static void *on_open(void *ctx, struct nbds_flow *flow, const struct nbds_addr *a,
		     const struct nbds_addr *b, bool syn, const struct nbds_mark *where)
{
	char from[NBDS_ADDR_TEXT], to[NBDS_ADDR_TEXT];

	(void)ctx;
	(void)flow;
	printf("open %u %s %s %s %" PRIu64 "\n", (unsigned)flows, nbds_addr_text(a, from),
	       nbds_addr_text(b, to), syn ? "syn" : "middle", where->frame);
	return (void *)++flows;
}

static void on_data(void *ctx, void *user, int dir, uint64_t offset, const uint8_t *data,
		    size_t len, const struct nbds_mark *where)
{
	static const char digits[] = "0123456789abcdef";
	const char *flag = "-";

	(void)ctx;
	if (where->flags & NBDS_MARK_FIRST_TX)
		flag = "first";
	else if (where->flags & NBDS_MARK_LATE)
		flag = "late";
	printf("data %u %d %" PRIu64 " %zu %" PRIu64 " %" PRId64 " %" PRIu64 " %s", id(user), dir,
	       offset, len, where->frame,
	       where->ack == NBDS_NO_ACK ? INT64_C(-1) : (int64_t)where->ack, where->lo_frame,
	       flag);
	if (bytes) {
		putchar(' ');
		for (size_t i = 0; i < len; i++) {
			putchar_unlocked(digits[data[i] >> 4]);
			putchar_unlocked(digits[data[i] & 15]);
		}
	}
	putchar('\n');
}

static void on_gap(void *ctx, void *user, int dir, uint64_t offset, uint64_t len,
		   enum nbds_gap_reason why, const struct nbds_mark *where)
{
	static const char *const names[] = {"lost", "snaplen", "limit", "end"};

	(void)ctx;
	printf("gap %u %d %" PRIu64 " %" PRIu64 " %s %" PRIu64 "\n", id(user), dir, offset, len,
	       names[why], where->frame);
}

static void on_conflict(void *ctx, void *user, int dir, const struct nbds_conflict *c)
{
	(void)ctx;
	if (c->kind == NBDS_CONFLICT_BYTES)
		printf("conflict %u %d %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", id(user), dir,
		       c->offset, c->len, c->where.frame);
}

static void on_half_close(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	(void)ctx;
	printf("fin %u %d %" PRIu64 "\n", id(user), dir, where->frame);
}

static void on_close(void *ctx, void *user, enum nbds_flow_end how, int by,
		     const struct nbds_mark *where)
{
	static const char *const names[] = {"fin", "rst", "reused", "idle", "open"};

	(void)ctx;
	printf("close %u %s %d %" PRIu64 "\n", id(user), names[how], by, where->frame);
}

static const struct nbds_tcp_ops ops = {
	.open = on_open,
	.data = on_data,
	.gap = on_gap,
	.conflict = on_conflict,
	.half_close = on_half_close,
	.close = on_close,
};

static int run(const char *path)
{
	char err[256];
	struct nbds_capture *c = nbds_capture_open(path, err, sizeof(err));
	struct nbds_ip *ip = nbds_ip_new();
	struct nbds_tcp *t = nbds_tcp_new(NULL, &ops, NULL);
	const struct nbds_tcp_stats *stats;
	struct nbds_packet p;
	struct nbds_segment s;
	int got;

	if (!c || !ip || !t) {
		fprintf(stderr, "tcpbytes: %s: %s\n", path, c ? "out of memory" : err);
		if (c)
			nbds_capture_close(c);
		nbds_ip_free(ip);
		nbds_tcp_free(t);
		return -1;
	}
	printf("file %s\n", path);
	flows = 0;
	while ((got = nbds_capture_next(c, &p)) == 1) {
		if (nbds_ip_segment(ip, &p, &s))
			nbds_tcp_segment(t, &s);
	}
	nbds_tcp_finish(t);
	if (got < 0)
		fprintf(stderr, "tcpbytes: %s: %s\n", path, nbds_capture_error(c));
	stats = nbds_tcp_stats(t);
#define STAT(name) printf("stats " #name " %" PRIu64 "\n", stats->name)
	STAT(flows);
	STAT(segments);
	STAT(bytes);
	STAT(retransmitted_bytes);
	STAT(out_of_order);
	STAT(overlaps);
	STAT(conflicts);
	STAT(gaps);
	STAT(gap_bytes);
	STAT(keepalives);
	STAT(held_now);
	STAT(held_max);
	STAT(reuses);
	nbds_tcp_free(t);
	nbds_ip_free(ip);
	nbds_capture_close(c);
	return got;
}

int main(int argc, char **argv)
{
	int status = 0, i = 1;

	if (i < argc && strcmp(argv[i], "-b") == 0) {
		bytes = true;
		i++;
	}
	if (i == argc) {
		fprintf(stderr, "usage: tcpbytes [-b] FILE...\n");
		return 2;
	}
	for (; i < argc; i++) {
		if (run(argv[i]))
			status = 1;
	}
	return status;
}
