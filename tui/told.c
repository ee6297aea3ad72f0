/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * told.c - what the engine tells. See told.h.
 */
#include "told.h"

static void on_connection(void *ctx, struct nbds_connection *c)
{
	struct told *told = ctx;

	if (rows_add(&told->rows, c))
		told->changes++;
}

static bool failed(const struct nbds_message *m)
{
	return m->request->error || (m->type == NBDS_MSG_SIMPLE_REPLY && m->u.simple.error) ||
	       (m->type == NBDS_MSG_CHUNK && (m->u.chunk.type & NBD_REPLY_TYPE_FLAG_ERROR));
}

/* What is written and flushed: a request, or a final reply. */
static void follow_bytes(struct told *told, struct track *t, const struct nbds_message *m)
{
	bool flush = m->request->type == NBD_CMD_FLUSH, seen;
	struct nbds_mark sent;

	if (m->from == NBDS_CLIENT) {
		if (m->type == NBDS_MSG_REQUEST && flush)
			track_flush_sent(t, m->first.frame);
		return;
	}
	seen = nbds_request_seen(m->request, &sent);
	if (flush)
		track_flushed(&told->rows, t, m->last.time, !failed(m), seen ? &sent : NULL);
	else if (!failed(m))
		track_written(&told->rows, t, m->request, &m->last);
}

static void follow_order(struct told *told, struct track *t, const struct nbds_message *m)
{
	const struct nbds_request *r = m->request;
	struct export_track *x;
	struct flush_order *o;

	if (!r ||
	    (!nbds_command_writes(r->type) && r->type != NBD_CMD_FLUSH && r->type != NBD_CMD_READ))
		return;
	/* Of a read its end is enough. */
	if (m->type == NBDS_MSG_REQUEST && r->type == NBD_CMD_READ)
		return;
	if (m->from == NBDS_SERVER && !(m->flags & NBDS_MSG_FINAL))
		return;
	x = track_export(&told->rows, t);
	if (r->type != NBD_CMD_READ)
		follow_bytes(told, t, m);
	o = x ? export_order(&told->rows, x) : NULL;
	if (!o)
		return;
	if (m->type == NBDS_MSG_REQUEST) {
		/* The first of several: what was lost without a reply is over. */
		if (t->c->in_flight <= 1)
			order_idle(o, t->c->id);
		if (r->type == NBD_CMD_FLUSH)
			order_flush_sent(o, t->c->id, r->serial, m->first.frame, m->first.time);
		else
			order_write_sent(o, t->c->id);
	} else if (r->type == NBD_CMD_READ) {
		if (!failed(m))
			order_read_done(o, t->c->id);
	} else if (r->type == NBD_CMD_FLUSH) {
		bool ok = !failed(m);

		order_flush_done(o, t->c->id, r->serial, m->last.frame, m->last.time, ok);
	} else {
		order_write_done(o, t->c->id, r->length, r->flags & NBD_CMD_FLAG_FUA, !failed(m));
	}
}

/* A request has its final reply. */
static void answered(struct told *told, struct track *t, const struct nbds_message *m)
{
	struct nbds_mark seen = {0};
	bool known = nbds_request_seen(m->request, &seen);
	uint64_t took = known && m->last.time > seen.time
				? (uint64_t)m->last.time - (uint64_t)seen.time
				: 0;

	track_export(&told->rows, t);
	track_history(&told->rows, t, m, known ? seen.frame : UINT64_MAX, took, !failed(m));
	if (!known)
		return;
	track_answered(t, seen.frame, true);
	track_took(&told->rows, t, m->request->type, took);
}

static void on_message(void *ctx, struct nbds_connection *c, const struct nbds_message *m)
{
	struct told *told = ctx;
	struct track *t = c->user;

	uint64_t number = log_message(told->log, c, m);

	if (!t)
		return;
	t->logged[m->from] = number;
	if (m->type == NBDS_MSG_REQUEST && m->request)
		track_history(&told->rows, t, m, m->first.frame, 0, true);
	if (m->request && m->from == NBDS_SERVER && (m->flags & NBDS_MSG_FINAL))
		answered(told, t, m);
	rows_mark(&told->rows, t);
	follow_order(told, t, m);
}

static void on_payload(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
		       uint64_t at, const uint8_t *data, size_t len)
{
	const struct told *told = ctx;
	const struct track *t = c->user;

	if (t && at < LOG_PAYLOAD && t->logged[m->from])
		log_payload(told->log, t->logged[m->from], at, data, len);
}

static void on_message_end(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
			   uint64_t came)
{
	const struct told *told = ctx;
	const struct track *t = c->user;

	if (t && came < m->payload_len && t->logged[m->from])
		log_broken_off(told->log, t->logged[m->from]);
}

static void on_trouble(void *ctx, struct nbds_connection *c, const struct nbds_trouble *trouble)
{
	struct told *told = ctx;
	struct track *t = c->user;

	log_trouble(told->log, c, trouble);
	if (!t)
		return;
	if (trouble->kind == NBDS_TROUBLE_LOST || trouble->kind == NBDS_TROUBLE_NONSENSE)
		track_lost(&told->rows, t, trouble->where.frame);
	else if (trouble->kind == NBDS_TROUBLE_FORGOT)
		track_answered(t, 0, false);
	rows_mark(&told->rows, t);
}

static void on_end(void *ctx, struct nbds_connection *c)
{
	struct told *told = ctx;
	struct track *t = c->user;
	struct export_track *x;

	told->changes++;
	if (!t)
		return;
	rows_end(&told->rows, t);
	x = track_export(&told->rows, t);
	/* What ends because the file does has not ended. */
	if (x && x->order && c->end != NBDS_END_OPEN)
		order_closed(x->order, c->id, c->last_frame, c->last_time);
}

/* Where the command ended that shows it. */
static uint64_t frame_of(const struct nbds_finding *f)
{
	static const enum nbds_role roles[] = {NBDS_ROLE_READ, NBDS_ROLE_MESSAGE, NBDS_ROLE_FLUSH,
					       NBDS_ROLE_WRITE};

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (f->frames[roles[i]])
			return f->frames[roles[i]];
	return 0;
}

static void on_finding(void *ctx, const struct nbds_finding *finding)
{
	struct told *told = ctx;
	struct track *t = rows_track(&told->rows, finding->connection);
	struct export_track *x = t ? track_export(&told->rows, t) : NULL;

	told->changes++;
	if (t) {
		rows_mark(&told->rows, t);
		t->row.findings[finding->severity] += finding->count;
	}
	if (x)
		x->row.findings[finding->severity] += finding->count;
	if (x && x->order && finding->severity >= NBDS_SUSPECT)
		order_found(x->order, finding->connection, frame_of(finding));
	if (finding->severity < told->severity)
		return;
	findings_add(&told->findings, finding, x ? x->row.id : 0);
}

const struct nbds_engine_ops told_ops = {
	.connection = on_connection,
	.message = on_message,
	.payload = on_payload,
	.message_end = on_message_end,
	.trouble = on_trouble,
	.finding = on_finding,
	.end = on_end,
};
