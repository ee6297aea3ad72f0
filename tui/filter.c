/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * filter.c - which messages are shown. See filter.h.
 */
#include "filter.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum field {
	FIELD_CONN,
	FIELD_FRAME,
	FIELD_TIME,
	FIELD_CMD,
	FIELD_OFFSET,
	FIELD_LEN,
	FIELD_ERROR,
	FIELD_COOKIE,
	FIELD_TOOK,
	FIELD_NAME,
};

const struct filter_name filter_fields[] = {
	[FIELD_CONN] = {"conn", "number of the connection"},
	[FIELD_FRAME] = {"frame", "number of the frame"},
	[FIELD_TIME] = {"time", "since the first packet: 1.5s, 20ms"},
	[FIELD_CMD] = {"cmd", "command, also of a reply: write, NBD_CMD_READ"},
	[FIELD_OFFSET] = {"offset", "of the command: 0x1000, 4M"},
	[FIELD_LEN] = {"len", "of the command, in bytes: 64K"},
	[FIELD_ERROR] = {"error", "of a reply: EIO, NBD_ENOSPC, 0"},
	[FIELD_COOKIE] = {"cookie", "of a request or reply"},
	[FIELD_TOOK] = {"took", "from request to reply: 500us, 10ms"},
	[FIELD_NAME] = {"name", "of the message: NBD_OPT_GO"},
	{NULL, NULL},
};

enum word {
	WORD_REQUEST,
	WORD_REPLY,
	WORD_HANDSHAKE,
	WORD_TROUBLE,
	WORD_ERROR,
	WORD_FUA,
	WORD_CLIENT,
	WORD_SERVER,
	WORD_READ,
	WORD_WRITE,
	WORD_FLUSH,
	WORD_TRIM,
	WORD_ZEROES,
	WORD_CACHE,
	WORD_STATUS,
	WORD_DISC,
};

const struct filter_name filter_words[] = {
	[WORD_REQUEST] = {"request", "a command"},
	[WORD_REPLY] = {"reply", "a reply to a command"},
	[WORD_HANDSHAKE] = {"handshake", "greeting, flags, options and their replies"},
	[WORD_TROUBLE] = {"trouble", "what could not be decoded"},
	[WORD_ERROR] = {"error", "an error, of a command or an option"},
	[WORD_FUA] = {"fua", "the command has FUA"},
	[WORD_CLIENT] = {"client", "the client sent it"},
	[WORD_SERVER] = {"server", "the server sent it"},
	[WORD_READ] = {"read", "of this command, request or reply:"},
	[WORD_WRITE] = {"write", "the same"},
	[WORD_FLUSH] = {"flush", "the same"},
	[WORD_TRIM] = {"trim", "the same"},
	[WORD_ZEROES] = {"zeroes", "the same"},
	[WORD_CACHE] = {"cache", "the same"},
	[WORD_STATUS] = {"status", "the same"},
	[WORD_DISC] = {"disc", "the same"},
	{NULL, NULL},
};

static const struct {
	const char *name;
	uint16_t type;
} commands[] = {
	{"read", NBD_CMD_READ},
	{"write", NBD_CMD_WRITE},
	{"disc", NBD_CMD_DISC},
	{"disconnect", NBD_CMD_DISC},
	{"flush", NBD_CMD_FLUSH},
	{"trim", NBD_CMD_TRIM},
	{"cache", NBD_CMD_CACHE},
	{"zeroes", NBD_CMD_WRITE_ZEROES},
	{"write_zeroes", NBD_CMD_WRITE_ZEROES},
	{"status", NBD_CMD_BLOCK_STATUS},
	{"block_status", NBD_CMD_BLOCK_STATUS},
	{"resize", NBD_CMD_RESIZE},
};

/* --- parsing --- */

struct parser {
	struct filter *f;
	const char *text, *at;
	char *why;
	size_t why_size;
	unsigned where;
	bool failed;
	unsigned depth;
	const char *const *columns; /* of a list; NULL: messages */
	unsigned column_count;
};

enum { FAILED = FILTER_NODES };

static uint8_t fail(struct parser *p, const char *at, const char *format, const char *what, int len)
{
	if (!p->failed) {
		p->failed = true;
		p->where = (unsigned)(at - p->text);
		snprintf(p->why, p->why_size, format, len, what);
	}
	return FAILED;
}

static uint8_t node(struct parser *p, struct filter_node n)
{
	if (p->f->count == FILTER_NODES)
		return fail(p, p->at, "too long%.*s", "", 0);
	p->f->nodes[p->f->count] = n;
	return (uint8_t)p->f->count++;
}

static void space(struct parser *p)
{
	while (*p->at == ' ' || *p->at == '\t')
		p->at++;
}

static int word_length(const char *at)
{
	int n = 0;

	while (isalnum((unsigned char)at[n]) || at[n] == '_' || at[n] == '.' ||
	       (n && (at[n] == ':' || at[n] == '-')))
		n++;
	return n;
}

static bool word_is(const char *at, int len, const char *word)
{
	return (size_t)len == strlen(word) && !strncasecmp(at, word, (size_t)len);
}

static bool take(struct parser *p, const char *word, const char *sign)
{
	int len;

	space(p);
	len = word_length(p->at);
	if (len && word_is(p->at, len, word)) {
		p->at += len;
		return true;
	}
	if (!len && !strncmp(p->at, sign, strlen(sign))) {
		p->at += strlen(sign);
		return true;
	}
	return false;
}

static bool take_op(struct parser *p, enum filter_op *op)
{
	static const struct {
		const char *sign;
		enum filter_op op;
	} ops[] = {
		{"==", OP_EQ}, {"!=", OP_NE}, {"<=", OP_LE}, {">=", OP_GE},
		{"=", OP_EQ},  {"<", OP_LT},  {">", OP_GT},  {"~", OP_HAS},
	};

	space(p);
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		if (strncmp(p->at, ops[i].sign, strlen(ops[i].sign)) != 0)
			continue;
		p->at += strlen(ops[i].sign);
		*op = ops[i].op;
		return true;
	}
	return false;
}

/* Stores a string for a node; quotes are taken off. */
static bool take_string(struct parser *p, struct filter_node *n)
{
	const char *from = p->at;
	size_t len;

	if (*from == '"' || *from == '\'') {
		const char *end = strchr(from + 1, *from);

		if (!end) {
			fail(p, from, "the quote is not closed%.*s", "", 0);
			return false;
		}
		len = (size_t)(end - from) - 1;
		from++;
		p->at = end + 1;
	} else {
		len = (size_t)word_length(from);
		p->at += len;
	}
	if (!len && !(p->columns && from > p->text && (from[-1] == '"' || from[-1] == '\''))) {
		fail(p, from, "a value is missing%.*s", "", 0);
		return false;
	}
	if (p->f->text_used + len + 1 > sizeof(p->f->text)) {
		fail(p, from, "too long%.*s", "", 0);
		return false;
	}
	n->text_at = (uint16_t)p->f->text_used;
	n->text_len = (uint16_t)len;
	memcpy(p->f->text + p->f->text_used, from, len);
	p->f->text[p->f->text_used + len] = '\0';
	p->f->text_used += (unsigned)len + 1;
	return true;
}

/* 4096, 0x1000, 64K, 1.5s, 20ms; times in ns. */
static bool parse_number(const char *s, uint64_t *value)
{
	static const struct {
		const char *unit;
		double factor;
	} units[] = {
		{"", 1},
		{"b", 1},
		{"k", 1024},
		{"kib", 1024},
		{"m", 1048576},
		{"mib", 1048576},
		{"g", 1073741824},
		{"gib", 1073741824},
		{"t", 1099511627776.0},
		{"ns", 1},
		{"us", 1e3},
		{"ms", 1e6},
		{"s", 1e9},
	};
	char *end;
	double v;

	if (!isdigit((unsigned char)*s))
		return false;
	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
		errno = 0;
		*value = strtoull(s, &end, 16);
		return !*end && end > s + 2 && !errno;
	}
	errno = 0;
	*value = strtoull(s, &end, 10);
	if (!*end)
		return !errno;
	/* The part before the unit may have a point; the locale has no say in it. */
	v = (double)*value;
	if (*end == '.') {
		double place = 0.1;

		for (end++; isdigit((unsigned char)*end); end++, place /= 10)
			v += (*end - '0') * place;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcasecmp(end, units[i].unit) != 0)
			continue;
		v *= units[i].factor;
		*value = v >= 18446744073709551615.0 ? UINT64_MAX : (uint64_t)(v + 0.5);
		return true;
	}
	return false;
}

static bool in_table(const struct nbds_name *values, size_t count, const char *s, uint64_t *value)
{
	static const char *const prefixes[] = {"",          "NBD_CMD_",       "NBD_",
					       "NBD_OPT_",  "NBD_REP_",       "NBD_INFO_",
					       "NBD_FLAG_", "NBD_REPLY_TYPE_"};
	char full[FILTER_TEXT + 32];

	for (size_t k = 0; k < sizeof(prefixes) / sizeof(prefixes[0]); k++) {
		snprintf(full, sizeof(full), "%s%s", prefixes[k], s);
		for (size_t i = 0; i < count; i++) {
			if (strcasecmp(values[i].name, full) != 0)
				continue;
			*value = values[i].value;
			return true;
		}
	}
	return false;
}

static bool named_value(enum field field, const char *s, uint64_t *value)
{
	if (field == FIELD_CMD) {
		for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
			if (strcasecmp(commands[i].name, s) != 0)
				continue;
			*value = commands[i].type;
			return true;
		}
		return in_table(nbds_commands.entries, nbds_commands.count, s, value);
	}
	if (field == FIELD_ERROR)
		return in_table(nbds_errors.entries, nbds_errors.count, s, value);
	return false;
}

/* The operator is taken: the value. */
static uint8_t value_of(struct parser *p, struct filter_node n)
{
	const char *from, *s;
	bool known;

	space(p);
	from = p->at;
	if (!take_string(p, &n))
		return FAILED;
	s = p->f->text + n.text_at;
	n.number = parse_number(s, &n.value);
	if (n.kind == NODE_NBD) {
		const struct nbds_field_info *info = &nbds_fields[n.field];

		known = n.number || info->type == NBDS_FT_STRING || info->type == NBDS_FT_BYTES ||
			n.op == OP_HAS;
		if (!known) {
			known = n.number = in_table(info->values, info->values_count, s, &n.value);
			if (!strcasecmp(s, "true") || !strcasecmp(s, "false")) {
				known = n.number = true;
				n.value = !strcasecmp(s, "true");
			}
		}
	} else if (n.field == FIELD_NAME) {
		known = true;
		n.number = false;
	} else {
		if (!n.number)
			n.number = named_value((enum field)n.field, s, &n.value);
		known = n.number;
		if (n.op == OP_HAS)
			return fail(p, from, "~ is for text%.*s", "", 0);
	}
	if (!known)
		return fail(p, from, "\"%2$.*1$s\" is no value for it", s, (int)strlen(s));
	return node(p, n);
}

static uint8_t parse_or(struct parser *p);

/* A column with a value, or text. */
static uint8_t list_term(struct parser *p, const char *from, int len)
{
	struct filter_node n = {.kind = NODE_COLUMN};

	p->at = from + len;
	if (!take_op(p, &n.op)) {
		n.kind = NODE_TEXT;
		p->at = from;
		return take_string(p, &n) ? node(p, n) : FAILED;
	}
	while (n.field < (int)p->column_count && !word_is(from, len, p->columns[n.field]))
		n.field++;
	if (n.field == (int)p->column_count)
		return fail(p, from, "there is no column \"%2$.*1$s\"", from, len);
	space(p);
	if (!take_string(p, &n))
		return FAILED;
	n.number = parse_number(p->f->text + n.text_at, &n.value);
	return node(p, n);
}

static uint8_t term(struct parser *p)
{
	struct filter_node n = {0};
	const char *from;
	char name[80];
	int len;

	space(p);
	from = p->at;
	if (*from == '"' || *from == '\'') {
		n.kind = NODE_TEXT;
		return take_string(p, &n) ? node(p, n) : FAILED;
	}
	len = word_length(from);
	if (!len) {
		if (!*from)
			return fail(p, from, "something is missing here%.*s", "", 0);
		return fail(p, from, "\"%2$.*1$s\" is not expected here", from, 1);
	}
	if (p->columns)
		return list_term(p, from, len);
	p->at += len;
	if (len > 4 && !strncasecmp(from, "nbd.", 4)) {
		snprintf(name, sizeof(name), "%.*s", len, from);
		n.field = nbds_field_find(name);
		if (n.field < 0)
			return fail(p, from, "there is no field \"%2$.*1$s\"", from, len);
		n.kind = NODE_NBD;
		if (take_op(p, &n.op))
			return value_of(p, n);
		n.bare = true;
		return node(p, n);
	}
	if (take_op(p, &n.op)) {
		for (n.field = 0; filter_fields[n.field].name; n.field++)
			if (word_is(from, len, filter_fields[n.field].name))
				break;
		if (!filter_fields[n.field].name)
			return fail(p, from, "there is no field \"%2$.*1$s\"", from, len);
		n.kind = NODE_FIELD;
		return value_of(p, n);
	}
	for (n.field = 0; filter_words[n.field].name; n.field++) {
		if (word_is(from, len, filter_words[n.field].name)) {
			n.kind = NODE_WORD;
			return node(p, n);
		}
	}
	for (n.field = 0; filter_fields[n.field].name; n.field++)
		if (word_is(from, len, filter_fields[n.field].name))
			return fail(p, p->at, "%2$.*1$s wants an operator and a value", from, len);
	return fail(p, from, "\"%2$.*1$s\" is not known; text goes in quotes", from, len);
}

static uint8_t parse_not(struct parser *p)
{
	struct filter_node n = {.kind = NODE_NOT};
	uint8_t inner;

	if (++p->depth > FILTER_NODES)
		return fail(p, p->at, "too long%.*s", "", 0);
	space(p);
	if (strncmp(p->at, "!=", 2) != 0 && take(p, "not", "!")) {
		inner = parse_not(p);
		n.left = inner;
		inner = inner == FAILED ? FAILED : node(p, n);
	} else if (*p->at == '(') {
		const char *open = p->at++;

		inner = parse_or(p);
		space(p);
		if (inner != FAILED && *p->at != ')')
			inner = fail(p, *p->at ? p->at : open, "the bracket is not closed%.*s", "",
				     0);
		else if (inner != FAILED)
			p->at++;
	} else {
		inner = term(p);
	}
	p->depth--;
	return inner;
}

static uint8_t parse_and(struct parser *p)
{
	struct filter_node n = {.kind = NODE_AND};

	n.left = parse_not(p);
	while (n.left != FAILED) {
		const char *before;

		space(p);
		before = p->at;
		/* Terms side by side must all hold. */
		if (!*before || *before == ')' || take(p, "or", "||")) {
			p->at = before;
			break;
		}
		take(p, "and", "&&");
		n.right = parse_not(p);
		n.left = n.right == FAILED ? FAILED : node(p, n);
	}
	return n.left;
}

static uint8_t parse_or(struct parser *p)
{
	struct filter_node n = {.kind = NODE_OR};

	n.left = parse_and(p);
	while (n.left != FAILED && take(p, "or", "||")) {
		n.right = parse_and(p);
		n.left = n.right == FAILED ? FAILED : node(p, n);
	}
	return n.left;
}

static bool parse(struct parser *p, unsigned *where)
{
	p->at = p->text;
	memset(p->f, 0, sizeof(*p->f));
	space(p);
	if (!*p->at)
		return true;
	p->f->any = true;
	p->f->root = parse_or(p);
	space(p);
	if (!p->failed && *p->at)
		fail(p, p->at, "\"%2$.*1$s\" is not expected here", p->at, 1);
	*where = p->where;
	return !p->failed;
}

bool filter_parse(struct filter *f, const char *text, char *why, size_t why_size, unsigned *where)
{
	struct parser p = {.f = f, .text = text, .why = why, .why_size = why_size};

	return parse(&p, where);
}

bool filter_parse_list(struct filter *f, const char *text, const char *const *columns,
		       unsigned column_count, char *why, size_t why_size, unsigned *where)
{
	struct parser p = {.f = f,
			   .text = text,
			   .why = why,
			   .why_size = why_size,
			   .columns = columns,
			   .column_count = column_count};

	return parse(&p, where);
}

/* --- matching --- */

static bool compare(uint64_t a, enum filter_op op, uint64_t b)
{
	switch (op) {
	case OP_EQ:
		return a == b;
	case OP_NE:
		return a != b;
	case OP_LT:
		return a < b;
	case OP_LE:
		return a <= b;
	case OP_GT:
		return a > b;
	case OP_GE:
		return a >= b;
	case OP_HAS:
		break;
	}
	return false;
}

static bool contains(const char *hay, size_t len, const char *needle)
{
	size_t n = strlen(needle);

	for (size_t i = 0; n <= len && i <= len - n; i++)
		if (!strncasecmp(hay + i, needle, n))
			return true;
	return false;
}

static bool compare_text(const char *text, size_t len, enum filter_op op, const char *value)
{
	bool same = len == strlen(value) && !strncasecmp(text, value, len);

	return op == OP_EQ   ? same
	       : op == OP_NE ? !same
			     : op == OP_HAS && contains(text, len, value);
}

/* The error of a reply; false: it has none to tell. */
static bool error_of(const struct log_entry *e, uint64_t *error)
{
	if (e->trouble)
		return false;
	if (e->type == NBDS_MSG_SIMPLE_REPLY) {
		*error = e->detail.simple.error;
		return true;
	}
	if (e->type == NBDS_MSG_CHUNK) {
		*error = e->detail.chunk.type & NBD_REPLY_TYPE_FLAG_ERROR ? e->detail.chunk.error
									  : 0;
		return true;
	}
	return false;
}

static bool match_field(const struct filter *f, const struct filter_node *n,
			const struct log_entry *e, int64_t start)
{
	uint64_t have = 0;

	switch ((enum field)n->field) {
	case FIELD_CONN:
		have = e->connection;
		break;
	case FIELD_FRAME:
		have = e->frame;
		break;
	case FIELD_TIME:
		have = e->time > start ? (uint64_t)e->time - (uint64_t)start : 0;
		break;
	case FIELD_CMD:
		if (!e->has_request)
			return false;
		have = e->request.type;
		break;
	case FIELD_OFFSET:
		if (!e->has_request)
			return false;
		have = e->request.offset;
		break;
	case FIELD_LEN:
		if (!e->has_request)
			return false;
		have = e->request.length;
		break;
	case FIELD_ERROR:
		if (!error_of(e, &have))
			return false;
		break;
	case FIELD_COOKIE:
		if (!e->has_request)
			return false;
		have = e->request.cookie;
		break;
	case FIELD_TOOK:
		if (!e->took_known)
			return false;
		have = e->took;
		break;
	case FIELD_NAME:
		return !e->trouble &&
		       compare_text(e->name, strlen(e->name), n->op, f->text + n->text_at);
	default:
		return false;
	}
	return compare(have, n->op, n->value);
}

static bool match_word(enum word word, const struct log_entry *e)
{
	static const uint16_t types[] = {
		[WORD_READ] = NBD_CMD_READ,           [WORD_WRITE] = NBD_CMD_WRITE,
		[WORD_FLUSH] = NBD_CMD_FLUSH,         [WORD_TRIM] = NBD_CMD_TRIM,
		[WORD_ZEROES] = NBD_CMD_WRITE_ZEROES, [WORD_CACHE] = NBD_CMD_CACHE,
		[WORD_STATUS] = NBD_CMD_BLOCK_STATUS, [WORD_DISC] = NBD_CMD_DISC,
	};
	uint64_t error = 0;

	switch (word) {
	case WORD_REQUEST:
		return !e->trouble && e->type == NBDS_MSG_REQUEST;
	case WORD_REPLY:
		return !e->trouble &&
		       (e->type == NBDS_MSG_SIMPLE_REPLY || e->type == NBDS_MSG_CHUNK);
	case WORD_HANDSHAKE:
		return !e->trouble && e->type < NBDS_MSG_REQUEST;
	case WORD_TROUBLE:
		return e->trouble;
	case WORD_ERROR:
		if (!e->trouble && e->type == NBDS_MSG_OPTION_REPLY)
			return e->detail.option_reply.type & NBD_REP_FLAG_ERROR;
		return error_of(e, &error) && error;
	case WORD_FUA:
		return e->has_request && (e->request.flags & NBD_CMD_FLAG_FUA);
	case WORD_CLIENT:
		return e->from == NBDS_CLIENT;
	case WORD_SERVER:
		return e->from == NBDS_SERVER;
	case WORD_READ:
	case WORD_WRITE:
	case WORD_FLUSH:
	case WORD_TRIM:
	case WORD_ZEROES:
	case WORD_CACHE:
	case WORD_STATUS:
	case WORD_DISC:
		return e->has_request && e->request.type == types[word];
	}
	return false;
}

struct field_match {
	const struct filter *f;
	const struct filter_node *n;
	bool found;
};

static void match_nbd(void *arg, const struct nbds_field *field)
{
	struct field_match *w = arg;
	const char *value = w->f->text + w->n->text_at;

	if (field->id != w->n->field || w->found)
		return;
	if (w->n->bare)
		w->found = field->value || field->bytes || field->text[0];
	else if (field->bytes)
		w->found = compare_text((const char *)field->bytes, field->length, w->n->op, value);
	else if (w->n->op == OP_HAS)
		w->found = contains(field->text, strlen(field->text), value);
	else
		w->found = w->n->number && compare(field->value, w->n->op, w->n->value);
	if (w->n->bare && nbds_fields[field->id].type == NBDS_FT_BOOLEAN)
		w->found = field->value;
}

static bool match(const struct filter *f, uint8_t at, const struct log_entry *e, int64_t start,
		  struct nbds_buf *line)
{
	const struct filter_node *n = &f->nodes[at];
	struct field_match w = {f, n, false};
	struct nbds_message m;

	switch (n->kind) {
	case NODE_AND:
		return match(f, n->left, e, start, line) && match(f, n->right, e, start, line);
	case NODE_OR:
		return match(f, n->left, e, start, line) || match(f, n->right, e, start, line);
	case NODE_NOT:
		return !match(f, n->left, e, start, line);
	case NODE_WORD:
		return match_word((enum word)n->field, e);
	case NODE_FIELD:
		return match_field(f, n, e, start);
	case NODE_NBD:
		if (e->trouble)
			return false;
		entry_message(e, &m);
		nbds_walk(&m, match_nbd, &w);
		return w.found;
	case NODE_TEXT:
		nbds_buf_clear(line);
		entry_line(e, line);
		return contains(nbds_buf_text(line), line->len, f->text + n->text_at);
	case NODE_COLUMN: /* not of messages */
		break;
	}
	return false;
}

static bool match_column(const struct filter *f, const struct filter_node *n,
			 const struct filter_row *row)
{
	const char *text;
	uint64_t have;
	size_t len;

	if (n->number && n->op != OP_HAS && row->number(row->ctx, (unsigned)n->field, &have))
		return compare(have, n->op, n->value);
	/* Names stand in quotes there. */
	text = row->text(row->ctx, (unsigned)n->field);
	len = strlen(text);
	if (len > 1 && text[0] == '"' && text[len - 1] == '"') {
		text++;
		len -= 2;
	}
	return compare_text(text, len, n->op, f->text + n->text_at);
}

static bool match_list(const struct filter *f, uint8_t at, const struct filter_row *row)
{
	const struct filter_node *n = &f->nodes[at];

	switch (n->kind) {
	case NODE_AND:
		return match_list(f, n->left, row) && match_list(f, n->right, row);
	case NODE_OR:
		return match_list(f, n->left, row) || match_list(f, n->right, row);
	case NODE_NOT:
		return !match_list(f, n->left, row);
	case NODE_COLUMN:
		return match_column(f, n, row);
	case NODE_TEXT:
		return row->holds(row->ctx, f->text + n->text_at);
	case NODE_WORD:
	case NODE_FIELD:
	case NODE_NBD: /* not of lists */
		break;
	}
	return false;
}

bool filter_match_row(const struct filter *f, const struct filter_row *row)
{
	return !f->any || match_list(f, f->root, row);
}

bool filter_match(const struct filter *f, const struct log_entry *e, int64_t start,
		  struct nbds_buf *line)
{
	return !f->any || match(f, f->root, e, start, line);
}
