/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_consistency.c - the consistency engine before a legal server.
 *
 * The input is what happens, a byte of operation and its arguments each.  The server
 * is as plain as one can be: one array of sectors, each command executed in one piece
 * at some time between its request and its reply, so that it keeps all promises.  So
 * the engine must never find a violation, however connections, requests, executions,
 * replies, losses, ticks and shortage of memory follow each other; and its own
 * assertions must hold.
 *
 *	first byte	bit 0: the user vouches for all writers; bit 1: verdicts are
 *			passed as time goes by; bits 2-3: memory
 *	then		operation modulo OPERATIONS, and arguments as it takes them
 *
 * A second run has the same input and every n-th allocation fail.  Then the engine
 * may say less, but still no violation.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbdscope/decoder.h> /* NBDS_NO_ACK */
#include <nbdscope/protocol.h>

#include "analyzer/consistency/consistency.h"
#include "shortage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SECTORS = 24, CONNECTIONS = 4, FLIGHT = 12, LONGEST = 4 };
enum operation {
	REQUEST,
	EXECUTE,
	REPLY,
	REQUEST_AGAIN, /* so that they are more often than the rest */
	EXECUTE_REPLY,
	FAIL,
	OPEN,
	CONNECT,
	END,
	GAP,
	TIME,
	LOSE,
	SHRINK,
	OPERATIONS
};

struct command {
	struct nbds_op *op;
	bool used, executed;
	unsigned connection, sector, sectors;
	uint16_t type;
	uint8_t fill;
	uint8_t content[LONGEST]; /* what a READ returns, what a WRITE writes */
	bool lost;                /* a part of its data is not in the capture */
};

struct run {
	const uint8_t *data;
	size_t size, at;
	struct nbds_world *w;
	struct nbds_party *party[CONNECTIONS];
	struct command flight[FLIGHT];
	uint8_t disk[SECTORS];
	uint64_t frame, offset[2];
	int64_t time;
	uint32_t ids;
};

static uint8_t next(struct run *r)
{
	return r->at < r->size ? r->data[r->at++] : 0;
}

static struct nbds_point now(struct run *r)
{
	r->frame++;
	r->time += 1000;
	return (struct nbds_point){r->frame, r->time, 0};
}

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	(void)ctx;
	if (f->severity == NBDS_VIOLATION) {
		fprintf(stderr, "fuzz_consistency: a legal server is accused: %s: %s\n",
			f->rule->name, f->message);
		abort();
	}
}

/* A sector of a kind: 0 is zeroes. */
static void fill(uint8_t *sector, uint8_t content)
{
	memset(sector, content, NBDS_SECTOR);
	if (content)
		for (unsigned i = 0; i < NBDS_SECTOR; i += 8)
			sector[i] = (uint8_t)(i / 8 + content * 7);
}

static void connect_party(struct run *r, unsigned k)
{
	struct nbds_point at = now(r);
	uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
			 NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_TRIM | NBD_FLAG_CAN_MULTI_CONN;

	if (r->party[k])
		return;
	r->party[k] = nbds_world_connect(r->w, ++r->ids, true, &at);
	if (!r->party[k])
		return;
	nbds_party_heard(r->party[k], &at);
	nbds_party_export(r->party[k], "disk", 4, SECTORS * NBDS_SECTOR, flags, true);
}

static void request(struct run *r)
{
	static const uint16_t types[] = {NBD_CMD_READ,  NBD_CMD_WRITE, NBD_CMD_READ,
					 NBD_CMD_WRITE, NBD_CMD_FLUSH, NBD_CMD_WRITE_ZEROES};
	uint8_t what = next(r), where = next(r), data = next(r);
	unsigned k = what & 3;
	struct nbds_request_order order = {.acked = NBDS_NO_ACK};
	struct command *c = NULL;
	bool fua = what >> 5 & 1;

	for (unsigned i = 0; i < FLIGHT && !c; i++)
		if (!r->flight[i].used)
			c = &r->flight[i];
	if (!c || !r->party[k])
		return;
	memset(c, 0, sizeof(*c));
	c->used = true;
	c->connection = k;
	c->type = types[(what >> 2 & 7) % 6];
	c->sectors = 1 + (where >> 6) % LONGEST;
	c->sector = (where & 63) % (SECTORS - LONGEST);
	c->lost = data == 255;
	if (c->type == NBD_CMD_FLUSH)
		c->sectors = c->sector = 0;
	for (unsigned i = 0; i < c->sectors; i++)
		c->content[i] = c->type == NBD_CMD_WRITE ? (uint8_t)(data + i) : 0;
	order.lo = now(r);
	order.frame = order.lo.frame;
	order.header_end = r->offset[0] += 28;
	c->op = nbds_world_request(
		r->party[k], c->type,
		fua && c->type != NBD_CMD_READ && c->type != NBD_CMD_FLUSH ? NBD_CMD_FLAG_FUA : 0,
		(uint64_t)c->sector * NBDS_SECTOR, (uint64_t)c->sectors * NBDS_SECTOR, &order);
	if (!c->op || c->type != NBD_CMD_WRITE)
		return;
	for (unsigned i = 0; i < c->sectors; i++) {
		uint8_t sector[NBDS_SECTOR];
		size_t cut = what & 128 ? data : NBDS_SECTOR;

		fill(sector, c->content[i]);
		if (c->lost && i == 0)
			continue;
		if (cut)
			nbds_op_write_data(c->op, i * NBDS_SECTOR, sector, cut);
		if (cut < NBDS_SECTOR)
			nbds_op_write_data(c->op, i * NBDS_SECTOR + cut, sector + cut,
					   NBDS_SECTOR - cut);
	}
	nbds_op_write_end(c->op);
}

static void execute(struct run *r, struct command *c)
{
	if (!c->used || c->executed)
		return;
	c->executed = true;
	for (unsigned i = 0; i < c->sectors; i++) {
		if (c->type == NBD_CMD_READ)
			c->content[i] = r->disk[c->sector + i];
		else
			r->disk[c->sector + i] = c->content[i];
	}
}

static void reply(struct run *r, struct command *c, uint32_t error)
{
	struct nbds_reply_order order = {.hi = now(r), .acked = NBDS_NO_ACK};
	struct nbds_op *op = c->op;

	if (!c->used || (!c->executed && !error))
		return;
	c->used = false;
	if (!op)
		return;
	order.frame = order.hi.frame;
	order.status_end = r->offset[1] += 16;
	for (unsigned i = 0; i < c->sectors && c->type == NBD_CMD_READ && !error; i++) {
		uint8_t sector[NBDS_SECTOR];

		fill(sector, c->content[i]);
		if (!c->lost || i)
			nbds_op_read_data(op, (uint64_t)(c->sector + i) * NBDS_SECTOR, sector,
					  NBDS_SECTOR, &order.hi);
	}
	nbds_op_reply(op, error, &order);
}

static void leave_open(struct command *c)
{
	if (c->used && c->op)
		nbds_op_open(c->op);
	c->used = false;
}

static void end(struct run *r, unsigned k)
{
	struct nbds_point at = now(r);

	if (!r->party[k])
		return;
	for (unsigned i = 0; i < FLIGHT; i++)
		if (r->flight[i].connection == k)
			leave_open(&r->flight[i]);
	nbds_party_end(r->party[k], &at);
	nbds_party_leave(r->party[k]);
	r->party[k] = NULL;
}

static void operate(struct run *r)
{
	enum operation what = (enum operation)(next(r) % OPERATIONS);
	struct nbds_point at;
	struct command *c;
	uint8_t n;

	switch (what) {
	case REQUEST:
	case REQUEST_AGAIN:
		request(r);
		return;
	case TIME:
		r->time += (int64_t)next(r) * 10000000;
		nbds_world_tick(r->w, r->time);
		return;
	case SHRINK:
		nbds_world_shrink(r->w, (uint64_t)next(r) << 10);
		return;
	case CONNECT:
		connect_party(r, next(r) & 3);
		return;
	case END:
		end(r, next(r) & 3);
		return;
	case GAP:
		n = next(r);
		at = now(r);
		if (n < CONNECTIONS && r->party[n])
			nbds_party_gap(r->party[n], &at);
		return;
	case LOSE:
		if (next(r) == 255)
			nbds_world_dropped(r->w);
		return;
	default:
		break;
	}
	c = &r->flight[next(r) % FLIGHT];
	if (what == EXECUTE || what == EXECUTE_REPLY)
		execute(r, c);
	if (what == REPLY || what == EXECUTE_REPLY)
		reply(r, c, 0);
	if (what == FAIL) /* whether it was executed is anybody's guess */
		reply(r, c, NBD_EIO);
	if (what == OPEN)
		leave_open(c);
}

static void run(const uint8_t *data, size_t size)
{
	static const struct nbds_world_ops ops = {.finding = on_finding};
	struct run r = {.data = data, .size = size, .time = 1000000000};
	uint8_t head = next(&r);
	struct nbds_world_config config = {
		.epsilon = 50000,
		.settle = head & 2 ? 100000000 : INT64_MAX,
		.exclusive = head & 1,
		.memory = (uint64_t)16384 << 4 * (head >> 2 & 3),
		.server = "192.0.2.1:10809",
	};

	r.w = nbds_world_new(&config, &ops, &r);
	if (!r.w)
		return;
	connect_party(&r, 0);
	connect_party(&r, 1);
	while (r.at < r.size)
		operate(&r);
	for (unsigned i = 0; i < FLIGHT; i++)
		leave_open(&r.flight[i]);
	for (unsigned k = 0; k < CONNECTIONS; k++)
		end(&r, k);
	nbds_world_finish(r.w);
	nbds_world_free(r.w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	run(data, size);
	shortage_begin(1 + (data[0] ^ data[size - 1]));
	run(data, size);
	shortage_end();
	return 0;
}
