// SPDX-License-Identifier: GPL-2.0-or-later
// The reference checker: definitions, one after the other, then every read.

#include <stdlib.h>
#include <string.h>

#include "reference.h"

const char *const ref_rule_names[REF_RULES] = {
	[REF_V2] = "stale-read-after-flush",
	[REF_V3] = "stale-read-after-fua",
	[REF_V4] = "zeroes-not-read-back",
	[REF_V1] = "stale-read-own-write",
	[REF_V6] = "zero-status-contradicts-data",
	[REF_V7] = "reply-before-payload",
	[REF_V8] = "write-succeeded-on-read-only",
	[REF_V9] = "unstable-read",
	[REF_UNEXPLAINED] = "read-unexplained-data",
	[REF_UNORDERED] = "stale-read-unordered-writes",
	[REF_LOST] = "lost-after-reconnect",
	[REF_UNFLUSHED] = "stale-read-unflushed",
	[REF_NO_MULTI_CONN] = "stale-read-no-multi-conn",
};

// Paths of Est(W,c)
enum {
	E1 = 1,       // same connection
	E2 = 2,       // FUA
	E3 = 4,       // flush
	ACROSS = 8,   // E2 or E3, but all connections ended in between (G9)
	PLAIN = 16,   // just W << c, of one export: nothing is promised
	UNSURE2 = 32, // E2 and
	UNSURE3 = 64, // E3, but nothing shows that it is one server and one device (G9)
	SHARED = E2 | E3 | ACROSS | UNSURE2 | UNSURE3,
};

struct world {
	const struct history *h;
	int n;
	struct h_offsets *offsets;
	bool *before;         // [a * n + b]: a << b
	unsigned char *paths; // [w * n + c]: of Est(w,c), but for voiding
	unsigned char *est;   // ... and with it, c being over when it was answered
	int64_t *last_alive;  // of each connection
};

static const struct h_connection *conn(const struct world *w, int c)
{
	return &w->h->connections[w->h->commands[c].connection];
}

static bool before(const struct world *w, int a, int b)
{
	return w->before[a * w->n + b];
}

// Answered, and unambiguously so (G8): hi(c) is finite.
static bool answered(const struct h_command *c)
{
	return (c->outcome == H_OK || c->outcome == H_FAILED) && !c->ambiguous;
}

// Succeeded, and can be relied on (G6, G8).
static bool ok(const struct h_command *c)
{
	return c->outcome == H_OK && !c->ambiguous && !c->illegal;
}

static bool is_write(const struct h_command *c)
{
	return h_is_write(c->type) && c->length > 0;
}

static bool has_flag(const struct h_connection *k, uint16_t flag)
{
	return k->known && (k->flags & flag);
}

static bool same_export(const struct h_connection *a, const struct h_connection *b)
{
	return !strcmp(a->export_name, b->export_name);
}

static bool both_multi_conn(const struct h_connection *a, const struct h_connection *b)
{
	return has_flag(a, NBD_FLAG_CAN_MULTI_CONN) && has_flag(b, NBD_FLAG_CAN_MULTI_CONN) &&
	       same_export(a, b);
}

// T3 for two instants.
static bool instant_before(const struct world *w, int64_t a, int64_t b)
{
	return a != H_NEVER && b > a && b - a > w->h->epsilon;
}

// a << b
static bool prove_before(const struct world *w, int a, int b)
{
	const struct h_command *x = &w->h->commands[a], *y = &w->h->commands[b];

	if (a == b || !answered(x))
		return false;
	if (instant_before(w, x->reply, y->request)) // T3
		return true;
	if (x->connection != y->connection)
		return false;
	// T1: x's status was sent while the server lacked some of y's header
	if (w->offsets[a].reply_acked != UINT64_MAX &&
	    w->offsets[a].reply_acked < w->offsets[b].header_end)
		return true;
	// T2: y was sent when the client had x's status
	return w->offsets[b].request_acked != UINT64_MAX &&
	       w->offsets[b].request_acked >= w->offsets[a].status_end;
}

// Does flush F make W permanent, if it succeeds and W << F?
static bool flush_covers(const struct world *w, int f, int x)
{
	return has_flag(conn(w, f), NBD_FLAG_SEND_FLUSH) &&
	       (w->h->commands[f].connection == w->h->commands[x].connection ||
		both_multi_conn(conn(w, f), conn(w, x)));
}

static bool is_good_flush(const struct world *w, int f)
{
	return w->h->commands[f].type == NBD_CMD_FLUSH && ok(&w->h->commands[f]);
}

// A FLUSH or FUA command that failed or was never answered: it voids.
static bool voids(const struct h_command *c)
{
	return (c->type == NBD_CMD_FLUSH || (c->flags & NBD_CMD_FLAG_FUA)) &&
	       !(c->outcome == H_OK && !c->ambiguous);
}

// May failed flush X have dropped W? (Whether X came before the reader ended
// is the caller's matter.) All exports: two names may be one device.
static bool may_drop(const struct world *w, int x, int wr)
{
	if (before(w, x, wr))
		return false;
	for (int f = 0; f < w->n; f++) {
		if (is_good_flush(w, f) && flush_covers(w, f, wr) && before(w, wr, f) &&
		    before(w, f, x))
			return false;
	}
	return true;
}

// W voided for a command that was over at `end`.
static bool voided(const struct world *w, int wr, int64_t end)
{
	for (int x = 0; x < w->n; x++) {
		if (x != wr && voids(&w->h->commands[x]) &&
		    !instant_before(w, end, w->h->commands[x].request) && may_drop(w, x, wr))
			return true;
	}
	return false;
}

// The newest request on connection k that the server answered: it was alive then.
// (Its answer may come later out of a dead server's socket.)
static int64_t last_alive(const struct world *w, int k)
{
	int64_t last = INT64_MIN;

	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];

		if (c->connection == k && answered(c) && !c->ambiguous && c->request > last)
			last = c->request;
	}
	return last;
}

// G9: one server executed wr and c. On a connection it is one server from its
// greeting to the last request that it answered; that nobody ended the connection
// shows nothing (a host that lost power says no goodbye). There is one at a time.
static bool same_server(const struct world *w, int wr, int c)
{
	int from = w->h->commands[wr].connection, to = w->h->commands[c].connection;
	int64_t reach = w->last_alive[from];
	bool further = true;

	if (from == to)
		return true;
	while (further) {
		if (instant_before(w, w->h->connections[to].connect, reach))
			return true;
		further = false;
		for (int k = 0; k < w->h->connection_count; k++) {
			if (instant_before(w, w->h->connections[k].connect, reach) &&
			    instant_before(w, reach, w->last_alive[k])) {
				reach = w->last_alive[k];
				further = true;
			}
		}
	}
	return false;
}

// G9: some connection was open at any time between W's reply and c's request.
static bool same_epoch(const struct world *w, int wr, int c)
{
	const struct history *h = w->h;
	int64_t from = h->commands[wr].reply, to = h->commands[c].request;

	for (int i = 0; i < h->connection_count; i++) {
		const struct h_connection *k = &h->connections[i];
		bool alone = true; // when it came

		if (k->connect <= from || k->connect > to)
			continue;
		for (int j = 0; j < h->connection_count; j++) {
			if (h->connections[j].connect < k->connect &&
			    h->connections[j].end > k->connect)
				alone = false;
		}
		if (alone)
			return false;
	}
	return true;
}

// G9, but for connections: the export looks the same from both.
static bool same_face(const struct h_connection *a, const struct h_connection *b)
{
	return a->size == b->size && a->flags == b->flags;
}

// The paths of Est(W,c), but for voiding.
static unsigned prove_paths(const struct world *w, int wr, int c)
{
	const struct h_command *x = &w->h->commands[wr], *y = &w->h->commands[c];
	unsigned paths = 0;
	bool same;

	if (wr == c || !ok(x) || !is_write(x))
		return 0;
	same = same_server(w, wr, c);
	if (before(w, wr, c)) {
		if (same_export(conn(w, wr), conn(w, c)) || x->connection == y->connection)
			paths |= PLAIN;
		if (x->connection == y->connection)
			paths |= E1;
		if ((x->flags & NBD_CMD_FLAG_FUA) && has_flag(conn(w, wr), NBD_FLAG_SEND_FUA) &&
		    both_multi_conn(conn(w, wr), conn(w, c)))
			paths |= !same_epoch(w, wr, c)                        ? ACROSS
				 : same && same_face(conn(w, wr), conn(w, c)) ? E2
									      : UNSURE2;
	}
	if (!both_multi_conn(conn(w, wr), conn(w, c)))
		return paths;
	for (int f = 0; f < w->n; f++) {
		if (!is_good_flush(w, f) || !has_flag(conn(w, f), NBD_FLAG_SEND_FLUSH) ||
		    !both_multi_conn(conn(w, f), conn(w, c)) || !before(w, wr, f) ||
		    !before(w, f, c))
			continue;
		if (!same_epoch(w, wr, c))
			paths |= ACROSS;
		else if (same && same_face(conn(w, wr), conn(w, c)) &&
			 same_face(conn(w, f), conn(w, c)))
			paths |= E3;
		else
			paths |= UNSURE3;
	}
	return paths;
}

static void world_init(struct world *w, const struct history *h)
{
	size_t n = (size_t)h->command_count;

	w->h = h;
	w->n = h->command_count;
	w->offsets = h_stream_offsets(h);
	w->before = calloc(n * n + 1, 1);
	w->paths = calloc(n * n + 1, 1);
	w->est = calloc(n * n + 1, 1);
	w->last_alive = calloc((size_t)h->connection_count + 1, sizeof(*w->last_alive));
	if (!w->before || !w->paths || !w->est || !w->last_alive) {
		perror("histories");
		exit(2);
	}
	for (int k = 0; k < h->connection_count; k++)
		w->last_alive[k] = last_alive(w, k);
	for (int a = 0; a < w->n; a++) {
		for (int b = 0; b < w->n; b++)
			w->before[a * w->n + b] = prove_before(w, a, b);
	}
	for (int a = 0; a < w->n; a++) {
		for (int b = 0; b < w->n; b++) {
			const struct h_command *c = &h->commands[b];
			unsigned paths = prove_paths(w, a, b);

			w->paths[a * w->n + b] = (unsigned char)paths;
			if (paths && voided(w, a, answered(c) ? c->reply : H_NEVER))
				paths &= PLAIN;
			w->est[a * w->n + b] = (unsigned char)paths;
		}
	}
}

static void world_free(struct world *w)
{
	free(w->offsets);
	free(w->before);
	free(w->paths);
	free(w->est);
	free(w->last_alive);
}

// One run of bytes of one read

struct run {
	uint64_t from, to;
	unsigned cell; // of the read
	int64_t seen;  // when its bytes were seen
	int value;     // read
	int read;      // the command
};

struct view {
	unsigned paths[512]; // in force for this read, by these paths; 0: not
	bool admissible[512];
	bool initial;          // so is what was there before
	enum ref_unjudged why; // REF_JUDGED: all sources are known
	bool allowed;          // the value read is among theirs
};

static bool covers(const struct h_command *c, const struct run *r)
{
	return c->offset <= r->from && r->to <= c->offset + c->length;
}

static int value_of(const struct h_command *c, uint64_t at)
{
	if (c->type != NBD_CMD_WRITE && c->type != NBD_CMD_READ)
		return 0;
	return h_value_at(&c->cells[at / H_SECTOR - h_first_sector(c)].content,
			  (unsigned)(at % H_SECTOR));
}

// The command provably began after the run's bytes were sent.
static bool after(const struct world *w, const struct run *r, int c)
{
	return instant_before(w, r->seen, w->h->commands[c].request);
}

// Est(W,R) for these bytes, counting only the paths of `mask`.  For them the
// read was over when they had been sent.
static unsigned in_force(const struct world *w, const struct run *r, int wr, unsigned mask)
{
	unsigned paths = w->est[wr * w->n + r->read];

	if (paths != w->paths[wr * w->n + r->read] && !voided(w, wr, r->seen))
		paths = w->paths[wr * w->n + r->read];
	return paths & mask;
}

// G10 for a verdict that rests on W's own connection: no other one has written
// anything, anywhere, that was not in force before W began.
static bool lone_writer(const struct world *w, const struct run *r, int wr)
{
	for (int x = 0; x < w->n; x++) {
		const struct h_command *c = &w->h->commands[x];

		if (!is_write(c) || c->connection == w->h->commands[wr].connection ||
		    after(w, r, x))
			continue;
		if (!(w->est[x * w->n + wr] & SHARED))
			return false;
	}
	return true;
}

// Sup(W,W')
static bool superseded(const struct world *w, int wr, int by, unsigned mask)
{
	return w->est[wr * w->n + by] & mask;
}

// The requests of a and b were made in this order.
static bool requested_before(const struct world *w, int a, int b)
{
	const struct h_command *x = &w->h->commands[a], *y = &w->h->commands[b];

	return x->connection == y->connection ? x->request < y->request
					      : instant_before(w, x->request, y->request);
}

// Adm(x,R), and what it allows, if only the paths of `mask` are trusted (E1
// only for a lone writer, if `g10`), and order itself if `mask` has PLAIN.
static void look(const struct world *w, const struct run *r, unsigned mask, bool g10,
		 struct view *v)
{
	unsigned sup = E1 | SHARED | (mask & PLAIN);

	v->initial = true;
	v->why = REF_JUDGED;
	v->allowed = false;
	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];

		v->paths[i] = 0;
		// a trim may be shrunk to nothing: it puts nothing in force
		if (!is_write(c) || c->type == NBD_CMD_TRIM || !covers(c, r))
			continue;
		v->paths[i] = in_force(w, r, i, mask);
		if (v->paths[i] == E1 && g10 && !lone_writer(w, r, i))
			v->paths[i] = 0;
		if (v->paths[i])
			v->initial = false;
	}
	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];

		v->admissible[i] = is_write(c) && covers(c, r) && !after(w, r, i);
		for (int j = 0; j < w->n && v->admissible[i]; j++) {
			if (v->paths[j] && superseded(w, i, j, sup))
				v->admissible[i] = false;
		}
	}
	if (v->initial)
		v->why = REF_INITIAL;
	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];
		// What a failed write leaves is anything, until an established write
		// that began after it.  One that was not answered may have failed just
		// so, with its error lost; there an established write that was
		// requested after it must do, else nothing could be said ever again.
		bool renewed = false;   // by an established write that began after it
		bool succeeded = false; // ... after its request

		for (int j = 0; j < w->n; j++) {
			renewed |= v->paths[j] && before(w, i, j);
			succeeded |= v->paths[j] && requested_before(w, i, j);
		}
		if (c->type == NBD_CMD_BLOCK_STATUS && ok(c) && covers(c, r) && !after(w, r, i) &&
		    !renewed) {
			const struct h_cell *cell =
				&c->cells[r->from / H_SECTOR - h_first_sector(c)];

			if (cell->seen != H_NEVER && (cell->status & NBD_STATE_HOLE) &&
			    !(cell->status & NBD_STATE_ZERO))
				v->why = REF_HOLE;
		}
		if (is_write(c) && covers(c, r) && c->illegal && !after(w, r, i))
			v->why = REF_ILLEGAL_WRITE;
		if (!v->admissible[i])
			continue;
		if (c->type == NBD_CMD_TRIM)
			v->why = REF_TRIMMED;
		else if (!ok(c) && !(answered(c) ? renewed : succeeded))
			v->why = REF_FAILED_WRITE;
		else if (value_of(c, r->from) == H_LOST)
			v->why = REF_LOST_PAYLOAD;
		else if (value_of(c, r->from) == r->value)
			v->allowed = true;
	}
}

static bool convicts(const struct view *v)
{
	return v->why == REF_JUDGED && !v->allowed;
}

// An earlier read of the export, over before some write that is in force
// (paths of v) began, showed this value here - rightly: if it was foreign then,
// or junk, an unseen writer may have been at work, then and now.
static bool seen_before(const struct world *w, const struct run *r, const struct view *v)
{
	static struct view then;

	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];

		if (c->type != NBD_CMD_READ || !ok(c) || !covers(c, r) ||
		    !same_export(conn(w, i), conn(w, r->read)) ||
		    c->cells[r->from / H_SECTOR - h_first_sector(c)].seen == H_NEVER ||
		    value_of(c, r->from) != r->value)
			continue;
		for (int j = 0; j < w->n; j++) {
			struct run first = *r;

			if (!v->paths[j] || !before(w, i, j))
				continue;
			first.read = i;
			first.cell = (unsigned)(r->from / H_SECTOR - h_first_sector(c));
			first.seen = c->cells[first.cell].seen;
			look(w, &first, E1 | SHARED, false, &then);
			if (then.initial || (then.why == REF_JUDGED && then.allowed))
				return true;
			break;
		}
	}
	return false;
}

// Is the value that of a write which began in time, yet is not admissible, or
// known from an earlier read? Then it is stale, else foreign.
static bool is_stale(const struct world *w, const struct run *r, const struct view *v,
		     bool *learned)
{
	*learned = false;
	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];

		if (is_write(c) && c->type != NBD_CMD_TRIM && covers(c, r) && !after(w, r, i) &&
		    !v->admissible[i] && value_of(c, r->from) == r->value)
			return true;
	}
	*learned = true;
	return seen_before(w, r, v);
}

// The value was written only after it was read: the order of capture is not
// to be trusted (G4), or it is a coincidence.
static bool written_later(const struct world *w, const struct run *r)
{
	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];

		if (is_write(c) && c->type != NBD_CMD_TRIM && covers(c, r) && after(w, r, i) &&
		    value_of(c, r->from) == r->value)
			return true;
	}
	return false;
}

// G3, the part that lowers: someone is there who may write unseen.
static bool open_world(const struct world *w, int64_t upto)
{
	for (int i = 0; i < w->h->connection_count; i++) {
		const struct h_connection *k = &w->h->connections[i];

		if (k->connect > upto || has_flag(k, NBD_FLAG_READ_ONLY))
			continue;
		if (!k->from_start || !k->known || k->tls < upto)
			return true;
	}
	return false;
}

static bool poisoned(const struct world *w, int64_t upto)
{
	for (int i = 0; i < w->h->connection_count; i++) {
		if (w->h->connections[i].gap_since < upto)
			return true;
	}
	return false;
}

// Verdicts

static void mark(bool **list, unsigned cell, unsigned sectors)
{
	if (!*list)
		*list = calloc(sectors + 1, sizeof(**list));
	if (!*list) {
		perror("histories");
		exit(2);
	}
	(*list)[cell] = true;
}

static void note(struct ref_verdict *v, enum ref_rule rule, enum nbds_severity severity,
		 unsigned cell, unsigned sectors)
{
	struct ref_finding *f = &v->findings[rule];

	mark(&v->wrong, cell, sectors);
	if (f->found && severity < f->severity)
		return;
	if (f->found && severity > f->severity)
		memset(f->sectors, 0, sectors * sizeof(*f->sectors));
	f->found = true;
	f->severity = severity;
	mark(&f->sectors, cell, sectors);
}

// A sector is foreign if any of its bytes is; else stale.
struct sector_verdict {
	bool stale, foreign, learned, unsure;
	enum ref_rule rule; // of the stale bytes
	enum nbds_severity stale_severity, foreign_severity;
	enum nbds_severity trusted; // how sure it is that either is wrong
};

// False: its data is from nowhere by these commands, yet it was written later.
static bool convict(const struct world *w, const struct run *r, struct view *v,
		    struct sector_verdict *sv)
{
	enum nbds_severity severity = NBDS_VIOLATION;
	enum ref_rule rule;
	bool learned;

	look(w, r, E3, false, v);
	rule = REF_V2;
	if (!convicts(v)) {
		look(w, r, E3 | E2, false, v);
		rule = REF_V3;
	}
	if (!convicts(v)) {
		look(w, r, E3 | E2 | E1, true, v);
		rule = REF_V1;
	}
	if (!convicts(v)) {
		look(w, r, E3 | UNSURE3, false, v);
		rule = REF_V2;
		severity = NBDS_SUSPECT;
	}
	if (!convicts(v)) {
		look(w, r, E3 | UNSURE3 | E2 | UNSURE2, false, v);
		rule = REF_V3;
	}
	if (!convicts(v)) {
		look(w, r, E3 | UNSURE3 | E2 | UNSURE2 | E1, false, v);
		rule = REF_V1;
	}
	if (!convicts(v)) {
		look(w, r, E1 | SHARED, false, v);
		rule = REF_LOST;
	}
	for (int i = 0; rule == REF_V1 && i < w->n; i++) {
		if (v->admissible[i] && v->paths[i] && r->value != 0 &&
		    w->h->commands[i].type == NBD_CMD_WRITE_ZEROES)
			rule = REF_V4;
	}
	if (severity > sv->trusted)
		sv->trusted = severity;
	for (int i = 0; i < w->n; i++)
		sv->unsure |= in_force(w, r, i, UNSURE2 | UNSURE3 | ACROSS) &&
			      covers(&w->h->commands[i], r);
	if (is_stale(w, r, v, &learned)) {
		sv->learned |= learned;
		if (!sv->stale || severity > sv->stale_severity ||
		    (severity == sv->stale_severity && rule < sv->rule)) {
			sv->rule = rule;
			sv->stale_severity = severity;
		}
		sv->stale = true;
	} else if (w->h->commands[r->read].type == NBD_CMD_READ && written_later(w, r)) {
		return false;
	} else {
		if (!w->h->exclusive)
			severity = NBDS_SUSPECT;
		if (!sv->foreign || severity > sv->foreign_severity)
			sv->foreign_severity = severity;
		sv->foreign = true;
	}
	return true;
}

// V9: an earlier read of the connection with the same choice chose otherwise.
static bool unstable(const struct world *w, const struct run *r, const struct view *v,
		     enum nbds_severity *severity)
{
	bool found = false;

	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];
		struct run first = *r;
		struct view other;
		bool same = true, sure = true;

		if (c->type != NBD_CMD_READ || !ok(c) || !covers(c, r) ||
		    c->connection != w->h->commands[r->read].connection || !before(w, i, r->read))
			continue;
		first.read = i;
		first.cell = (unsigned)(r->from / H_SECTOR - h_first_sector(c));
		first.seen = c->cells[first.cell].seen;
		first.value = value_of(c, r->from);
		if (first.seen == H_NEVER || first.value == H_LOST || first.value == r->value)
			continue;
		look(w, &first, E1 | SHARED, false, &other);
		if (other.why != REF_JUDGED || !other.allowed)
			continue;
		for (int j = 0; j < w->n; j++) {
			if (other.admissible[j] != v->admissible[j])
				same = false;
			if (!v->admissible[j])
				continue;
			if (!v->paths[j] || !other.paths[j])
				same = false;
			else if (!(v->paths[j] & SHARED) &&
				 !((v->paths[j] & E1) && lone_writer(w, r, j)))
				sure = false;
		}
		if (!same)
			continue;
		*severity = sure || (found && *severity == NBDS_VIOLATION) ? NBDS_VIOLATION
									   : NBDS_SUSPECT;
		found = true;
	}
	return found;
}

// V6, second half: block status on this connection said zero, nothing can have
// been written since, yet this is not zero.  (Where a write is in force, it tells
// which of the two is wrong.)
static bool contradicts_status(const struct world *w, const struct run *r)
{
	static struct view then;

	for (int o = 0; o < w->n; o++) {
		const struct h_command *c = &w->h->commands[o];
		bool holds = true;
		const struct h_cell *cell;
		struct run first = *r;

		if (c->type != NBD_CMD_BLOCK_STATUS || !ok(c) || !covers(c, r) ||
		    c->connection != w->h->commands[r->read].connection || !before(w, o, r->read))
			continue;
		cell = &c->cells[r->from / H_SECTOR - h_first_sector(c)];
		if (cell->seen == H_NEVER || !(cell->status & NBD_STATE_ZERO))
			continue;
		// if the report was wrong itself, that has been told
		first.read = o;
		first.seen = cell->seen;
		first.value = 0;
		look(w, &first, E1 | SHARED, false, &then);
		if (convicts(&then))
			continue;
		for (int i = 0; i < w->n; i++) {
			const struct h_command *x = &w->h->commands[i];

			if (!is_write(x) || !covers(x, r) || after(w, r, i))
				continue;
			if (x->type == NBD_CMD_TRIM || x->illegal ||
			    !(w->est[i * w->n + o] & (E1 | SHARED)) ||
			    !in_force(w, r, i, E1 | SHARED))
				holds = false;
		}
		for (int i = 0; i < w->n; i++) {
			const struct h_command *x = &w->h->commands[i];

			if (x->type != NBD_CMD_BLOCK_STATUS || !ok(x) || !covers(x, r) ||
			    after(w, r, i) || before(w, i, o))
				continue;
			cell = &x->cells[r->from / H_SECTOR - h_first_sector(x)];
			if (cell->seen != H_NEVER && (cell->status & NBD_STATE_HOLE) &&
			    !(cell->status & NBD_STATE_ZERO))
				holds = false;
		}
		if (!holds)
			continue;
		return true;
	}
	return false;
}

static enum ref_rule missed_rule(const struct world *w, int missed, int read)
{
	return both_multi_conn(conn(w, missed), conn(w, read)) ? REF_UNFLUSHED : REF_NO_MULTI_CONN;
}

static void judge_run(const struct world *w, const struct run *r, struct ref_verdict *out,
		      struct sector_verdict *sv)
{
	const struct h_command *c = &w->h->commands[r->read];
	bool status = c->type == NBD_CMD_BLOCK_STATUS, learned;
	enum nbds_severity severity;
	static struct view v, weaker;

	look(w, r, E1 | SHARED, false, &v);
	if (v.why == REF_JUDGED)
		out->why = REF_JUDGED;
	else if (out->why == REF_NOT_A_READ)
		out->why = v.why;
	if (!status && v.initial && r->value != 0 && contradicts_status(w, r))
		note(out, REF_V6, NBDS_VIOLATION, r->cell, c->sectors);
	if (convicts(&v)) {
		if ((!status && !is_stale(w, r, &v, &learned) && written_later(w, r)) ||
		    !convict(w, r, &v, sv)) {
			out->order = true;
			if (out->why != REF_JUDGED)
				out->why = REF_ORDER;
		}
		return;
	}
	if (!status && v.why == REF_JUDGED && unstable(w, r, &v, &severity)) {
		note(out, REF_V9, severity, r->cell, c->sectors);
		return;
	}
	// Another connection's completed write was missed. If something else, such
	// as a failed write, explains the value, calling that a hazard is optional.
	for (int i = 0; i < w->n; i++) {
		const struct h_command *x = &w->h->commands[i];

		if (is_write(x) && ok(x) && covers(x, r) && before(w, i, r->read) &&
		    x->connection != c->connection && value_of(x, r->from) != r->value &&
		    conn(w, i)->known && conn(w, r->read)->known)
			mark(&out->findings[missed_rule(w, i, r->read)].perhaps, r->cell,
			     c->sectors);
	}
	// What if plain order across connections were a promise?
	look(w, r, PLAIN | E1 | SHARED, false, &weaker);
	if (!convicts(&weaker) || !is_stale(w, r, &weaker, &learned))
		return;
	// Q6: only the order of two writes, the later one in force, is not as promised
	if (v.why == REF_JUDGED) {
		bool unordered = true;

		for (int i = 0; i < w->n && unordered; i++) {
			bool overtaken = false;

			if (!v.admissible[i] || value_of(&w->h->commands[i], r->from) != r->value)
				continue;
			for (int j = 0; j < w->n; j++) {
				if (v.paths[j] && ok(&w->h->commands[i]) && before(w, i, j) &&
				    value_of(&w->h->commands[j], r->from) != r->value &&
				    w->h->commands[i].connection != w->h->commands[j].connection &&
				    both_multi_conn(conn(w, i), conn(w, j)))
					overtaken = true;
			}
			unordered = overtaken;
		}
		if (unordered) {
			note(out, REF_UNORDERED, NBDS_SUSPECT, r->cell, c->sectors);
			return;
		}
	}
	// Which write was missed? One that plain order puts in force and nothing else.
	for (int i = 0; i < w->n; i++) {
		if (!weaker.admissible[i] || !weaker.paths[i] || v.paths[i] ||
		    w->h->commands[i].connection == c->connection || !conn(w, i)->known ||
		    !conn(w, r->read)->known)
			continue;
		if (v.why == REF_JUDGED || v.why == REF_INITIAL)
			note(out, missed_rule(w, i, r->read), NBDS_HAZARD, r->cell, c->sectors);
		return;
	}
}

static int by_offset(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

// All offsets inside of the command at which anything changes, and its ends.
static uint64_t *cuts(const struct history *h, const struct h_command *r, size_t *count)
{
	size_t n = 0, max = 2;
	uint64_t *list;

	for (int i = 0; i < h->command_count; i++)
		max += 2 + (size_t)h->commands[i].sectors * (H_PIECES + 1);
	list = malloc(max * sizeof(*list));
	if (!list) {
		perror("histories");
		exit(2);
	}
	for (int i = 0; i < h->command_count; i++) {
		const struct h_command *c = &h->commands[i];

		if (c->offset >= r->offset + r->length || r->offset >= c->offset + c->length)
			continue;
		list[n++] = c->offset;
		list[n++] = c->offset + c->length;
		for (unsigned s = 0; s < c->sectors; s++) {
			uint64_t start = (h_first_sector(c) + s) * H_SECTOR;

			list[n++] = start;
			for (unsigned p = 0; p < c->cells[s].content.pieces; p++)
				list[n++] = start + c->cells[s].content.end[p];
		}
	}
	qsort(list, n, sizeof(*list), by_offset);
	*count = n;
	return list;
}

static void judge_read(const struct world *w, int index, struct ref_verdict *out)
{
	const struct h_command *c = &w->h->commands[index];
	struct sector_verdict *sectors = calloc(c->sectors + 1, sizeof(*sectors));
	size_t count;
	uint64_t *list;

	if (!sectors) {
		perror("histories");
		exit(2);
	}
	list = cuts(w->h, c, &count);
	for (size_t i = 0; i + 1 < count; i++) {
		struct run r = {.from = list[i], .to = list[i + 1], .read = index};
		const struct h_cell *cell;

		if (r.from == r.to || r.from < c->offset || r.to > c->offset + c->length)
			continue;
		r.cell = (unsigned)(r.from / H_SECTOR - h_first_sector(c));
		cell = &c->cells[r.cell];
		r.seen = cell->seen;
		if (r.seen == H_NEVER)
			continue;
		if (c->type == NBD_CMD_READ)
			r.value = h_value_at(&cell->content, (unsigned)(r.from % H_SECTOR));
		else if (cell->status & NBD_STATE_ZERO)
			r.value = 0;
		else
			continue;
		if (r.value == H_LOST)
			continue;
		if (poisoned(w, r.seen)) {
			if (out->why == REF_NOT_A_READ)
				out->why = REF_GAP;
			continue;
		}
		judge_run(w, &r, out, &sectors[r.cell]);
	}
	free(list);
	for (unsigned s = 0; s < c->sectors; s++) {
		const struct sector_verdict *sv = &sectors[s];
		bool status = c->type == NBD_CMD_BLOCK_STATUS;

		out->learned |= sv->learned;
		out->unsure |= sv->unsure;
		if (status && (sv->stale || sv->foreign)) {
			// what the zeroes come from does not matter here
			note(out, REF_V6, sv->trusted, s, c->sectors);
		} else if (sv->foreign) {
			note(out, REF_UNEXPLAINED, sv->foreign_severity, s, c->sectors);
		} else if (sv->stale) {
			note(out, sv->rule, sv->stale_severity, s, c->sectors);
		}
	}
	free(sectors);
}

static void forget(struct ref_finding *f)
{
	free(f->sectors);
	free(f->perhaps);
	memset(f, 0, sizeof(*f));
}

// Of V2, V3, V4 and V1 the first, at the highest level, speaks for the read.
static void choose(struct ref_verdict *v)
{
	int best = -1;

	for (int rule = REF_V2; rule <= REF_V1; rule++) {
		if (v->findings[rule].found &&
		    (best < 0 || v->findings[rule].severity > v->findings[best].severity))
			best = rule;
	}
	for (int rule = REF_V2; rule <= REF_V1; rule++) {
		if (rule != best)
			forget(&v->findings[rule]);
	}
}

void ref_judge(struct reference *ref, const struct history *h)
{
	struct world w;

	if (h->command_count > 512) {
		fprintf(stderr, "histories: more than 512 commands\n");
		exit(2);
	}
	world_init(&w, h);
	ref->count = h->command_count;
	ref->verdicts = calloc((size_t)h->command_count + 1, sizeof(*ref->verdicts));
	if (!ref->verdicts) {
		perror("histories");
		exit(2);
	}
	for (int i = 0; i < h->command_count; i++) {
		const struct h_command *c = &h->commands[i];
		const struct h_connection *k = &h->connections[c->connection];
		struct ref_verdict *v = &ref->verdicts[i];

		v->why = REF_NOT_A_READ;
		// V8: no write succeeds on a read-only export
		if (is_write(c) && c->outcome == H_OK && !c->ambiguous &&
		    has_flag(k, NBD_FLAG_READ_ONLY))
			note(v, REF_V8, NBDS_VIOLATION, 0, c->sectors);
		// V7: success, while TCP shows that payload was still to come
		if (c->type == NBD_CMD_WRITE && c->outcome == H_OK && !c->ambiguous &&
		    w.offsets[i].reply_acked < w.offsets[i].payload_end)
			note(v, REF_V7, NBDS_VIOLATION, 0, c->sectors);
		if (c->type != NBD_CMD_READ && c->type != NBD_CMD_BLOCK_STATUS)
			continue;
		if (c->outcome != H_OK || c->ambiguous) {
			v->why = REF_NO_ANSWER;
			continue;
		}
		if (c->illegal) {
			v->why = REF_ILLEGAL;
			continue;
		}
		judge_read(&w, i, v);
		choose(v);
		if (!open_world(&w, c->reply))
			continue;
		for (int rule = 0; rule < REF_RULES; rule++) {
			if (v->findings[rule].found &&
			    v->findings[rule].severity == NBDS_VIOLATION) {
				v->findings[rule].severity = NBDS_SUSPECT;
				v->weak = true;
			}
		}
	}
	world_free(&w);
}

void ref_free(struct reference *r)
{
	for (int i = 0; i < r->count; i++) {
		for (int rule = 0; rule < REF_RULES; rule++)
			forget(&r->verdicts[i].findings[rule]);
		free(r->verdicts[i].wrong);
	}
	free(r->verdicts);
	memset(r, 0, sizeof(*r));
}

int ref_worst(const struct reference *r, int c)
{
	int worst = -1;

	for (int rule = 0; rule < REF_RULES; rule++) {
		const struct ref_finding *f = &r->verdicts[c].findings[rule];

		if (f->found && (int)f->severity > worst)
			worst = (int)f->severity;
	}
	return worst;
}
