/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * messages.c - libnbdscope's decoder: what the decoder tells is kept until it is asked
 * for. See nbdscope/messages.h.
 *
 *	feed ──► decoder ── message(), trouble() ──► first ─► ... ─► last ──► next()
 *	            └────── payload() ──► the caller's function, at once
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/vector.h>
#include <nbdscope/fields.h>
#include <nbdscope/messages.h>

struct kept_field {
	int id;
	uint64_t number;
	size_t text; /* where in `words` its text begins */
	size_t at;   /* of bytes: where in the head */
	size_t len;
	bool has_bytes;
};

NBDS_VECTOR(field_vector, struct kept_field);
NBDS_VECTOR(word_vector, char);

struct nbdscope_message {
	struct nbdscope_message *next;
	uint64_t number, offset, payload;
	enum nbds_side side;
	uint32_t flags; /* NBDS_MSG_* */
	bool trouble;
	char *name, *summary, *answers; /* answers: NULL if there is none */
	uint8_t *head;
	size_t head_len;
	struct field_vector fields;
	struct word_vector words; /* texts of fields, one after the other */
};

struct nbdscope_decoder {
	struct nbds_decoder *decoder;
	struct nbds_budget budget; /* counts, and limits nothing: see the header */
	struct nbdscope_message *first, *last, *handed;
	uint64_t told;
	/* the messages of both sides whose payload may come; it has the number */
	uint64_t current[2];
	bool ended[2], failed;
	uint64_t came[2]; /* bytes of each side */
	nbdscope_payload_fn *payload;
	void *context;
};

static void message_free(struct nbdscope_decoder *d, struct nbdscope_message *m)
{
	if (!m)
		return;
	nbds_vector_free(&m->fields, &d->budget);
	nbds_vector_free(&m->words, &d->budget);
	free(m->name);
	free(m->summary);
	free(m->answers);
	free(m->head);
	free(m);
}

static void append(struct nbdscope_decoder *d, struct nbdscope_message *m)
{
	if (d->last)
		d->last->next = m;
	else
		d->first = m;
	d->last = m;
}

struct keeping {
	struct nbdscope_decoder *decoder;
	struct nbdscope_message *message;
	const uint8_t *head;
	bool failed;
};

static void add_field(void *arg, const struct nbds_field *f)
{
	struct keeping *w = arg;
	struct nbdscope_message *m = w->message;
	size_t len = strlen(f->text) + 1;
	struct kept_field field = {.id = f->id, .number = f->value, .text = m->words.count};

	if (f->bytes) {
		field.has_bytes = true;
		field.at = (size_t)(f->bytes - w->head);
		field.len = f->length;
	}
	if (!nbds_vector_reserve(&m->words, &w->decoder->budget, len) ||
	    !nbds_vector_push(&m->fields, &w->decoder->budget, field)) {
		w->failed = true;
		return;
	}
	memcpy(m->words.at + m->words.count, f->text, len);
	m->words.count += len;
}

static char *summary_of(const struct nbds_message *m)
{
	int len = nbds_summary(m, NULL, 0);
	char *text = len < 0 ? NULL : malloc((size_t)len + 1);

	if (text)
		nbds_summary(m, text, (size_t)len + 1);
	return text;
}

static void on_message(void *ctx, const struct nbds_message *m)
{
	struct nbdscope_decoder *d = ctx;
	struct nbdscope_message *copy = calloc(1, sizeof(*copy));
	struct keeping walk = {.decoder = d, .message = copy, .head = m->head};
	bool reply = m->type == NBDS_MSG_SIMPLE_REPLY || m->type == NBDS_MSG_CHUNK;

	d->current[m->from] = ++d->told;
	if (!copy) {
		d->failed = true;
		return;
	}
	copy->number = d->told;
	copy->offset = m->offset;
	copy->payload = m->payload_len;
	copy->side = m->from;
	copy->flags = m->flags;
	copy->head_len = m->head_len;
	copy->name = strdup(m->name);
	copy->summary = summary_of(m);
	copy->head = malloc(m->head_len ? m->head_len : 1);
	if (reply && m->request) {
		char text[NBDS_TEXT_OF_MAX];

		copy->answers = strdup(nbds_text_of(&nbds_commands, m->request->type, text));
	}
	nbds_walk(m, add_field, &walk);
	if (walk.failed || !copy->name || !copy->summary || !copy->head ||
	    (reply && m->request && !copy->answers)) {
		message_free(d, copy);
		d->failed = true;
		return;
	}
	memcpy(copy->head, m->head, m->head_len);
	append(d, copy);
}

static void on_payload(void *ctx, const struct nbds_message *m, uint64_t at, const uint8_t *data,
		       size_t len, const struct nbds_mark *where)
{
	struct nbdscope_decoder *d = ctx;

	(void)where;
	if (d->payload)
		d->payload(d->context, d->current[m->from], at, data, len);
}

static void on_trouble(void *ctx, const struct nbds_trouble *t)
{
	static const char *const names[] = {
		[NBDS_TROUBLE_LOST] = "lost",
		[NBDS_TROUBLE_NONSENSE] = "nonsense",
		[NBDS_TROUBLE_SKIPPED] = "skipped",
		[NBDS_TROUBLE_SURE] = "found",
		[NBDS_TROUBLE_TLS] = "tls",
		[NBDS_TROUBLE_FORGOT] = "forgotten",
		[NBDS_TROUBLE_AFTER_END] = "after-end",
		[NBDS_TROUBLE_TRAILING] = "trailing",
	};
	struct nbdscope_decoder *d = ctx;
	struct nbdscope_message *copy = calloc(1, sizeof(*copy));

	d->told++;
	if (!copy) {
		d->failed = true;
		return;
	}
	copy->number = d->told;
	copy->trouble = true;
	copy->offset = t->offset;
	copy->payload = t->length;
	copy->side = t->side;
	copy->name = strdup(names[t->kind]);
	copy->summary = strdup(t->text ? t->text : "");
	if (!copy->name || !copy->summary) {
		message_free(d, copy);
		d->failed = true;
		return;
	}
	append(d, copy);
}

static struct nbdscope_decoder *decoder_new(enum nbds_start start)
{
	static const struct nbds_decoder_ops ops = {
		.message = on_message,
		.payload = on_payload,
		.trouble = on_trouble,
	};
	struct nbdscope_decoder *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->budget.limit = UINT64_MAX;
	d->decoder = nbds_decoder_new(&ops, d, start);
	if (!d->decoder) {
		free(d);
		errno = ENOMEM;
		return NULL;
	}
	return d;
}

struct nbdscope_decoder *nbdscope_decoder_new(void)
{
	return decoder_new(NBDS_START_GREETING);
}

struct nbdscope_decoder *nbdscope_decoder_new_middle(void)
{
	return decoder_new(NBDS_START_MIDDLE);
}

void nbdscope_decoder_free(struct nbdscope_decoder *d)
{
	if (!d)
		return;
	message_free(d, d->handed);
	while (d->first) {
		struct nbdscope_message *m = d->first;

		d->first = m->next;
		message_free(d, m);
	}
	nbds_decoder_free(d->decoder);
	free(d);
}

/* Can `len` more bytes come from `side`? No connection has more than can be counted. */
static bool usable(struct nbdscope_decoder *d, enum nbdscope_side side, uint64_t len)
{
	if ((side == NBDSCOPE_CLIENT || side == NBDSCOPE_SERVER) && !d->ended[side] &&
	    len <= NBDSCOPE_MOST - d->came[side]) {
		d->came[side] += len;
		return true;
	}
	errno = EINVAL;
	return false;
}

static int result(struct nbdscope_decoder *d)
{
	if (!d->failed)
		return 0;
	d->failed = false;
	errno = ENOMEM;
	return -1;
}

static const struct nbds_mark nowhere = {.ack = NBDS_NO_ACK};

int nbdscope_decoder_feed(struct nbdscope_decoder *d, enum nbdscope_side side, const void *bytes,
			  size_t len)
{
	if (!usable(d, side, len))
		return -1;
	if (len)
		nbds_decoder_data(d->decoder, (enum nbds_side)side, bytes, len, &nowhere);
	return result(d);
}

int nbdscope_decoder_gap(struct nbdscope_decoder *d, enum nbdscope_side side, uint64_t len)
{
	if (!usable(d, side, len))
		return -1;
	if (len)
		nbds_decoder_gap(d->decoder, (enum nbds_side)side, len, &nowhere);
	return result(d);
}

int nbdscope_decoder_end(struct nbdscope_decoder *d, enum nbdscope_side side)
{
	if (!usable(d, side, 0))
		return -1;
	d->ended[side] = true;
	nbds_decoder_end(d->decoder, (enum nbds_side)side, &nowhere);
	return result(d);
}

void nbdscope_decoder_on_payload(struct nbdscope_decoder *d, nbdscope_payload_fn *payload,
				 void *context)
{
	d->payload = payload;
	d->context = context;
}

const struct nbdscope_message *nbdscope_decoder_next(struct nbdscope_decoder *d)
{
	message_free(d, d->handed);
	d->handed = d->first;
	if (!d->handed)
		return NULL;
	d->first = d->handed->next;
	if (!d->first)
		d->last = NULL;
	return d->handed;
}

/* --- one message --- */

int nbdscope_message_is_message(const struct nbdscope_message *m)
{
	return !m->trouble;
}

uint64_t nbdscope_message_number(const struct nbdscope_message *m)
{
	return m->number;
}

const char *nbdscope_message_name(const struct nbdscope_message *m)
{
	return m->name;
}

enum nbdscope_side nbdscope_message_side(const struct nbdscope_message *m)
{
	return (enum nbdscope_side)m->side;
}

const char *nbdscope_message_summary(const struct nbdscope_message *m)
{
	return m->summary;
}

uint64_t nbdscope_message_offset(const struct nbdscope_message *m)
{
	return m->offset;
}

uint64_t nbdscope_message_head_length(const struct nbdscope_message *m)
{
	return m->head_len;
}

uint64_t nbdscope_message_payload_length(const struct nbdscope_message *m)
{
	return m->payload;
}

const char *nbdscope_message_answers(const struct nbdscope_message *m)
{
	return m->answers;
}

int nbdscope_message_is_malformed(const struct nbdscope_message *m)
{
	return m->flags & NBDS_MSG_MALFORMED ? 1 : 0;
}

int nbdscope_message_is_unsolicited(const struct nbdscope_message *m)
{
	return m->flags & NBDS_MSG_UNSOLICITED ? 1 : 0;
}

int nbdscope_message_is_final(const struct nbdscope_message *m)
{
	return m->flags & NBDS_MSG_FINAL ? 1 : 0;
}

size_t nbdscope_message_fields(const struct nbdscope_message *m)
{
	return m->fields.count;
}

int nbdscope_message_find(const struct nbdscope_message *m, const char *name, size_t from)
{
	int id = nbds_field_find(name);

	for (size_t i = from; id >= 0 && i < m->fields.count; i++)
		if (m->fields.at[i].id == id)
			return (int)i;
	return -1;
}

const char *nbdscope_message_field_name(const struct nbdscope_message *m, size_t i)
{
	return i < m->fields.count ? nbds_fields[m->fields.at[i].id].name : NULL;
}

const char *nbdscope_message_field_text(const struct nbdscope_message *m, size_t i)
{
	return i < m->fields.count ? m->words.at + m->fields.at[i].text : NULL;
}

uint64_t nbdscope_message_field_number(const struct nbdscope_message *m, size_t i)
{
	return i < m->fields.count ? m->fields.at[i].number : 0;
}

const void *nbdscope_message_field_bytes(const struct nbdscope_message *m, size_t i, size_t *len)
{
	bool there = i < m->fields.count && m->fields.at[i].has_bytes;

	*len = there ? m->fields.at[i].len : 0;
	return there ? m->head + m->fields.at[i].at : NULL;
}
