/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * common.c - what the forms of the report have in common. See internal.h.
 */
#include "internal.h"

void nbds_report_write(struct nbds_report *r)
{
	fwrite(nbds_buf_text(&r->line), 1, r->line.len, r->out);
	nbds_buf_clear(&r->line);
}

const struct nbds_connection *nbds_report_connection(const struct nbds_report *r, uint32_t id)
{
	const struct nbds_connection *c =
		nbds_engine_connections(nbds_pipeline_engine(r->pipeline));

	while (c && c->id != id)
		c = c->next;
	return c;
}

int64_t nbds_report_since(const struct nbds_report *r, int64_t time)
{
	/* Times of a file may be any numbers: mind the overflow. */
	return (int64_t)((uint64_t)time - (uint64_t)nbds_pipeline_start(r->pipeline));
}

const char *nbds_verdict(const struct nbds_engine_totals *totals)
{
	if (totals->findings[NBDS_VIOLATION])
		return "violations";
	if (totals->findings[NBDS_SUSPECT])
		return "suspect";
	return totals->findings[NBDS_HAZARD] ? "hazards" : "clean";
}
