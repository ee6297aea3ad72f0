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
	E1 = 0x1,       // same connection
	E2 = 0x2,       // FUA
	E3 = 0x4,       // flush
	ACROSS = 0x8,   // E2 or E3, but all connections ended in between (G9)
	UNSURE2 = 0x10, // E2 and
	UNSURE3 = 0x20, // E3, but nothing shows that it is one server (G9)
	BREACH1 = 0x40, // E1, E2 and E3, but only if the refusal of a FLUSH or of FUA
	BREACH2 = 0x80, // that was never offered voids nothing
	BREACH3 = 0x100,
	AGAIN = 0x200,      // a flush failed and voided it, a later one succeeded (Q8)
	PLAIN = 0x400,      // just W << c, of one export: nothing is promised
	PLAIN_MC = 0x800,   // the same of two connections with multi-conn
	PLAIN_ANY = 0x1000, // just W << c: two names may be one device
	SHARED = E2 | E3 | ACROSS | UNSURE2 | UNSURE3,
	SURE = E1 | SHARED, // what Est has; the rest makes suspects
	BREACH = BREACH1 | BREACH2 | BREACH3,
	ALL = SURE | BREACH | AGAIN,
};

#define MAX_COMMANDS 512

struct ref_world {
	const struct history *h;
	int n;
	struct h_offsets *offsets;
	int64_t *hi;           // of each command
	bool *early;           // a write that was answered before its payload (V7)
	bool *before;          // [a * n + b]: a << b
	unsigned short *paths; // [w * n + c]: of Est(w,c), but for voiding
	unsigned short *est;   // ... and with it, c being over when it was answered
	int64_t *last_alive;   // of each connection
	int *voiders;          // commands that may void
	int voider_count;
	uint64_t *cuts; // see there
	size_t cut_count;
	// a byte is looked at: the writes and block status that cover it
	uint64_t at;
	int touching[MAX_COMMANDS], touching_count;
};
static const struct h_connection *conn(const struct ref_world *w, int c)
{
	return &w->h->connections[w->h->commands[c].connection];
}

static bool before(const struct ref_world *w, int a, int b)
{
	return w->before[a * w->n + b];
}

// Answered, and unambiguously so (G8).
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

static bool one_server(const struct h_connection *a, const struct h_connection *b)
{
	return a->port == b->port;
}

static bool same_export(const struct h_connection *a, const struct h_connection *b)
{
	return one_server(a, b) && !strcmp(a->export_name, b->export_name);
}

static bool both_multi_conn(const struct h_connection *a, const struct h_connection *b)
{
	return has_flag(a, NBD_FLAG_CAN_MULTI_CONN) && has_flag(b, NBD_FLAG_CAN_MULTI_CONN) &&
	       same_export(a, b);
}

// T3 for two instants.
static bool instant_before(const struct ref_world *w, int64_t a, int64_t b)
{
	return a != H_NEVER && b > a && b - a >= w->h->epsilon;
}

// V7: success, while TCP shows that payload was still to come.
static bool is_early(const struct ref_world *w, int c)
{
	const struct h_command *x = &w->h->commands[c];

	return x->type == NBD_CMD_WRITE && x->outcome == H_OK && !x->ambiguous &&
	       w->offsets[c].reply_acked < w->offsets[c].payload_end;
}

// What its connection sent next shows that the write's length is right; what is no message
// there, or bytes that are missing, that it may be wrong.
static bool length_doubted(const struct ref_world *w, int c)
{
	const struct h_command *x = &w->h->commands[c];
	const struct h_connection *k = &w->h->connections[x->connection];

	if (k->gap_noticed == H_NEVER || k->gap_noticed < x->request)
		return false;
	if (k->gap_noticed < x->reply)
		return false;
	for (int i = 0; i < w->h->command_count; i++) {
		const struct h_command *y = &w->h->commands[i];

		if (y->connection == x->connection && y->request > x->request &&
		    y->request < k->gap_noticed)
			return false;
	}
	return true;
}

// The command numbered i succeeded, and can be relied on: nor is it a write to a read-only
// export (G6), nor one whose length may be wrong.
static bool ok_at(const struct ref_world *w, int i)
{
	const struct h_command *c = &w->h->commands[i];

	return ok(c) && !(is_write(c) && has_flag(conn(w, i), NBD_FLAG_READ_ONLY)) &&
	       !(w->early[i] && length_doubted(w, i));
}

// A request may have been missed between the write and its answer, and the answer be that
// one's (G3).
static bool answer_doubted(const struct ref_world *w, int c)
{
	const struct h_command *x = &w->h->commands[c];
	const struct h_connection *k = &w->h->connections[x->connection];

	return k->gap_noticed > x->request && k->gap_noticed < x->reply;
}

// The end of the write's payload is not in the capture, and its connection sent nothing
// more: then only its header says how long it was.
static bool end_unseen(const struct ref_world *w, int c)
{
	const struct h_command *x = &w->h->commands[c];
	const struct h_cell *last = &x->cells[x->sectors - 1];
	uint64_t end = x->offset + x->length;

	if (h_value_at(&last->content, (unsigned)((end - 1) % H_SECTOR)) != H_LOST)
		return false;
	for (int i = 0; i < w->h->command_count; i++)
		if (w->h->commands[i].connection == x->connection &&
		    w->h->commands[i].request > x->request)
			return false;
	return true;
}

// hi(c): when the status was seen.  Of a write answered early: when the server had
// all of its payload, which an acknowledgement of it shows, or an answer to a later
// request of the connection.
static int64_t upper_bound(const struct ref_world *w, int c)
{
	const struct h_command *x = &w->h->commands[c];
	int64_t hi = H_NEVER;

	if (!answered(x))
		return H_NEVER;
	if (!w->early[c])
		return x->reply;
	for (int i = 0; i < w->n; i++) {
		const struct h_command *y = &w->h->commands[i];
		bool shows = y->connection == x->connection && answered(y) && y->reply > x->reply &&
			     (y->request > x->request ||
			      (w->offsets[i].reply_acked != UINT64_MAX &&
			       w->offsets[i].reply_acked >= w->offsets[c].payload_end));

		if (shows && y->reply < hi)
			hi = y->reply;
	}
	return hi;
}

// a << b
static bool prove_before(const struct ref_world *w, int a, int b)
{
	const struct h_command *x = &w->h->commands[a], *y = &w->h->commands[b];

	if (a == b || !answered(x))
		return false;
	if (instant_before(w, w->hi[a], y->request)) // T3
		return true;
	if (x->connection != y->connection || w->early[a])
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
static bool flush_covers(const struct ref_world *w, int f, int x)
{
	return has_flag(conn(w, f), NBD_FLAG_SEND_FLUSH) &&
	       (w->h->commands[f].connection == w->h->commands[x].connection ||
		both_multi_conn(conn(w, f), conn(w, x)));
}

static bool is_good_flush(const struct ref_world *w, int f)
{
	return w->h->commands[f].type == NBD_CMD_FLUSH && ok(&w->h->commands[f]);
}

// A FLUSH or FUA command that was never offered, and refused.
static bool is_breach(const struct ref_world *w, int x)
{
	const struct h_command *c = &w->h->commands[x];
	const struct h_connection *k = conn(w, x);
	bool offered = c->type == NBD_CMD_FLUSH ? k->flags & NBD_FLAG_SEND_FLUSH
						: k->flags & NBD_FLAG_SEND_FUA;

	return k->known && !offered && c->outcome == H_FAILED && !c->ambiguous;
}

// It may make the server drop what is not stored: a FLUSH or FUA command that failed
// or was never answered, or any that was told that the server shuts down (G5).
static bool voids(const struct h_command *c)
{
	if (c->outcome == H_FAILED && !c->ambiguous && c->error == NBD_ESHUTDOWN)
		return true;
	return (c->type == NBD_CMD_FLUSH || (c->flags & NBD_CMD_FLAG_FUA)) &&
	       !(c->outcome == H_OK && !c->ambiguous);
}

// May failed flush X have dropped W? (Whether X came before the reader ended
// is the caller's matter.) All exports: two names may be one device.
static bool may_drop(const struct ref_world *w, int x, int wr)
{
	if (!one_server(conn(w, x), conn(w, wr)) || before(w, x, wr))
		return false;
	for (int f = 0; f < w->n; f++) {
		if (is_good_flush(w, f) && flush_covers(w, f, wr) && before(w, wr, f) &&
		    before(w, f, x))
			return false;
	}
	return true;
}

enum voiding { VOID_NOT, VOID_BREACH, VOID };

// Is W voided for a command that was over at `end`? VOID_BREACH: only by what was never
// offered. `since` (if not NULL): is every command that voids it over before `since`?
static enum voiding voided(const struct ref_world *w, int wr, int64_t end)
{
	enum voiding result = VOID_NOT;

	for (int v = 0; v < w->voider_count; v++) {
		int x = w->voiders[v];

		if (x == wr || instant_before(w, end, w->h->commands[x].request) ||
		    !may_drop(w, x, wr))
			continue;
		if (!is_breach(w, x))
			return VOID;
		result = VOID_BREACH;
	}
	return result;
}

// All that voided W for a command over at `end` was answered before flush F.
static bool voided_before(const struct ref_world *w, int wr, int64_t end, int f)
{
	for (int v = 0; v < w->voider_count; v++) {
		int x = w->voiders[v];

		if (x != wr && !instant_before(w, end, w->h->commands[x].request) &&
		    may_drop(w, x, wr) && !before(w, x, f))
			return false;
	}
	return true;
}

// The newest request on connection k that the server answered: it was alive then.
// (Its answer may come later out of a dead server's socket.)
static int64_t last_alive(const struct ref_world *w, int k)
{
	int64_t last = INT64_MIN;

	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];

		if (c->connection == k && answered(c) && c->request > last)
			last = c->request;
	}
	return last;
}

// G9: one server executed wr and c. On a connection it is one server from its
// greeting to the last request that it answered; that nobody ended the connection
// shows nothing (a host that lost power says no goodbye). There is one at a time.
static bool same_server(const struct ref_world *w, int wr, int c)
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
			if (one_server(&w->h->connections[k], &w->h->connections[to]) &&
			    instant_before(w, w->h->connections[k].connect, reach) &&
			    instant_before(w, reach, w->last_alive[k])) {
				reach = w->last_alive[k];
				further = true;
			}
		}
	}
	return false;
}

// G9: some connection was open at any time between W's reply and c's request.
static bool same_epoch(const struct ref_world *w, int wr, int c)
{
	const struct history *h = w->h;
	int64_t from = h->commands[wr].reply, to = h->commands[c].request;

	for (int i = 0; i < h->connection_count; i++) {
		const struct h_connection *k = &h->connections[i];
		bool alone = true; // when it came

		if (k->connect <= from || k->connect > to || !one_server(k, conn(w, c)))
			continue;
		for (int j = 0; j < h->connection_count; j++) {
			if (one_server(&h->connections[j], k) &&
			    h->connections[j].connect < k->connect &&
			    h->connections[j].end > k->connect)
				alone = false;
		}
		if (alone)
			return false;
	}
	return true;
}

// F puts W in force for c: W << F << c, all with multi-conn.
static bool flush_between(const struct ref_world *w, int wr, int f, int c)
{
	return is_good_flush(w, f) && has_flag(conn(w, f), NBD_FLAG_SEND_FLUSH) &&
	       both_multi_conn(conn(w, wr), conn(w, f)) &&
	       both_multi_conn(conn(w, f), conn(w, c)) && before(w, wr, f) && before(w, f, c);
}

// The paths of Est(W,c), but for voiding.
static unsigned prove_paths(const struct ref_world *w, int wr, int c)
{
	const struct h_command *x = &w->h->commands[wr], *y = &w->h->commands[c];
	unsigned paths = 0;
	bool same, epoch, multi;

	if (wr == c || !ok_at(w, wr) || !is_write(x) || !one_server(conn(w, wr), conn(w, c)))
		return 0;
	same = same_server(w, wr, c);
	epoch = same_epoch(w, wr, c);
	multi = both_multi_conn(conn(w, wr), conn(w, c));
	if (before(w, wr, c)) {
		if (x->connection == y->connection)
			paths |= E1;
		paths |= PLAIN_ANY;
		if (same_export(conn(w, wr), conn(w, c)))
			paths |= PLAIN;
		if (multi && x->connection != y->connection)
			paths |= PLAIN_MC;
		if ((x->flags & NBD_CMD_FLAG_FUA) && has_flag(conn(w, wr), NBD_FLAG_SEND_FUA) &&
		    multi)
			paths |= !epoch ? ACROSS : same ? E2 : UNSURE2;
	}
	for (int f = 0; multi && f < w->n; f++) {
		if (flush_between(w, wr, f, c))
			paths |= !epoch ? ACROSS : same ? E3 : UNSURE3;
	}
	return paths;
}

// What is left of Est(W,c) for a command that was over at `end`, W being voided or not.
static unsigned after_voiding(const struct ref_world *w, int wr, int c, unsigned paths, int64_t end)
{
	unsigned left = paths & (PLAIN | PLAIN_MC | PLAIN_ANY);

	if (!(paths & ~left))
		return paths;
	switch (voided(w, wr, end)) {
	case VOID_NOT:
		return paths;
	case VOID_BREACH:
		left |= (paths & E1 ? BREACH1 : 0u) | (paths & (E2 | UNSURE2) ? BREACH2 : 0u) |
			(paths & (E3 | UNSURE3 | ACROSS) ? BREACH3 : 0u);
		return left;
	case VOID:
		break;
	}
	for (int f = 0; f < w->n; f++) {
		if (flush_between(w, wr, f, c) && voided_before(w, wr, end, f) &&
		    same_epoch(w, wr, c))
			left |= AGAIN;
	}
	return left;
}

static void *zalloc(size_t count, size_t size)
{
	void *p = calloc(count + 1, size);

	if (!p) {
		perror("histories");
		exit(2);
	}
	return p;
}

static void world_init(struct ref_world *w, const struct history *h)
{
	size_t n = (size_t)h->command_count;

	w->h = h;
	w->n = h->command_count;
	w->offsets = h_stream_offsets(h);
	w->hi = zalloc(n, sizeof(*w->hi));
	w->early = zalloc(n, sizeof(*w->early));
	w->before = zalloc(n * n, sizeof(*w->before));
	w->paths = zalloc(n * n, sizeof(*w->paths));
	w->est = zalloc(n * n, sizeof(*w->est));
	w->last_alive = zalloc((size_t)h->connection_count, sizeof(*w->last_alive));
	w->voiders = zalloc(n, sizeof(*w->voiders));
	for (int i = 0; i < w->n; i++) {
		if (voids(&h->commands[i]))
			w->voiders[w->voider_count++] = i;
	}
	w->at = UINT64_MAX;
	for (int k = 0; k < h->connection_count; k++)
		w->last_alive[k] = last_alive(w, k);
	for (int a = 0; a < w->n; a++)
		w->early[a] = is_early(w, a);
	for (int a = 0; a < w->n; a++)
		w->hi[a] = upper_bound(w, a);
	for (int a = 0; a < w->n; a++) {
		for (int b = 0; b < w->n; b++)
			w->before[a * w->n + b] = prove_before(w, a, b);
	}
	for (int a = 0; a < w->n; a++) {
		for (int b = 0; b < w->n; b++) {
			const struct h_command *c = &h->commands[b];
			unsigned paths = prove_paths(w, a, b);

			w->paths[a * w->n + b] = (unsigned short)paths;
			w->est[a * w->n + b] = (unsigned short)after_voiding(
				w, a, b, paths, answered(c) ? c->reply : H_NEVER);
		}
	}
}

static void world_free(struct ref_world *w)
{
	free(w->offsets);
	free(w->hi);
	free(w->early);
	free(w->before);
	free(w->paths);
	free(w->est);
	free(w->last_alive);
	free(w->voiders);
	free(w->cuts);
}

// One byte of one read

struct byte {
	uint64_t at;
	unsigned cell; // of the read
	int64_t seen;  // when it was seen
	int value;     // read
	int read;      // the command
};

struct ref_view {
	unsigned paths[MAX_COMMANDS]; // in force for this read, by these paths; 0: not
	bool admissible[MAX_COMMANDS];
	bool initial;          // so is what was there before
	enum ref_unjudged why; // REF_JUDGED: all sources are known
	bool allowed;          // the value read is among theirs
};

static bool covers(const struct h_command *c, uint64_t at)
{
	return c->offset <= at && at < c->offset + c->length;
}

static const struct h_cell *cell_at(const struct h_command *c, uint64_t at)
{
	return &c->cells[at / H_SECTOR - h_first_sector(c)];
}

// H_LOST: it was not captured.
static int byte_of(const struct h_command *c, uint64_t at)
{
	int value;

	if (c->type != NBD_CMD_WRITE && c->type != NBD_CMD_READ)
		return 0;
	value = h_value_at(&cell_at(c, at)->content, (unsigned)(at % H_SECTOR));
	return value == H_LOST ? H_LOST : h_byte(value, (unsigned)(at % H_SECTOR));
}

static bool is_status(const struct ref_world *w, const struct byte *b)
{
	return w->h->commands[b->read].type == NBD_CMD_BLOCK_STATUS;
}

static bool here(const struct ref_world *w, const struct byte *b, int c)
{
	return one_server(conn(w, c), conn(w, b->read));
}

// The command provably began after the byte was sent.
static bool after(const struct ref_world *w, const struct byte *b, int c)
{
	return instant_before(w, b->seen, w->h->commands[c].request) || before(w, b->read, c);
}

// Est(W,R) for this byte, counting only the paths of `mask`.  For it the read was
// over when it had been sent.
static unsigned in_force(const struct ref_world *w, const struct byte *b, int wr, unsigned mask)
{
	unsigned paths = w->paths[wr * w->n + b->read];

	if (paths)
		paths = after_voiding(w, wr, b->read, paths, b->seen);
	return paths & mask;
}

// Another port of the address, with an export of the same name and size: it may be one device.
static bool alike(const struct h_connection *a, const struct h_connection *b)
{
	return !one_server(a, b) && a->known && b->known &&
	       !strcmp(a->export_name, b->export_name) && a->size == b->size;
}

// G10 for a verdict that rests on W's own connection: no other one has written
// anything, anywhere, that was not in force before W began; nor has another port, which may
// have a cache for each of its connections, too.
static bool lone_writer(const struct ref_world *w, const struct byte *b, int wr)
{
	for (int x = 0; x < w->n; x++) {
		const struct h_command *c = &w->h->commands[x];

		if (!is_write(c) || (!here(w, b, x) && !alike(conn(w, x), conn(w, b->read))) ||
		    c->connection == w->h->commands[wr].connection || after(w, b, x))
			continue;
		if (!(w->est[x * w->n + wr] & SHARED))
			return false;
	}
	return true;
}

// The requests of a and b were made in this order.
static bool requested_before(const struct ref_world *w, int a, int b)
{
	const struct h_command *x = &w->h->commands[a], *y = &w->h->commands[b];

	return x->connection == y->connection ? x->request < y->request
					      : instant_before(w, x->request, y->request);
}

// Lists the commands that cover the byte, and may say something about it.
static void touch(struct ref_world *w, uint64_t at)
{
	if (w->at == at)
		return;
	w->at = at;
	w->touching_count = 0;
	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];

		if (covers(c, at) && (is_write(c) || c->type == NBD_CMD_BLOCK_STATUS))
			w->touching[w->touching_count++] = i;
	}
}

// Adm(x,R), and what it allows, if a write is in force by a path of `mask` only (E1
// only for a lone writer, if `g10`), and superseded by a path of `sup`.
static void look(struct ref_world *w, const struct byte *b, unsigned mask, unsigned sup, bool g10,
		 struct ref_view *v)
{
	touch(w, b->at);
	v->initial = true;
	v->why = REF_JUDGED;
	v->allowed = false;
	memset(v->paths, 0, sizeof(v->paths[0]) * (size_t)w->n);
	memset(v->admissible, 0, sizeof(v->admissible[0]) * (size_t)w->n);
	for (int t = 0; t < w->touching_count; t++) {
		int i = w->touching[t];
		const struct h_command *c = &w->h->commands[i];

		// a trim may be shrunk to nothing: it puts nothing in force
		if (!is_write(c) || c->type == NBD_CMD_TRIM)
			continue;
		v->paths[i] = in_force(w, b, i, mask);
		if (v->paths[i] == E1 && g10 && !lone_writer(w, b, i))
			v->paths[i] = 0;
		if (v->paths[i])
			v->initial = false;
	}
	for (int t = 0; t < w->touching_count; t++) {
		int i = w->touching[t];

		v->admissible[i] = is_write(&w->h->commands[i]) && here(w, b, i) && !after(w, b, i);
		for (int u = 0; u < w->touching_count && v->admissible[i]; u++) {
			int j = w->touching[u];

			if (v->paths[j] && (w->est[i * w->n + j] & sup))
				v->admissible[i] = false;
		}
	}
	if (v->initial)
		v->why = REF_INITIAL;
	for (int t = 0; t < w->touching_count; t++) {
		int i = w->touching[t];
		const struct h_command *c = &w->h->commands[i];
		// What a failed write leaves is anything, until an established write
		// that began after it.  One that was not answered may have failed just
		// so, with its error lost; there an established write that was
		// requested after it must do, else nothing could be said ever again.
		bool renewed = false;   // by an established write that began after it
		bool succeeded = false; // ... after its request

		if (!here(w, b, i) || after(w, b, i))
			continue;
		for (int u = 0; u < w->touching_count; u++) {
			int j = w->touching[u];

			renewed |= v->paths[j] && before(w, i, j);
			succeeded |= v->paths[j] && requested_before(w, i, j);
			// what a report says was so before it was sent, whatever becomes of it
			if (v->paths[j] && c->type == NBD_CMD_BLOCK_STATUS)
				renewed |= instant_before(w, cell_at(c, b->at)->seen,
							  w->h->commands[j].request);
		}
		if (c->type == NBD_CMD_BLOCK_STATUS && !renewed) {
			const struct h_cell *cell = cell_at(c, b->at);

			if (cell->seen != H_NEVER && (cell->status & NBD_STATE_HOLE) &&
			    !(cell->status & NBD_STATE_ZERO))
				v->why = REF_HOLE;
		}
		if (is_write(c) && c->illegal)
			v->why = REF_ILLEGAL_WRITE;
		if (!v->admissible[i])
			continue;
		if (c->type == NBD_CMD_TRIM)
			v->why = REF_TRIMMED;
		else if (!ok_at(w, i) && !(answered(c) ? renewed : succeeded))
			v->why = REF_FAILED_WRITE;
		else if (byte_of(c, b->at) == H_LOST)
			v->why = REF_LOST_PAYLOAD;
		else if (byte_of(c, b->at) == b->value)
			v->allowed = true;
	}
}

static bool convicts(const struct ref_view *v)
{
	return v->why == REF_JUDGED && !v->allowed;
}

// The byte as another read of it saw it. False: that did not.
static bool other_read(const struct ref_world *w, const struct byte *b, int i, struct byte *other)
{
	const struct h_command *c = &w->h->commands[i];

	if ((c->type != NBD_CMD_READ && c->type != NBD_CMD_BLOCK_STATUS) || !ok(c) ||
	    !covers(c, b->at))
		return false;
	*other = *b;
	other->read = i;
	other->cell = (unsigned)(b->at / H_SECTOR - h_first_sector(c));
	other->seen = c->cells[other->cell].seen;
	other->value = byte_of(c, b->at);
	return other->seen != H_NEVER && other->value != H_LOST;
}

// An earlier read of the export, over before some write that is in force
// (paths of v) began, showed this value here - rightly: if it was foreign then,
// or junk, or no completed write of anyone had it, an unseen writer may have been at
// work, then and now.
static bool seen_before(struct ref_world *w, const struct byte *b, const struct ref_view *v)
{
	static struct ref_view then;

	for (int i = 0; i < w->n; i++) {
		struct byte first;

		if (w->h->commands[i].type != NBD_CMD_READ ||
		    !same_export(conn(w, i), conn(w, b->read)) || !other_read(w, b, i, &first) ||
		    first.value != b->value)
			continue;
		for (int j = 0; j < w->n; j++) {
			if (!v->paths[j] || !before(w, i, j))
				continue;
			// with all that was completed then in force, whoever wrote it
			look(w, &first, SURE, SURE, false, &then);
			if (then.initial)
				look(w, &first, SURE | PLAIN, SURE | PLAIN_ANY, false, &then);
			if (then.initial || (then.why == REF_JUDGED && then.allowed))
				return true;
			break;
		}
	}
	return false;
}

// A write that began in time, yet is not admissible: its data is stale.
static bool is_old(const struct ref_world *w, const struct byte *b, const struct ref_view *v, int i)
{
	const struct h_command *c = &w->h->commands[i];

	return is_write(c) && here(w, b, i) && c->type != NBD_CMD_TRIM && covers(c, b->at) &&
	       !after(w, b, i) && !v->admissible[i] && byte_of(c, b->at) == b->value;
}

// Is the value that of such a write, or known from an earlier read? Else it is foreign.
static bool is_stale(struct ref_world *w, const struct byte *b, const struct ref_view *v,
		     bool *learned)
{
	*learned = false;
	for (int i = 0; i < w->n; i++) {
		if (is_old(w, b, v, i))
			return true;
	}
	*learned = true;
	return seen_before(w, b, v);
}

// The value was written only after it was read: the order of capture is not
// to be trusted (G4), or it is a coincidence.
static bool written_later(const struct ref_world *w, const struct byte *b)
{
	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];

		if (is_write(c) && here(w, b, i) && c->type != NBD_CMD_TRIM && covers(c, b->at) &&
		    after(w, b, i) && byte_of(c, b->at) == b->value)
			return true;
	}
	return false;
}

// Conditions that lower a violation

// G1, G3: someone is there who may write unseen.
static bool open_world(const struct ref_world *w, int read)
{
	for (int i = 0; i < w->h->connection_count; i++) {
		const struct h_connection *k = &w->h->connections[i];

		if (k->connect > w->h->commands[read].reply || has_flag(k, NBD_FLAG_READ_ONLY) ||
		    !one_server(k, conn(w, read)))
			continue;
		if (!k->from_start || !k->known || k->tls < w->h->commands[read].reply)
			return true;
	}
	return false;
}

// G3: a request may be hidden.
static bool poisoned(const struct ref_world *w, const struct byte *b)
{
	for (int i = 0; i < w->h->connection_count; i++) {
		if (one_server(&w->h->connections[i], conn(w, b->read)) &&
		    w->h->connections[i].gap_since < b->seen)
			return true;
	}
	return false;
}

// G9: a connection of the export came after `since`, and not provably after the byte,
// and was shown another size or other flags than one before it.
static bool changed_face(const struct ref_world *w, const struct byte *b, int64_t since)
{
	const struct h_connection *r = conn(w, b->read);

	for (int i = 0; i < w->h->connection_count; i++) {
		const struct h_connection *k = &w->h->connections[i];

		if (!k->known || !same_export(k, r) || k->connect < since ||
		    instant_before(w, b->seen, k->connect))
			continue;
		for (int j = 0; j < w->h->connection_count; j++) {
			const struct h_connection *o = &w->h->connections[j];

			if (o->known && same_export(o, k) && o->connect < k->connect &&
			    (o->size != k->size || o->flags != k->flags))
				return true;
		}
	}
	return false;
}

// What was sent to another port of the address before the read ended was not all seen, and
// that port has an export of this name, or the connection's is not known.
static bool outside_unseen(const struct ref_world *w, const struct byte *b)
{
	const struct h_connection *r = conn(w, b->read);
	int64_t end = w->h->commands[b->read].reply;

	for (int i = 0; i < w->h->connection_count; i++) {
		const struct h_connection *k = &w->h->connections[i];
		int64_t since = k->from_start && k->known ? k->tls : k->connect;
		bool named = !k->known;

		if (one_server(k, r))
			continue;
		for (int j = 0; j < w->h->connection_count && !named; j++)
			named = one_server(&w->h->connections[j], k) &&
				!strcmp(w->h->connections[j].export_name, r->export_name);
		if (k->gap_since < since)
			since = k->gap_since;
		if (named && since != H_NEVER && !instant_before(w, end, since))
			return true;
	}
	return false;
}

// Another port of the address has an export of this name and size, and wrote to the
// sector before the read ended.
static bool outside_writer(const struct ref_world *w, const struct byte *b)
{
	const struct h_connection *r = conn(w, b->read);
	uint64_t sector = b->at / H_SECTOR;

	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];
		const struct h_connection *k = conn(w, i);

		if (is_write(c) && alike(k, r) && c->offset < (sector + 1) * H_SECTOR &&
		    c->offset + c->length > sector * H_SECTOR &&
		    !instant_before(w, w->h->commands[b->read].reply, c->request))
			return true;
	}
	return outside_unseen(w, b);
}

// Verdicts on a byte, on a sector, on a read

struct byte_verdict {
	bool found, foreign;
	enum ref_rule rule;
	enum nbds_severity severity;
	unsigned lowered;
	bool learned;
	bool missed[MAX_COMMANDS], stale[MAX_COMMANDS];
};

static const enum ref_rule suspects_first[] = {
	REF_LOST, REF_V2, REF_V3, REF_V4, REF_V1, REF_V9, REF_V6, REF_UNORDERED, REF_UNEXPLAINED,
};

// What is told first: higher levels, then by the order of rules.
static unsigned rank(enum ref_rule rule, enum nbds_severity severity)
{
	unsigned place = rule;

	if (severity == NBDS_SUSPECT) {
		for (place = 0; suspects_first[place] != rule; place++)
			;
	}
	return (NBDS_VIOLATION - severity) * 100u + place;
}

// Adds what was found of a part to what was found of the whole.
static void combine(const struct ref_world *w, struct byte_verdict *whole,
		    const struct byte_verdict *part)
{
	unsigned a, b;

	if (!part->found)
		return;
	a = whole->found ? rank(whole->rule, whole->severity) : UINT32_MAX;
	b = rank(part->rule, part->severity);
	if (b < a) {
		*whole = *part;
	} else if (a == b) {
		whole->learned &= part->learned;
		whole->lowered |= part->lowered;
		for (int i = 0; i < w->n; i++) {
			whole->missed[i] |= part->missed[i];
			whole->stale[i] |= part->stale[i];
		}
	}
}

static void lower(const struct ref_world *w, const struct byte *b, struct byte_verdict *v,
		  int64_t since)
{
	if (v->severity != NBDS_VIOLATION)
		return;
	if (open_world(w, b->read))
		v->lowered |= REF_G1;
	if (changed_face(w, b, since))
		v->lowered |= REF_FACE;
	if (outside_writer(w, b))
		v->lowered |= REF_OUTSIDE;
	if (v->lowered)
		v->severity = NBDS_SUSPECT;
}

// The writes that put the value read out of the question.
static void name_missed(const struct ref_world *w, const struct byte *b, const struct ref_view *v,
			struct byte_verdict *out)
{
	for (int i = 0; i < w->n; i++) {
		out->missed[i] = v->paths[i] && v->admissible[i];
		out->stale[i] = is_old(w, b, v, i);
	}
}

// Excluded whatever is trusted: by what least?
static void convict(struct ref_world *w, const struct byte *b, struct byte_verdict *out)
{
	static const struct step {
		unsigned mask, sup;
		bool g10;
		enum ref_rule rule;
		enum nbds_severity severity;
	} steps[] = {
		{E3, SURE, false, REF_V2, NBDS_VIOLATION},
		{E3 | E2, SURE, false, REF_V3, NBDS_VIOLATION},
		{E3 | E2 | E1, SURE, true, REF_V1, NBDS_VIOLATION},
		{E3 | E2 | ACROSS, SURE, false, REF_LOST, NBDS_SUSPECT},
		{E3 | UNSURE3 | BREACH3 | AGAIN, ALL, false, REF_V2, NBDS_SUSPECT},
		{E3 | E2 | UNSURE3 | UNSURE2 | BREACH3 | BREACH2 | AGAIN, ALL, false, REF_V3,
		 NBDS_SUSPECT},
		{ALL, ALL, false, REF_V1, NBDS_SUSPECT},
	};
	static struct ref_view v;
	bool stale = false;

	memset(out, 0, sizeof(*out));
	// the more is trusted, the more is excluded: if not by all, then by nothing
	look(w, b, ALL, ALL, false, &v);
	if (!convicts(&v))
		return;
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const struct step *s = &steps[i];

		look(w, b, s->mask, s->sup, s->g10, &v);
		if (!convicts(&v))
			continue;
		stale = is_stale(w, b, &v, &out->learned);
		if (!stale && !is_status(w, b) && written_later(w, b))
			return;
		out->found = true;
		out->rule = s->rule;
		out->severity = s->severity;
		break;
	}
	if (!out->found)
		return;
	name_missed(w, b, &v, out);
	for (int i = 0; out->severity == NBDS_SUSPECT && i < w->n; i++)
		out->lowered |= v.paths[i] & BREACH ? REF_BREACH : 0u;
	for (int i = 0; out->rule == REF_V1 && i < w->n; i++) {
		if (out->missed[i] && b->value != 0 &&
		    w->h->commands[i].type == NBD_CMD_WRITE_ZEROES)
			out->rule = REF_V4;
	}
	if (is_status(w, b)) { // what the zeroes come from does not matter here
		out->rule = REF_V6;
	} else if (!stale) {
		out->foreign = true;
		out->learned = false;
		out->rule = REF_UNEXPLAINED;
		if (!w->h->exclusive)
			out->severity = NBDS_SUSPECT;
	}
	lower(w, b, out, INT64_MIN);
}

// A write of `v` is in force by a path that needs no lone writer, or by one that does and
// there is none.
static bool sure_write(const struct ref_world *w, const struct byte *b, const struct ref_view *v,
		       int i)
{
	return !v->admissible[i] || (v->paths[i] & SHARED) || lone_writer(w, b, i);
}

// V9: an earlier read of the connection with the same choice chose otherwise; V6, second
// half: block status of the connection said zero with the same choice.
static void unstable(struct ref_world *w, const struct byte *b, const struct ref_view *v,
		     struct byte_verdict *out)
{
	static struct ref_view other;

	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];
		struct byte_verdict one = {
			.found = true, .rule = REF_V9, .severity = NBDS_VIOLATION};
		struct byte first;
		bool same = true;

		if (c->connection != w->h->commands[b->read].connection || !before(w, i, b->read) ||
		    !other_read(w, b, i, &first) || first.value == b->value)
			continue;
		if (is_status(w, &first)) {
			if (!(cell_at(c, b->at)->status & NBD_STATE_ZERO))
				continue;
			one.rule = REF_V6;
		}
		look(w, &first, SURE, SURE, false, &other);
		if (!((other.why == REF_JUDGED && v->why == REF_JUDGED && other.allowed)))
			continue;
		for (int j = 0; j < w->n && same; j++) {
			same = other.admissible[j] == v->admissible[j] &&
			       (!v->admissible[j] || (v->paths[j] && other.paths[j]));
		}
		if (!same)
			continue;
		// G10 at both reads; what only a flush between them settled was open at first
		for (int j = 0; j < w->n && same; j++) {
			if (!sure_write(w, b, v, j))
				one.severity = NBDS_SUSPECT;
			else if (!sure_write(w, &first, &other, j))
				same = false;
		}
		if (!same)
			continue;
		lower(w, b, &one, c->request);
		combine(w, out, &one);
	}
}

// V6, second half, where nothing was ever written: what block status said zero of is
// not zero.
static void not_zero(const struct ref_world *w, const struct byte *b, struct byte_verdict *out)
{
	struct byte_verdict one = {.found = true, .rule = REF_V6, .severity = NBDS_VIOLATION};
	bool said = false;

	if (b->value == 0)
		return;
	for (int i = 0; i < w->n; i++) {
		const struct h_command *c = &w->h->commands[i];
		struct byte first;

		if (is_write(c) && here(w, b, i) && covers(c, b->at) && !after(w, b, i))
			return;
		if (c->type != NBD_CMD_BLOCK_STATUS || !here(w, b, i) || after(w, b, i) ||
		    !other_read(w, b, i, &first))
			continue;
		if (cell_at(c, b->at)->status & NBD_STATE_ZERO)
			said |= c->connection == w->h->commands[b->read].connection &&
				before(w, i, b->read);
		else if (cell_at(c, b->at)->status & NBD_STATE_HOLE)
			return;
	}
	if (!said)
		return;
	lower(w, b, &one, INT64_MIN);
	combine(w, out, &one);
}

// Q6: had completed writes of different connections the order in which they were done,
// the value would be excluded by those in force.
static void unordered(struct ref_world *w, const struct byte *b, struct byte_verdict *out)
{
	struct byte_verdict one = {.found = true, .rule = REF_UNORDERED, .severity = NBDS_SUSPECT};
	static struct ref_view v;

	look(w, b, SURE, SURE | PLAIN_MC, false, &v);
	if (!convicts(&v))
		return;
	name_missed(w, b, &v, &one);
	combine(w, out, &one);
}

// Hz4 to Hz6: had completed writes been in force for everyone at once, it would be.
static void missed_others(struct ref_world *w, const struct byte *b, const struct ref_view *strong,
			  struct byte_verdict *out)
{
	static struct ref_view v;
	struct byte_verdict one = {.found = true, .severity = NBDS_HAZARD};
	bool any[2] = {false};

	look(w, b, SURE | PLAIN, SURE | PLAIN_ANY, false, &v);
	if (!convicts(&v) || !conn(w, b->read)->known)
		return;
	for (int multi = 1; multi >= 0; multi--) {
		memset(one.missed, 0, sizeof(one.missed));
		one.rule = multi ? REF_UNFLUSHED : REF_NO_MULTI_CONN;
		for (int i = 0; i < w->n; i++) {
			one.stale[i] = is_old(w, b, &v, i);
			one.missed[i] = v.paths[i] && v.admissible[i] && !strong->paths[i] &&
					w->h->commands[i].connection !=
						w->h->commands[b->read].connection &&
					conn(w, i)->known &&
					both_multi_conn(conn(w, i), conn(w, b->read)) ==
						(bool)multi;
			any[multi] |= one.missed[i];
		}
		if (any[multi])
			combine(w, out, &one);
	}
}

static void judge_byte(struct ref_world *w, const struct byte *b, struct ref_verdict *r,
		       struct byte_verdict *out)
{
	static struct ref_view v;

	memset(out, 0, sizeof(*out));
	look(w, b, SURE, SURE, false, &v);
	if (v.why == REF_JUDGED)
		r->why = REF_JUDGED;
	else if (r->why == REF_NOT_A_READ)
		r->why = v.why;
	convict(w, b, out);
	if (out->found)
		return;
	if (convicts(&v)) {
		r->order = true;
		if (r->why != REF_JUDGED)
			r->why = REF_ORDER;
		return;
	}
	if (!is_status(w, b)) {
		not_zero(w, b, out);
		unstable(w, b, &v, out);
	}
	if (!out->found)
		unordered(w, b, out);
	if (!out->found)
		missed_others(w, b, &v, out);
}

// Bytes that stand for others

static int by_offset(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

// All offsets at which any command begins or ends, or contents change, in order, once.
static uint64_t *cuts(const struct history *h, size_t *count)
{
	size_t n = 0, max = 0, kept = 0;
	uint64_t *list;

	for (int i = 0; i < h->command_count; i++)
		max += 2 + (size_t)h->commands[i].sectors * (H_PIECES + 1);
	list = zalloc(max, sizeof(*list));
	for (int i = 0; i < h->command_count; i++) {
		const struct h_command *c = &h->commands[i];

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
	for (size_t i = 0; i < n; i++) {
		if (!kept || list[kept - 1] != list[i])
			list[kept++] = list[i];
	}
	*count = kept;
	return list;
}

// The commands with contents in a sector.
static int with_contents(const struct history *h, uint64_t sector, int *list)
{
	int n = 0;

	for (int i = 0; i < h->command_count; i++) {
		const struct h_command *c = &h->commands[i];

		if ((c->type == NBD_CMD_WRITE || c->type == NBD_CMD_READ) &&
		    c->offset < (sector + 1) * H_SECTOR &&
		    c->offset + c->length > sector * H_SECTOR)
			list[n++] = i;
	}
	return n;
}

// Which of the commands have equal bytes at `at`, zero being one more: key[i] is the
// first that has i's byte.  False: all contents are plain, so one byte is like another.
static bool likeness(const struct history *h, const int *list, int count, uint64_t at, short *key)
{
	bool plain = true;
	short first[257];

	memset(first, -1, sizeof(first));
	first[1] = 0; // the byte 0
	for (int i = 0; i < count; i++) {
		const struct h_command *c = &h->commands[list[i]];
		int value, byte;

		key[i] = -1;
		if (!covers(c, at))
			continue;
		value = h_value_at(&cell_at(c, at)->content, (unsigned)(at % H_SECTOR));
		plain &= h_is_plain(value);
		byte = value == H_LOST ? H_LOST : h_byte(value, (unsigned)(at % H_SECTOR));
		if (first[byte + 1] < 0)
			first[byte + 1] = (short)(i + 1);
		key[i] = first[byte + 1];
	}
	return !plain;
}

#define MAX_KINDS 24

static void judge_read(struct ref_world *w, int index, struct ref_verdict *out)
{
	static struct byte_verdict whole, sector, part;
	static short keys[MAX_KINDS][MAX_COMMANDS];
	int list_of[MAX_COMMANDS], contents;
	const struct h_command *c = &w->h->commands[index];
	const uint64_t *list = w->cuts;
	size_t count = w->cut_count;
	bool *sectors = zalloc(c->sectors, sizeof(*sectors));
	struct ref_finding *f;

	memset(&whole, 0, sizeof(whole));
	for (unsigned s = 0; s < c->sectors; s++) {
		uint64_t from, to;
		bool foreign = false;
		unsigned old = whole.found ? rank(whole.rule, whole.severity) : UINT32_MAX, new;

		memset(&sector, 0, sizeof(sector));
		h_cell_range(c, s, &from, &to);
		contents = with_contents(w->h, from / H_SECTOR, list_of);
		for (size_t i = 0; i + 1 < count; i++) {
			struct byte b = {.cell = s, .read = index, .seen = c->cells[s].seen};
			int kinds = 0;

			if (list[i] >= to)
				break;
			if (list[i] < from || list[i + 1] > to || b.seen == H_NEVER)
				continue;
			for (b.at = list[i]; b.at < list[i + 1]; b.at++) {
				bool varied = likeness(w->h, list_of, contents, b.at, keys[kinds]);
				bool known = false;

				for (int k = 0; k < kinds && !known; k++)
					known = !memcmp(keys[k], keys[kinds],
							sizeof(keys[0][0]) * (size_t)contents);
				if (known)
					continue;
				if (kinds < MAX_KINDS - 1)
					kinds++;
				b.value = byte_of(c, b.at);
				if (c->type == NBD_CMD_BLOCK_STATUS &&
				    !(c->cells[s].status & NBD_STATE_ZERO))
					break;
				if (b.value != H_LOST && poisoned(w, &b)) {
					if (out->why == REF_NOT_A_READ)
						out->why = REF_GAP;
				} else if (b.value != H_LOST) {
					judge_byte(w, &b, out, &part);
					// a sector is foreign if any of its bytes is
					if (part.found && part.foreign && !foreign) {
						foreign = true;
						memset(&sector, 0, sizeof(sector));
					}
					if (part.foreign || !foreign)
						combine(w, &sector, &part);
				}
				if (!varied)
					break;
			}
		}
		combine(w, &whole, &sector);
		if (!sector.found)
			continue;
		new = rank(whole.rule, whole.severity);
		if (new != old)
			memset(sectors, 0, c->sectors * sizeof(*sectors));
		if (rank(sector.rule, sector.severity) == new)
			sectors[s] = true;
	}
	if (!whole.found) {
		free(sectors);
		return;
	}
	f = &out->findings[whole.rule];
	f->found = true;
	f->severity = whole.severity;
	f->sectors = sectors;
	f->missed = zalloc((size_t)w->n, sizeof(*f->missed));
	f->stale = zalloc((size_t)w->n, sizeof(*f->stale));
	memcpy(f->stale, whole.stale, (size_t)w->n * sizeof(*f->stale));
	out->lowered = whole.lowered;
	out->learned = whole.learned;
	// the newest that was missed: one before no other
	for (int i = 0; i < w->n; i++) {
		f->missed[i] = whole.missed[i];
		for (int j = 0; j < w->n; j++) {
			if (whole.missed[j] && before(w, i, j))
				f->missed[i] = false;
		}
	}
}

static void note(struct ref_verdict *v, enum ref_rule rule, const struct h_command *c,
		 enum nbds_severity severity)
{
	v->findings[rule].found = true;
	v->findings[rule].severity = severity;
	v->findings[rule].sectors = zalloc(c->sectors, sizeof(bool));
}

void ref_judge(struct reference *ref, const struct history *h)
{
	struct ref_world *w = zalloc(1, sizeof(*w));

	if (h->command_count > MAX_COMMANDS) {
		fprintf(stderr, "histories: more than %d commands\n", MAX_COMMANDS);
		exit(2);
	}
	world_init(w, h);
	w->cuts = cuts(h, &w->cut_count);
	ref->world = w;
	ref->count = h->command_count;
	ref->verdicts = zalloc((size_t)h->command_count, sizeof(*ref->verdicts));
	for (int i = 0; i < h->command_count; i++) {
		const struct h_command *c = &h->commands[i];
		const struct h_connection *k = &h->connections[c->connection];
		struct ref_verdict *v = &ref->verdicts[i];

		v->why = REF_NOT_A_READ;
		// V8: no write succeeds on a read-only export; a trim may do nothing
		// G1: of a connection that was there before, flags may be another's
		if (is_write(c) && c->outcome == H_OK && !c->ambiguous &&
		    has_flag(k, NBD_FLAG_READ_ONLY))
			note(v, REF_V8, c,
			     c->type == NBD_CMD_TRIM ? NBDS_NOTE
			     : k->from_start         ? NBDS_VIOLATION
						     : NBDS_SUSPECT);
		// G1: of a connection that was there before, TCP's numbers are guesses
		if (w->early[i] && k->from_start && !length_doubted(w, i) && !answer_doubted(w, i))
			note(v, REF_V7, c, end_unseen(w, i) ? NBDS_SUSPECT : NBDS_VIOLATION);
		if (c->type != NBD_CMD_READ && c->type != NBD_CMD_BLOCK_STATUS)
			continue;
		if (c->outcome != H_OK || c->ambiguous)
			v->why = REF_NO_ANSWER;
		else if (c->illegal)
			v->why = REF_ILLEGAL;
		else
			judge_read(w, i, v);
	}
}

void ref_free(struct reference *r)
{
	for (int i = 0; i < r->count; i++) {
		for (int rule = 0; rule < REF_RULES; rule++) {
			struct ref_finding *f = &r->verdicts[i].findings[rule];

			free(f->sectors);
			free(f->missed);
			free(f->stale);
		}
	}
	free(r->verdicts);
	if (r->world) {
		world_free(r->world);
		free(r->world);
	}
	memset(r, 0, sizeof(*r));
}

int ref_told(const struct reference *r, int c)
{
	int told = -1;

	for (int rule = 0; rule < REF_RULES; rule++) {
		const struct ref_finding *f = &r->verdicts[c].findings[rule];

		if (f->found && (told < 0 || f->severity > r->verdicts[c].findings[told].severity))
			told = rule;
	}
	return told;
}

int ref_worst(const struct reference *r, int c)
{
	int told = ref_told(r, c);

	return told < 0 ? -1 : (int)r->verdicts[c].findings[told].severity;
}

bool ref_flush_proves(const struct reference *r, int wr, int f, int c)
{
	return flush_between(r->world, wr, f, c);
}
