// SPDX-License-Identifier: GPL-2.0-or-later
// Histories as captures.

#include <stdlib.h>
#include <string.h>

#include "capture.h"

#define START       1700000000
#define SERVER_PORT 10809
#define CLIENT_PORT 40000
#define PACKET_MAX  65535

enum { FIN = 1, SYN = 2, PSH = 8, ACK = 16 };

struct stream {
	uint32_t sent;  // bytes, with what the handshake needed
	uint32_t acked; // of the other side's
};

struct line { // a connection
	struct stream client, server;
	uint32_t base[2]; // bytes before the first request: the client's, the server's
};

struct writer {
	const struct history *h;
	double unit; // nanoseconds of a microsecond of the history
	FILE *out;
	uint64_t frame;
	struct line *lines;
	uint8_t payload[PACKET_MAX];
	size_t length; // of the payload
};

static void *zalloc(size_t count, size_t size)
{
	void *p = calloc(count + 1, size);

	if (!p) {
		perror("histories");
		exit(2);
	}
	return p;
}

static void put(struct writer *w, uint64_t value, unsigned bytes)
{
	if (w->length + bytes > sizeof(w->payload)) {
		fprintf(stderr, "histories: a packet is too large\n");
		exit(2);
	}
	while (bytes--)
		w->payload[w->length++] = (uint8_t)(value >> (8 * bytes));
}

static void put_text(struct writer *w, const char *text)
{
	for (; *text; text++)
		put(w, (uint8_t)*text, 1);
}

// One packet

static uint32_t add_up(const uint8_t *p, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put16(uint8_t *p, unsigned value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static void put32(uint8_t *p, uint32_t value)
{
	put16(p, value >> 16);
	put16(p + 2, value & 0xffff);
}

static void host32(FILE *out, uint32_t value)
{
	fwrite(&value, sizeof(value), 1, out);
}

#define MARGIN   50000.0      // ns: nbdaudit's
#define DURATION 9000000000.0 // ns: less than old values, or verdicts, wait for
#define UNIT     25000.0      // ns, where the history has no margin

// Nanoseconds for each microsecond of the history, such that instants are in order by the margin
// if they are so in the history, and that nothing waits in vain for what is still to come;
// 0: that cannot be.
static double unit_of(const struct history *h)
{
	size_t count;
	struct h_event *events = h_events(h, &count);
	double unit = h->epsilon ? MARGIN / (double)h->epsilon : UNIT;
	int64_t span = count ? events[count - 1].at : 0, least = INT64_MAX;

	for (size_t i = 1; i < count; i++)
		if (events[i].at - events[i - 1].at < least)
			least = events[i].at - events[i - 1].at;
	if ((double)span * unit > DURATION)
		unit = h->epsilon ? 0 : DURATION / (double)span;
	if (!h->epsilon && (double)least * unit < MARGIN)
		unit = 0;
	free(events);
	return unit;
}

// Nanoseconds since the start of the capture.
static int64_t nanoseconds(const struct writer *w, int64_t at)
{
	return (int64_t)((double)at * w->unit + 0.5);
}

// Sends the payload from one end of connection k to the other, and empties it.
static void send_packet(struct writer *w, int k, bool client, uint8_t flags, int64_t ns)
{
	struct line *l = &w->lines[k];
	struct stream *from = client ? &l->client : &l->server;
	uint8_t header[40] = {0}, pseudo[12];
	size_t size = sizeof(header) + w->length;
	unsigned server = SERVER_PORT + (unsigned)w->h->connections[k].port;
	uint32_t sum;

	header[0] = 0x45;
	put16(header + 2, (unsigned)size);
	put16(header + 4, (unsigned)(w->frame & 0xffff));
	header[8] = 64;
	header[9] = 6;
	put32(header + 12, client ? 0xc0000202 : 0xc0000201); // 192.0.2.2, 192.0.2.1
	put32(header + 16, client ? 0xc0000201 : 0xc0000202);
	put16(header + 10, fold(add_up(header, 20, 0)));
	put16(header + 20, client ? CLIENT_PORT + (unsigned)k : server);
	put16(header + 22, client ? server : CLIENT_PORT + (unsigned)k);
	put32(header + 24, 1000 + from->sent);
	put32(header + 28, flags & ACK ? 1000 + from->acked : 0);
	header[32] = 5 << 4;
	header[33] = flags;
	put16(header + 34, 65535);
	memcpy(pseudo, header + 12, 8);
	put16(pseudo + 8, 6);
	put16(pseudo + 10, (unsigned)(size - 20));
	sum = add_up(pseudo, sizeof(pseudo), 0);
	sum = add_up(header + 20, 20, sum);
	put16(header + 36, fold(add_up(w->payload, w->length, sum)));

	host32(w->out, (uint32_t)(START + ns / 1000000000));
	host32(w->out, (uint32_t)(ns % 1000000000));
	host32(w->out, (uint32_t)size);
	host32(w->out, (uint32_t)size);
	fwrite(header, 1, sizeof(header), w->out);
	fwrite(w->payload, 1, w->length, w->out);
	from->sent += (uint32_t)w->length + ((flags & (SYN | FIN)) != 0);
	w->length = 0;
	w->frame++;
}

// The client has, and says that it has, all that the server sent; and the other way.
static void catch_up(struct line *l)
{
	l->client.acked = l->server.sent;
	l->server.acked = l->client.sent;
}

static void greet(struct writer *w, int k)
{
	const struct h_connection *c = &w->h->connections[k];
	struct line *l = &w->lines[k];
	size_t name = strlen(c->export_name);
	int64_t at = nanoseconds(w, c->connect) - 20;
	static const char context[] = "base:allocation";

	send_packet(w, k, true, SYN, at++);
	catch_up(l);
	send_packet(w, k, false, SYN | ACK, at++);
	catch_up(l);
	send_packet(w, k, true, ACK, at++);
	put(w, NBD_INIT_MAGIC, 8);
	put(w, NBD_OPTS_MAGIC, 8);
	put(w, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 2);
	send_packet(w, k, false, PSH | ACK, at++);
	catch_up(l);
	put(w, NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES, 4);
	put(w, NBD_OPTS_MAGIC, 8);
	put(w, NBD_OPT_STRUCTURED_REPLY, 4);
	put(w, 0, 4);
	send_packet(w, k, true, PSH | ACK, at++);
	catch_up(l);
	put(w, NBD_REP_MAGIC, 8);
	put(w, NBD_OPT_STRUCTURED_REPLY, 4);
	put(w, NBD_REP_ACK, 4);
	put(w, 0, 4);
	send_packet(w, k, false, PSH | ACK, at++);
	catch_up(l);
	put(w, NBD_OPTS_MAGIC, 8);
	put(w, NBD_OPT_SET_META_CONTEXT, 4);
	put(w, 4 + name + 4 + 4 + strlen(context), 4);
	put(w, name, 4);
	put_text(w, c->export_name);
	put(w, 1, 4);
	put(w, strlen(context), 4);
	put_text(w, context);
	send_packet(w, k, true, PSH | ACK, at++);
	catch_up(l);
	put(w, NBD_REP_MAGIC, 8);
	put(w, NBD_OPT_SET_META_CONTEXT, 4);
	put(w, NBD_REP_META_CONTEXT, 4);
	put(w, 4 + strlen(context), 4);
	put(w, 1, 4);
	put_text(w, context);
	put(w, NBD_REP_MAGIC, 8);
	put(w, NBD_OPT_SET_META_CONTEXT, 4);
	put(w, NBD_REP_ACK, 4);
	put(w, 0, 4);
	send_packet(w, k, false, PSH | ACK, at++);
	catch_up(l);
	put(w, NBD_OPTS_MAGIC, 8);
	put(w, NBD_OPT_GO, 4);
	put(w, 4 + name + 2, 4);
	put(w, name, 4);
	put_text(w, c->export_name);
	put(w, 0, 2);
	send_packet(w, k, true, PSH | ACK, at++);
	catch_up(l);
	put(w, NBD_REP_MAGIC, 8);
	put(w, NBD_OPT_GO, 4);
	put(w, NBD_REP_INFO, 4);
	put(w, 12, 4);
	put(w, NBD_INFO_EXPORT, 2);
	put(w, c->size, 8);
	put(w, c->flags, 2);
	put(w, NBD_REP_MAGIC, 8);
	put(w, NBD_OPT_GO, 4);
	put(w, NBD_REP_ACK, 4);
	put(w, 0, 4);
	send_packet(w, k, false, PSH | ACK, nanoseconds(w, c->connect));
	catch_up(l);
	l->base[0] = l->client.sent;
	l->base[1] = l->server.sent;
}

static void put_request(struct writer *w, const struct h_command *c)
{
	uint8_t sector[H_SECTOR];

	put(w, NBD_REQUEST_MAGIC, 4);
	put(w, c->flags, 2);
	put(w, c->type, 2);
	put(w, c->cookie, 8);
	put(w, c->offset, 8);
	put(w, c->length, 4);
	for (unsigned s = 0; c->type == NBD_CMD_WRITE && s < c->sectors; s++) {
		uint64_t from, to;

		h_cell_range(c, s, &from, &to);
		h_fill(&c->cells[s].content, sector);
		for (; from < to; from++)
			put(w, sector[from % H_SECTOR], 1);
	}
}

static void put_chunk(struct writer *w, const struct h_command *c, uint16_t flags, uint16_t type,
		      uint64_t length)
{
	put(w, NBD_STRUCTURED_REPLY_MAGIC, 4);
	put(w, flags, 2);
	put(w, type, 2);
	put(w, c->cookie, 8);
	put(w, length, 4);
}

// What was seen of the answer at this instant, and if it is the last, the status.
static void put_answer(struct writer *w, const struct h_command *c, int64_t at)
{
	uint8_t sector[H_SECTOR];

	for (unsigned s = 0; c->type == NBD_CMD_READ && s < c->sectors; s++) {
		uint64_t from, to;

		if (c->cells[s].seen != at)
			continue;
		h_cell_range(c, s, &from, &to);
		put_chunk(w, c, 0, NBD_REPLY_TYPE_OFFSET_DATA, 8 + to - from);
		put(w, from, 8);
		h_fill(&c->cells[s].content, sector);
		for (; from < to; from++)
			put(w, sector[from % H_SECTOR], 1);
	}
	if (c->reply != at)
		return;
	if (c->outcome == H_FAILED) {
		put_chunk(w, c, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 6);
		put(w, c->error, 4);
		put(w, 0, 2);
		return;
	}
	if (c->type == NBD_CMD_BLOCK_STATUS) {
		put_chunk(w, c, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_BLOCK_STATUS,
			  4 + 8 * (uint64_t)c->sectors);
		put(w, 1, 4);
		for (unsigned s = 0; s < c->sectors; s++) {
			uint64_t from, to;

			h_cell_range(c, s, &from, &to);
			put(w, to - from, 4);
			put(w, c->cells[s].status, 4);
		}
		return;
	}
	put_chunk(w, c, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0);
}

bool capture_fits(const struct history *h)
{
	for (int i = 0; i < h->command_count; i++) {
		const struct h_command *c = &h->commands[i];
		const struct h_connection *k = &h->connections[c->connection];

		if (c->ambiguous || c->illegal || c->outcome == H_OPEN || c->length > 40000 ||
		    ((c->flags & NBD_CMD_FLAG_FUA) && !(k->flags & NBD_FLAG_SEND_FUA)) ||
		    (c->type == NBD_CMD_FLUSH && !(k->flags & NBD_FLAG_SEND_FLUSH)) ||
		    (c->type == NBD_CMD_TRIM && !(k->flags & NBD_FLAG_SEND_TRIM)) ||
		    (h_is_write(c->type) && (k->flags & NBD_FLAG_READ_ONLY)))
			return false;
		for (unsigned s = 0; s < c->sectors; s++) {
			for (unsigned p = 0; p < c->cells[s].content.pieces; p++) {
				if (c->cells[s].content.value[p] == H_LOST)
					return false;
			}
			if (c->outcome == H_OK && c->cells[s].seen == H_NEVER &&
			    (c->type == NBD_CMD_READ || c->type == NBD_CMD_BLOCK_STATUS))
				return false;
		}
	}
	for (int i = 0; i < h->connection_count; i++) {
		const struct h_connection *k = &h->connections[i];

		if (!k->from_start || !k->known || k->tls != H_NEVER || k->gap_noticed != H_NEVER)
			return false;
	}
	return unit_of(h) > 0;
}

void capture_acknowledge(struct history *h)
{
	struct h_offsets *o = h_stream_offsets(h);
	size_t count;
	struct h_event *events = h_events(h, &count);
	uint64_t(*acked)[2] = zalloc((size_t)h->connection_count, sizeof(*acked));
	uint64_t(*sent)[2] = zalloc((size_t)h->connection_count, sizeof(*sent));

	for (size_t i = 0; i < count; i++) {
		const struct h_event *e = &events[i];
		struct h_command *c;
		uint64_t *a, *s;

		if (e->kind != H_EVENT_REQUEST && e->kind != H_EVENT_REPLY)
			continue;
		c = &h->commands[e->index];
		a = acked[c->connection];
		s = sent[c->connection];
		if (e->kind == H_EVENT_REQUEST) {
			if (o[e->index].request_acked != UINT64_MAX &&
			    o[e->index].request_acked > a[0])
				a[0] = o[e->index].request_acked;
			s[0] = o[e->index].payload_end;
			c->request_ack = (struct h_ack){.known = true, .upto = c->request};
			c->request_ack.short_ = (uint32_t)(s[1] - a[0]);
		} else {
			uint64_t all = s[0];

			if (o[e->index].reply_acked != UINT64_MAX)
				all = o[e->index].reply_acked;
			if (all > a[1])
				a[1] = all;
			s[1] = o[e->index].status_end;
			c->reply_ack = (struct h_ack){.known = true, .upto = c->reply};
			c->reply_ack.short_ = (uint32_t)(s[0] - a[1]);
		}
	}
	free(o);
	free(events);
	free(acked);
	free(sent);
}

bool capture_write(const struct history *h, const char *path, struct frames *f)
{
	struct writer *w = zalloc(1, sizeof(*w));
	size_t count;
	struct h_event *events = h_events(h, &count);
	struct h_offsets *o = h_stream_offsets(h);
	// the server's real bytes up to the event that the history counts so many bytes to
	uint32_t *real = zalloc(count, sizeof(*real));
	bool good;

	memset(f, 0, sizeof(*f));
	w->out = fopen(path, "wb");
	if (!w->out) {
		free(w);
		free(events);
		free(o);
		free(real);
		return false;
	}
	f->request = zalloc((size_t)h->command_count, sizeof(*f->request));
	f->reply = zalloc((size_t)h->command_count, sizeof(*f->reply));
	w->h = h;
	w->unit = unit_of(h);
	w->lines = zalloc((size_t)h->connection_count, sizeof(*w->lines));
	host32(w->out, 0xa1b23c4d);
	host32(w->out, 2 | 4 << 16);
	host32(w->out, 0);
	host32(w->out, 0);
	host32(w->out, 262144);
	host32(w->out, 101);
	for (size_t i = 0; i < count; i++) {
		const struct h_event *e = &events[i];
		int64_t ns = nanoseconds(w, e->at);
		const struct h_command *c = &h->commands[e->index];
		struct line *l;

		switch (e->kind) {
		case H_EVENT_CONNECT:
			greet(w, e->index);
			break;
		case H_EVENT_REQUEST: {
			uint64_t upto = o[e->index].request_acked;

			l = &w->lines[c->connection];
			// which answers that covers, in real bytes
			for (size_t j = 0; j < i; j++) {
				const struct h_event *r = &events[j];

				if (r->kind == H_EVENT_REPLY &&
				    h->commands[r->index].connection == c->connection &&
				    o[r->index].status_end <= upto && real[j] > l->client.acked)
					l->client.acked = real[j];
			}
			put_request(w, c);
			send_packet(w, c->connection, true, PSH | ACK, ns);
			f->request[e->index] = w->frame;
			break;
		}
		case H_EVENT_DATA:
		case H_EVENT_REPLY:
			l = &w->lines[c->connection];
			if (e->kind == H_EVENT_REPLY &&
			    l->base[0] + (uint32_t)o[e->index].reply_acked > l->server.acked)
				l->server.acked = l->base[0] + (uint32_t)o[e->index].reply_acked;
			put_answer(w, c, e->at);
			send_packet(w, c->connection, false, PSH | ACK, ns);
			real[i] = l->server.sent;
			if (e->kind == H_EVENT_REPLY)
				f->reply[e->index] = w->frame;
			break;
		case H_EVENT_END:
			send_packet(w, e->index, true, FIN | ACK, ns);
			catch_up(&w->lines[e->index]);
			send_packet(w, e->index, false, FIN | ACK, ns + 1);
			break;
		case H_EVENT_GAP:
		case H_EVENT_TLS:
			break;
		}
	}
	f->count = w->frame;
	good = !ferror(w->out);
	good &= fclose(w->out) == 0;
	free(w->lines);
	free(w);
	free(events);
	free(o);
	free(real);
	return good;
}

void frames_free(struct frames *f)
{
	free(f->request);
	free(f->reply);
	memset(f, 0, sizeof(*f));
}
