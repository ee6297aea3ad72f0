/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * evidence.c - the frames that prove a finding. See evidence.h.
 *
 *	plan      where the messages are                         plan.c
 *	attempt   what is taken of them ─► scratch file          here, frame.c, mask.c
 *	audit     does that say the same?  no: the next attempt  match.c
 *	copy      scratch file ─► evidence
 */
#include "evidence.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../capture/capture.h"
#include "../capture/ip.h"
#include "../capture/pcapng.h"
#include "../pipeline/pipeline.h"
#include "frame.h"
#include "match.h"
#include "plan.h"

/* Behind the last frame of a finding, as many are looked at for what acknowledges it. */
#define ACKS_BEHIND 256

/* Connections that only keep the numbers of others, at most. */
#define NUMBERED_MAX 64

/* Anonymized captures begin here: 2000-01-01. */
#define MASKED_START INT64_C(946684800000000000)
#define MASKED_SEQ   1000u

#define LINK_RAW 101

/* What is taken. */
struct attempt {
	enum nbds_tier least; /* connections at least so near */
	unsigned use;         /* NBDS_FOR_*: messages of theirs; 0: whole frames */
	bool to_end;          /* not only to the last frame of the finding */
	bool all;             /* frames of anything */
};

#define BASIC (NBDS_FOR_HANDSHAKE | NBDS_FOR_WITNESS)
#define ENDS  NBDS_FOR_END

static const struct attempt attempts[] = {
	{NBDS_TIER_WITNESS, BASIC, false, false},
	{NBDS_TIER_WITNESS, BASIC | ENDS, true, false},
	{NBDS_TIER_EXPORT, BASIC | NBDS_FOR_RANGE | ENDS, false, false},
	{NBDS_TIER_SERVER, BASIC | NBDS_FOR_RANGE | ENDS, false, false},
	{NBDS_TIER_EXPORT, BASIC | NBDS_FOR_RANGE | ENDS, true, false},
	{NBDS_TIER_SERVER, BASIC | NBDS_FOR_RANGE | ENDS, true, false},
	{NBDS_TIER_WITNESS, BASIC | NBDS_FOR_UNFLUSHED | ENDS, false, false},
	{NBDS_TIER_WITNESS, BASIC | NBDS_FOR_UNFLUSHED | ENDS, true, false},
	{NBDS_TIER_SERVER, BASIC | NBDS_FOR_UNFLUSHED | NBDS_FOR_RANGE | ENDS, true, false},
	{NBDS_TIER_WITNESS, 0, false, false},
	{NBDS_TIER_SERVER, 0, false, false},
	{NBDS_TIER_WITNESS, 0, true, false},
	{NBDS_TIER_SERVER, 0, true, false},
	{NBDS_TIER_FAR, 0, false, true},
	{NBDS_TIER_FAR, 0, true, true},
};

/* A part of a stream that is kept. */
struct stretch {
	uint64_t from, to;
	uint64_t before; /* bytes kept before it */
};

/* One direction of a flow. */
struct side {
	NBDS_VECTOR(stretches, struct stretch) kept;
	bool all;       /* of it: `kept` is not asked */
	int64_t newest; /* the highest offset seen, from which others are counted */
	int64_t acked;  /* of the other one's kept bytes, the highest it acknowledged */
	bool stamped;
	uint32_t stamp; /* masked: its first */
};

struct flow_state {
	bool ready;
	struct nbds_addr masked[2]; /* by direction; family 0: not yet */
	struct side side[2];
};

struct cut {
	const struct nbds_evidence_config *config;
	struct nbds_evidence_result *result;
	struct nbds_plan plan;
	struct nbds_mask *mask;
	const struct attempt *attempt;
	bool numbered;          /* connections keep their numbers */
	enum nbds_mask_way way; /* how contents are masked */
	bool more;              /* there were */
	bool lax;               /* suspects that the capture does not have are suffered */
	uint64_t cutoff;

	struct nbds_pcapng_writer *out;
	struct nbds_capture *in;
	struct nbds_frame frame;
	struct nbds_budget budget;
	NBDS_VECTOR(numbers, uint64_t) frames; /* of the capture, in the order written */
	NBDS_VECTOR(bytes, uint8_t) payload;
	struct flow_state *states; /* by place in the plan */
	bool shifted;
	int64_t shift; /* masked: what is added to times */
	bool failed;
};

/* --- streams --- */

static bool fail(struct cut *c, const char *why)
{
	if (!c->result->error[0])
		snprintf(c->result->error, sizeof(c->result->error), "%s", why);
	c->failed = true;
	return false;
}

/* What is kept of the messages of one direction. */
static void choose_ranges(struct cut *c, const struct nbds_plan_flow *f, int dir, struct side *side)
{
	const struct nbds_pieces *pieces = &f->pieces[dir];
	bool near = f->tier >= c->attempt->least;
	unsigned use = near ? c->attempt->use : NBDS_FOR_NUMBERS;
	uint64_t before = 0;

	side->all = near && !c->attempt->use;
	for (size_t i = 0; !side->all && i < pieces->count; i++) {
		const struct nbds_piece *piece = pieces->at[i];
		struct stretch *last = side->kept.count ? &side->kept.at[side->kept.count - 1]
							: NULL;
		struct stretch r = {piece->from, piece->to, before};

		if (!(piece->use & use) || piece->frame > c->cutoff)
			continue;
		if (last && r.from <= last->to) {
			if (r.to <= last->to)
				continue;
			before += r.to - last->to;
			last->to = r.to;
			continue;
		}
		if (!nbds_vector_push(&side->kept, &c->budget, r)) {
			fail(c, "not enough memory");
			return;
		}
		before += r.to - r.from;
	}
}

/* How many bytes of the stream before `offset` are kept. */
static int64_t moved(const struct side *side, int64_t offset)
{
	size_t low = 0, high = side->kept.count;
	const struct stretch *r;

	if (side->all || offset <= 0)
		return offset;
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (side->kept.at[middle].from < (uint64_t)offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return 0;
	r = &side->kept.at[low - 1];
	return (int64_t)(r->before + ((uint64_t)offset < r->to ? (uint64_t)offset : r->to) -
			 r->from);
}

/* The offset in its stream of a sequence number. */
static int64_t offset_of(const struct nbds_plan_flow *f, const struct side *side, int dir,
			 uint32_t seq)
{
	uint32_t near = f->base[dir] + (uint32_t)side->newest;

	return side->newest + (int32_t)(seq - near);
}

static uint32_t base_of(const struct cut *c, const struct nbds_plan_flow *f, int dir)
{
	return c->mask ? MASKED_SEQ + 1 : f->base[dir];
}

/* --- comments --- */

struct comment {
	char text[900];
	size_t len;
	unsigned messages;
};

__attribute__((format(printf, 2, 3))) static void say(struct comment *m, const char *format, ...)
{
	va_list args;
	int n;

	if (m->len >= sizeof(m->text) - 1)
		return;
	va_start(args, format);
	n = vsnprintf(m->text + m->len, sizeof(m->text) - m->len, format, args);
	va_end(args);
	if (n > 0)
		m->len += (size_t)n;
	if (m->len > sizeof(m->text) - 1)
		m->len = sizeof(m->text) - 1;
}

/* The first message that ends behind `offset`. */
static size_t first_piece(const struct nbds_pieces *pieces, uint64_t offset)
{
	size_t low = 0, high = pieces->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (pieces->at[middle]->to <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* What lies in the bytes from `from` to `to` of the stream. */
static void say_messages(const struct cut *c, struct comment *m, const struct nbds_plan_flow *f,
			 int dir, uint64_t from, uint64_t to)
{
	const struct nbds_pieces *pieces = &f->pieces[dir];
	unsigned use = f->tier >= c->attempt->least ? c->attempt->use : NBDS_FOR_NUMBERS;

	for (size_t i = first_piece(pieces, from); i < pieces->count; i++) {
		const struct nbds_piece *piece = pieces->at[i];

		if (piece->from >= to)
			break;
		if (!piece->words || (use && !(piece->use & use)))
			continue;
		if (m->messages++ == 4) {
			say(m, "; and more");
			break;
		}
		say(m, "%s%s%s", m->messages > 1 ? "; " : "", piece->words,
		    piece->from < from && piece->to > to ? " (goes on)"
		    : piece->from < from                 ? " (its end)"
		    : piece->to > to                     ? " (its beginning)"
							 : "");
	}
}

static void say_frame(const struct cut *c, struct comment *m, const struct nbds_plan_flow *f,
		      int dir, const struct nbds_segment *s, uint64_t frame, uint64_t from,
		      uint64_t to)
{
	say(m, "frame %" PRIu64 " of the capture", frame);
	if (!f)
		return;
	say(m, ", connection %" PRIu32 ", %s: ", f->id, dir == f->client ? "client" : "server");
	if (to > from)
		say_messages(c, m, f, dir, from, to);
	if (m->messages)
		return;
	say(m, "%s%s",
	    s->flags & NBDS_TCP_SYN   ? "the connection begins"
	    : s->flags & NBDS_TCP_FIN ? "closes its direction (FIN)"
	    : s->flags & NBDS_TCP_RST ? "breaks the connection off (RST)"
	    : to > from               ? "bytes of the stream"
				      : "acknowledges",
	    f->tier < c->attempt->least ? "; it only keeps the numbers of others" : "");
}

/* --- frames --- */

static bool describe_interfaces(struct cut *c, uint32_t interface)
{
	while (nbds_pcapng_written_interfaces(c->out) <= interface) {
		uint32_t next = nbds_pcapng_written_interfaces(c->out);
		struct nbds_pcapng_interface i;

		nbds_capture_interface(c->in, next, &i);
		if (c->mask)
			i = (struct nbds_pcapng_interface){
				.linktype = LINK_RAW,
				.resolution = i.resolution,
			};
		if (nbds_pcapng_describe_interface(c->out, &i) < 0)
			return false;
	}
	return true;
}

static void write_packet(struct cut *c, const struct nbds_packet *p, const struct comment *m)
{
	struct nbds_packet packet = *p;

	if (c->mask) {
		if (!c->shifted) {
			c->shifted = true;
			c->shift = (int64_t)((uint64_t)MASKED_START - (uint64_t)p->time);
			/* In units that every clock has. */
			c->shift -= c->shift % 1000000000;
		}
		packet.time = (int64_t)((uint64_t)p->time + (uint64_t)c->shift);
	}
	if (!nbds_vector_push(&c->frames, &c->budget, p->frame)) {
		fail(c, "not enough memory");
		return;
	}
	if (!describe_interfaces(c, p->interface) ||
	    nbds_pcapng_write_commented2(c->out, &packet, m->text,
					 c->mask ? NULL : nbds_capture_comment(c->in)) < 0)
		fail(c, strerror(errno));
}

/* The byte at `offset` of the stream, masked. */
static uint8_t masked(struct cut *c, const struct nbds_piece *piece, uint64_t offset, uint8_t byte)
{
	uint64_t at, sector;

	if (!piece || offset < piece->from)
		return nbds_mask_other(byte);
	at = offset - piece->from;
	if (at < piece->head_len) /* another copy, with other bytes, stays another one */
		return byte == piece->head[piece->head_len + at] ? piece->head[at]
								 : (uint8_t)~piece->head[at];
	at += piece->device - piece->head_len;
	switch (piece->payload) {
	case NBDS_PAYLOAD_WRITE:
	case NBDS_PAYLOAD_READ:
		sector = at / NBDS_MASK_SECTOR - piece->device / NBDS_MASK_SECTOR;
		if (c->way != NBDS_MASK_BYTES && sector < piece->sectors && piece->whole[sector])
			return nbds_mask_sector_byte(c->mask, piece->digests[sector], at,
						     c->way == NBDS_MASK_SECTORS_ANYWHERE);
		return nbds_mask_byte(c->mask, at, byte);
	case NBDS_PAYLOAD_EXTENTS:
	case NBDS_PAYLOAD_IDS:
		return byte;
	case NBDS_PAYLOAD_NONE:
	case NBDS_PAYLOAD_REST:
		break;
	}
	return nbds_mask_other(byte);
}

/* What is kept of the segment's payload: bytes here in c->payload, *len as sent. */
static bool take_payload(struct cut *c, const struct nbds_plan_flow *f, int dir,
			 const struct side *side, const struct nbds_segment *s, int64_t offset,
			 uint32_t *len)
{
	const struct nbds_pieces *pieces = &f->pieces[dir];
	uint64_t from = offset > 0 ? (uint64_t)offset : 0;
	size_t piece = c->mask ? first_piece(pieces, from) : 0, range = 0;

	c->payload.count = 0;
	*len = 0;
	if (!nbds_vector_reserve(&c->payload, &c->budget, s->caplen + 1))
		return fail(c, "not enough memory");
	if (!side->all) {
		size_t high = side->kept.count;

		while (range < high) {
			size_t middle = (range + high) / 2;

			if (side->kept.at[middle].to <= from)
				range = middle + 1;
			else
				high = middle;
		}
	}
	for (uint32_t i = 0; i < s->len; i++) {
		int64_t place = offset + i;
		uint8_t byte;

		if (!side->all) {
			while (range < side->kept.count && place >= 0 &&
			       side->kept.at[range].to <= (uint64_t)place)
				range++;
			if (range == side->kept.count)
				break;
			if (place < 0 || side->kept.at[range].from > (uint64_t)place)
				continue;
		}
		++*len;
		if (i >= s->caplen)
			continue;
		byte = s->payload[i];
		if (c->mask) {
			while (piece < pieces->count && place >= 0 &&
			       pieces->at[piece]->to <= (uint64_t)place)
				piece++;
			byte = place < 0
				       ? nbds_mask_other(byte)
				       : masked(c, piece < pieces->count ? pieces->at[piece] : NULL,
						(uint64_t)place, byte);
		}
		c->payload.at[c->payload.count++] = byte;
	}
	return true;
}

struct sack_of {
	const struct cut *c;
	const struct nbds_plan_flow *f;
	const struct side *side;
	int dir;
};

static uint32_t moved_seq(void *ctx, uint32_t seq)
{
	const struct sack_of *o = ctx;

	return base_of(o->c, o->f, o->dir) +
	       (uint32_t)moved(o->side, offset_of(o->f, o->side, o->dir, seq));
}

static void mask_change(struct cut *c, const struct nbds_plan_flow *f, int dir,
			const struct nbds_segment *s, struct flow_state *state,
			struct nbds_frame_change *change)
{
	change->masked = true;
	if (!state->masked[0].family) {
		for (int i = 0; i < 2; i++)
			state->masked[i] = nbds_mask_address(c->mask, &f->ends[i]);
		state->masked[f->client].port = nbds_mask_port(c->mask, &f->ends[f->client]);
	}
	change->src = state->masked[dir];
	change->dst = state->masked[!dir];
	if (s->stamped && !state->side[dir].stamped) {
		state->side[dir].stamped = true;
		state->side[dir].stamp = s->stamp - MASKED_SEQ;
	}
	/* In the middle of a connection a clock may be echoed before its own side is heard. */
	if (s->stamped && s->echo && s->flags & NBDS_TCP_ACK && !state->side[!dir].stamped) {
		state->side[!dir].stamped = true;
		state->side[!dir].stamp = s->echo - MASKED_SEQ;
	}
	change->stamp = state->side[dir].stamp;
	change->echo = s->flags & NBDS_TCP_ACK ? state->side[!dir].stamp : s->echo;
}

/* A frame of a connection, with what is kept of it; nothing, if that is nothing. */
static void cut_frame(struct cut *c, const struct nbds_plan_flow *f, struct flow_state *state,
		      int dir, const struct nbds_packet *p, const struct nbds_segment *s,
		      const struct nbds_ip_place *place)
{
	struct side *side = &state->side[dir], *other = &state->side[!dir];
	struct sack_of sack = {c, f, other, !dir};
	struct nbds_frame_change change = {.other = moved_seq, .ctx = &sack};
	bool ends = s->flags & (NBDS_TCP_SYN | NBDS_TCP_FIN | NBDS_TCP_RST), news = false;
	struct nbds_packet packet = *p;
	struct comment comment = {.len = 0};
	int64_t offset, ack = 0;

	if (!f->based[dir])
		return;
	offset = offset_of(f, side, dir, s->seq);
	if (s->flags & NBDS_TCP_SYN)
		offset = -1;
	if (offset + (int64_t)s->len > side->newest)
		side->newest = offset + (int64_t)s->len;
	if (!take_payload(c, f, dir, side, s, offset + (s->flags & NBDS_TCP_SYN ? 1 : 0),
			  &change.len))
		return;
	change.payload = c->payload.at;
	change.caplen = (uint32_t)c->payload.count;
	change.seq = base_of(c, f, dir) + (uint32_t)moved(side, offset);
	if (s->flags & NBDS_TCP_ACK && f->based[!dir]) {
		ack = moved(other, offset_of(f, other, !dir, s->ack));
		news = ack > side->acked;
		change.ack = base_of(c, f, !dir) + (uint32_t)ack;
	}
	if (p->frame > c->cutoff && (change.len || ends || !news))
		return;
	if (!change.len && !ends && !news && !s->sack_count && !side->all)
		return;
	if (news)
		side->acked = ack;
	if (c->mask)
		mask_change(c, f, dir, s, state, &change);
	if (!nbds_frame_make(&c->frame, s, place, &change)) {
		fail(c, "not enough memory");
		return;
	}
	packet.data = c->frame.bytes;
	packet.caplen = c->frame.caplen;
	packet.len = c->frame.len;
	say_frame(c, &comment, f, dir, s, p->frame, (uint64_t)(offset < 0 ? 0 : offset),
		  (uint64_t)(offset < 0 ? 0 : offset) + (change.len ? s->len : 0));
	write_packet(c, &packet, &comment);
}

/* A frame as it is. */
static void whole_frame(struct cut *c, const struct nbds_plan_flow *f, struct flow_state *state,
			int dir, const struct nbds_packet *p, const struct nbds_segment *s)
{
	struct comment comment = {.len = 0};
	int64_t offset = 0;

	if (f && f->based[dir]) {
		struct side *side = &state->side[dir];

		offset = offset_of(f, side, dir, s->seq);
		if (s->flags & NBDS_TCP_SYN)
			offset = 0;
		if (offset + (int64_t)s->len > side->newest)
			side->newest = offset + (int64_t)s->len;
		if (offset < 0)
			offset = 0;
	}
	say_frame(c, &comment, f, dir, s, p->frame, (uint64_t)offset,
		  (uint64_t)offset + (s ? s->len : 0));
	write_packet(c, p, &comment);
}

static struct flow_state *state_of(struct cut *c, const struct nbds_plan_flow *f)
{
	struct flow_state *state = &c->states[f->place];

	if (!state->ready) {
		state->ready = true;
		/* A SYN is acknowledged before the first byte. */
		state->side[0].acked = state->side[1].acked = -1;
		choose_ranges(c, f, 0, &state->side[0]);
		choose_ranges(c, f, 1, &state->side[1]);
	}
	return state;
}

static void take_packet(struct cut *c, struct nbds_ip *ip, const struct nbds_packet *p)
{
	uint64_t fragments = nbds_ip_stats(ip)->fragments;
	const struct attempt *a = c->attempt;
	const struct nbds_plan_flow *f;
	struct nbds_segment segment;
	struct nbds_ip_place place;
	int dir = 0;

	if (!nbds_ip_segment(ip, p, &segment)) {
		/* Parts of packets that are taken as they are; masked ones are put together. */
		if (!c->mask && p->frame <= c->cutoff &&
		    (a->all || (!a->use && nbds_ip_stats(ip)->fragments > fragments)))
			whole_frame(c, NULL, NULL, 0, p, NULL);
		return;
	}
	f = nbds_plan_find(&c->plan, &segment, p->frame, &dir);
	if (f && f->tier < a->least && !(c->numbered && f->id < c->plan.last_id))
		f = NULL;
	/* What comes after a connection's end, and is no part of it. */
	if (f && p->frame > f->last_frame && (segment.len || segment.flags & NBDS_TCP_SYN))
		f = NULL;
	if (!f) {
		if (a->all && !c->mask && p->frame <= c->cutoff)
			whole_frame(c, NULL, NULL, 0, p, &segment);
		return;
	}
	nbds_ip_where(ip, &place);
	if (c->mask || !state_of(c, f)->side[dir].all)
		cut_frame(c, f, state_of(c, f), dir, p, &segment, &place);
	else if (p->frame <= c->cutoff)
		whole_frame(c, f, state_of(c, f), dir, p, &segment);
}

/* --- an attempt --- */

static void keep_secrets(void *ctx, const struct nbds_pcapng_secrets *s)
{
	struct cut *c = ctx;

	if (nbds_pcapng_write_secrets(c->out, s) < 0)
		fail(c, strerror(errno));
}

static void section_comment(const struct cut *c, char *text, size_t size)
{
	const struct nbds_finding *f = c->config->finding;
	const char *name = strrchr(c->config->name, '/');
	bool edited = c->attempt->use || c->mask;

	snprintf(text, size,
		 "Cut out by nbdaudit %s%s%s: what proves the %s %s [%s]. It audits to the same "
		 "finding.%s%s%s",
		 c->config->version, c->mask ? "" : " of ",
		 c->mask ? ""
		 : name  ? name + 1
			 : c->config->name,
		 nbds_severity_name(f->severity), f->rule->name, f->rule->ref,
		 c->attempt->use ? " Commands that have no part in it were left out of the TCP "
				   "streams as if they had not been sent: the bytes behind them "
				   "moved up, and with them sequence and acknowledgement numbers."
				 : "",
		 edited ? " Checksums are right, undone or wrong as they were." : "",
		 c->mask ? " Addresses, client ports, names, texts, contents and the date are not "
			   "the real ones."
			 : "");
}

static int reopen(int fd)
{
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -1;
	return fcntl(fd, F_DUPFD_CLOEXEC, 0); /* not dup(): the program is confined */
}

static void forget_states(struct cut *c)
{
	for (size_t i = 0; i < c->plan.flow_count; i++) {
		nbds_vector_free(&c->states[i].side[0].kept, &c->budget);
		nbds_vector_free(&c->states[i].side[1].kept, &c->budget);
		c->states[i] = (struct flow_state){0};
	}
}

/* The counters of drops go on: they are a part of what a verdict rests on. */
static void write_drops(struct cut *c)
{
	struct nbds_capture_info info;

	nbds_capture_info(c->in, &info);
	if (!info.dropped_known || !info.dropped)
		return;
	if (describe_interfaces(c, 0))
		nbds_pcapng_write_drops(c->out, 0, c->mask ? MASKED_START : info.end, 0,
					info.dropped);
}

/* Writes what the attempt takes into the scratch file. */
static bool write_attempt(struct cut *c)
{
	char comment[1200], err[200];
	int in = reopen(c->config->in), out = reopen(c->config->scratch);
	struct nbds_ip *ip = nbds_ip_new();
	struct nbds_packet packet;
	uint64_t most;

	c->cutoff = c->attempt->to_end || !c->plan.cutoff ? UINT64_MAX : c->plan.cutoff;
	most = c->cutoff == UINT64_MAX ? UINT64_MAX : c->cutoff + ACKS_BEHIND;
	c->frames.count = 0;
	c->shifted = false;
	forget_states(c);
	section_comment(c, comment, sizeof(comment));
	if (in < 0 || out < 0 || !ip || ftruncate(c->config->scratch, 0) < 0) {
		fail(c, ip ? strerror(errno) : "not enough memory");
		if (in >= 0)
			close(in);
		if (out >= 0)
			close(out);
		nbds_ip_free(ip);
		return false;
	}
	c->in = nbds_capture_open_fd(in, err, sizeof(err));
	if (!c->in)
		fail(c, err);
	c->out = nbds_pcapng_writer_commented(out, comment);
	if (!c->out)
		fail(c, "not enough memory");
	if (c->in && !c->mask)
		nbds_capture_keep_words(c->in, keep_secrets, c);
	while (!c->failed && nbds_capture_next(c->in, &packet) == 1 && packet.frame <= most)
		take_packet(c, ip, &packet);
	if (!c->failed)
		write_drops(c);
	nbds_capture_close(c->in);
	c->in = NULL;
	nbds_ip_free(ip);
	if (c->out && nbds_pcapng_finish(c->out) < 0)
		fail(c, strerror(errno));
	c->out = NULL;
	if (c->mask && nbds_mask_failed(c->mask))
		fail(c, "not enough memory");
	return !c->failed;
}

struct audit {
	const struct cut *c;
	struct nbds_match match;
	uint64_t *counts;
	bool same; /* the finding is there */
};

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	struct audit *a = ctx;

	a->counts[(size_t)(f->rule - nbds_rules) * 4 + f->severity] += f->count;
	a->same |= nbds_match(&a->match, a->c->config->finding, f);
}

/* What was written says the same, and accuses nobody of more. */
static bool audit_attempt(struct cut *c)
{
	struct audit audit = {.c = c};
	struct nbds_pipeline_config config = {
		.engine = *c->config->engine,
		.ops = {.finding = on_finding},
		.ctx = &audit,
	};
	int fd = reopen(c->config->scratch);
	struct nbds_pipeline *p;
	enum nbds_step step;
	char err[200];

	audit.match.frames = c->frames.at;
	audit.match.frame_count = c->frames.count;
	audit.match.renumbered = !c->numbered;
	audit.match.masked = c->mask;
	c->more = false;
	audit.counts = calloc(nbds_rules_count * 4, sizeof(*audit.counts));
	if (fd < 0 || !audit.counts) {
		if (fd >= 0)
			close(fd);
		free(audit.counts);
		return fail(c, "not enough memory");
	}
	p = nbds_pipeline_open_fd(fd, &config, err, sizeof(err));
	if (!p) {
		free(audit.counts);
		return fail(c, err);
	}
	do
		step = nbds_pipeline_step(p, 4096);
	while (step <= NBDS_STEP_IDLE);
	nbds_pipeline_close(p, NULL, 0);
	for (size_t i = 0; i < nbds_rules_count; i++)
		for (int level = NBDS_SUSPECT; level <= NBDS_VIOLATION; level++)
			if (audit.counts[i * 4 + (size_t)level] >
			    c->plan.counts[i * 4 + (size_t)level]) {
				c->more = true;
				if (!c->lax || level == NBDS_VIOLATION)
					audit.same = false;
			}
	free(audit.counts);
	return audit.same && step == NBDS_STEP_END;
}

/* --- all of them --- */

static bool copy_out(struct cut *c)
{
	static uint8_t buffer[1 << 16];

	if (lseek(c->config->scratch, 0, SEEK_SET) < 0)
		return fail(c, strerror(errno));
	/* EINVAL: it is no file, and keeps nothing. */
	if (c->config->replace && ftruncate(c->config->out, 0) < 0 && errno != EINVAL)
		return fail(c, strerror(errno));
	for (;;) {
		ssize_t n = read(c->config->scratch, buffer, sizeof(buffer)), done = 0;

		if (n < 0)
			return fail(c, strerror(errno));
		if (n == 0)
			return true;
		c->result->bytes += (uint64_t)n;
		while (done < n) {
			ssize_t m = write(c->config->out, buffer + done, (size_t)(n - done));

			if (m < 0 && errno == EAGAIN) {
				struct pollfd full = {.fd = c->config->out, .events = POLLOUT};

				poll(&full, 1, -1);
			} else if (m < 0 && errno != EINTR) {
				return fail(c, strerror(errno));
			} else if (m > 0) {
				done += m;
			}
		}
	}
}

static bool try_attempt(struct cut *c, const struct attempt *a, bool numbered,
			enum nbds_mask_way way)
{
	c->attempt = a;
	c->numbered = numbered;
	c->way = way;
	return write_attempt(c) && audit_attempt(c);
}

/* Connections that would only keep the numbers of those that are taken. */
static bool few_numbers(const struct cut *c, const struct attempt *a)
{
	unsigned count = 0;

	for (const struct nbds_list *l = c->plan.flows.next; l != &c->plan.flows; l = l->next) {
		const struct nbds_plan_flow *f = nbds_owner(l, struct nbds_plan_flow, all);

		count += f->tier < a->least && f->id < c->plan.last_id;
	}
	return count <= NUMBERED_MAX;
}

static bool find_attempt(struct cut *c, bool whole)
{
	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		const struct attempt *a = &attempts[i];

		/* Without a last frame both are the same. */
		if ((!a->to_end && !c->plan.cutoff) || !a->use != whole)
			continue;
		for (int way = 0; way < (c->mask ? NBDS_MASK_WAYS : 1); way++) {
			if (few_numbers(c, a) && try_attempt(c, a, true, (enum nbds_mask_way)way))
				return true;
			if (!c->failed && try_attempt(c, a, false, (enum nbds_mask_way)way))
				return true;
			if (c->failed)
				return false;
		}
	}
	return false;
}

static void drop_plan(struct cut *c)
{
	if (c->states)
		forget_states(c);
	free(c->states);
	c->states = NULL;
	nbds_plan_free(&c->plan);
}

static bool make_plan(struct cut *c, bool everything)
{
	const struct nbds_evidence_config *config = c->config;
	int in;

	drop_plan(c);
	in = reopen(config->in);
	if (in < 0)
		return fail(c, strerror(errno));
	if (!nbds_plan_init(&c->plan, config->told, config->engine, config->finding, c->mask,
			    everything)) {
		close(in);
		return fail(c, "not enough memory");
	}
	if (!nbds_plan_make(&c->plan, in, c->result->error, sizeof(c->result->error)))
		return fail(c, "the capture cannot be read again");
	if (!c->plan.seen)
		return fail(c, "the capture does not say the same when it is read again");
	c->result->of_frames = c->plan.frames;
	c->result->of_bytes = c->plan.bytes;
	c->states = calloc(c->plan.flow_count ? c->plan.flow_count : 1, sizeof(*c->states));
	return c->states ? true : fail(c, "not enough memory");
}

/* What is encrypted cannot be written anew with other contents. */
static bool any_inside_tls(struct nbds_engine *told)
{
	const struct nbds_connection *n = nbds_engine_next_connection(told, 0);

	while (n && !n->negotiated.inside)
		n = nbds_engine_next_connection(told, n->id);
	return n;
}

bool nbds_evidence_cut(const struct nbds_evidence_config *config,
		       struct nbds_evidence_result *result)
{
	struct cut c = {.config = config, .result = result};
	bool done = false;

	*result = (struct nbds_evidence_result){0};
	if (config->anonymize && any_inside_tls(config->told))
		return fail(&c, "what is inside TLS cannot be anonymized");
	if (config->anonymize) {
		c.mask = nbds_mask_new();
		if (!c.mask)
			return fail(&c, "not enough memory");
	}
	/* To mask whole connections takes notes of all that is in them. */
	done = make_plan(&c, false) &&
	       (find_attempt(&c, false) ||
		(!c.failed && (!c.mask || make_plan(&c, true)) && find_attempt(&c, true)));
	if (!done && !c.failed) {
		c.lax = true;
		done = find_attempt(&c, false) || (!c.failed && find_attempt(&c, true));
	}
	if (done)
		done = copy_out(&c);
	else
		fail(&c, config->anonymize ? "no anonymized part of the capture proves the same"
					   : "no part of the capture proves the same");
	if (done) {
		result->frames = c.frames.count;
		result->edited = c.attempt->use != 0;
		result->renumbered = !c.numbered;
		result->more = c.more;
		result->by_bytes = c.way == NBDS_MASK_BYTES;
	}
	drop_plan(&c);
	nbds_vector_free(&c.frames, &c.budget);
	nbds_vector_free(&c.payload, &c.budget);
	nbds_frame_free(&c.frame);
	nbds_mask_free(c.mask);
	return done;
}
