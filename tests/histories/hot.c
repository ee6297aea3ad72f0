// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * check-hot [MAX] - a block of eight sectors, or one of them, rewritten N times by four connections.
 *
 * Journals, superblocks and bitmaps are such sectors, and corruption shows there
 * first.  For N = 10, 100 ... MAX (100,000), with a flush after each write, with FUA,
 * and with neither, one read returns old data: at the end, in the middle, or so that
 * its verdict waits for a flush in flight while N/2 rewrites come.  It must be found
 * at every N, as what it is, and nothing else, with the frame of the write that the
 * data are of.  The work (blocks of code of the engine that were entered) must grow no
 * faster than N, and what is kept by no more than 16 bytes a version of a sector.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <analyzer/consistency/consistency.h>
#include <nbdscope/protocol.h>

static uint64_t work;

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
	work++;
}

enum mode { FLUSHED, FUA, NEITHER };
enum place { END, MIDDLE, WAITING };
static const char *const modes[] = {"flushed", "FUA", "neither"};
static const char *const places[] = {"end", "middle", "waiting"};
static const char *const rules[] = {"stale-read-after-flush", "stale-read-after-fua",
				    "stale-read-own-write"};

#define PARTIES     4
#define SECTORS_MAX 8
#define VERSION_MAX 16u // bytes of memory a version of a sector

struct hot {
	struct nbds_world *world;
	struct nbds_party *parties[PARTIES];
	uint64_t sent[PARTIES], got[PARTIES]; // bytes
	uint64_t frame;
	int64_t time;
	enum mode mode;
	unsigned sectors; // each write covers
	// of findings
	unsigned count;
	char rule[64];
	enum nbds_severity severity;
	uint64_t stale, read;
};

static void found(void *ctx, const struct nbds_finding *f)
{
	struct hot *h = ctx;

	if (f->severity < NBDS_SUSPECT)
		return;
	h->count++;
	snprintf(h->rule, sizeof(h->rule), "%s", f->rule->name);
	h->severity = f->severity;
	h->stale = f->frames[NBDS_ROLE_STALE_WRITE];
	h->read = f->frames[NBDS_ROLE_READ];
}

// The margin of order before each request; all within the time that a verdict waits.
static struct nbds_point next_point(struct hot *h, int64_t after)
{
	struct nbds_point p = {.frame = ++h->frame, .time = h->time += after};

	nbds_world_tick(h->world, p.time);
	return p;
}

static void fill(const struct hot *h, uint8_t *data, uint64_t version)
{
	for (unsigned i = 0; i < h->sectors * NBDS_SECTOR; i += 8) {
		uint64_t word = (version + 1) * 0x9e3779b97f4a7c15u + i;

		memcpy(data + i, &word, 8);
	}
}

static struct nbds_op *request(struct hot *h, unsigned k, uint16_t type, uint16_t flags)
{
	struct nbds_request_order order = {.lo = next_point(h, 60000)};

	h->sent[k] += 28;
	order.frame = order.lo.frame;
	order.header_end = h->sent[k];
	order.acked = h->got[k];
	return nbds_world_request(h->parties[k], type, flags, 0,
				  type == NBD_CMD_FLUSH ? 0 : h->sectors * NBDS_SECTOR, &order);
}

static void reply(struct hot *h, unsigned k, struct nbds_op *op)
{
	struct nbds_reply_order order = {.hi = next_point(h, 1000)};

	h->got[k] += 16;
	order.frame = order.hi.frame;
	order.status_end = h->got[k];
	order.acked = h->sent[k];
	nbds_op_reply(op, 0, &order);
}

static void flush(struct hot *h, unsigned k)
{
	reply(h, k, request(h, k, NBD_CMD_FLUSH, 0));
}

// Returns the frame of its request.
static uint64_t rewrite(struct hot *h, uint64_t version)
{
	unsigned k = (unsigned)(version % PARTIES);
	struct nbds_op *op = request(h, k, NBD_CMD_WRITE, h->mode == FUA ? NBD_CMD_FLAG_FUA : 0);
	uint64_t frame = h->frame;
	uint8_t data[SECTORS_MAX * NBDS_SECTOR];

	fill(h, data, version);
	nbds_op_write_data(op, 0, data, h->sectors * NBDS_SECTOR);
	nbds_op_write_end(op);
	h->sent[k] += h->sectors * NBDS_SECTOR;
	reply(h, k, op);
	if (h->mode == FLUSHED)
		flush(h, (k + 1) % PARTIES);
	return frame;
}

static uint64_t read_version(struct hot *h, uint64_t version)
{
	struct nbds_op *op = request(h, 0, NBD_CMD_READ, 0);
	uint8_t data[SECTORS_MAX * NBDS_SECTOR];
	struct nbds_point hi = next_point(h, 1000);

	fill(h, data, version);
	h->got[0] += h->sectors * NBDS_SECTOR;
	nbds_op_read_data(op, 0, data, h->sectors * NBDS_SECTOR, &hi);
	reply(h, 0, op);
	return h->frame;
}

struct result {
	uint64_t work, memory;
};

static bool run(uint64_t n, unsigned sectors, enum mode mode, enum place place,
		struct result *result)
{
	static const struct nbds_world_ops ops = {.finding = found};
	struct nbds_world_config config = {
		.epsilon = 50000, .settle = 10000000, .server = "192.0.2.1:10809"};
	struct hot h = {.mode = mode, .sectors = sectors};
	uint64_t middle = place == END ? n : n / 2, old, version, source = 0, read = 0;
	struct nbds_op *pending = NULL;
	struct nbds_world_stats stats;
	struct nbds_point at;
	bool good;

	work = 0;
	h.world = nbds_world_new(&config, &ops, &h);
	if (!h.world)
		return false;
	for (unsigned k = 0; k < PARTIES; k++) {
		at = next_point(&h, 60000);
		h.parties[k] = nbds_world_connect(h.world, k + 1, true, &at);
		nbds_party_heard(h.parties[k], &at);
		nbds_party_export(h.parties[k], "", 0, 1 << 20,
				  NBD_FLAG_HAS_FLAGS | NBD_FLAG_CAN_MULTI_CONN |
					  NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA,
				  true);
	}
	// an old version, of the reader itself, that it has overwritten since
	old = middle / 2 / PARTIES * PARTIES;
	for (version = 0; version < n; version++) {
		uint64_t frame;

		if (version == middle) {
			if (place == WAITING)
				pending = request(&h, 3, NBD_CMD_FLUSH, 0);
			read = read_version(&h, old);
		}
		frame = rewrite(&h, version);
		if (version == old)
			source = frame;
	}
	if (middle == n)
		read = read_version(&h, old);
	if (pending)
		reply(&h, 3, pending);
	nbds_world_finish(h.world);
	nbds_world_stats(h.world, &stats);
	nbds_world_free(h.world);
	result->work = work;
	result->memory = stats.memory_max;
	good = h.count == 1 && h.read == read && h.stale == source &&
	       (!strcmp(h.rule, rules[mode]) ||
		(mode == NEITHER && !strcmp(h.rule, "stale-read-unordered-writes"))) &&
	       h.severity == (mode == NEITHER ? NBDS_SUSPECT : NBDS_VIOLATION);
	if (!good)
		printf("N = %" PRIu64 ", %u sectors, %s, %s: %u findings%s%s %s, frame %" PRIu64
		       " of the old write %" PRIu64 "\n",
		       n, sectors, modes[mode], places[place], h.count, h.count ? ": " : "", h.rule,
		       h.count ? nbds_severity_name(h.severity) : "", h.stale, source);
	return good;
}

static bool check(uint64_t max, unsigned sectors, enum mode mode, enum place place)
{
	struct result before = {0};
	bool good = true;

	for (uint64_t n = 10; n <= max; n *= 10) {
		struct result r = {0};

		good &= run(n, sectors, mode, place, &r);
		printf("%7" PRIu64 " %u %-8s %-8s %8.0f blocks a version, %" PRIu64
		       " bytes kept at most\n",
		       n, sectors, modes[mode], places[place], (double)r.work / (double)n,
		       r.memory);
		fflush(stdout);
		// ten times as much, and a third for what grows by steps
		if (n >= 10000 && r.work > before.work * 13) {
			printf("the work grows faster than N\n");
			good = false;
		}
		// by then what has a limit of its own is full: the bytes that were written last
		if (n > 10000 && r.memory > before.memory + VERSION_MAX * sectors * (n - n / 10)) {
			printf("more than %u bytes a version\n", VERSION_MAX);
			good = false;
		}
		before = r;
	}
	return good;
}

int main(int argc, char **argv)
{
	uint64_t max = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
	bool good = true;

	for (int mode = FLUSHED; mode <= NEITHER; mode++)
		for (int place = END; place <= WAITING; place++)
			good &= check(max, place == END ? SECTORS_MAX : 1, (enum mode)mode,
				      (enum place)place);
	return !good;
}
