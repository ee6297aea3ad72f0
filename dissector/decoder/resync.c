/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resync.c - finding the feet: where do messages begin?
 *
 * Asked after bytes lost by the capture, after nonsense, and when a connection
 * is caught in its middle.  Disk contents may hold whole NBD conversations, so no
 * magic is believed, and no number of headers in a row within one direction.
 * What is believed is agreement of the two directions:
 *
 *	client   ...│READ 7│READ 8│WRITE 9 ▒▒▒▒▒▒▒▒▒▒▒▒│READ 10│...    a chain
 *	server   ...........│reply 7 ▒▒▒▒▒▒▒│reply 8 ▒▒▒▒▒▒▒│reply 9│  a chain
 *
 * A chain is a row of heads of which each begins where the one before ends,
 * payload included.  Every plausible request header starts a chain, and every
 * reply header that fits a request: one that is in flight for sure, or one of a
 * client's chain.  Each chain foretells where its next head must be, and dies if
 * it is not there.  A few chains are followed at a time, the weakest making room
 * for new ones, and each keeps its last heads.
 *
 *	lost	believed is
 *	server	a chain of replies to different requests in flight
 *	client	a chain of requests, different ones of which the server, followed,
 *		answers
 *	both	a chain of replies to different requests of one client's chain
 *
 * if one of the requests answered was sent after the first answer, or if there
 * are several more of them (MATCHES_ALONE, MATCHES_STRONG).  That is what data
 * cannot do: a payload is all there before its message is answered, and what is
 * sent after that is a request at the place foretold by the true chain only.  A
 * chain that started inside the payload of another that still stands needs far
 * more agreement.
 *
 * Once believed, the heads that the chains kept are told late, both directions
 * in the order in which they came, with the payload that was passed over since, and
 * decoding goes on from the present position, which may be inside a payload.
 *
 * Before the transmission phase there is no disk contents; there a lost option or
 * option reply is found by its magic of 64 bits, and by what the other direction
 * says: that options are still talked about, and which wait for a reply.  The very
 * first bytes of a direction that was caught in its middle need no more than that
 * magic: a segment began there.
 *
 * Cost: each byte is looked at once, and copied once while there are chains; a magic
 * costs a look at the chains, which are few.  Memory: CHAINS_MAX chains of HEADS_MAX
 * heads, and twice PASSED_MAX bytes and their places, for each direction, only while
 * searching, only as chains grow.
 */
#include "passed.h"
#include "stream.h"

#include <base/assert.h>

#include <stdlib.h>
#include <string.h>

#define CHAINS_MAX 6
#define HEADS_MAX  64u
#define HEADS_MIN  4u

/* Matches that suffice though no request was sent and answered in between, if the
 * requests are in flight for sure or their chain went on after the first match;
 * and matches that suffice if not, or if the chain started inside the payload of
 * another.  A reply to a request that is not known costs two. */
#define MATCHES_ALONE  4u
#define MATCHES_STRONG 8u

/* Options and replies longer than this are not believed while searching. */
#define OPTION_PLAUSIBLE 65536u

/* A head seen while searching. */
struct seen {
	uint64_t offset;
	uint64_t after; /* bytes of the message that follow `bytes` */
	uint64_t order; /* among the heads of both directions */
	uint64_t lost;  /* nbds_direction.search_lost when it was seen */
	uint64_t cookie;
	/* Server: the request, as a real one or as the head of a client's chain. */
	struct nbds_request *request;
	uint64_t serial;  /* of it; client: of the request once told */
	uint64_t partner; /* order of the client's head, 0 if none */
	bool matched;     /* the other direction agrees */
	bool final;       /* server: the last reply; client: such a reply was told */
	uint8_t len;      /* of bytes */
	uint8_t bytes[NBDS_SEEN_MAX];
	struct nbds_mark first, last;
};

struct chain {
	uint64_t id; /* 0: not used */
	uint64_t start;
	uint64_t next;        /* where the next head must be */
	uint64_t count;       /* heads that count, as they passed */
	uint64_t matches;     /* different requests that the other direction agrees on;
			      * server: heads of the client's chain `pair` */
	uint64_t support;     /* client: the most matches of a server's chain with it */
	uint64_t first_match; /* order of the first of them */
	uint64_t last_order;  /* order of the last head */
	uint64_t strangers;   /* server: replies to requests that are not known */
	bool proved;          /* a request sent after the first match was answered */
	uint64_t inside;      /* id of the chain in whose payload it started, or 0 */
	uint64_t pair;        /* server: id of the client's chain, or 0 */
	uint64_t real;        /* server: different requests in flight that it answers */
	bool over;            /* client: ends with NBD_CMD_DISC */
	struct seen *heads;   /* a ring once `room` is at its largest */
	uint32_t room, used, begin;
};

struct nbds_search {
	uint64_t min_next; /* the least `next` of all chains */
	struct passed passed;
	struct chain chains[CHAINS_MAX];
};

/* A window of bytes that a search looks at. */
struct search_window {
	const uint8_t *p;
	size_t n;
	uint64_t base; /* stream offset of p[0] */
	const struct nbds_mark *first, *last;
};

/* Chains ---------------------------------------------------------------------- */

static struct seen *seen_at(const struct chain *c, uint32_t i)
{
	return &c->heads[(c->begin + i) % c->room];
}

static void drop_chain(struct chain *c)
{
	free(c->heads);
	memset(c, 0, sizeof(*c));
}

uint64_t nbds_search_memory(const struct nbds_direction *s)
{
	uint64_t bytes = 0;

	if (!s->search)
		return 0;
	for (int i = 0; i < CHAINS_MAX; i++)
		bytes += s->search->chains[i].room * sizeof(struct seen);
	bytes += passed_memory(&s->search->passed);
	return bytes + sizeof(*s->search);
}

static void find_min_next(struct nbds_search *se)
{
	se->min_next = UINT64_MAX;
	for (int i = 0; i < CHAINS_MAX; i++)
		if (se->chains[i].id && se->chains[i].next < se->min_next)
			se->min_next = se->chains[i].next;
}

static struct chain *chain_by_id(struct nbds_search *se, uint64_t id)
{
	for (int i = 0; se && id && i < CHAINS_MAX; i++)
		if (se->chains[i].id == id)
			return &se->chains[i];
	return NULL;
}

/* A client's chain is no more: neither is what was built on it. */
static void unpair(struct nbds_decoder *d, uint64_t id)
{
	struct nbds_search *se = nbds_server(d)->search;

	for (int i = 0; se && i < CHAINS_MAX; i++)
		if (se->chains[i].id && se->chains[i].pair == id)
			drop_chain(&se->chains[i]);
	if (se)
		find_min_next(se);
}

static void kill_chain(struct nbds_decoder *d, struct nbds_direction *s, struct chain *c)
{
	uint64_t id = c->id;

	drop_chain(c);
	if (s->side == NBDS_CLIENT)
		unpair(d, id);
}

static bool weaker(const struct chain *a, const struct chain *b)
{
	uint64_t x = a->matches + a->real + a->support, y = b->matches + b->real + b->support;

	if (x != y)
		return x < y;
	if (a->count != b->count)
		return a->count < b->count;
	return a->start > b->start;
}

/* A place for a new chain, in which the weakest one was if there is no other. */
static struct chain *new_chain(struct nbds_decoder *d, struct nbds_direction *s, uint64_t start)
{
	struct nbds_search *se = s->search;
	struct chain *c = &se->chains[0];
	uint64_t inside = 0;

	for (int i = 0; i < CHAINS_MAX; i++) {
		struct chain *o = &se->chains[i];

		if (c->id && (!o->id || weaker(o, c)))
			c = o;
		if (o->id && o->next > start && !inside)
			inside = o->id;
	}
	if (c->id) {
		if (c->id == inside)
			inside = c->inside;
		kill_chain(d, s, c);
	}
	c->id = ++d->chain_ids;
	c->start = start;
	c->inside = inside;
	return c;
}

/* Room for one more head: the oldest gives way at last, or without memory.
 * False if there is no room at all. */
static struct seen *new_seen(struct chain *c)
{
	if (c->used == c->room && c->room < HEADS_MAX && !c->begin) {
		uint32_t room = c->room ? c->room * 4 : HEADS_MIN;
		struct seen *heads = nbds_decoder_realloc(c->heads, room * sizeof(*heads));

		if (heads) {
			c->heads = heads;
			c->room = room;
		}
	}
	if (!c->room)
		return NULL;
	if (c->used == c->room)
		c->begin = (c->begin + 1) % c->room;
	else
		c->used++;
	return seen_at(c, c->used - 1);
}

/* The head at the stream's search_at becomes the last of the chain. */
static struct seen *append(struct nbds_decoder *d, struct nbds_direction *s, struct chain *c,
			   const uint8_t *p, size_t len, uint64_t after,
			   const struct search_window *w)
{
	struct seen *h = new_seen(c);

	if (!h) {
		kill_chain(d, s, c);
		return NULL;
	}
	NBDS_ASSERT(len <= sizeof(h->bytes) && len <= w->n);
	memset(h, 0, sizeof(*h));
	h->offset = s->search_at;
	h->after = after;
	h->order = ++d->order;
	h->lost = s->search_lost;
	h->len = (uint8_t)len;
	memcpy(h->bytes, p, len);
	h->first = *w->first;
	h->last = *w->last;
	c->last_order = h->order;
	c->next = nbds_add_sat(nbds_add_sat(h->offset, len), after);
	return h;
}

/* What was passed over --------------------------------------------------------- */

/* Where the bytes of one stream are that were passed over, or are at hand. */
struct told_source {
	struct passed passed;
	uint32_t at;                 /* the piece to look at */
	struct search_window window; /* n 0: none */
	uint64_t floor;              /* stream offset before which nothing is told */
};

/* The bytes at stream offset `from`: how many, not beyond `to`, in one place. 0: they
 * are not kept; *p is NULL then, and *n how many are not. */
static void source_get(struct told_source *src, uint64_t from, uint64_t to, const uint8_t **p,
		       uint64_t *n, const struct nbds_mark **mark)
{
	const struct search_window *w = &src->window;

	*p = NULL;
	*n = to - from;
	if (from < src->floor) {
		*n = nbds_min(*n, src->floor - from);
		return;
	}
	if (passed_get(&src->passed, &src->at, from, p, n, mark))
		return;
	if (!w->n)
		return;
	if (w->base > from) {
		*n = nbds_min(*n, w->base - from);
	} else if (from - w->base < w->n) {
		*n = nbds_min(*n, w->n - (from - w->base));
		*p = w->p + (from - w->base);
		*mark = w->last;
	}
}

/* Belief ---------------------------------------------------------------------- */

/* Did the chain start inside the payload of another that still stands? */
static bool nested(const struct nbds_direction *s, const struct chain *c)
{
	const struct chain *outer = chain_by_id(s->search, c->inside);

	return outer && outer->next > s->search_at &&
	       c->matches + c->real + c->support < MATCHES_STRONG;
}

/* The stream goes on behind the last head of `c`. */
static void leave(struct nbds_decoder *d, struct nbds_direction *s, const struct chain *c,
		  uint64_t resume)
{
	const struct seen *first = seen_at(c, 0);
	uint64_t passed = resume - s->search_from - s->search_lost, heads = 0, nonsense;
	uint64_t before = first->offset - s->search_from - first->lost;

	for (uint32_t i = 0; i < c->used; i++)
		heads += seen_at(c, i)->len;
	/* Nonsense that turned out to be none counts as decoded. */
	nonsense = nbds_min(s->search_nonsense, before);
	s->count.nonsense += nonsense;
	s->count.skipped += passed - heads - nonsense;
	if (before > nonsense)
		nbds_trouble(d, s, NBDS_TROUBLE_SKIPPED, s->search_from + nonsense,
			     before - nonsense, &first->first, NULL,
			     "passed over while looking for a message boundary");
	s->phase = NBDS_PHASE_TRANSMISSION;
	s->resynced = true;
	nbds_trouble(d, s, NBDS_TROUBLE_SURE, first->offset, 0, &first->first, NULL,
		     "message boundaries are known again");
}

/* Tells the next `n` bytes of payload, from stream offset `from` on. */
static void tell_passed(struct nbds_decoder *d, struct nbds_direction *s, struct told_source *src,
			uint64_t from, uint64_t n, const struct nbds_mark *otherwise)
{
	uint64_t to = from + n;

	while (from < to) {
		const struct nbds_mark *mark = NULL;
		const uint8_t *p;

		source_get(src, from, to, &p, &n, &mark);
		NBDS_ASSERT(n && n <= to - from);
		if (p) {
			nbds_tell_payload(d, s, p, (size_t)n, mark);
			NBDS_ASSERT(s->count.skipped >= n);
			s->count.skipped -= n;
		} else {
			nbds_tell_gap(d, s, n, otherwise);
		}
		from += n;
	}
}

/* Tells a head late, and of its payload the `passed` bytes. */
static void replay(struct nbds_decoder *d, struct nbds_direction *s, struct chain *client,
		   struct told_source *src, struct seen *h, uint64_t passed)
{
	struct nbds_place place = {h->offset, &h->first, &h->last, NBDS_MSG_REPLAYED};
	struct nbds_request *r = h->request;

	if (s->side == NBDS_CLIENT) {
		nbds_tell_request(d, s, &place, h->bytes, h->len);
		h->request = s->m.request;
		h->serial = s->m.request->serial;
	} else {
		for (uint32_t i = 0; client && h->partner && i < client->used; i++)
			if (seen_at(client, i)->order == h->partner) {
				r = seen_at(client, i)->request;
				h->serial = seen_at(client, i)->serial;
			}
		nbds_tell_reply(d, s, &place, h->bytes, h->len, h->after,
				nbds_flight_alive(r, h->serial));
	}
	passed = nbds_min(passed, h->after);
	if (passed)
		tell_passed(d, s, src, h->offset + h->len, passed, &h->last);
	if (s->at == h->after)
		nbds_tell_end(d, s, &h->last);
	if (s->side == NBDS_CLIENT && h->final && nbds_flight_alive(h->request, h->serial))
		nbds_flight_forget(d, h->request, "its reply came while its request was not known");
}

/* Takes the chain, and what was passed over, out of the search, which is over. */
static struct chain take(struct nbds_decoder *d, struct nbds_direction *s, struct chain *c,
			 struct told_source *src)
{
	struct chain out = *c;

	src->passed = s->search->passed;
	src->floor = s->search_at > PASSED_MAX ? s->search_at - PASSED_MAX : 0;
	if (s == d->scanning)
		src->window = *d->window;
	else if (s->have)
		src->window = (struct search_window){s->kept, s->have, s->pos, &s->first, &s->last};
	memset(c, 0, sizeof(*c));
	memset(&s->search->passed, 0, sizeof(s->search->passed));
	nbds_search_free(s);
	return out;
}

/*
 * The streams whose chain is given are believed: `c` the client's, `v` the
 * server's, either may be NULL.
 */
static void believe(struct nbds_decoder *d, struct chain *c, struct chain *v)
{
	struct nbds_direction *streams[2] = {nbds_client(d), nbds_server(d)};
	const struct nbds_direction *scanning = d->scanning;
	struct chain *given[2] = {c, v}, chains[2];
	struct told_source sources[2];
	uint64_t resume[2] = {0, 0};
	uint32_t at[2] = {0, 0};

	memset(chains, 0, sizeof(chains));
	memset(sources, 0, sizeof(sources));
	for (int i = 0; i < 2; i++) {
		struct nbds_direction *s = streams[i];
		const struct seen *last;

		if (!given[i])
			continue;
		chains[i] = take(d, s, given[i], &sources[i]);
		last = seen_at(&chains[i], chains[i].used - 1);
		resume[i] = last->offset + last->len;
		if (resume[i] < s->search_at)
			resume[i] = s->search_at;
		/* Of a payload, what is kept is told too. */
		if (s != scanning && resume[i] < chains[i].next)
			resume[i] = nbds_min(chains[i].next, s->pos + s->have);
	}
	for (int i = 0; i < 2; i++)
		if (given[i])
			leave(d, streams[i], &chains[i], resume[i]);
	d->neg.transmission = true;
	if (!d->mode_known)
		d->neg.inferred = true;

	while (at[0] < chains[0].used || at[1] < chains[1].used) {
		int i = at[0] == chains[0].used ||
			(at[1] < chains[1].used &&
			 seen_at(&chains[1], at[1])->order < seen_at(&chains[0], at[0])->order);
		struct seen *h = seen_at(&chains[i], at[i]++);

		replay(d, streams[i], given[0] ? &chains[0] : NULL, &sources[i], h,
		       at[i] == chains[i].used ? resume[i] - h->offset - h->len : UINT64_MAX);
	}

	/* What is in flight now may have been answered before the server's chain
	 * began. */
	if (v)
		d->epoch++;

	for (int i = 0; i < 2; i++) {
		free(chains[i].heads);
		passed_free(&sources[i].passed);
		if (given[i])
			streams[i]->search_at = resume[i];
	}
	for (int i = 0; i < 2; i++) {
		struct nbds_direction *s = streams[i];
		struct nbds_mark last = s->last;
		struct nbds_span none = {NULL, 0, &last};

		if (!given[i] || s == scanning)
			continue; /* nbds_step_search() goes on with this one */
		nbds_consume(s, &none, (size_t)(resume[i] - s->pos));
		nbds_run(d, s, &none);
	}
}

/* Are `matches` in a row, and what the chain says besides, enough? */
static bool enough(const struct chain *c, uint64_t matches, bool went_on)
{
	if (matches < 2 || matches <= c->strangers)
		return false;
	return c->proved || (went_on && matches >= MATCHES_ALONE + 2 * c->strangers) ||
	       matches >= MATCHES_STRONG + 2 * c->strangers;
}

/* Something new is known: is it enough? */
static bool consider(struct nbds_decoder *d)
{
	struct nbds_search *cs = nbds_searching(d, NBDS_CLIENT) ? nbds_client(d)->search : NULL;
	struct nbds_search *ss = nbds_searching(d, NBDS_SERVER) ? nbds_server(d)->search : NULL;

	for (int i = 0; ss && i < CHAINS_MAX; i++) {
		struct chain *v = &ss->chains[i], *c;

		if (!v->id || nested(nbds_server(d), v))
			continue;
		c = chain_by_id(cs, v->pair);
		if (c && c->count >= 2 && enough(v, v->matches, c->last_order > v->first_match) &&
		    !nested(nbds_client(d), c)) {
			believe(d, c, v);
			return true;
		}
		if (enough(v, v->real, true)) {
			believe(d, NULL, v);
			return true;
		}
	}
	for (int i = 0; cs && !ss && i < CHAINS_MAX; i++) {
		struct chain *c = &cs->chains[i];

		if (c->id && c->count >= 2 &&
		    enough(c, c->matches, c->last_order > c->first_match) &&
		    !nested(nbds_client(d), c)) {
			believe(d, c, NULL);
			return true;
		}
	}
	return false;
}

/* Client ---------------------------------------------------------------------- */

enum look_verdict { NEXT, MORE, FOUND };

/* May a chain start with this header? */
static bool plausible_request(const struct nbds_decoder *d, const struct nbds_request_head *h)
{
	uint16_t flags = h->extended ? 0x3f : 0x1f;

	if (h->type > NBD_CMD_RESIZE || (h->flags & ~flags) || h->payload > NBDS_PAYLOAD_PLAUSIBLE)
		return false;
	if (d->mode_known && d->neg.transmission && h->extended != d->neg.extended)
		return false;
	if (h->type == NBD_CMD_DISC || h->type == NBD_CMD_FLUSH)
		return !h->offset && !h->length;
	if (h->type == NBD_CMD_RESIZE)
		return true;
	if (h->offset > UINT64_MAX / 2)
		return false;
	return !d->neg.export_seen || h->type == NBD_CMD_BLOCK_STATUS || h->offset <= d->neg.size;
}

/* Chains that meet in one head are one: the strongest stays. */
static bool meet(struct nbds_decoder *d, struct nbds_direction *s, struct chain *a, struct chain *b)
{
	if (!weaker(a, b))
		return false;
	kill_chain(d, s, a);
	return true;
}

static enum look_verdict look_at_request(struct nbds_decoder *d, struct nbds_direction *s,
					 const struct search_window *w, size_t i)
{
	struct nbds_search *se = s->search;
	const uint8_t *p = w->p + i;
	size_t n = w->n - i, len = nbds_request_len(nbds_be32(p));
	bool foretold = se && se->min_next == s->search_at, started = false;
	struct nbds_request_head h;
	struct chain *c = NULL;

	if (len) {
		if (n < 8 || (!foretold && nbds_be16(p + 6) > NBD_CMD_RESIZE))
			return n < 8 ? MORE : NEXT;
		if (n < len)
			return MORE;
		nbds_request_parse(p, &h);
		if (n < h.want)
			return MORE;
	}
	for (int k = 0; foretold && k < CHAINS_MAX; k++) {
		struct chain *o = &se->chains[k];

		if (!o->id || o->next != s->search_at)
			continue;
		if (!len || o->over) {
			kill_chain(d, s, o);
		} else if (!c) {
			c = o;
		} else if (meet(d, s, c, o)) {
			c = o;
		} else {
			kill_chain(d, s, o);
		}
	}
	if (!c && len && se && plausible_request(d, &h)) {
		c = new_chain(d, s, s->search_at);
		started = true;
	}
	if (c) {
		struct seen *seen =
			append(d, s, c, p, h.want, h.payload - (uint64_t)(h.want - h.len), w);

		if (seen) {
			seen->cookie = h.cookie;
			c->count++;
			c->over = h.type == NBD_CMD_DISC;
		}
	}
	if (foretold || started)
		find_min_next(se);
	return c && !started && consider(d) ? FOUND : NEXT;
}

bool nbds_search_refers(const struct nbds_decoder *d, const struct nbds_request *r)
{
	const struct nbds_search *se = d->streams[NBDS_SERVER].search;

	for (int i = 0; se && i < CHAINS_MAX; i++) {
		const struct chain *v = &se->chains[i];

		for (uint32_t k = 0; k < v->used; k++)
			if (seen_at(v, k)->request == r && seen_at(v, k)->serial == r->serial)
				return true;
	}
	return false;
}

/* Server ---------------------------------------------------------------------- */

/* Did the chain see the last reply to this already? */
static bool used_up(const struct chain *v, const struct nbds_request *r, uint64_t key)
{
	for (uint32_t i = 0; i < v->used; i++) {
		const struct seen *h = seen_at(v, i);

		if (h->final && (r ? h->request == r && h->serial == key : h->partner == key))
			return true;
	}
	return false;
}

/* Was it counted already? */
static bool counted(const struct chain *v, const struct nbds_request *r, uint64_t key)
{
	for (uint32_t i = 0; i < v->used; i++) {
		const struct seen *h = seen_at(v, i);

		if (r ? h->request == r && h->serial == key : h->partner == key)
			return true;
	}
	return false;
}

struct agreement {
	struct nbds_request *request; /* in flight */
	struct seen *seen;            /* or the head of a client's chain */
	struct chain *client;
	uint64_t payload; /* bytes after the reply's header */
};

/*
 * Is it a reply that is seen, but should not be: data in a simple reply where
 * chunks were agreed on?  (nbd-server does it.)  That is no evidence.
 */
static bool odd(const struct nbds_decoder *d, const struct nbds_reply_head *h, uint16_t type)
{
	return d->neg.structured && h->magic == NBD_SIMPLE_REPLY_MAGIC && !h->error &&
	       type == NBD_CMD_READ;
}

/*
 * A client uses a cookie again when it has the reply to the request before.  So
 * of several with one cookie, only the newest can be the one that is answered.
 */
static bool agree_real(const struct nbds_decoder *d, const struct chain *v,
		       const struct nbds_reply_head *h, const uint8_t *p, size_t n,
		       struct agreement *a)
{
	struct nbds_flight *f = nbds_flight_find(d, h->cookie);
	struct nbds_request *r;

	if (!f || nbds_flight_doubtful(d, f->last))
		return false;
	r = &f->last->pub;
	if (odd(d, h, r->type) ||
	    !nbds_reply_fits(h, p, n, r->type, r->extended, r->offset, r->length) ||
	    (v && used_up(v, r, r->serial)))
		return false;
	a->request = r;
	a->payload = nbds_reply_payload(h, r);
	return true;
}

/* The length that decides about a reply: of a status request with payload, the
 * effect length inside. */
static bool seen_fits(const struct nbds_decoder *d, const struct seen *seen,
		      const struct nbds_reply_head *h, const uint8_t *p, size_t n,
		      uint64_t *payload)
{
	struct nbds_request_head q;
	struct nbds_request r = {.type = 0};

	nbds_request_parse(seen->bytes, &q);
	if (odd(d, h, q.type) || !nbds_reply_fits(h, p, n, q.type, q.extended, q.offset, q.length))
		return false;
	r.type = q.type;
	r.length = q.length;
	*payload = nbds_reply_payload(h, &r);
	return true;
}

/* The newest head of a client's chain with this cookie. */
static struct seen *newest(const struct chain *c, uint64_t cookie)
{
	for (uint32_t i = c->id ? c->used : 0; i--;)
		if (seen_at(c, i)->cookie == cookie)
			return seen_at(c, i);
	return NULL;
}

static bool agree_chain(const struct nbds_decoder *d, struct chain *c, const struct chain *v,
			const struct nbds_reply_head *h, const uint8_t *p, size_t n,
			struct agreement *a)
{
	struct seen *seen = newest(c, h->cookie);

	if (!seen || (v && used_up(v, NULL, seen->order)) ||
	    !seen_fits(d, seen, h, p, n, &a->payload))
		return false;
	a->seen = seen;
	a->client = c;
	return true;
}

static bool agree(struct nbds_decoder *d, const struct chain *v, const struct nbds_reply_head *h,
		  const uint8_t *p, size_t n, struct agreement *a)
{
	struct nbds_search *cs = nbds_searching(d, NBDS_CLIENT) ? nbds_client(d)->search : NULL;
	struct chain *c, *best = NULL;

	memset(a, 0, sizeof(*a));
	if (agree_real(d, v, h, p, n, a))
		return true;
	c = v ? chain_by_id(cs, v->pair) : NULL;
	if (c)
		return agree_chain(d, c, v, h, p, n, a);
	for (int i = 0; cs && i < CHAINS_MAX; i++) {
		struct agreement b = {NULL, NULL, NULL, 0};

		c = &cs->chains[i];
		if (c->id && (!best || weaker(best, c)) && agree_chain(d, c, NULL, h, p, n, &b)) {
			best = c;
			*a = b;
		}
	}
	return best != NULL;
}

/* Adds a reply to a chain.  `a` NULL: the request is not known. */
static void append_reply(struct nbds_decoder *d, struct nbds_direction *s, struct chain *v,
			 const struct nbds_reply_head *h, const uint8_t *p, size_t len,
			 const struct agreement *a, const struct search_window *w)
{
	uint64_t payload = a ? a->payload : h->length;
	bool new_real = false, new_match = false;
	struct seen *seen;

	NBDS_ASSERT(!a || !a->request != !a->seen);
	if (a && a->request)
		new_real = !counted(v, a->request, a->request->serial);
	else if (a)
		new_match = !counted(v, NULL, a->seen->order);
	seen = append(d, s, v, p, len, payload - (len - h->len), w);
	if (!seen)
		return;
	seen->cookie = h->cookie;
	seen->final = h->final;

	if (!a) {
		v->strangers++;
		return;
	}
	v->count++;
	if (v->first_match)
		v->proved |= (a->request ? ((struct nbds_flight *)a->request)->order
					 : a->seen->order) > v->first_match;
	if (a->request) {
		seen->request = a->request;
		seen->serial = a->request->serial;
	} else {
		seen->partner = a->seen->order;
		v->pair = a->client->id;
	}
	seen->matched = true;
	v->real += new_real;
	v->matches += new_match;
	if (a->client && a->client->support < v->matches)
		a->client->support = v->matches;
	if (!v->first_match)
		v->first_match = seen->order;
}

/* Is there a request in flight with its cookie, which the chain did not answer
 * yet?  (It did not fit.) */
static bool mismatch(const struct nbds_decoder *d, const struct chain *v,
		     const struct nbds_reply_head *h)
{
	const struct nbds_flight *f = nbds_flight_find(d, h->cookie);

	return f && !nbds_flight_doubtful(d, f->last) &&
	       !used_up(v, &f->last->pub, f->last->pub.serial);
}

/* May this be a reply to a request that is not known, and is its length sure?  A
 * simple reply has data if the request was a read. */
static bool plausible_stranger(const struct nbds_reply_head *h)
{
	if (h->magic == NBD_SIMPLE_REPLY_MAGIC)
		return h->error && h->error <= 4095;
	return !(h->flags & ~NBD_REPLY_FLAG_DONE) && h->length <= NBDS_PAYLOAD_PLAUSIBLE &&
	       ((h->type & NBD_REPLY_TYPE_FLAG_ERROR) || nbds_name_of(&nbds_chunk_types, h->type));
}

static enum look_verdict look_at_reply(struct nbds_decoder *d, struct nbds_direction *s,
				       const struct search_window *w, size_t i)
{
	struct nbds_search *se = s->search;
	const uint8_t *p = w->p + i;
	size_t n = w->n - i, len = nbds_reply_len(nbds_be32(p)), want = 0;
	bool foretold = se && se->min_next == s->search_at, started = false;
	struct nbds_reply_head h;
	struct agreement a;
	struct chain *v = NULL;
	bool known = false;

	if (len) {
		if (n < len)
			return MORE;
		nbds_reply_parse(p, &h);
		want = (size_t)nbds_min(h.want, NBDS_SEEN_MAX);
		if (n < want && (foretold || agree(d, NULL, &h, p, len, &a)))
			return MORE;
		if (n < want)
			return NEXT;
	}
	for (int k = 0; foretold && k < CHAINS_MAX; k++) {
		struct chain *o = &se->chains[k];

		if (!o->id || o->next != s->search_at)
			continue;
		if (!len)
			kill_chain(d, s, o);
		else if (!v)
			v = o;
		else if (meet(d, s, v, o))
			v = o;
		else
			kill_chain(d, s, o);
	}
	if (v) {
		known = agree(d, v, &h, p, want, &a);
		/* Its request may have been sent before the search began. */
		if (!known && (mismatch(d, v, &h) || !plausible_stranger(&h))) {
			kill_chain(d, s, v);
			v = NULL;
		}
	}
	if (!v && len && se) {
		known = agree(d, NULL, &h, p, want, &a);
		if (known) {
			v = new_chain(d, s, s->search_at);
			started = true;
		}
	}
	if (v)
		append_reply(d, s, v, &h, p, want, known ? &a : NULL, w);
	if (foretold || started)
		find_min_next(se);
	return v && known && consider(d) ? FOUND : NEXT;
}

/* The head of a client's chain that this reply, in the followed server stream,
 * answers. */
static struct seen *answered_in(const struct nbds_decoder *d, const struct chain *c,
				const struct nbds_reply_head *h, const uint8_t *p, size_t n)
{
	struct seen *seen = newest(c, h->cookie);
	uint64_t payload;

	return seen && !seen->final && seen_fits(d, seen, h, p, n, &payload) ? seen : NULL;
}

struct nbds_request *nbds_search_note_reply(struct nbds_decoder *d, const struct nbds_reply_head *h,
					    const uint8_t *p, size_t n)
{
	struct nbds_search *cs = nbds_client(d)->search;
	struct nbds_flight *f;
	struct seen *seen;

	d->order++;
	for (int i = 0; cs && i < CHAINS_MAX; i++) {
		struct chain *c = &cs->chains[i];

		seen = answered_in(d, c, h, p, n);
		if (!seen || seen->matched)
			continue;
		seen->matched = true;
		c->matches++;
		c->proved |= c->first_match && seen->order > c->first_match;
		if (!c->first_match)
			c->first_match = d->order;
	}
	if (consider(d)) {
		/* The request is one of those that were just told. */
		f = nbds_flight_find(d, h->cookie);
		while (f && f->same)
			f = f->same;
		return f ? &f->pub : NULL;
	}
	/* The reply will be told without its request. */
	for (int i = 0; cs && h->final && i < CHAINS_MAX; i++) {
		seen = answered_in(d, &cs->chains[i], h, p, n);
		if (seen)
			seen->final = true;
	}
	return NULL;
}

/* The handshake --------------------------------------------------------------- */

/* Is this the first byte of a direction caught in its middle, of a conversation of which
 * nothing says yet that it was beyond haggling? */
static bool begins_here(const struct nbds_decoder *d, const struct nbds_direction *s)
{
	return d->middle && !s->search_at && !d->neg.transmission;
}

/* Does the other direction still talk about options, or may this one? */
static bool option_possible(const struct nbds_decoder *d, const struct nbds_direction *s)
{
	return !d->neg.transmission &&
	       (d->streams[!s->side].phase == NBDS_PHASE_OPTIONS || begins_here(d, s));
}

/* The client's flags, at the very beginning, with an option behind them. */
static enum look_verdict look_at_flags(struct nbds_decoder *d, struct nbds_direction *s,
				       const struct search_window *w, size_t i)
{
	const uint8_t *p = w->p + i;

	if (s->side != NBDS_CLIENT || !begins_here(d, s) ||
	    nbds_be32(p) & ~(uint32_t)(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES))
		return NEXT;
	if (w->n - i < 12)
		return MORE;
	return nbds_be64(p + 4) == NBD_OPTS_MAGIC ? FOUND : NEXT;
}

/* The search is over, where it began. */
static void begin_here(struct nbds_decoder *d, struct nbds_direction *s, enum nbds_phase phase,
		       const struct nbds_mark *where)
{
	s->phase = phase;
	s->resynced = true;
	s->option_listed = false;
	nbds_search_free(s);
	/* Who haggles has sent no request. */
	if (s->side == NBDS_CLIENT)
		d->requests_missing = false;
	nbds_trouble(d, s, NBDS_TROUBLE_SURE, s->search_at, 0, where, NULL,
		     "message boundaries are known again");
}

/* An option, or an option reply, before the transmission phase. */
static enum look_verdict look_at_option(struct nbds_decoder *d, struct nbds_direction *s,
					const struct search_window *w, size_t i)
{
	const uint8_t *p = w->p + i;
	size_t n = w->n - i;
	bool client = s->side == NBDS_CLIENT;
	uint32_t type;

	if (!option_possible(d, s))
		return NEXT;
	if (n < (client ? 16u : 20u))
		return MORE;
	if (nbds_be64(p) != (client ? NBD_OPTS_MAGIC : NBD_REP_MAGIC) ||
	    nbds_be32(p + (client ? 12 : 16)) > OPTION_PLAUSIBLE)
		return NEXT;
	if (client) {
		if (!nbds_name_of(&nbds_options, nbds_be32(p + 8)))
			return NEXT;
	} else {
		type = nbds_be32(p + 12);
		if (!nbds_name_of(&nbds_reply_types, type) ||
		    (begins_here(d, s) ? !nbds_name_of(&nbds_options, nbds_be32(p + 8))
				       : nbds_option_find(d, nbds_be32(p + 8)) < 0))
			return NEXT;
	}
	if (begins_here(d, s)) {
		begin_here(d, s, NBDS_PHASE_OPTIONS, w->first);
		d->haggled |= !client;
		return FOUND;
	}
	/* Found, where it begins. */
	{
		uint64_t passed = s->search_at - s->search_from - s->search_lost;
		uint64_t nonsense = nbds_min(passed, s->search_nonsense);

		s->count.nonsense += nonsense;
		s->count.skipped += passed - nonsense;
		if (passed > nonsense)
			nbds_trouble(d, s, NBDS_TROUBLE_SKIPPED, s->search_from + nonsense,
				     passed - nonsense, w->first, NULL,
				     "passed over while looking for a message boundary");
		s->phase = NBDS_PHASE_OPTIONS;
		s->resynced = true;
		s->option_listed = false;
		nbds_search_free(s);
		nbds_trouble(d, s, NBDS_TROUBLE_SURE, s->search_at, 0, w->first, NULL,
			     "message boundaries are known again");
	}
	return FOUND;
}

/* The walk over the bytes ------------------------------------------------------ */

void nbds_lose(struct nbds_decoder *d, struct nbds_direction *s, uint32_t nonsense)
{
	if (s->side == NBDS_CLIENT) {
		d->requests_missing = true;
		d->client_epoch++;
		s->option_listed = false;
	} else {
		d->epoch++;
		s->stray = s->discard = 0;
		s->padding = 0;
	}
	if (s->phase == NBDS_PHASE_START || s->phase == NBDS_PHASE_OPTIONS)
		d->mode_known = false;
	if (s->side == NBDS_SERVER && nbds_client(d)->phase == NBDS_PHASE_TLS) {
		/* The answer to NBD_OPT_STARTTLS was lost. */
		d->neg.tls = true;
		nbds_sink(d, s, NBDS_PHASE_TLS);
		return;
	}
	s->phase = NBDS_PHASE_SEARCH;
	s->search_from = s->pos;
	s->search_lost = 0;
	s->search_nonsense = nonsense;
	/* What was found to be no head is not looked at again. */
	s->search_at = nonsense ? s->pos + 1 : s->pos;
	s->search = nbds_decoder_realloc(NULL, sizeof(*s->search));
	if (!s->search)
		return;
	memset(s->search, 0, sizeof(*s->search));
	s->search->min_next = UINT64_MAX;
}

void nbds_search_free(struct nbds_direction *s)
{
	for (int i = 0; s->search && i < CHAINS_MAX; i++)
		drop_chain(&s->search->chains[i]);
	if (s->search)
		passed_free(&s->search->passed);
	free(s->search);
	s->search = NULL;
}

uint64_t nbds_search_passed(const struct nbds_direction *s)
{
	return s->pos + s->have - s->search_from - s->search_lost;
}

void nbds_search_end(struct nbds_decoder *d, struct nbds_direction *s,
		     const struct nbds_mark *where)
{
	uint64_t passed = nbds_search_passed(s);
	uint64_t nonsense = nbds_min(passed, s->search_nonsense);

	s->count.nonsense += nonsense;
	s->count.skipped += passed - nonsense;
	s->pos += s->have;
	s->have = 0;
	if (passed > nonsense)
		nbds_trouble(d, s, NBDS_TROUBLE_SKIPPED, s->search_from + nonsense,
			     passed - nonsense, where, NULL,
			     "no message boundary was found in what came");
	if (s->side == NBDS_CLIENT)
		for (int i = 0; s->search && i < CHAINS_MAX; i++)
			if (s->search->chains[i].id)
				kill_chain(d, s, &s->search->chains[i]);
	nbds_search_free(s);
	s->search_from = s->pos;
	s->search_lost = 0;
	s->search_nonsense = 0;
}

/* The next head of a chain was lost.  It may have been true all the same, and what
 * started inside its payload data, which happens to meet the true one later. */
static void cut_chain(struct nbds_decoder *d, struct nbds_direction *s, struct chain *c)
{
	uint64_t id = c->id;

	kill_chain(d, s, c);
	for (int i = 0; i < CHAINS_MAX; i++)
		if (s->search->chains[i].id && s->search->chains[i].inside == id)
			cut_chain(d, s, &s->search->chains[i]);
}

void nbds_search_gap(struct nbds_decoder *d, struct nbds_direction *s, uint64_t len)
{
	uint64_t passed = nbds_search_passed(s);

	s->pos += s->have + len;
	s->have = 0;
	s->kept = s->small;
	s->search_lost += len;
	s->count.lost += len;
	s->search_at = s->pos;
	if (!passed) {
		s->search_from = s->pos;
		s->search_lost = 0;
	}
	if (!s->search)
		return;
	for (int i = 0; i < CHAINS_MAX; i++)
		if (s->search->chains[i].id && s->search->chains[i].next < s->pos)
			cut_chain(d, s, &s->search->chains[i]);
	find_min_next(s->search);
}

/* What the magics of each side begin with, those of the handshake marked 2. */
static const uint8_t first_byte[2][256] = {
	[NBDS_CLIENT] = {[NBD_REQUEST_MAGIC >> 24] = 1,
			 [NBD_EXTENDED_REQUEST_MAGIC >> 24] = 1,
			 [NBD_OPTS_MAGIC >> 56] = 2},
	[NBDS_SERVER] = {[NBD_SIMPLE_REPLY_MAGIC >> 24] = 1,
			 [NBD_STRUCTURED_REPLY_MAGIC >> 24] = 1,
			 [NBD_EXTENDED_REPLY_MAGIC >> 24] = 1,
			 [NBD_REP_MAGIC >> 56] = 2},
};

static enum look_verdict look_at(struct nbds_decoder *d, struct nbds_direction *s,
				 const struct search_window *w, size_t i)
{
	bool client = s->side == NBDS_CLIENT;
	uint32_t word = nbds_be32(w->p + i);
	enum look_verdict verdict = NEXT;

	verdict = look_at_flags(d, s, w, i);
	if (verdict == FOUND)
		begin_here(d, s, NBDS_PHASE_START, w->first);
	if (verdict != NEXT)
		return verdict;
	/* The first request after a server's consent that was seen from its start. */
	if (client && d->middle && d->haggled && !s->search_at && d->neg.transmission &&
	    nbds_request_len(word)) {
		begin_here(d, s, NBDS_PHASE_TRANSMISSION, w->first);
		return FOUND;
	}
	if (word == (uint32_t)((client ? NBD_OPTS_MAGIC : NBD_REP_MAGIC) >> 32))
		verdict = look_at_option(d, s, w, i);
	if (verdict != NEXT)
		return verdict;
	if ((client ? nbds_request_len(word) : nbds_reply_len(word)) ||
	    (s->search && s->search_at == s->search->min_next))
		return client ? look_at_request(d, s, w, i) : look_at_reply(d, s, w, i);
	return NEXT;
}

/*
 * Looks at the positions before w->p + limit, from the stream's search_at on,
 * which it moves: to the first position that needs more bytes, or, when the
 * search is over, to where the stream goes on.
 */
static enum look_verdict look(struct nbds_decoder *d, struct nbds_direction *s,
			      const struct search_window *w, size_t limit)
{
	const uint8_t *first = first_byte[s->side];
	/* Option replies begin with 0, as much else does. */
	uint8_t most = option_possible(d, s) ? 2 : 1;
	size_t i = (size_t)(s->search_at - w->base);

	while (i < limit) {
		uint64_t foretold = s->search ? s->search->min_next - w->base : UINT64_MAX;
		size_t stop = (size_t)nbds_min(limit, foretold);
		enum look_verdict verdict;

		if (!s->search_at && d->middle && i < stop)
			stop = i; /* the very first byte */
		while (i < stop && (first[w->p[i]] - 1u) >= most)
			i++;
		if (i == limit)
			break;
		s->search_at = w->base + i;
		if (w->n - i < 4)
			return MORE;
		verdict = look_at(d, s, w, i);
		if (verdict != NEXT)
			return verdict;
		i++;
	}
	s->search_at = w->base + i;
	return NEXT;
}

/*
 * The window that is looked at next, and its positions that are: all of which a
 * whole head can be seen, or all there are.
 *
 *	kept, longer than a head	what is kept, but for the last head's length
 *	kept				together with as much of the span as any head needs
 *	nothing kept			the span in place
 *
 * The first is what a direction waited for in another phase, and then was none of.
 */
static size_t open_window(const struct nbds_direction *s, const struct nbds_span *sp,
			  struct search_window *w, uint8_t joined[2 * NBDS_SEEN_MAX])
{
	size_t more = sp->len < NBDS_SEEN_MAX ? sp->len : NBDS_SEEN_MAX;

	w->base = s->pos;
	if (!s->have) {
		w->p = sp->data;
		w->n = sp->len;
		return w->n;
	}
	if (s->have > NBDS_SEEN_MAX) {
		w->p = s->kept;
		w->n = s->have;
		return s->have - NBDS_SEEN_MAX;
	}
	NBDS_ASSERT(s->have + more <= 2 * NBDS_SEEN_MAX);
	memcpy(joined, s->kept, s->have);
	if (more)
		memcpy(joined + s->have, sp->data, more);
	w->p = joined;
	w->n = s->have + more;
	return s->have;
}

/* What was looked at is passed over, and kept while there are chains. */
static void pass(struct nbds_direction *s, const struct search_window *w)
{
	size_t n = (size_t)(s->search_at - w->base);

	if (!s->search)
		return;
	if (s->search->min_next == UINT64_MAX)
		passed_free(&s->search->passed);
	else
		passed_add(&s->search->passed, w->base, w->p, n, w->last);
}

/* What could not be decided is kept. */
bool nbds_step_search(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	uint8_t joined[2 * NBDS_SEEN_MAX];
	struct nbds_mark first, last;
	enum look_verdict verdict;
	struct search_window w;
	size_t limit;

	if (!sp->len && !s->have)
		return false;

	limit = open_window(s, sp, &w, joined);
	first = s->have ? s->first : *sp->mark;
	last = s->have > NBDS_SEEN_MAX ? s->last : *sp->mark;
	w.first = &first;
	w.last = &last;

	d->scanning = s;
	d->window = &w;
	verdict = look(d, s, &w, limit);
	d->scanning = NULL;
	d->window = NULL;
	pass(s, &w);
	nbds_consume(s, sp, (size_t)(s->search_at - s->pos));
	if (verdict == FOUND)
		return true;
	if (verdict == NEXT)
		return s->have || sp->len;
	/* MORE: all that is left is less than a head. */
	NBDS_ASSERT(s->have + sp->len < NBDS_SEEN_MAX);
	nbds_peek(s, sp, s->have + sp->len + 1);
	return false;
}
