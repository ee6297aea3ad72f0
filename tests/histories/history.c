// SPDX-License-Identifier: GPL-2.0-or-later
// Histories: contents of sectors, order of events, and the text form.

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "history.h"

static void *grow(void *old, int count, size_t size)
{
	void *new;

	// Powers of two and the first eight: one reallocation a doubling.
	if (count && (count < 8 || (count & (count - 1))))
		return old;
	new = realloc(old, (count ? (size_t)count * 2 : 8) * size);
	if (!new) {
		perror("histories");
		exit(2);
	}
	return new;
}

static void *zalloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size);

	if (!p) {
		perror("histories");
		exit(2);
	}
	return p;
}

// Contents

uint8_t h_byte(int value, unsigned at)
{
	static const unsigned places[] = {0, 508, 100, 255};

	if (value <= 0)
		return 0;
	if (value >= 4000)
		return (uint8_t)(at % 8 == 3 ? (value - 4000) % 16 : (value - 4000) / 16);
	if (value >= 3000)
		return (uint8_t)(value - 3000);
	if (value >= 1000)
		return at == places[(value - 1000) / 256 % 4] ? (uint8_t)((value - 1000) % 256) : 0;
	return (uint8_t)((unsigned)(value - 1 + (int)((at * 37 + (at >> 3) * 11) % 255)) % 255 + 1);
}

struct h_content h_content(int value)
{
	struct h_content c = {.pieces = 1, .end = {H_SECTOR}, .value = {(int16_t)value}};

	return c;
}

int h_value_at(const struct h_content *c, unsigned at)
{
	for (unsigned i = 0; i < c->pieces; i++) {
		if (at < c->end[i])
			return c->value[i];
	}
	return H_LOST;
}

void h_fill(const struct h_content *c, uint8_t *out)
{
	for (unsigned at = 0; at < H_SECTOR; at++) {
		int value = h_value_at(c, at);

		out[at] = value == H_LOST ? 0xff : h_byte(value, at);
	}
}

bool h_is_write(uint16_t type)
{
	return type == NBD_CMD_WRITE || type == NBD_CMD_WRITE_ZEROES || type == NBD_CMD_TRIM;
}

void h_cell_range(const struct h_command *c, unsigned i, uint64_t *from, uint64_t *to)
{
	uint64_t start = (h_first_sector(c) + i) * H_SECTOR;

	*from = start < c->offset ? c->offset : start;
	*to = start + H_SECTOR > c->offset + c->length ? c->offset + c->length : start + H_SECTOR;
}

// The history as a container

void h_init(struct history *h)
{
	memset(h, 0, sizeof(*h));
}

void h_free(struct history *h)
{
	for (int i = 0; i < h->command_count; i++)
		free(h->commands[i].cells);
	free(h->connections);
	free(h->commands);
	free(h->expectations);
	h_init(h);
}

struct h_connection *h_add_connection(struct history *h)
{
	struct h_connection *k;

	h->connections = grow(h->connections, h->connection_count, sizeof(*k));
	k = &h->connections[h->connection_count];
	memset(k, 0, sizeof(*k));
	k->name = (char)('A' + h->connection_count++);
	k->from_start = k->known = true;
	k->size = 64 * H_SECTOR;
	k->end = k->tls = k->gap_since = k->gap_noticed = H_NEVER;
	return k;
}

struct h_command *h_add_command(struct history *h, int connection, uint16_t type, uint64_t offset,
				uint64_t length)
{
	struct h_command *c;

	h->commands = grow(h->commands, h->command_count, sizeof(*c));
	c = &h->commands[h->command_count++];
	memset(c, 0, sizeof(*c));
	c->connection = connection;
	c->type = type;
	c->offset = offset;
	c->length = length;
	c->reply = H_NEVER;
	if (length)
		c->sectors = (unsigned)((offset + length - 1) / H_SECTOR - offset / H_SECTOR + 1);
	c->cells = zalloc(c->sectors, sizeof(*c->cells));
	for (unsigned i = 0; i < c->sectors; i++) {
		c->cells[i].content = h_content(0);
		c->cells[i].seen = H_NEVER;
	}
	return c;
}

void h_copy(struct history *to, const struct history *from)
{
	h_init(to);
	to->epsilon = from->epsilon;
	to->exclusive = from->exclusive;
	for (int i = 0; i < from->connection_count; i++)
		*h_add_connection(to) = from->connections[i];
	for (int i = 0; i < from->command_count; i++) {
		const struct h_command *c = &from->commands[i];
		struct h_command *new =
			h_add_command(to, c->connection, c->type, c->offset, c->length);
		struct h_cell *cells = new->cells;

		*new = *c;
		new->cells = cells;
		for (unsigned s = 0; s < c->sectors; s++)
			cells[s] = c->cells[s];
	}
	for (int i = 0; i < from->expectation_count; i++) {
		to->expectations = grow(to->expectations, i, sizeof(*to->expectations));
		to->expectations[i] = from->expectations[i];
		to->expectation_count++;
	}
}

// Part `part` of what is said of a sector, when that becomes H_WIDER sectors.
static struct h_content widened(const struct h_content *old, unsigned part)
{
	unsigned each = H_SECTOR / H_WIDER;
	struct h_content c = {0};

	for (unsigned at = 0; at < each; at++) {
		int value = h_value_at(old, part * each + at);

		if (!c.pieces || c.value[c.pieces - 1] != value)
			c.value[c.pieces++] = (int16_t)value;
		c.end[c.pieces - 1] = (uint16_t)((at + 1) * H_WIDER);
	}
	return c;
}

void h_widen(struct history *h)
{
	struct history old = *h;

	h_init(h);
	h->epsilon = old.epsilon;
	h->exclusive = old.exclusive;
	for (int i = 0; i < old.connection_count; i++) {
		struct h_connection *k = h_add_connection(h);

		*k = old.connections[i];
		k->size *= H_WIDER;
	}
	for (int i = 0; i < old.command_count; i++) {
		const struct h_command *c = &old.commands[i];
		struct h_command *new = h_add_command(h, c->connection, c->type,
						      c->offset * H_WIDER, c->length * H_WIDER);
		struct h_cell *cells = new->cells;
		uint64_t offset = new->offset, length = new->length;
		unsigned sectors = new->sectors;

		*new = *c;
		new->offset = offset;
		new->length = length;
		new->sectors = sectors;
		new->cells = cells;
		new->request_ack.short_ *= H_WIDER;
		new->reply_ack.short_ *= H_WIDER;
		for (unsigned s = 0; s < sectors; s++) {
			uint64_t sector = h_first_sector(new) + s;
			const struct h_cell *cell = &c->cells[sector / H_WIDER - h_first_sector(c)];

			cells[s] = *cell;
			cells[s].content = widened(&cell->content, (unsigned)(sector % H_WIDER));
		}
	}
	h_free(&old);
}

static const struct history *sorting;

static int by_connect(const void *a, const void *b)
{
	int64_t x = sorting->connections[*(const int *)a].connect;
	int64_t y = sorting->connections[*(const int *)b].connect;

	return x < y ? -1 : x > y;
}

static int by_request(const void *a, const void *b)
{
	int64_t x = sorting->commands[*(const int *)a].request;
	int64_t y = sorting->commands[*(const int *)b].request;

	return x < y ? -1 : x > y;
}

static void place_expectation(struct h_expectation *e, const int *place)
{
	e->command = place[e->command];
	if (e->write >= 0)
		e->write = place[e->write];
	if (e->stale >= 0)
		e->stale = place[e->stale];
	if (e->flush >= 0)
		e->flush = place[e->flush];
}

void h_sort(struct history *h)
{
	int *order = zalloc((size_t)h->connection_count + (size_t)h->command_count, sizeof(*order));
	int *place = zalloc((size_t)h->connection_count + (size_t)h->command_count, sizeof(*place));
	struct h_connection *connections;
	struct h_command *commands;

	sorting = h;
	for (int i = 0; i < h->connection_count; i++)
		order[i] = i;
	qsort(order, (size_t)h->connection_count, sizeof(*order), by_connect);
	connections = zalloc((size_t)h->connection_count, sizeof(*connections));
	for (int i = 0; i < h->connection_count; i++) {
		connections[i] = h->connections[order[i]];
		connections[i].name = (char)('A' + i);
		place[order[i]] = i;
	}
	for (int i = 0; i < h->command_count; i++)
		h->commands[i].connection = place[h->commands[i].connection];

	for (int i = 0; i < h->command_count; i++)
		order[i] = i;
	qsort(order, (size_t)h->command_count, sizeof(*order), by_request);
	commands = zalloc((size_t)h->command_count, sizeof(*commands));
	for (int i = 0; i < h->command_count; i++) {
		commands[i] = h->commands[order[i]];
		place[order[i]] = i;
	}
	for (int i = 0; i < h->expectation_count; i++)
		place_expectation(&h->expectations[i], place);
	for (int i = 0; i < h->connection_count; i++)
		h->connections[i] = connections[i];
	for (int i = 0; i < h->command_count; i++)
		h->commands[i] = commands[i];
	free(connections);
	free(commands);
	free(order);
	free(place);
}

// Events

static int by_instant(const void *a, const void *b)
{
	const struct h_event *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->kind < y->kind ? -1 : x->kind > y->kind;
}

struct h_event *h_events(const struct history *h, size_t *count)
{
	size_t max = (size_t)h->connection_count * 4, n = 0;
	struct h_event *events;

	for (int i = 0; i < h->command_count; i++)
		max += 2 + h->commands[i].sectors;
	events = zalloc(max, sizeof(*events));
	for (int i = 0; i < h->connection_count; i++) {
		const struct h_connection *k = &h->connections[i];

		events[n++] = (struct h_event){k->connect, H_EVENT_CONNECT, i};
		if (k->end != H_NEVER)
			events[n++] = (struct h_event){k->end, H_EVENT_END, i};
		if (k->tls != H_NEVER)
			events[n++] = (struct h_event){k->tls, H_EVENT_TLS, i};
		if (k->gap_noticed != H_NEVER)
			events[n++] = (struct h_event){k->gap_noticed, H_EVENT_GAP, i};
	}
	for (int i = 0; i < h->command_count; i++) {
		const struct h_command *c = &h->commands[i];

		events[n++] = (struct h_event){c->request, H_EVENT_REQUEST, i};
		if (c->outcome != H_PENDING)
			events[n++] = (struct h_event){c->reply, H_EVENT_REPLY, i};
		for (unsigned s = 0; s < c->sectors; s++) {
			unsigned other;

			if (c->cells[s].seen == H_NEVER || c->cells[s].seen == c->reply)
				continue;
			for (other = 0; c->cells[other].seen != c->cells[s].seen; other++)
				;
			if (other == s) // the first of those seen at this instant
				events[n++] = (struct h_event){c->cells[s].seen, H_EVENT_DATA, i};
		}
	}
	qsort(events, n, sizeof(*events), by_instant);
	*count = n;
	return events;
}

uint64_t h_frame(const struct h_event *events, size_t count, int64_t at)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (events[middle].at < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && events[low].at == at ? low + 1 : 0;
}

// Bytes that connection `k`'s server has sent up to and including `upto`.
static uint64_t server_bytes(const struct history *h, int k, int64_t upto)
{
	uint64_t sum = 0, from, to;

	for (int i = 0; i < h->command_count; i++) {
		const struct h_command *c = &h->commands[i];

		if (c->connection != k)
			continue;
		if (c->outcome != H_PENDING && c->reply <= upto)
			sum += NBDS_CHUNK_LEN;
		for (unsigned s = 0; s < c->sectors; s++) {
			if (c->cells[s].seen > upto)
				continue;
			h_cell_range(c, s, &from, &to);
			sum += NBDS_CHUNK_LEN + 8 + (to - from);
		}
	}
	return sum;
}

static uint64_t client_bytes(const struct history *h, int k, int64_t upto)
{
	uint64_t sum = 0;

	for (int i = 0; i < h->command_count; i++) {
		const struct h_command *c = &h->commands[i];

		if (c->connection != k || c->request > upto)
			continue;
		sum += NBDS_REQUEST_LEN + (c->type == NBD_CMD_WRITE ? c->length : 0);
	}
	return sum;
}

struct h_offsets *h_stream_offsets(const struct history *h)
{
	struct h_offsets *offsets = zalloc((size_t)h->command_count, sizeof(*offsets));

	for (int i = 0; i < h->command_count; i++) {
		const struct h_command *c = &h->commands[i];
		struct h_offsets *o = &offsets[i];

		o->payload_end = client_bytes(h, c->connection, c->request);
		o->header_end = o->payload_end - (c->type == NBD_CMD_WRITE ? c->length : 0);
		o->status_end = c->reply == H_NEVER ? 0 : server_bytes(h, c->connection, c->reply);
		o->request_acked = o->reply_acked = UINT64_MAX;
		if (c->request_ack.known) {
			uint64_t sum = server_bytes(h, c->connection, c->request_ack.upto);

			o->request_acked = sum > c->request_ack.short_ ? sum - c->request_ack.short_
								       : 0;
		}
		if (c->reply_ack.known) {
			uint64_t sum = client_bytes(h, c->connection, c->reply_ack.upto);

			o->reply_acked = sum > c->reply_ack.short_ ? sum - c->reply_ack.short_ : 0;
		}
	}
	return offsets;
}

// Reading the text form

struct parser {
	struct history *h;
	int line;
	int64_t now;
	char *error;
	size_t error_size;
	char *words[128];
	int word_count;
	// acks by command number are resolved at the end
	struct {
		int command;
		bool reply;
		unsigned cookie;
		int line;
	} acks[256];
	int ack_count;
};

static bool fail(struct parser *p, const char *format, ...)
{
	va_list args;
	int n = snprintf(p->error, p->error_size, "line %d: ", p->line);

	va_start(args, format);
	if (n >= 0 && (size_t)n < p->error_size)
		vsnprintf(p->error + n, p->error_size - (size_t)n, format, args);
	va_end(args);
	return false;
}

// A decimal number at *s; moves *s behind it.
static bool number(const char **s, int64_t *out)
{
	int64_t n = 0;

	if (!isdigit((unsigned char)**s))
		return false;
	while (isdigit((unsigned char)**s)) {
		if (n > INT64_MAX / 20)
			return false;
		n = n * 10 + (*(*s)++ - '0');
	}
	*out = n;
	return true;
}

static bool whole_number(const char *s, int64_t *out)
{
	return number(&s, out) && !*s;
}

static bool parse_content(const char **s, struct h_content *c)
{
	int64_t value, end;

	memset(c, 0, sizeof(*c));
	for (;;) {
		if (**s == '?') {
			value = H_LOST;
			++*s;
		} else if (!number(s, &value) || value > H_VALUE_MAX) {
			return false;
		}
		end = H_SECTOR;
		if (**s == '/') {
			++*s;
			if (!number(s, &end) || end > (int64_t)H_SECTOR - 1 || **s != ':')
				return false;
			++*s;
		}
		if (c->pieces == H_PIECES || (c->pieces && end <= c->end[c->pieces - 1]))
			return false;
		c->end[c->pieces] = (uint16_t)end;
		c->value[c->pieces++] = (int16_t)value;
		if (end == H_SECTOR)
			return true;
	}
}

static bool parse_range(const char *s, uint64_t *offset, uint64_t *length)
{
	bool bytes = *s == 'b';
	int64_t from, count = 1;

	s += bytes;
	if (!number(&s, &from) || from > INT32_MAX)
		return false;
	if (*s == '+') {
		s++;
		if (!number(&s, &count) || count > (bytes ? 1 << 20 : 2048))
			return false;
	}
	*offset = (uint64_t)from * (bytes ? 1 : H_SECTOR);
	*length = (uint64_t)count * (bytes ? 1 : H_SECTOR);
	return !*s;
}

static bool parse_status(const char *s, uint32_t *status)
{
	*status = 0;
	if (!strcmp(s, "hole"))
		*status = NBD_STATE_HOLE;
	else if (!strcmp(s, "zero"))
		*status = NBD_STATE_ZERO;
	else if (!strcmp(s, "hole,zero"))
		*status = NBD_STATE_HOLE | NBD_STATE_ZERO;
	else if (strcmp(s, "data") != 0)
		return false;
	return true;
}

static bool parse_ack(struct parser *p, const char *s, int command, bool reply)
{
	struct h_command *c = &p->h->commands[command];
	struct h_ack *ack = reply ? &c->reply_ack : &c->request_ack;
	bool by_number = *s == '#';
	int64_t n, minus = 0;

	if ((*s != '#' && *s != '@') || (s++, !number(&s, &n)))
		return fail(p, "ack=#COMMAND or ack=@INSTANT expected");
	if (*s == '-') {
		s++;
		if (!number(&s, &minus))
			return fail(p, "a number of bytes expected behind '-'");
	}
	if (*s)
		return fail(p, "'%s' not understood", s);
	ack->known = true;
	ack->short_ = (uint32_t)minus;
	ack->upto = n;
	if (by_number) {
		if (p->ack_count == (int)(sizeof(p->acks) / sizeof(p->acks[0])))
			return fail(p, "too many ack=#");
		p->acks[p->ack_count].command = command;
		p->acks[p->ack_count].reply = reply;
		p->acks[p->ack_count].line = p->line;
		p->acks[p->ack_count++].cookie = (unsigned)n;
	}
	return true;
}

static int find_command(const struct history *h, int connection, unsigned cookie)
{
	for (int i = 0; i < h->command_count; i++) {
		if (h->commands[i].connection == connection && h->commands[i].cookie == cookie)
			return i;
	}
	return -1;
}

static bool parse_flags(struct parser *p, char *list, struct h_connection *k)
{
	static const struct {
		const char *name;
		uint16_t flag;
	} names[] = {
		{"mc", NBD_FLAG_CAN_MULTI_CONN},
		{"flush", NBD_FLAG_SEND_FLUSH},
		{"fua", NBD_FLAG_SEND_FUA},
		{"trim", NBD_FLAG_SEND_TRIM},
		{"zeroes", NBD_FLAG_SEND_WRITE_ZEROES},
		{"fast", NBD_FLAG_SEND_FAST_ZERO},
		{"ro", NBD_FLAG_READ_ONLY},
		{"none", 0},
	};
	char *save, *word;

	k->flags = NBD_FLAG_HAS_FLAGS;
	for (word = strtok_r(list, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		size_t i;

		for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			if (!strcmp(names[i].name, word))
				break;
		}
		if (i == sizeof(names) / sizeof(names[0]))
			return fail(p, "unknown flag '%s'", word);
		k->flags |= names[i].flag;
	}
	return true;
}

static bool parse_connect(struct parser *p, char name)
{
	struct h_connection *k;

	if (name != 'A' + p->h->connection_count)
		return fail(p, "the next connection must be %c", 'A' + p->h->connection_count);
	k = h_add_connection(p->h);
	k->connect = p->now;
	k->flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_FLUSH |
		   NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
		   NBD_FLAG_SEND_FAST_ZERO;
	for (int i = 2; i < p->word_count; i++) {
		char *w = p->words[i];
		int64_t n;

		if (!strncmp(w, "export=", 7)) {
			if (strlen(w + 7) >= sizeof(k->export_name))
				return fail(p, "export name too long");
			strcpy(k->export_name, w + 7);
		} else if (!strncmp(w, "flags=", 6)) {
			if (!parse_flags(p, w + 6, k))
				return false;
		} else if (!strncmp(w, "size=", 5) && whole_number(w + 5, &n)) {
			k->size = (uint64_t)n;
		} else if (!strncmp(w, "port=", 5) && whole_number(w + 5, &n) && n < 8) {
			k->port = (int)n;
		} else if (!strcmp(w, "midway")) {
			k->from_start = false;
		} else if (!strcmp(w, "unknown")) {
			k->known = false;
		} else {
			return fail(p, "'%s' not understood", w);
		}
	}
	return true;
}

static bool parse_request(struct parser *p, int connection, unsigned cookie)
{
	static const struct {
		const char *name;
		uint16_t type;
	} types[] = {
		{"read", NBD_CMD_READ},           {"write", NBD_CMD_WRITE},
		{"flush", NBD_CMD_FLUSH},         {"trim", NBD_CMD_TRIM},
		{"zeroes", NBD_CMD_WRITE_ZEROES}, {"status", NBD_CMD_BLOCK_STATUS},
	};
	uint64_t offset = 0, length = 0;
	struct h_command *c;
	bool contents = false;
	int i = 3, index;
	size_t t;

	for (t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
		if (!strcmp(types[t].name, p->words[1]))
			break;
	}
	if (t == sizeof(types) / sizeof(types[0]))
		return fail(p, "'%s' not understood", p->words[1]);
	if (types[t].type == NBD_CMD_FLUSH)
		i = 2;
	else if (p->word_count < 3 || !parse_range(p->words[2], &offset, &length))
		return fail(p, "a range of sectors or bytes expected");
	c = h_add_command(p->h, connection, types[t].type, offset, length);
	index = p->h->command_count - 1;
	c->cookie = cookie;
	c->request = p->now;
	for (; i < p->word_count; i++) {
		const char *w = p->words[i];

		if (*w == '=' && c->type == NBD_CMD_WRITE) {
			unsigned n = 0;

			do {
				w++;
				if (n == c->sectors || !parse_content(&w, &c->cells[n].content))
					return fail(p, "bad contents '%s'", w);
				n++;
			} while (*w == ',');
			if (*w)
				return fail(p, "'%s' not understood", w);
			if (n != c->sectors && n != 1)
				return fail(p, "%u sectors, contents of %u", c->sectors, n);
			for (; n < c->sectors; n++)
				c->cells[n].content = c->cells[0].content;
			contents = true;
		} else if (!strcmp(w, "fua")) {
			c->flags |= NBD_CMD_FLAG_FUA;
		} else if (!strcmp(w, "fast") && c->type == NBD_CMD_WRITE_ZEROES) {
			c->flags |= NBD_CMD_FLAG_FAST_ZERO;
		} else if (!strcmp(w, "ambiguous")) {
			c->ambiguous = true;
		} else if (!strcmp(w, "illegal")) {
			c->illegal = true;
		} else if (!strncmp(w, "ack=", 4)) {
			if (!parse_ack(p, w + 4, index, false))
				return false;
		} else {
			return fail(p, "'%s' not understood", w);
		}
	}
	if (c->type == NBD_CMD_WRITE && !contents)
		return fail(p, "a write has contents: =VALUE");
	return true;
}

static bool parse_answer(struct parser *p, int index)
{
	struct h_command *c = &p->h->commands[index];
	const char *what = p->words[1];
	bool final = strcmp(what, "data") != 0;

	if (c->outcome != H_PENDING)
		return fail(p, "it was answered before");
	if (final) {
		c->reply = p->now;
		c->outcome = !strcmp(what, "ok")      ? H_OK
			     : !strcmp(what, "error") ? H_FAILED
						      : H_OPEN;
		c->error = NBD_EIO;
	}
	for (int i = 2; i < p->word_count; i++) {
		const char *w = p->words[i];
		struct h_cell *cell;
		int64_t n;

		if (c->outcome == H_FAILED && whole_number(w, &n)) {
			c->error = (uint32_t)n;
			continue;
		}
		if (!strncmp(w, "ack=", 4)) {
			if (!final || !parse_ack(p, w + 4, index, true))
				return final ? false : fail(p, "ack= stands at a final line");
			continue;
		}
		if ((c->type != NBD_CMD_READ && c->type != NBD_CMD_BLOCK_STATUS) ||
		    !number(&w, &n) || *w != '=')
			return fail(p, "'%s' not understood", p->words[i]);
		w++;
		if ((uint64_t)n < h_first_sector(c) ||
		    (uint64_t)n >= h_first_sector(c) + c->sectors)
			return fail(p, "sector %" PRId64 " is not of this command", n);
		cell = &c->cells[(uint64_t)n - h_first_sector(c)];
		if (cell->seen != H_NEVER)
			return fail(p, "sector %" PRId64 " was seen before", n);
		cell->seen = p->now;
		if (c->type == NBD_CMD_READ ? (!parse_content(&w, &cell->content) || *w)
					    : !parse_status(w, &cell->status))
			return fail(p, "'%s' not understood", p->words[i]);
	}
	return true;
}

// `write=A#1`, `stale=A#1` or `flush=A#1`
static bool parse_named(struct parser *p, const char *w, struct h_expectation *e)
{
	static const char *const names[] = {"write=", "stale=", "flush="};
	int *const out[] = {&e->write, &e->stale, &e->flush};

	for (unsigned i = 0; i < 3; i++) {
		size_t n = strlen(names[i]);
		int64_t cookie;

		if (strncmp(w, names[i], n) != 0 || w[n] < 'A' || w[n] > 'Z' || w[n + 1] != '#' ||
		    !whole_number(w + n + 2, &cookie))
			continue;
		*out[i] = find_command(p->h, w[n] - 'A', (unsigned)cookie);
		return *out[i] >= 0;
	}
	return false;
}

static bool parse_expectation(struct parser *p)
{
	struct h_expectation e = {.write = -1, .stale = -1, .flush = -1};
	const char *w;
	int64_t cookie;
	uint64_t offset, length;

	if (p->word_count < 3 || p->words[1][0] < 'A' || p->words[1][1] != '#' ||
	    !whole_number(p->words[1] + 2, &cookie))
		return fail(p, "expect COMMAND RULE ...");
	e.command = find_command(p->h, p->words[1][0] - 'A', (unsigned)cookie);
	if (e.command < 0)
		return fail(p, "there is no command %s", p->words[1]);
	w = p->words[2];
	snprintf(e.rule, sizeof(e.rule), "%s", w);
	if (!strcmp(w, "none") || !strcmp(w, "unjudged")) {
		if (p->word_count != 3)
			return fail(p, "'%s' not understood", p->words[3]);
	} else if (p->word_count < 4 || !nbds_severity_parse(p->words[3], &e.severity)) {
		return fail(p, "a level expected behind the rule");
	} else {
		for (int i = 4; i < p->word_count; i++) {
			if (parse_named(p, p->words[i], &e))
				continue;
			if (i > 4 || !parse_range(p->words[i], &offset, &length))
				return fail(p, "'%s' not understood", p->words[i]);
			e.has_range = true;
			e.sector = offset / H_SECTOR;
			e.sectors = length / H_SECTOR;
		}
	}
	p->h->expectations = grow(p->h->expectations, p->h->expectation_count, sizeof(e));
	p->h->expectations[p->h->expectation_count++] = e;
	return true;
}

static bool parse_line(struct parser *p)
{
	struct history *h = p->h;
	struct h_connection *k;
	int connection, index;
	int64_t n, cookie;
	const char *w;

	if (!strcmp(p->words[0], "epsilon")) {
		if (p->word_count != 2 || !whole_number(p->words[1], &h->epsilon))
			return fail(p, "epsilon MICROSECONDS");
		return true;
	}
	if (!strcmp(p->words[0], "exclusive") && p->word_count == 1) {
		h->exclusive = true;
		return true;
	}
	if (!strcmp(p->words[0], "expect"))
		return parse_expectation(p);

	p->now++;
	if (p->words[0][0] == '@') {
		if (!whole_number(p->words[0] + 1, &n))
			return fail(p, "an instant is @NUMBER");
		if (n < p->now)
			return fail(p, "this instant lies before the event above");
		p->now = n;
		memmove(p->words, p->words + 1, sizeof(p->words) - sizeof(p->words[0]));
		p->word_count--;
	}
	w = p->words[0];
	if (p->word_count < 2 || *w < 'A' || *w > 'Z')
		return fail(p, "an event expected");
	connection = *w++ - 'A';
	if (!*w && !strcmp(p->words[1], "connect"))
		return parse_connect(p, p->words[0][0]);
	if (connection >= h->connection_count)
		return fail(p, "connection %c is not there yet", p->words[0][0]);
	k = &h->connections[connection];
	if (k->end != H_NEVER)
		return fail(p, "connection %c has ended", k->name);
	if (!*w) {
		if (!strcmp(p->words[1], "gap") && p->word_count <= 3) {
			k->gap_since = k->gap_noticed = p->now;
			if (p->word_count == 3) {
				if (p->words[2][0] != '@' ||
				    !whole_number(p->words[2] + 1, &k->gap_since))
					return fail(p, "an instant is @NUMBER");
			}
		} else if (!strcmp(p->words[1], "tls") && p->word_count == 2) {
			k->tls = p->now;
		} else if (!strcmp(p->words[1], "end") && p->word_count == 2) {
			k->end = p->now;
		} else {
			return fail(p, "'%s' not understood", p->words[1]);
		}
		return true;
	}
	if (*w != '#' || !whole_number(w + 1, &cookie))
		return fail(p, "'%s' is no command", p->words[0]);
	index = find_command(h, connection, (unsigned)cookie);
	if (!strcmp(p->words[1], "ok") || !strcmp(p->words[1], "error") ||
	    !strcmp(p->words[1], "open") || !strcmp(p->words[1], "data")) {
		if (index < 0)
			return fail(p, "there is no command %s", p->words[0]);
		return parse_answer(p, index);
	}
	if (index >= 0)
		return fail(p, "%s is there already", p->words[0]);
	return parse_request(p, connection, (unsigned)cookie);
}

bool h_parse(struct history *h, const char *text, char *error, size_t error_size)
{
	struct parser p = {.h = h, .error = error, .error_size = error_size};
	char *copy = strdup(text), *line, *next;
	bool good = true;

	if (!copy) {
		perror("histories");
		exit(2);
	}
	h_init(h);
	for (line = copy; good && line; line = next) {
		char *word, *save;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		p.line++;
		p.word_count = 0;
		for (word = strtok_r(line, " \t\r", &save); word && good;
		     word = strtok_r(NULL, " \t\r", &save)) {
			if (*word == '#')
				break;
			if (p.word_count == (int)(sizeof(p.words) / sizeof(p.words[0])))
				good = fail(&p, "too many words");
			else
				p.words[p.word_count++] = word;
		}
		if (good && p.word_count)
			good = parse_line(&p);
	}
	for (int i = 0; good && i < p.ack_count; i++) {
		struct h_command *c = &h->commands[p.acks[i].command];
		int other = find_command(h, c->connection, p.acks[i].cookie);

		p.line = p.acks[i].line;
		if (other < 0 || (!p.acks[i].reply && h->commands[other].reply == H_NEVER))
			good = fail(&p, "ack=#%u: no such command", p.acks[i].cookie);
		else if (p.acks[i].reply)
			c->reply_ack.upto = h->commands[other].request;
		else
			c->request_ack.upto = h->commands[other].reply;
	}
	free(copy);
	if (!good)
		h_free(h);
	return good;
}

// Writing it

static void print_content(const struct h_content *c, FILE *out)
{
	for (unsigned i = 0; i < c->pieces; i++) {
		if (c->value[i] == H_LOST)
			fputc('?', out);
		else
			fprintf(out, "%d", c->value[i]);
		if (c->end[i] != H_SECTOR)
			fprintf(out, "/%u:", c->end[i]);
	}
}

static void print_range(const struct h_command *c, FILE *out)
{
	if (c->offset % H_SECTOR || c->length % H_SECTOR)
		fprintf(out, "b%" PRIu64 "+%" PRIu64, c->offset, c->length);
	else if (c->length == H_SECTOR)
		fprintf(out, "%" PRIu64, c->offset / H_SECTOR);
	else
		fprintf(out, "%" PRIu64 "+%" PRIu64, c->offset / H_SECTOR, c->length / H_SECTOR);
}

static void print_ack(const struct h_ack *ack, FILE *out)
{
	if (!ack->known)
		return;
	fprintf(out, " ack=@%" PRId64, ack->upto);
	if (ack->short_)
		fprintf(out, "-%u", ack->short_);
}

static void print_connect(const struct h_connection *k, FILE *out)
{
	const char *comma = "";

	fprintf(out, "%c connect", k->name);
	if (k->export_name[0])
		fprintf(out, " export=%s", k->export_name);
	fprintf(out, " flags=");
#define PRINT(flag, name)                            \
	if (k->flags & (flag)) {                     \
		fprintf(out, "%s%s", comma, (name)); \
		comma = ",";                         \
	}
	PRINT(NBD_FLAG_CAN_MULTI_CONN, "mc")
	PRINT(NBD_FLAG_SEND_FLUSH, "flush")
	PRINT(NBD_FLAG_SEND_FUA, "fua")
	PRINT(NBD_FLAG_SEND_TRIM, "trim")
	PRINT(NBD_FLAG_SEND_WRITE_ZEROES, "zeroes")
	PRINT(NBD_FLAG_SEND_FAST_ZERO, "fast")
	PRINT(NBD_FLAG_READ_ONLY, "ro")
#undef PRINT
	if (!*comma)
		fprintf(out, "none");
	if (k->size != 64 * H_SECTOR)
		fprintf(out, " size=%" PRIu64, k->size);
	if (k->port)
		fprintf(out, " port=%d", k->port);
	if (!k->from_start)
		fprintf(out, " midway");
	if (!k->known)
		fprintf(out, " unknown");
}

static void print_request(const struct history *h, const struct h_command *c, FILE *out)
{
	static const char *const names[] = {
		[NBD_CMD_READ] = "read",           [NBD_CMD_WRITE] = "write",
		[NBD_CMD_FLUSH] = "flush",         [NBD_CMD_TRIM] = "trim",
		[NBD_CMD_WRITE_ZEROES] = "zeroes", [NBD_CMD_BLOCK_STATUS] = "status",
	};

	fprintf(out, "%c#%u %s", h->connections[c->connection].name, c->cookie, names[c->type]);
	if (c->type != NBD_CMD_FLUSH) {
		fputc(' ', out);
		print_range(c, out);
	}
	if (c->type == NBD_CMD_WRITE) {
		bool same = true;

		for (unsigned s = 1; s < c->sectors; s++) {
			if (memcmp(&c->cells[s].content, &c->cells[0].content,
				   sizeof(c->cells[0].content)) != 0)
				same = false;
		}
		fprintf(out, " =");
		for (unsigned s = 0; s < (same && c->sectors ? 1 : c->sectors); s++) {
			if (s)
				fputc(',', out);
			print_content(&c->cells[s].content, out);
		}
	}
	if (c->flags & NBD_CMD_FLAG_FUA)
		fprintf(out, " fua");
	if (c->flags & NBD_CMD_FLAG_FAST_ZERO)
		fprintf(out, " fast");
	if (c->ambiguous)
		fprintf(out, " ambiguous");
	if (c->illegal)
		fprintf(out, " illegal");
	print_ack(&c->request_ack, out);
}

static void print_seen(const struct h_command *c, int64_t at, FILE *out)
{
	static const char *const names[] = {"data", "hole", "zero", "hole,zero"};

	for (unsigned s = 0; s < c->sectors; s++) {
		if (c->cells[s].seen != at)
			continue;
		fprintf(out, " %" PRIu64 "=", h_first_sector(c) + s);
		if (c->type == NBD_CMD_READ)
			print_content(&c->cells[s].content, out);
		else
			fprintf(out, "%s", names[c->cells[s].status & 3]);
	}
}

static void print_named(const struct history *h, const char *what, int c, FILE *out)
{
	if (c >= 0)
		fprintf(out, "%s%c#%u", what, h->connections[h->commands[c].connection].name,
			h->commands[c].cookie);
}

void h_print(const struct history *h, FILE *out)
{
	size_t count;
	struct h_event *events = h_events(h, &count);
	int64_t now = 0;

	if (h->epsilon)
		fprintf(out, "epsilon %" PRId64 "\n", h->epsilon);
	if (h->exclusive)
		fprintf(out, "exclusive\n");
	for (size_t i = 0; i < count; i++) {
		const struct h_event *e = &events[i];
		const struct h_connection *k = &h->connections[e->index];
		const struct h_command *c = &h->commands[e->index];

		if (e->at != ++now)
			fprintf(out, "@%" PRId64 " ", e->at);
		now = e->at;
		switch (e->kind) {
		case H_EVENT_CONNECT:
			print_connect(k, out);
			break;
		case H_EVENT_REQUEST:
			print_request(h, c, out);
			break;
		case H_EVENT_DATA:
			fprintf(out, "%c#%u data", h->connections[c->connection].name, c->cookie);
			print_seen(c, e->at, out);
			break;
		case H_EVENT_REPLY:
			fprintf(out, "%c#%u %s", h->connections[c->connection].name, c->cookie,
				c->outcome == H_OK       ? "ok"
				: c->outcome == H_FAILED ? "error"
							 : "open");
			if (c->outcome == H_FAILED && c->error != NBD_EIO)
				fprintf(out, " %u", c->error);
			print_seen(c, e->at, out);
			print_ack(&c->reply_ack, out);
			break;
		case H_EVENT_GAP:
			fprintf(out, "%c gap", k->name);
			if (k->gap_since != e->at)
				fprintf(out, " @%" PRId64, k->gap_since);
			break;
		case H_EVENT_TLS:
			fprintf(out, "%c tls", k->name);
			break;
		case H_EVENT_END:
			fprintf(out, "%c end", k->name);
			break;
		}
		fputc('\n', out);
	}
	for (int i = 0; i < h->expectation_count; i++) {
		const struct h_expectation *e = &h->expectations[i];
		const struct h_command *c = &h->commands[e->command];

		fprintf(out, "expect %c#%u %s", h->connections[c->connection].name, c->cookie,
			e->rule);
		if (strcmp(e->rule, "none") != 0 && strcmp(e->rule, "unjudged") != 0)
			fprintf(out, " %s", nbds_severity_name(e->severity));
		if (e->has_range)
			fprintf(out, " %" PRIu64 "+%" PRIu64, e->sector, e->sectors);
		print_named(h, " write=", e->write, out);
		print_named(h, " stale=", e->stale, out);
		print_named(h, " flush=", e->flush, out);
		fputc('\n', out);
	}
	free(events);
}
