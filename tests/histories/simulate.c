// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Simulated servers and clients.
 *
 * The smallest piece that a server handles at once is a *unit*: a sector, or in
 * torn histories one of up to four parts of a sector.  Each command is a *task*
 * at the server, whose units are executed one by one, in any order, between its
 * arrival and the decision on its outcome.  In every step of time one thing
 * happens somewhere: a request is sent, arrives, is executed a bit further, an
 * answer is sent, delivered, a cache writes something back, and so on.
 */

#include <stdlib.h>
#include <string.h>

#include "simulate.h"

#define MAX_SECTORS     48
#define MAX_UNITS       (MAX_SECTORS * H_PIECES)
#define MAX_CONNECTIONS 12
#define MAX_COMMANDS    220
#define VERSIONS        12   // of a unit that the server could find again
#define STEP            1024 // us of capture a step
#define GRAIN           32   // connections have instants of their own within it
#define UNSTABLE        (-2) // reads as anything, each time anew

const char *const sim_server_names[SIM_SERVERS] = {
	[SIM_SHARED] = "shared cache",
	[SIM_THROUGH] = "write-through",
	[SIM_REPLICATED] = "private caches with replicated flush",
	[SIM_PRIVATE] = "private block caches",
	[SIM_OVERLAY] = "copy on write",
};
const char *const sim_defect_names[SIM_DEFECTS] = {
	[SIM_LEGAL] = "legal",
	[SIM_FLUSH_MISSES] = "flush misses other connections",
	[SIM_STALE_READS] = "flush leaves stale copies",
	[SIM_FUA_MISSES] = "FUA is not shared",
	[SIM_LOSES_FLUSHED] = "loses flushed data",
	[SIM_LOSES_WRITES] = "loses writes",
	[SIM_CORRUPTS] = "corrupts data",
	[SIM_OLD_VERSIONS] = "returns old versions",
	[SIM_PARTIAL_ZEROES] = "zeroes only a part",
	[SIM_FALSE_STATUS] = "false block status",
	[SIM_FICKLE] = "reorders concurrent writes again",
	[SIM_TORN_WRITES] = "tears writes",
	[SIM_MISPLACED] = "writes beside",
	[SIM_MISREADS] = "reads beside",
	[SIM_EARLY_REPLIES] = "confirms writes early",
	[SIM_EARLY_PAYLOAD] = "confirms writes before their payload",
	[SIM_EARLY_FLUSH] = "confirms flushes early",
	[SIM_RESURRECTS] = "resurrects old data",
	[SIM_FALSE_MULTI] = "private caches with multi-conn",
	[SIM_FALSE_SHARING] = "copy on write with multi-conn",
	[SIM_READ_CACHE] = "keeps what was read",
	[SIM_ZEROES_NOTHING] = "zeroes nothing",
	[SIM_ZEROES_MORE] = "zeroes too much",
	[SIM_TRIMS_MORE] = "trims too much",
	[SIM_LOSES_NEIGHBOUR] = "writes back neighbours",
	[SIM_FLIPS] = "flips bytes",
	[SIM_SWAPS] = "swaps sectors",
	[SIM_REPEATS] = "repeats writes",
	[SIM_FORGETS_CLIENT] = "forgets a client that went",
	[SIM_SNAPSHOTS] = "shows newcomers old contents",
	[SIM_MIXES_UP] = "mixes up reads",
	[SIM_FLUSHES_HALF] = "flushes a half",
	[SIM_OLD_STATUS] = "old block status",
	[SIM_WRITES_TO_RO] = "writes to read-only exports",
	[SIM_RESTART_LOSES] = "loses flushed data in a restart",
};

uint64_t sim_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

enum stage { SENT, RUNNING, DECIDED, ANSWERED, GHOST, GONE };

struct task {
	enum stage stage;
	int units[MAX_UNITS *
		  2]; // still to be done, in this order; FLUSH: cache * MAX_UNITS + unit
	int left;
	int spoils;             // it fails after this many units, if not -1
	bool silent;            // it will never be answered
	bool late;              // units left at failure are done later
	int twin;               // another command with its cookie, or -1
	int neighbour;          // SIM_LOSES_NEIGHBOUR: the unit behind, or -1 ...
	int16_t beside;         // ... and what was there
	bool early;             // it is confirmed before it is done
	bool again;             // SIM_REPEATS: it was done, and will be once more
	int16_t got[MAX_UNITS]; // READ: sampled
	bool sampled[MAX_UNITS];
	bool shown[MAX_SECTORS]; // sectors of the command whose data was sent
};

struct answer {
	int command;
	bool final;
	unsigned cell; // of a data chunk
	int64_t acked; // requests that had arrived, by instant
};

enum { ABSENT, CLEAN, DIRTY };

struct cache {
	int16_t value[MAX_UNITS];
	uint8_t state[MAX_UNITS];
};

struct device {
	int16_t stable[MAX_UNITS], shared[MAX_UNITS], previous[MAX_UNITS];
	int16_t versions[MAX_UNITS][VERSIONS]; // that it had; the newest at version_count - 1
	int version_count[MAX_UNITS];
	bool dirty[MAX_UNITS];
};

struct link {
	int device;
	bool open, ended;
	int budget_after; // connects when so many commands were sent
	struct answer queue[MAX_COMMANDS * 8];
	int queue_first, queue_count;
	int64_t arrived;  // instant of the latest request that arrived
	int64_t received; // instant of the latest delivered answer
	int in_flight;
	unsigned cookies;
	int64_t skew;
	struct cache cache;
	bool snapshot;          // it is shown the contents of `old` until it writes them
	int16_t old[MAX_UNITS]; // SIM_SNAPSHOTS, SIM_READ_CACHE: a value, or -1
};

struct state {
	uint64_t random;
	struct history *h;
	struct sim *sim;
	int64_t now;
	int sectors, cuts, units;
	unsigned cut[H_PIECES + 1];
	int block; // units of a block of a private cache
	struct device devices[2];
	struct link links[MAX_CONNECTIONS];
	int link_count;
	struct task tasks[MAX_COMMANDS];
	int budget;                  // commands to be sent
	int fresh;                   // next value not used before
	bool said_zero[MAX_SECTORS]; // SIM_OLD_STATUS
	// habits
	int in_flight_max, span_max;
	unsigned error_rate, silence_rate, trim_rate, status_rate, fua_rate, repeat_rate;
	unsigned twin_rate, restart_rate, defect_rate, background_rate;
	unsigned mix_write, mix_read, mix_flush;
	unsigned rush_rate;  // commands that are over before anything else happens
	unsigned probe_rate; // a write, perhaps a flush, and a read after each other
	bool filled;         // all sectors are written at first
	bool second_port;
	int hot; // sectors that most commands are about; 0: none
	unsigned hot_rate;
	enum { VALUES_PLAIN, VALUES_FEW, VALUES_COUNTERS, VALUES_BYTES, VALUES_MIXED } values;
	enum { FLUSHES_AT_RANDOM, FLUSHES_AFTER_WRITES, FLUSHES_BY_ONE, FLUSHES_NEVER } flushing;
	bool accused, face, breaches, shutdowns, read_only;
	bool junk, drops, late, evidence, multi_conn, flush, fua, restarts_silently;
};

static unsigned below(struct state *s, unsigned n)
{
	return (unsigned)(sim_random(&s->random) >> 33) % n;
}

// True so many times in a thousand.
static bool chance(struct state *s, unsigned per_mille)
{
	return below(s, 1000) < per_mille;
}

static bool defect(struct state *s, enum sim_defect which)
{
	return s->sim->defect == which && chance(s, s->defect_rate);
}

static uint64_t unit_offset(const struct state *s, int unit)
{
	return (uint64_t)(unit / s->cuts) * H_SECTOR + s->cut[unit % s->cuts];
}

static int first_unit(const struct state *s, const struct h_command *c)
{
	int unit = (int)(c->offset / H_SECTOR) * s->cuts;

	while (unit_offset(s, unit) < c->offset)
		unit++;
	return unit;
}

static int end_unit(const struct state *s, const struct h_command *c)
{
	int unit = first_unit(s, c);

	while (unit < s->units && unit_offset(s, unit) < c->offset + c->length)
		unit++;
	return unit;
}

// Servers: units of a device through the caches of a connection

static int16_t anything(struct state *s)
{
	return (int16_t)(chance(s, 300) ? 0 : 1 + below(s, 250));
}

static struct device *device(struct state *s, int k)
{
	return &s->devices[s->links[k].device];
}

static void store(struct state *s, struct device *d, int unit, int value)
{
	if (d->shared[unit] != value) {
		d->previous[unit] = d->shared[unit];
		if (d->version_count[unit] == VERSIONS) {
			memmove(d->versions[unit], d->versions[unit] + 1,
				(VERSIONS - 1) * sizeof(d->versions[unit][0]));
			d->version_count[unit]--;
		}
		d->versions[unit][d->version_count[unit]++] = d->shared[unit];
	}
	d->shared[unit] = (int16_t)value;
	d->dirty[unit] = true;
	if (s->sim->server != SIM_SHARED) {
		d->stable[unit] = (int16_t)value;
		d->dirty[unit] = false;
	}
}

static void load_block(struct state *s, int k, int unit)
{
	struct cache *cache = &s->links[k].cache;
	int first = unit / s->block * s->block;

	if (cache->state[first] != ABSENT)
		return;
	for (int u = first; u < first + s->block && u < s->units; u++) {
		cache->value[u] = device(s, k)->shared[u];
		cache->state[u] = CLEAN;
	}
}

static void evict(struct state *s, int k, int unit)
{
	struct cache *cache = &s->links[k].cache;
	int first = unit, end = unit + 1;

	if (s->sim->server == SIM_PRIVATE) {
		first = unit / s->block * s->block;
		end = first + s->block < s->units ? first + s->block : s->units;
	}
	// of a private block, what it copied goes back with what was written
	for (int u = first; u < end; u++) {
		if (cache->state[u] == DIRTY)
			store(s, device(s, k), u, cache->value[u]);
		cache->state[u] = ABSENT;
	}
}

// A whole block is dirty if any of it is.
static void make_dirty(struct state *s, int k, int unit)
{
	struct cache *cache = &s->links[k].cache;
	int first = unit / s->block * s->block;

	for (int u = first; u < first + s->block && u < s->units; u++)
		cache->state[u] = DIRTY;
}

static void put(struct state *s, int k, int unit, int value, bool fua)
{
	struct cache *cache = &s->links[k].cache;

	switch (s->sim->server) {
	case SIM_SHARED:
	case SIM_THROUGH:
		store(s, device(s, k), unit, value);
		break;
	case SIM_REPLICATED:
		if (!fua || defect(s, SIM_FUA_MISSES)) {
			cache->value[unit] = (int16_t)value;
			cache->state[unit] = DIRTY;
			break;
		}
		store(s, device(s, k), unit, value);
		cache->state[unit] = ABSENT;
		for (int i = 0; i < s->link_count; i++) {
			if (s->links[i].device == s->links[k].device &&
			    s->links[i].cache.state[unit] == CLEAN)
				s->links[i].cache.state[unit] = ABSENT;
		}
		break;
	case SIM_PRIVATE:
		load_block(s, k, unit);
		cache->value[unit] = (int16_t)value;
		make_dirty(s, k, unit);
		if (fua)
			store(s, device(s, k), unit, value);
		break;
	default: // SIM_OVERLAY
		cache->value[unit] = (int16_t)value;
		cache->state[unit] = DIRTY;
		break;
	}
}

// May be UNSTABLE.
static int16_t peek(struct state *s, int k, int unit)
{
	struct cache *cache = &s->links[k].cache;
	int16_t value = device(s, k)->shared[unit];

	switch (s->sim->server) {
	case SIM_SHARED:
	case SIM_THROUGH:
		break;
	case SIM_PRIVATE:
		load_block(s, k, unit);
		value = cache->value[unit];
		break;
	default:
		if (cache->state[unit] != ABSENT) {
			value = cache->value[unit];
		} else if (s->sim->server == SIM_REPLICATED && chance(s, 700)) {
			cache->value[unit] = value;
			cache->state[unit] = CLEAN;
		}
		break;
	}
	return value;
}

// A version of long ago; else the present one.
static int16_t any_version(struct state *s, const struct device *d, int unit)
{
	if (!d->version_count[unit])
		return d->shared[unit];
	return d->versions[unit][below(s, (unsigned)d->version_count[unit])];
}

static int16_t get(struct state *s, int k, int unit)
{
	struct link *l = &s->links[k];
	int16_t value;
	int from = unit;

	if (defect(s, SIM_MISREADS) && unit + s->cuts < s->units)
		from = unit + s->cuts;
	value = peek(s, k, from);
	if (defect(s, SIM_OLD_VERSIONS))
		value = device(s, k)->previous[unit];
	if (l->snapshot && l->old[unit] != -1)
		value = l->old[unit];
	if (s->sim->defect == SIM_READ_CACHE) {
		if (l->old[unit] != -1 && chance(s, s->defect_rate))
			value = l->old[unit];
		else
			l->old[unit] = value;
	}
	if (defect(s, SIM_FLIPS) && value > 0)
		value = (int16_t)(value % 256 == 255 ? value - 1 : value + 1);
	return value == UNSTABLE ? anything(s) : value;
}

// A failed flush, or FUA: the server may forget what was not yet stored.
static void drop_dirty(struct state *s, int k)
{
	struct device *d = device(s, k);

	if (!s->drops)
		return;
	for (int u = 0; u < s->units; u++) {
		if (d->dirty[u] && chance(s, 700)) {
			d->shared[u] = d->stable[u];
			d->dirty[u] = false;
		}
		for (int i = 0; i < s->link_count; i++) {
			struct cache *cache = &s->links[i].cache;

			if (s->links[i].device != s->links[k].device || cache->state[u] != DIRTY ||
			    s->sim->server == SIM_OVERLAY ||
			    (s->sim->server == SIM_PRIVATE && (i != k || u % s->block)) ||
			    !chance(s, 700))
				continue;
			if (s->sim->server == SIM_PRIVATE) {
				for (int b = u; b < u + s->block && b < s->units; b++)
					cache->state[b] = ABSENT;
			} else {
				cache->state[u] = ABSENT;
			}
		}
	}
}

// What a flush of connection k has to write back, in any order.
static void collect_dirty(struct state *s, int k, struct task *t)
{
	t->left = 0;
	for (int i = 0; i < s->link_count; i++) {
		if (s->links[i].device != s->links[k].device ||
		    (i != k && (s->sim->server == SIM_PRIVATE || defect(s, SIM_FLUSH_MISSES))))
			continue;
		for (int u = 0; u < s->units; u++) {
			bool dirty = s->sim->server == SIM_SHARED
					     ? i == k && device(s, k)->dirty[u]
					     : s->links[i].cache.state[u] == DIRTY;

			if (s->sim->server == SIM_OVERLAY || !dirty)
				continue;
			if (t->left < MAX_UNITS * 2) {
				t->units[t->left++] = i * MAX_UNITS + u;
			} else { // no room to remember: at once
				evict(s, i, u);
			}
		}
	}
	for (int i = t->left - 1; i > 0; i--) {
		int j = (int)below(s, (unsigned)i + 1), swap = t->units[i];

		t->units[i] = t->units[j];
		t->units[j] = swap;
	}
	if (defect(s, SIM_FLUSHES_HALF))
		t->left /= 2;
}

static void write_back(struct state *s, int entry)
{
	int k = entry / MAX_UNITS, unit = entry % MAX_UNITS;
	struct device *d = device(s, k);

	if (s->sim->server == SIM_SHARED) {
		d->stable[unit] = d->shared[unit];
		d->dirty[unit] = false;
	} else if (s->links[k].cache.state[unit] == DIRTY) {
		evict(s, k, unit);
	}
}

// The flush is over: nobody may read an old copy from now on.
static void end_flush(struct state *s, int k)
{
	struct device *d = device(s, k);

	if (s->sim->server == SIM_REPLICATED) {
		for (int i = 0; i < s->link_count; i++) {
			if (s->links[i].device != s->links[k].device || defect(s, SIM_STALE_READS))
				continue;
			for (int u = 0; u < s->units; u++) {
				if (s->links[i].cache.state[u] == CLEAN)
					s->links[i].cache.state[u] = ABSENT;
			}
		}
	}
	if (s->sim->server == SIM_PRIVATE && chance(s, 500)) {
		for (int u = 0; u < s->units; u++) {
			if (s->links[k].cache.state[u] == CLEAN)
				s->links[k].cache.state[u] = ABSENT;
		}
	}
	if (defect(s, SIM_LOSES_FLUSHED)) {
		int unit = (int)below(s, (unsigned)s->units);

		store(s, d, unit, d->previous[unit]);
	}
}

static void background(struct state *s)
{
	int k = (int)below(s, (unsigned)s->link_count), unit = (int)below(s, (unsigned)s->units);
	struct device *d = device(s, k);

	if (s->sim->server == SIM_SHARED && d->dirty[unit])
		write_back(s, k * MAX_UNITS + unit);
	else if (s->sim->server == SIM_REPLICATED || s->sim->server == SIM_PRIVATE)
		evict(s, k, unit);
	if (defect(s, SIM_CORRUPTS))
		store(s, d, unit, chance(s, 500) ? d->previous[unit] : anything(s));
	if (defect(s, SIM_FICKLE))
		store(s, d, unit, d->previous[unit]);
	if (defect(s, SIM_RESURRECTS))
		store(s, d, unit, any_version(s, d, unit));
}

// Tasks

static int value_to_write(const struct state *s, const struct h_command *c, int unit)
{
	uint64_t offset = unit_offset(s, unit);

	if (c->type != NBD_CMD_WRITE)
		return 0;
	return h_value_at(&c->cells[offset / H_SECTOR - h_first_sector(c)].content,
			  (unsigned)(offset % H_SECTOR));
}

static void arrive(struct state *s, int index)
{
	struct h_command *c = &s->h->commands[index];
	struct task *t = &s->tasks[index];
	int first, count;

	t->stage = RUNNING;
	s->links[c->connection].arrived = c->request;
	if (c->type == NBD_CMD_FLUSH) {
		collect_dirty(s, c->connection, t);
	} else {
		first = first_unit(s, c);
		count = end_unit(s, c) - first;
		for (int i = 0; i < count; i++)
			t->units[i] = first + i;
		t->left = count;
		if (chance(s, 600)) { // out of order
			for (int i = count - 1; i > 0; i--) {
				int j = (int)below(s, (unsigned)i + 1), swap = t->units[i];

				t->units[i] = t->units[j];
				t->units[j] = swap;
			}
		}
	}
	t->spoils = -1;
	if (chance(s, c->type == NBD_CMD_FLUSH ? 3 * s->error_rate : s->error_rate) ||
	    ((c->flags & NBD_CMD_FLAG_FAST_ZERO) && chance(s, 400)))
		t->spoils = (int)below(s, (unsigned)t->left + 1);
	if (t->spoils >= 0 && s->shutdowns && chance(s, 300))
		c->error = NBD_ESHUTDOWN;
	if ((c->type == NBD_CMD_FLUSH && !s->flush) ||
	    ((c->flags & NBD_CMD_FLAG_FUA) && !s->fua && chance(s, 500))) { // never offered
		t->spoils = 0;
		c->error = NBD_EINVAL;
	}
	if ((c->flags & NBD_CMD_FLAG_FAST_ZERO) && t->spoils >= 0) {
		c->error = NBD_ENOTSUP;
		t->spoils = chance(s, 800) ? 0 : t->spoils;
	}
	if (c->type == NBD_CMD_WRITE_ZEROES && defect(s, SIM_PARTIAL_ZEROES))
		t->left = (t->left + 1) / 2;
	if (c->type == NBD_CMD_WRITE_ZEROES && defect(s, SIM_ZEROES_NOTHING))
		t->left = 0;
	if (c->type == NBD_CMD_WRITE && defect(s, SIM_LOSES_WRITES))
		t->left = 0;
	if (c->type == NBD_CMD_WRITE && t->left && defect(s, SIM_TORN_WRITES))
		t->left = (int)below(s, (unsigned)t->left);
	if (h_is_write(c->type) && t->left && defect(s, SIM_LOSES_NEIGHBOUR)) {
		int last = end_unit(s, c);

		t->neighbour = last < s->units ? last : -1;
		if (t->neighbour >= 0)
			t->beside = device(s, c->connection)->shared[last];
	}
	t->early = (c->type == NBD_CMD_FLUSH
			    ? defect(s, SIM_EARLY_FLUSH)
			    : h_is_write(c->type) && defect(s, SIM_EARLY_REPLIES)) &&
		   t->spoils < 0;
	if (chance(s, s->silence_rate))
		t->silent = true;
	t->late = s->late && chance(s, 700);
}

static void do_unit(struct state *s, int index, int unit)
{
	struct h_command *c = &s->h->commands[index];
	struct task *t = &s->tasks[index];
	bool fua = (c->flags & NBD_CMD_FLAG_FUA) && s->fua;

	switch (c->type) {
	case NBD_CMD_READ:
		t->got[unit] = get(s, c->connection, unit);
		t->sampled[unit] = true;
		break;
	case NBD_CMD_FLUSH:
		write_back(s, unit);
		break;
	case NBD_CMD_TRIM:
		if (chance(s, 600))
			put(s, c->connection, unit, chance(s, 500) ? UNSTABLE : 0, fua);
		if (unit + s->cuts < s->units && defect(s, SIM_TRIMS_MORE))
			put(s, c->connection, unit + s->cuts, chance(s, 500) ? anything(s) : 0,
			    fua);
		break;
	case NBD_CMD_BLOCK_STATUS:
		break;
	default: {
		int to = unit, value = value_to_write(s, c, unit);

		if (c->type == NBD_CMD_WRITE && defect(s, SIM_MISPLACED))
			to = unit + s->cuts < s->units ? unit + s->cuts : unit % s->cuts;
		if (c->type == NBD_CMD_WRITE && c->sectors > 1 && defect(s, SIM_SWAPS)) {
			int other = first_unit(s, c) +
				    (int)below(s, (unsigned)(end_unit(s, c) - first_unit(s, c)));

			value = value_to_write(s, c, other);
		}
		put(s, c->connection, to, value, fua);
		s->links[c->connection].old[unit] =
			s->sim->defect == SIM_READ_CACHE ? s->links[c->connection].old[unit] : -1;
		if (c->type == NBD_CMD_WRITE_ZEROES && unit + s->cuts < s->units &&
		    defect(s, SIM_ZEROES_MORE))
			put(s, c->connection, unit + s->cuts, 0, fua);
		break;
	}
	}
}

// Block status of the command's sectors, all at once.
static void take_status(struct state *s, int index)
{
	struct h_command *c = &s->h->commands[index];

	for (unsigned i = 0; i < c->sectors; i++) {
		bool zero = true, unstable = false;
		int unit = (int)(h_first_sector(c) + i) * s->cuts;

		for (int u = unit; u < unit + s->cuts; u++) {
			int16_t value;

			if (u < first_unit(s, c) || u >= end_unit(s, c))
				continue;
			value = peek(s, c->connection, u);
			zero &= value == 0;
			unstable |= value == UNSTABLE;
		}
		if (defect(s, SIM_FALSE_STATUS))
			zero = true;
		if (s->sim->defect == SIM_OLD_STATUS) {
			unsigned sector = (unsigned)h_first_sector(c) + i;

			if (s->said_zero[sector] && chance(s, s->defect_rate))
				zero = true;
			s->said_zero[sector] |= zero;
		}
		c->cells[i].status = 0;
		if (zero && chance(s, 800))
			c->cells[i].status = NBD_STATE_ZERO |
					     (chance(s, 500) ? NBD_STATE_HOLE : 0u);
		else if ((unstable && chance(s, 700)) || chance(s, 20))
			c->cells[i].status = NBD_STATE_HOLE;
	}
}

static void decide(struct state *s, int index)
{
	struct h_command *c = &s->h->commands[index];
	struct task *t = &s->tasks[index];
	struct device *d = device(s, c->connection);

	t->stage = DECIDED;
	if (t->spoils >= 0) {
		if (c->type == NBD_CMD_FLUSH || (c->flags & NBD_CMD_FLAG_FUA))
			drop_dirty(s, c->connection);
		return;
	}
	if (t->neighbour >= 0)
		put(s, c->connection, t->neighbour, t->beside, false);
	if (h_is_write(c->type) && defect(s, SIM_REPEATS))
		t->again = true;
	if (c->type == NBD_CMD_FLUSH)
		end_flush(s, c->connection);
	if (c->type == NBD_CMD_BLOCK_STATUS)
		take_status(s, index);
	if ((c->flags & NBD_CMD_FLAG_FUA) && h_is_write(c->type)) {
		for (int u = first_unit(s, c); u < end_unit(s, c); u++) {
			if (s->sim->server == SIM_SHARED) {
				d->stable[u] = d->shared[u];
				d->dirty[u] = false;
			}
		}
	}
}

static void send_answer(struct state *s, int index, bool final, unsigned cell)
{
	struct link *l = &s->links[s->h->commands[index].connection];

	if (l->queue_first + l->queue_count == (int)(sizeof(l->queue) / sizeof(l->queue[0])))
		return; // no room in the network: never answered
	l->queue[l->queue_first + l->queue_count++] = (struct answer){
		.command = index, .final = final, .cell = cell, .acked = l->arrived};
}

// Sampled and not yet sent: a sector of the read; -1: none.
static int ready_sector(struct state *s, int index)
{
	struct h_command *c = &s->h->commands[index];
	struct task *t = &s->tasks[index];

	if (c->type != NBD_CMD_READ)
		return -1;
	for (unsigned i = 0; i < c->sectors; i++) {
		int unit = (int)(h_first_sector(c) + i) * s->cuts;
		bool ready = !t->shown[i];

		for (int u = unit; u < unit + s->cuts; u++) {
			if (u >= first_unit(s, c) && u < end_unit(s, c) && !t->sampled[u])
				ready = false;
		}
		if (ready)
			return (int)i;
	}
	return -1;
}

static void fill_cell(struct state *s, int index, unsigned cell)
{
	struct h_command *c = &s->h->commands[index];
	struct task *t = &s->tasks[index];
	struct h_content *content = &c->cells[cell].content;
	int unit = (int)(h_first_sector(c) + cell) * s->cuts, value = 0;
	bool any = false;

	if (defect(s, SIM_MIXES_UP)) { // another's, of the same sector number
		for (int i = 0; i < s->h->command_count; i++) {
			const struct h_command *o = &s->h->commands[i];

			if (i != index && o->type == NBD_CMD_READ && o->outcome == H_PENDING &&
			    s->tasks[i].stage == RUNNING && cell < o->sectors &&
			    c->offset % H_SECTOR == 0 && o->offset % H_SECTOR == 0) {
				for (int u = 0; u < s->cuts; u++) {
					int other = (int)(h_first_sector(o) + cell) * s->cuts + u;

					if (other < s->units && unit + u < s->units &&
					    s->tasks[i].sampled[other])
						t->got[unit + u] = s->tasks[i].got[other];
				}
			}
		}
	}
	for (int u = unit; u < unit + s->cuts && !any; u++) {
		if (u >= first_unit(s, c) && u < end_unit(s, c)) {
			value = t->got[u];
			any = true;
		}
	}
	memset(content, 0, sizeof(*content));
	for (int u = unit; u < unit + s->cuts; u++) {
		if (u >= first_unit(s, c) && u < end_unit(s, c))
			value = t->got[u];
		if (!content->pieces || content->value[content->pieces - 1] != value)
			content->value[content->pieces++] = (int16_t)value;
		content->end[content->pieces - 1] = (uint16_t)s->cut[u % s->cuts + 1];
	}
}

static void progress(struct state *s, int index)
{
	struct h_command *c = &s->h->commands[index];
	struct task *t = &s->tasks[index];
	int cell;

	switch (t->stage) {
	case SENT:
		// requests of one connection arrive in order
		for (int i = 0; i < index; i++) {
			if (s->h->commands[i].connection == c->connection &&
			    s->tasks[i].stage == SENT) {
				arrive(s, i);
				return;
			}
		}
		arrive(s, index);
		break;
	case RUNNING:
		if (t->early && chance(s, 600)) {
			send_answer(s, index, true, 0);
			t->early = false;
			t->stage = GHOST;
			break;
		}
		cell = ready_sector(s, index);
		if (cell >= 0 && chance(s, 300)) {
			fill_cell(s, index, (unsigned)cell);
			t->shown[cell] = true;
			send_answer(s, index, false, (unsigned)cell);
			break;
		}
		for (int n = (int)below(s, 4) + (chance(s, 300) ? 100 : 0); n >= 0 && t->left;
		     n--) {
			if (t->spoils == 0)
				break;
			if (t->spoils > 0)
				t->spoils--;
			do_unit(s, index, t->units[--t->left]);
		}
		if (!t->left || t->spoils == 0) {
			if (t->spoils > 0)
				t->spoils = 0;
			if (chance(s, 700))
				decide(s, index);
		}
		break;
	case DECIDED:
		if (t->silent) {
			t->stage = GONE;
			break;
		}
		cell = t->spoils < 0 ? ready_sector(s, index) : -1;
		if (cell >= 0) {
			fill_cell(s, index, (unsigned)cell);
			t->shown[cell] = true;
			send_answer(s, index, false, (unsigned)cell);
			if (!chance(s, 800))
				break;
			// the rest at once, with the final reply
			while ((cell = ready_sector(s, index)) >= 0) {
				fill_cell(s, index, (unsigned)cell);
				t->shown[cell] = true;
				send_answer(s, index, false, (unsigned)cell);
			}
		}
		send_answer(s, index, true, 0);
		t->stage = t->spoils >= 0 && t->left && t->late && h_is_write(c->type) ? GHOST
										       : ANSWERED;
		if (t->again) {
			t->again = false;
			t->stage = GHOST;
			for (int u = first_unit(s, c); u < end_unit(s, c); u++)
				t->units[t->left++] = u;
		}
		break;
	case GHOST:
		// what a failed or forgotten command leaves is done late, or never
		if (c->type == NBD_CMD_FLUSH) {
			if (t->left && chance(s, 500)) {
				write_back(s, t->units[--t->left]);
				break;
			}
			if (c->outcome != H_OK)
				drop_dirty(s, c->connection);
			t->stage = GONE;
		} else if (h_is_write(c->type) && t->left) {
			do_unit(s, index, t->units[--t->left]);
		} else {
			if ((c->flags & NBD_CMD_FLAG_FUA) && t->spoils < 0 && chance(s, 300))
				drop_dirty(s, c->connection);
			t->stage = GONE;
		}
		break;
	case ANSWERED:
	case GONE:
		break;
	}
}

// Instants as the capture has them.
static int64_t capture_instant(const struct state *s, int k)
{
	return s->now * STEP + s->links[k].skew;
}

static void settle(struct state *s, int index, enum h_outcome outcome, int64_t at)
{
	struct h_command *c = &s->h->commands[index];

	if (c->outcome != H_PENDING)
		return;
	c->outcome = outcome;
	c->reply = at;
	s->links[c->connection].in_flight--;
}

static void deliver(struct state *s, int k)
{
	struct link *l = &s->links[k];
	struct answer a = l->queue[l->queue_first];
	struct h_command *c = &s->h->commands[a.command];
	struct task *t = &s->tasks[a.command];
	int64_t at = capture_instant(s, k);

	l->queue_first++;
	l->queue_count--;
	l->received = at;
	if (c->outcome != H_PENDING)
		return;
	if (t->twin >= 0) {
		// whose answer this is cannot be known
		settle(s, a.command, H_OPEN, at);
		settle(s, t->twin, H_OPEN, at + 1);
		return;
	}
	if (!a.final) {
		c->cells[a.cell].seen = at;
		// more data of it in the same packet, and the end
		while (l->queue_count && l->queue[l->queue_first].command == a.command &&
		       !l->queue[l->queue_first].final && chance(s, 800)) {
			c->cells[l->queue[l->queue_first].cell].seen = at;
			l->queue_first++;
			l->queue_count--;
		}
		if (!l->queue_count || l->queue[l->queue_first].command != a.command ||
		    !l->queue[l->queue_first].final || chance(s, 300))
			return;
		a = l->queue[l->queue_first++];
		l->queue_count--;
	}
	settle(s, a.command, t->spoils >= 0 ? H_FAILED : H_OK, at);
	if (c->outcome == H_FAILED && !c->error)
		c->error = NBD_EIO;
	if (c->outcome == H_FAILED && c->error == NBD_ESHUTDOWN && !s->evidence)
		drop_dirty(s, c->connection); // known by its answer only
	if (c->outcome == H_FAILED && h_is_write(c->type) && s->junk) {
		for (int u = first_unit(s, c); u < end_unit(s, c); u++) {
			if (chance(s, 200))
				put(s, k, u, chance(s, 500) ? UNSTABLE : anything(s), false);
		}
	}
	if (c->outcome == H_OK && c->type == NBD_CMD_BLOCK_STATUS) {
		for (unsigned i = 0; i < c->sectors; i++)
			c->cells[i].seen = at;
	}
	if (s->evidence && chance(s, 700)) {
		c->reply_ack.known = true;
		c->reply_ack.upto = a.acked;
	}
	if (c->type == NBD_CMD_WRITE && c->outcome == H_OK && defect(s, SIM_EARLY_PAYLOAD)) {
		c->reply_ack.known = true;
		c->reply_ack.upto = c->request;
		c->reply_ack.short_ = 1 + below(s, (unsigned)c->length);
	}
}

// Clients

static int new_value(struct state *s)
{
	int n;

	if (chance(s, s->repeat_rate))
		return s->values == VALUES_COUNTERS ? 1000 + (int)below(s, 4)
		       : s->values == VALUES_BYTES  ? 3001 + (int)below(s, 4)
						    : (int)below(s, 4);
	s->fresh = s->fresh % 250 + 1;
	n = s->fresh;
	switch (s->values == VALUES_MIXED ? (int)below(s, 4) : (int)s->values) {
	case VALUES_FEW:
		return n % 4;
	case VALUES_COUNTERS:
		return 1000 + 256 * (int)(chance(s, 800) ? 0 : below(s, 4)) + n;
	case VALUES_BYTES:
		return chance(s, 500) ? 3001 + n % 6
				      : 4000 + 16 * (1 + n % 5) + 1 + (int)below(s, 5);
	default:
		return n;
	}
}

static void pick_range(struct state *s, uint64_t *offset, uint64_t *length)
{
	int from, to;

	if (s->span_max > 8 && chance(s, 250)) {
		int count = 12 + (int)below(s, 28);

		from = (int)below(s, (unsigned)s->sectors) * s->cuts;
		to = from + count * s->cuts;
	} else {
		from = (int)below(s, (unsigned)(s->hot && chance(s, s->hot_rate) ? s->hot
										 : s->sectors)) *
		       s->cuts;
		to = from + (1 + (int)below(s, chance(s, 500) ? 1 : 4)) * s->cuts;
	}
	if (s->cuts > 1 && chance(s, 400)) {
		from += (int)below(s, (unsigned)s->cuts);
		to -= (int)below(s, (unsigned)s->cuts);
		if (to <= from)
			to = from + 1;
	}
	if (to > s->units)
		to = s->units;
	*offset = unit_offset(s, from);
	*length = (to == s->units ? (uint64_t)s->sectors * H_SECTOR : unit_offset(s, to)) - *offset;
}

static struct h_command *send_request(struct state *s, int k, uint16_t type, uint16_t flags,
				      uint64_t offset, uint64_t length)
{
	struct link *l = &s->links[k];
	int index = s->h->command_count;
	struct h_command *c = h_add_command(s->h, k, type, offset, length);

	c->cookie = ++l->cookies;
	c->flags = flags;
	c->request = capture_instant(s, k);
	if (s->evidence && l->received && chance(s, 700)) {
		c->request_ack.known = true;
		c->request_ack.upto = l->received;
	}
	memset(&s->tasks[index], 0, sizeof(s->tasks[index]));
	s->tasks[index].stage = SENT;
	s->tasks[index].twin = s->tasks[index].neighbour = -1;
	l->in_flight++;
	return c;
}

static void fill_write(struct state *s, struct h_command *c)
{
	int one = new_value(s);

	for (unsigned i = 0; i < c->sectors; i++) {
		// unlike neighbours, to tell shifted data
		int value = chance(s, 700) ? one : new_value(s);
		struct h_content *content = &c->cells[i].content;

		*content = h_content(value);
		if (s->cuts == 1 || !chance(s, 150))
			continue;
		content->value[1] = (int16_t)(value ? 0 : new_value(s));
		if (content->value[1] == value)
			continue;
		content->pieces = 2;
		content->end[0] = (uint16_t)s->cut[1 + below(s, (unsigned)s->cuts - 1)];
		content->end[1] = H_SECTOR;
	}
}

static void issue(struct state *s, int k)
{
	struct h_connection *conn = &s->h->connections[k];
	uint16_t type, flags = 0;
	uint64_t offset = 0, length = 0;
	unsigned kind = below(s, s->mix_write + s->mix_read + s->mix_flush);
	struct h_command *c;
	int index = s->h->command_count;

	pick_range(s, &offset, &length);
	if (index && s->flushing == FLUSHES_AFTER_WRITES && s->mix_flush &&
	    h_is_write(s->h->commands[index - 1].type) &&
	    s->h->commands[index - 1].outcome == H_OK && chance(s, 700))
		kind = s->mix_write + s->mix_read;
	if (s->flushing == FLUSHES_BY_ONE && k != 0 && kind >= s->mix_write + s->mix_read)
		kind = s->mix_write;
	if ((conn->flags & NBD_FLAG_READ_ONLY) && !defect(s, SIM_WRITES_TO_RO))
		kind = s->mix_write;
	if (kind < s->mix_write) {
		type = NBD_CMD_WRITE;
		if (chance(s, s->trim_rate))
			type = NBD_CMD_TRIM;
		else if (chance(s, 200))
			type = NBD_CMD_WRITE_ZEROES;
		if (type == NBD_CMD_WRITE_ZEROES && chance(s, 200))
			flags |= NBD_CMD_FLAG_FAST_ZERO;
		if ((s->fua || s->breaches) && chance(s, s->fua_rate))
			flags |= NBD_CMD_FLAG_FUA;
	} else if (kind < s->mix_write + s->mix_read || !(s->flush || s->breaches)) {
		type = chance(s, s->status_rate) ? NBD_CMD_BLOCK_STATUS : NBD_CMD_READ;
		if (s->fua && type == NBD_CMD_READ && chance(s, 30))
			flags |= NBD_CMD_FLAG_FUA;
	} else {
		type = NBD_CMD_FLUSH;
		offset = length = 0;
	}
	c = send_request(s, k, type, flags, offset, length);
	if (type == NBD_CMD_WRITE)
		fill_write(s, c);
	if (!chance(s, s->twin_rate))
		return;
	for (int i = index - 1; i >= 0; i--) {
		if (s->h->commands[i].connection == k && s->h->commands[i].outcome == H_PENDING &&
		    s->tasks[i].twin < 0) {
			s->tasks[index].twin = i;
			s->tasks[i].twin = index;
			c->ambiguous = true;
			break;
		}
	}
}

static void connect_link(struct state *s, int k)
{
	struct link *l = &s->links[k];

	l->open = true;
	s->h->connections[k].connect = capture_instant(s, k);
	for (int u = 0; u < s->units; u++)
		l->old[u] = -1;
	if (!defect(s, SIM_SNAPSHOTS))
		return;
	l->snapshot = true;
	for (int u = 0; u < s->units; u++)
		l->old[u] = any_version(s, device(s, k), u);
}

static void end_link(struct state *s, int k, bool seen)
{
	struct link *l = &s->links[k];

	l->open = false;
	l->ended = true;
	l->queue_count = 0;
	if (seen)
		s->h->connections[k].end = capture_instant(s, k);
	for (int i = 0; i < s->h->command_count; i++) {
		struct task *t = &s->tasks[i];

		if (s->h->commands[i].connection != k || t->stage > DECIDED)
			continue;
		if (t->stage == SENT) { // it may arrive, or not
			if (chance(s, 500))
				arrive(s, i);
			else
				t->left = 0;
		}
		t->spoils = -1;
		t->stage = s->late ? GHOST : GONE;
	}
	for (int i = 0; i < s->h->command_count && defect(s, SIM_FORGETS_CLIENT); i++) {
		const struct h_command *c = &s->h->commands[i];

		if (c->connection != k || !h_is_write(c->type))
			continue;
		for (int u = first_unit(s, c); u < end_unit(s, c); u++)
			store(s, device(s, k), u, any_version(s, device(s, k), u));
	}
}

static void restart(struct state *s)
{
	for (int k = 0; k < s->link_count; k++) {
		if (s->links[k].open) {
			end_link(s, k, !s->restarts_silently || chance(s, 500));
			s->now++;
		}
	}
	for (int i = 0; i < s->h->command_count; i++) {
		if (!chance(s, 100)) // the storage behind may still do it
			s->tasks[i].stage = GONE;
	}
	// each unit that was not stored may be stored in the last moment, or is lost
	for (int n = 0; n < s->link_count * s->units; n++) {
		int k = (int)below(s, (unsigned)s->link_count);
		int u = (int)below(s, (unsigned)s->units);

		if ((s->sim->server == SIM_REPLICATED || s->sim->server == SIM_PRIVATE) &&
		    chance(s, 500))
			evict(s, k, u);
	}
	for (int k = 0; k < s->link_count; k++)
		memset(s->links[k].cache.state, ABSENT, sizeof(s->links[k].cache.state));
	for (int i = 0; i < 2; i++) {
		struct device *d = &s->devices[i];

		for (int u = 0; u < s->units; u++) {
			if (d->dirty[u] && chance(s, 500))
				d->stable[u] = d->shared[u];
			d->shared[u] = d->stable[u];
			d->dirty[u] = false;
			if (defect(s, SIM_LOSES_FLUSHED) || defect(s, SIM_RESTART_LOSES))
				store(s, d, u, any_version(s, d, u));
		}
	}
}

// One history

static void choose_habits(struct state *s, uint64_t seed, enum sim_kind kind)
{
	bool legal = kind != SIM_KIND_BROKEN;
	struct sim *sim = s->sim;

	s->random = seed;
	sim->server = (enum sim_server)below(s, SIM_SERVERS);
	sim->defect = SIM_LEGAL;
	if (!legal) {
		sim->defect = (enum sim_defect)(1 + below(s, SIM_DEFECTS - 1));
		if (sim->defect == SIM_FLUSH_MISSES || sim->defect == SIM_STALE_READS ||
		    sim->defect == SIM_FUA_MISSES || sim->defect == SIM_FLUSHES_HALF)
			sim->server = SIM_REPLICATED;
		if (sim->defect == SIM_FALSE_MULTI)
			sim->server = SIM_PRIVATE;
		if (sim->defect == SIM_FALSE_SHARING)
			sim->server = SIM_OVERLAY;
	}
	sim->shape = chance(s, 600) ? SIM_ALIGNED : chance(s, 600) ? SIM_TORN : SIM_VEILED;
	s->cuts = sim->shape == SIM_ALIGNED || chance(s, 200) ? 1 : 2 + (int)below(s, 3);
	s->cut[0] = 0;
	for (int i = 1; i < s->cuts; i++) {
		unsigned room = H_SECTOR - s->cut[i - 1] - (unsigned)(s->cuts - i);

		s->cut[i] = s->cut[i - 1] + 1 + below(s, room - 1);
	}
	s->cut[s->cuts] = H_SECTOR;
	s->span_max = chance(s, 150) ? 40 : 4;
	s->sectors = s->span_max > 8 ? MAX_SECTORS : 1 + (int)below(s, 8);
	s->units = s->sectors * s->cuts;
	s->block = s->cuts << below(s, 3);
	s->budget = 4 + (int)below(s, chance(s, 300) ? 80 : 40);
	if (chance(s, 40))
		s->budget = MAX_COMMANDS - 20;
	s->hot = chance(s, 400) ? 1 + (int)below(s, 2) : 0;
	s->hot_rate = 500 + below(s, 500);
	s->in_flight_max = chance(s, 200) ? 1 : 1 + (int)below(s, 8);
	s->error_rate = chance(s, 400) ? below(s, 100) : 0;
	s->silence_rate = chance(s, 300) ? below(s, 80) : 0;
	s->trim_rate = chance(s, 400) ? below(s, 250) : 0;
	s->status_rate = chance(s, 400) ? below(s, 300) : 0;
	s->fua_rate = chance(s, 600) ? below(s, 600) : 0;
	s->repeat_rate = chance(s, 500) ? below(s, 600) : chance(s, 500) ? 50 : 0;
	s->values = chance(s, 600) ? VALUES_PLAIN : 1 + below(s, VALUES_MIXED);
	s->flushing = chance(s, 500) ? FLUSHES_AT_RANDOM : 1 + below(s, FLUSHES_NEVER);
	s->face = chance(s, 60);
	s->shutdowns = chance(s, 100);
	s->read_only = chance(s, 100);
	s->twin_rate = chance(s, 200) ? below(s, 60) : 0;
	s->restart_rate = chance(s, 250) ? 3 + below(s, 25) : 0;
	s->defect_rate = 20 + below(s, 980);
	s->background_rate = below(s, 300);
	s->mix_write = 10 + below(s, 50);
	s->mix_read = 10 + below(s, 50);
	s->mix_flush = chance(s, 800) ? 2 + below(s, 30) : 0;
	s->rush_rate = chance(s, 600) ? 300 + below(s, 700) : 0;
	if (!legal && chance(s, 500)) // its defect alone
		s->error_rate = s->silence_rate = s->trim_rate = 0;
	s->probe_rate = chance(s, 600) ? 20 + below(s, 200) : 0;
	s->filled = chance(s, 850);
	s->junk = chance(s, 300) && (sim->server == SIM_SHARED || sim->server == SIM_THROUGH);
	s->drops = chance(s, 600);
	s->late = chance(s, 600);
	s->evidence = chance(s, 300);
	// junk comes when the error is seen, which is later than what TCP tells
	s->junk = s->junk && !s->evidence;
	if (s->flushing == FLUSHES_NEVER)
		s->mix_flush = 0;
	s->multi_conn = sim->server != SIM_PRIVATE && sim->server != SIM_OVERLAY &&
			(sim->defect == SIM_FLUSH_MISSES || sim->defect == SIM_STALE_READS ||
			 sim->defect == SIM_FUA_MISSES || chance(s, 800));
	s->multi_conn |= sim->defect == SIM_FALSE_MULTI || sim->defect == SIM_FALSE_SHARING ||
			 sim->defect == SIM_FLUSHES_HALF;
	s->flush = chance(s, 950);
	s->fua = chance(s, 850);
	s->breaches = chance(s, 200);
	s->restarts_silently = chance(s, 300);
	if (sim->defect == SIM_WRITES_TO_RO)
		s->read_only = true;
	if (sim->defect == SIM_RESTART_LOSES)
		s->restart_rate = 10 + below(s, 20);
	if (!legal && chance(s, 600)) { // the defect alone, where it can be seen
		bool restarts = sim->defect == SIM_RESTART_LOSES;

		if (sim->server >= SIM_PRIVATE && sim->defect != SIM_FALSE_MULTI &&
		    sim->defect != SIM_FALSE_SHARING && chance(s, 700)) {
			sim->server = (enum sim_server)below(s, SIM_PRIVATE);
			s->multi_conn = true;
		}
		s->error_rate = s->silence_rate = s->twin_rate = 0;
		if (sim->defect != SIM_TRIMS_MORE)
			s->trim_rate = 0;
		s->restart_rate = restarts ? s->restart_rate : 0;
		s->late = s->junk = s->face = s->shutdowns = s->breaches = false;
		s->flush = s->fua = true;
		s->filled = true;
		s->rush_rate = 600 + below(s, 400);
		s->probe_rate = 100 + below(s, 400);
		s->mix_flush = 10 + below(s, 30);
		if (sim->shape == SIM_VEILED)
			sim->shape = SIM_TORN;
	}
	s->accused = kind == SIM_KIND_ACCUSED;
	if (s->accused) { // few places, few values, and much that may go wrong
		s->sectors = s->span_max > 8 ? s->sectors : 1 + (int)below(s, 3);
		s->units = s->sectors * s->cuts;
		s->late = chance(s, 800);
		s->drops = chance(s, 800);
		s->evidence = chance(s, 500);
		s->junk = s->junk && !s->evidence;
		s->values = chance(s, 300) ? s->values : VALUES_FEW;
		s->background_rate = below(s, 600);
		s->in_flight_max = 2 + (int)below(s, 8);
		s->face = chance(s, 150);
		s->breaches = chance(s, 400);
		if (sim->shape == SIM_ALIGNED && chance(s, 400))
			sim->shape = SIM_VEILED;
	}
	s->fresh = (int)below(s, 100);
}

static void prepare(struct state *s)
{
	struct history *h = s->h;
	int names = chance(s, 250) ? 2 : 1, devices = names == 2 && chance(s, 500) ? 2 : 1;
	int64_t spread = 0;

	if (s->hot > s->sectors)
		s->hot = s->sectors;
	h_init(h);
	if (chance(s, 300)) {
		spread = 1 + below(s, chance(s, 800) ? 8 : 120);
		h->epsilon = (spread + 2) * GRAIN;
	}
	h->exclusive = chance(s, 200);
	s->link_count = 1 + (int)below(s, chance(s, 200) ? 8 : 5);
	if (s->restart_rate || chance(s, 300))
		s->link_count += 1 + (int)below(s, 4);
	if (s->link_count == 1 && chance(s, 700))
		s->link_count = 2 + (int)below(s, 2);
	for (int k = 0; k < s->link_count; k++) {
		struct h_connection *c = h_add_connection(h);
		int name = (int)below(s, (unsigned)names);

		strcpy(c->export_name, name ? "disk" : "");
		s->links[k].device = devices == 2 ? name : 0;
		c->size = (uint64_t)s->sectors * H_SECTOR;
		c->flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
			   NBD_FLAG_SEND_FAST_ZERO;
		if (s->multi_conn)
			c->flags |= NBD_FLAG_CAN_MULTI_CONN;
		if (s->flush)
			c->flags |= NBD_FLAG_SEND_FLUSH;
		if (s->fua)
			c->flags |= NBD_FLAG_SEND_FUA;
		if (s->read_only && k && chance(s, 300))
			c->flags |= NBD_FLAG_READ_ONLY;
		c->connect = H_NEVER;
		// clocks differ by less than the margin of order
		s->links[k].skew =
			2 * k + (spread ? GRAIN * (int64_t)below(s, (unsigned)spread) : 0);
		s->links[k].budget_after =
			k == 0 || chance(s, 600) ? 0 : (int)below(s, (unsigned)s->budget);
		// who comes later may be shown another size, and another device behind the name
		if (s->face && k && s->links[k].budget_after && names == 1 && chance(s, 500)) {
			if (chance(s, 500))
				c->size += H_SECTOR;
			else
				c->flags ^= NBD_FLAG_SEND_TRIM;
			s->links[k].device = chance(s, 500);
		}
	}
	if (s->link_count > MAX_CONNECTIONS)
		abort();
	for (int i = 0; i < 2; i++) {
		int kind = (int)below(s, 10);

		for (int u = 0; u < s->units; u++) {
			int value = kind < 4 ? 0 : kind == 4 ? UNSTABLE : 200 + (int)below(s, 50);

			s->devices[i].stable[u] = s->devices[i].shared[u] = (int16_t)value;
			s->devices[i].previous[u] = (int16_t)value;
			if (i && kind >= 4) // not the first one's
				s->devices[i].stable[u] = s->devices[i].shared[u] =
					(int16_t)below(s, 5);
		}
	}
}

// Whatever else is in flight, this command is served at once.
static void rush(struct state *s, int index)
{
	struct h_command *c = &s->h->commands[index];

	for (int i = 0; i < 60 && c->outcome == H_PENDING && s->tasks[index].stage < GHOST; i++) {
		s->now++;
		if (s->tasks[index].stage != ANSWERED)
			progress(s, index);
		else if (s->links[c->connection].queue_count)
			deliver(s, c->connection);
	}
}

static void probe(struct state *s)
{
	static const enum {
		WRITES = 1,
		FLUSHES = 2,
		READS = 3
	} script[] = {WRITES, FLUSHES, READS, READS};
	uint64_t offset, length;

	pick_range(s, &offset, &length);
	for (unsigned i = 0; i < sizeof(script) / sizeof(script[0]); i++) {
		int k = (int)below(s, (unsigned)s->link_count), index = s->h->command_count;
		bool fua = s->fua && chance(s, s->fua_rate);

		if (!s->links[k].open || chance(s, 150) || index >= MAX_COMMANDS)
			continue;
		if (script[i] == WRITES && (s->h->connections[k].flags & NBD_FLAG_READ_ONLY) &&
		    !defect(s, SIM_WRITES_TO_RO))
			continue;
		if (script[i] == FLUSHES && !s->flush)
			continue;
		s->now++;
		if (script[i] == WRITES && chance(s, 800))
			fill_write(s, send_request(s, k, NBD_CMD_WRITE, fua ? NBD_CMD_FLAG_FUA : 0,
						   offset, length));
		else if (script[i] == WRITES)
			send_request(s, k, NBD_CMD_WRITE_ZEROES, fua ? NBD_CMD_FLAG_FUA : 0, offset,
				     length);
		else if (script[i] == FLUSHES)
			send_request(s, k, NBD_CMD_FLUSH, 0, 0, 0);
		else
			send_request(s, k, NBD_CMD_READ, 0, offset, length);
		if (chance(s, 900))
			rush(s, index);
	}
}

// The first connection writes every sector, so that all contents are known.
static void fill(struct state *s)
{
	unsigned error_rate = s->error_rate, silence_rate = s->silence_rate;
	unsigned defect_rate = s->defect_rate;

	s->error_rate = s->silence_rate = s->defect_rate = 0;
	connect_link(s, 0);
	for (int first = 0; first < s->sectors; first += 12) {
		int count = s->sectors - first < 12 ? s->sectors - first : 12;

		s->now++;
		fill_write(s, send_request(s, 0, NBD_CMD_WRITE,
					   s->fua && chance(s, 500) ? NBD_CMD_FLAG_FUA : 0,
					   (uint64_t)first * H_SECTOR, (uint64_t)count * H_SECTOR));
		rush(s, s->h->command_count - 1);
	}
	s->now++;
	if (s->flush && chance(s, 700)) {
		send_request(s, 0, NBD_CMD_FLUSH, 0, 0, 0);
		rush(s, s->h->command_count - 1);
	}
	s->error_rate = error_rate;
	s->silence_rate = silence_rate;
	s->defect_rate = defect_rate;
}

// What connection k did from `from` to `to` is not seen.
static void hide(struct history *h, int k, int64_t from, int64_t to)
{
	int keep = 0;

	for (int i = 0; i < h->command_count; i++) {
		struct h_command *c = &h->commands[i];

		if (c->connection == k && c->request >= from && c->request <= to) {
			free(c->cells);
			continue;
		}
		h->commands[keep++] = *c;
	}
	h->command_count = keep;
}

// The capture begins later than the first connections, before any of them has ended.
static void begin_late(struct state *s)
{
	struct history *h = s->h;
	int64_t first = INT64_MAX, end = (s->now + 1) * STEP, at;

	for (int k = 0; k < h->connection_count; k++) {
		if (h->connections[k].connect < first)
			first = h->connections[k].connect;
		if (h->connections[k].end < end)
			end = h->connections[k].end;
	}
	if (end - first < 4 * STEP)
		return;
	at = first + (int64_t)(sim_random(&s->random) % (uint64_t)(end - first)) / STEP * STEP +
	     STEP;
	if (at + GRAIN >= end)
		return;
	for (int k = 0; k < h->connection_count; k++) {
		struct h_connection *c = &h->connections[k];

		if (c->connect >= at)
			continue;
		c->from_start = false;
		c->known = chance(s, 500);
		c->connect = at + k;
		hide(h, k, 0, at + GRAIN);
	}
	// what they acknowledged then is not known
	for (int i = 0; i < h->command_count; i++)
		h->commands[i].request_ack.known = h->commands[i].reply_ack.known = false;
}

// What the observer misses.
static void veil(struct state *s)
{
	struct history *h = s->h;

	if (chance(s, 200))
		begin_late(s);
	for (int k = 0; k < h->connection_count; k++) {
		struct h_connection *c = &h->connections[k];
		int64_t end = c->end == H_NEVER ? (s->now + 1) * STEP : c->end, at;

		if (c->connect == H_NEVER || end - c->connect <= 4 * STEP)
			continue;
		at = c->connect + (int64_t)(sim_random(&s->random) % (uint64_t)(end - c->connect));
		at = (at / GRAIN + 1) * GRAIN - 1;
		if (at >= end)
			continue;
		if (chance(s, 150)) { // it was there before the capture
			c->from_start = false;
			c->known = chance(s, 500);
		} else if (chance(s, 60)) { // it goes on unseen
			c->tls = at;
			hide(h, k, at, H_NEVER - 1);
			for (int i = 0; i < h->command_count; i++) {
				struct h_command *r = &h->commands[i];

				if (r->connection != k || r->reply <= at || r->reply == H_NEVER)
					continue;
				r->outcome = H_PENDING;
				r->reply = H_NEVER;
				r->reply_ack.known = false;
				for (unsigned n = 0; n < r->sectors; n++)
					r->cells[n].seen = r->cells[n].seen > at ? H_NEVER
										 : r->cells[n].seen;
			}
		} else if (chance(s, 100)) { // some of it is lost
			c->gap_since = c->gap_noticed = at;
			if (chance(s, 500) && at + 10 * STEP < end) {
				hide(h, k, at, at + 10 * STEP);
				c->gap_noticed = at + 10 * STEP;
			}
		}
		if (chance(s, 50))
			c->flags &= (uint16_t)~NBD_FLAG_CAN_MULTI_CONN;
	}
	for (int i = 0; i < h->command_count; i++) {
		struct h_command *c = &h->commands[i];

		if (c->type == NBD_CMD_WRITE && chance(s, 20)) {
			struct h_cell *cell = &c->cells[below(s, c->sectors)];

			for (unsigned p = 0; p < cell->content.pieces; p++)
				cell->content.value[p] = H_LOST;
		}
		if (c->type == NBD_CMD_READ && chance(s, 20)) {
			struct h_cell *cell = &c->cells[below(s, c->sectors)];

			if (cell->seen != H_NEVER)
				cell->seen = H_NEVER;
		}
		if (c->outcome == H_OK && chance(s, 20))
			c->outcome = H_OPEN;
	}
}

// Connections that never came are left out; the rest in order.
static void tidy(struct history *h)
{
	int keep = 0, map[MAX_CONNECTIONS];

	for (int k = 0; k < h->connection_count; k++) {
		map[k] = keep;
		if (h->connections[k].connect != H_NEVER)
			h->connections[keep++] = h->connections[k];
	}
	h->connection_count = keep;
	for (int i = 0; i < h->command_count; i++)
		h->commands[i].connection = map[h->commands[i].connection];
	h_sort(h);
}

// Some servers have a second port: another server to the protocol, which may serve the same
// device, under the same name.  By a stream of its own, so that the others stay as they are.
static void second_port(struct state *s, uint64_t seed, bool apart)
{
	struct history *h = s->h;
	uint64_t random = seed ^ UINT64_C(0x706f727473);
	bool one_name = !s->face;

	for (int k = 1; k < h->connection_count; k++)
		one_name &= !strcmp(h->connections[k].export_name, h->connections[0].export_name);
	if (sim_random(&random) % 10 || !one_name || h->connection_count < 2)
		return;
	s->second_port = true;
	for (int k = 0; k < h->connection_count; k++)
		h->connections[k].port = (int)(sim_random(&random) % 2);
	// where not all is seen nothing shows that it is one device; nor does one server
	// lose what another one was given
	if (apart || sim_random(&random) % 3 == 0) {
		for (int k = 0; k < h->connection_count; k++)
			s->links[k].device = h->connections[k].port;
	}
}

void simulate(struct history *h, struct sim *sim, uint64_t seed, enum sim_kind kind)
{
	static struct state state;
	struct state *s = &state;
	int idle = 0;

	memset(s, 0, sizeof(*s));
	s->h = h;
	s->sim = sim;
	choose_habits(s, seed, kind);
	prepare(s);
	second_port(s, seed, sim->shape == SIM_VEILED || s->drops);
	s->now = 1;
	if (s->filled)
		fill(s);
	while (idle < 400 && s->now < 20000) {
		int k = (int)below(s, (unsigned)s->link_count);
		struct link *l = &s->links[k];
		bool more = h->command_count < s->budget && h->command_count < MAX_COMMANDS;

		s->now++;
		idle++;
		if (s->restart_rate && more && h->command_count > 2 && chance(s, s->restart_rate)) {
			restart(s);
			continue;
		}
		if (chance(s, s->background_rate))
			background(s);
		if (!l->open) {
			if (!l->ended && more && h->command_count >= l->budget_after) {
				connect_link(s, k);
				idle = 0;
			}
			continue;
		}
		if (more && chance(s, s->probe_rate)) {
			probe(s);
			idle = 0;
			continue;
		}
		if (more && l->in_flight < s->in_flight_max && chance(s, 350)) {
			issue(s, k);
			if (chance(s, s->rush_rate))
				rush(s, h->command_count - 1);
			idle = 0;
			continue;
		}
		if (l->queue_count && chance(s, 600)) {
			deliver(s, k);
			idle = 0;
			continue;
		}
		if (chance(s, 2) || (!more && !l->in_flight && chance(s, 300))) {
			end_link(s, k, true);
			continue;
		}
		if (h->command_count) {
			int index = (int)below(s, (unsigned)h->command_count);

			// the first unfinished one from there on
			for (int i = 0; i < h->command_count; i++) {
				enum stage stage = s->tasks[(index + i) % h->command_count].stage;

				if (stage != ANSWERED && stage != GONE &&
				    (stage != GHOST || chance(s, 200))) {
					progress(s, (index + i) % h->command_count);
					idle = 0;
					break;
				}
			}
		}
	}
	if (sim->shape == SIM_VEILED)
		veil(s);
	snprintf(sim->about, sizeof(sim->about), "%s, %s, %s%s%s%s%s%s",
		 sim_server_names[sim->server], sim_defect_names[sim->defect],
		 sim->shape == SIM_ALIGNED ? "aligned"
		 : sim->shape == SIM_TORN  ? "torn"
					   : "veiled",
		 s->drops ? ", failed flushes drop" : "", s->late ? ", late execution" : "",
		 s->junk ? ", junk" : "", s->restarts_silently ? ", silent restarts" : "",
		 s->second_port ? ", two ports" : "");
	tidy(h);
}
