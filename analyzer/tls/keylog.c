/* SPDX-License-Identifier: GPL-2.0-or-later */
/* keylog.c - see keylog.h. */
#include "keylog.h"

#include <string.h>

static const struct {
	const char *name;
	enum keylog_label label;
} labels[] = {
	{"CLIENT_RANDOM", KEYLOG_MASTER},
	{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", KEYLOG_CLIENT_HANDSHAKE},
	{"SERVER_HANDSHAKE_TRAFFIC_SECRET", KEYLOG_SERVER_HANDSHAKE},
	{"CLIENT_TRAFFIC_SECRET_0", KEYLOG_CLIENT_TRAFFIC},
	{"SERVER_TRAFFIC_SECRET_0", KEYLOG_SERVER_TRAFFIC},
};

static const char early[] = "CLIENT_EARLY_TRAFFIC_SECRET";

/* Logs have these too; they are of no use here. */
static const char *const useless[] = {"RSA", "EXPORTER_SECRET", "EARLY_EXPORTER_SECRET",
				      "EARLY_EXPORTER_MASTER_SECRET"};

void keylog_init(struct keylog *log, uint64_t memory)
{
	memset(log, 0, sizeof(*log));
	log->budget.limit = memory;
	log->key = nbds_hash_key_new();
}

static void forget_oldest(struct keylog *log)
{
	struct keylog_entry *e = log->oldest;

	log->oldest = e->newer;
	if (!log->oldest)
		log->newest = NULL;
	nbds_table_remove(&log->entries, &e->node);
	explicit_bzero(e, sizeof(*e));
	nbds_budget_free(&log->budget, e, sizeof(*e));
}

void keylog_free(struct keylog *log)
{
	while (log->oldest)
		forget_oldest(log);
	nbds_table_free(&log->entries, &log->budget);
}

static uint64_t hash_of(const struct keylog *log, const uint8_t *random)
{
	return nbds_hash_bytes(&log->key, 0, random, NBDS_TLS_RANDOM);
}

static struct keylog_entry *find(const struct keylog *log, const uint8_t *random)
{
	struct nbds_table_node *n = nbds_table_find(&log->entries, hash_of(log, random));

	for (; n; n = nbds_table_again(n)) {
		struct keylog_entry *e = nbds_owner(n, struct keylog_entry, node);

		if (!memcmp(e->random, random, NBDS_TLS_RANDOM))
			return e;
	}
	return NULL;
}

const struct keylog_entry *keylog_find(const struct keylog *log, const uint8_t *random)
{
	return find(log, random);
}

static struct keylog_entry *entry_for(struct keylog *log, const uint8_t *random)
{
	struct keylog_entry *e = find(log, random);

	if (e)
		return e;
	e = nbds_budget_alloc(&log->budget, sizeof(*e));
	if (!e)
		return NULL;
	memcpy(e->random, random, NBDS_TLS_RANDOM);
	if (!nbds_table_add(&log->entries, &log->budget, &e->node, hash_of(log, random))) {
		nbds_budget_free(&log->budget, e, sizeof(*e));
		return NULL;
	}
	*(log->newest ? &log->newest->newer : &log->oldest) = e;
	log->newest = e;
	while (nbds_budget_over(&log->budget) && log->oldest != e) {
		forget_oldest(log);
		log->forgotten++;
	}
	return e;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* `digits` of `text`, an even number, to bytes. False: they are not all digits. */
static bool unhex(const char *text, size_t digits, uint8_t *bytes)
{
	for (size_t i = 0; i < digits / 2; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* The word at *at, which it is moved behind; its length. */
static size_t word(const char *text, size_t len, size_t *at, const char **begin)
{
	size_t from;

	while (*at < len && text[*at] == ' ')
		++*at;
	from = *at;
	while (*at < len && text[*at] != ' ')
		++*at;
	*begin = text + from;
	return *at - from;
}

static bool is(const char *name, const char *text, size_t len)
{
	return strlen(name) == len && !memcmp(name, text, len);
}

static bool is_useless(const char *label, size_t len)
{
	for (size_t i = 0; i < sizeof(useless) / sizeof(useless[0]); i++)
		if (is(useless[i], label, len))
			return true;
	return false;
}

/* A line without its end. True: it had a secret of use. */
static bool take(struct keylog *log, const char *text, size_t len)
{
	const char *label, *random_text, *secret_text, *more;
	uint8_t random[NBDS_TLS_RANDOM], secret[KEYLOG_SECRET_MAX];
	size_t at = 0, label_len, random_len, secret_len;
	struct keylog_entry *e;
	int which = -1;

	label_len = word(text, len, &at, &label);
	if (!label_len || label[0] == '#')
		return false;
	random_len = word(text, len, &at, &random_text);
	secret_len = word(text, len, &at, &secret_text);
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
		if (is(labels[i].name, label, label_len))
			which = (int)labels[i].label;
	if (which < 0 && !is(early, label, label_len)) {
		log->others += !is_useless(label, label_len);
		return false;
	}
	if (random_len != 2 * NBDS_TLS_RANDOM || word(text, len, &at, &more) || secret_len < 64 ||
	    secret_len % 2 || secret_len > 2 * KEYLOG_SECRET_MAX ||
	    !unhex(random_text, random_len, random) || !unhex(secret_text, secret_len, secret)) {
		explicit_bzero(secret, sizeof(secret));
		log->others++;
		return false;
	}
	e = entry_for(log, random);
	if (e && which < 0) {
		e->early = true;
	} else if (e) {
		memcpy(e->secret[which], secret, secret_len / 2);
		e->len[which] = (uint8_t)(secret_len / 2);
		log->lines++;
	}
	explicit_bzero(secret, sizeof(secret));
	return e && which >= 0;
}

static bool line_ends(struct keylog *log, struct keylog_line *line)
{
	bool taken = false;

	if (line->len && line->text[line->len - 1] == '\r')
		line->len--;
	if (line->long_one)
		log->others++;
	else
		taken = take(log, line->text, line->len);
	explicit_bzero(line, sizeof(*line));
	return taken;
}

bool keylog_add(struct keylog *log, struct keylog_line *line, const char *text, size_t len)
{
	bool taken = false;

	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		if (n > KEYLOG_LINE_MAX - line->len) {
			line->long_one = true;
		} else {
			memcpy(line->text + line->len, text, n);
			line->len += n;
		}
		if (!end)
			break;
		taken |= line_ends(log, line);
		text += n + 1;
		len -= n + 1;
	}
	return taken;
}

bool keylog_end(struct keylog *log, struct keylog_line *line)
{
	return (line->len || line->long_one) && line_ends(log, line);
}
