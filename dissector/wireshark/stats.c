/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stats.c - the tap "nbd", and the statistics that listen to it. */
#include "tap.h"

static nstime_t time_of(int64_t ns)
{
	return (nstime_t){ns / 1000000000, (int)(ns % 1000000000)};
}

static struct nbds_tap_info *info_new(packet_info *pinfo, enum nbds_tap_kind kind,
				      const struct conn *k, const struct msg *m,
				      const struct op *op)
{
	struct nbds_tap_info *info = wmem_new0(pinfo->pool, struct nbds_tap_info);

	info->kind = kind;
	info->connection = k ? k->c : NULL;
	if (m) {
		info->name = m->name;
		info->from_server = m->from == NBDS_SERVER;
		info->request = m->type == NBDS_MSG_REQUEST;
		info->command = m->type >= NBDS_MSG_REQUEST;
	}
	if (op && info->command) {
		info->type = op->type;
		info->flags = op->flags;
		info->offset = op->offset;
		info->length = op->length;
	}
	return info;
}

void nbds_tap_message(packet_info *pinfo, const struct conn *k, const struct msg *m,
		      const struct op *op)
{
	if (have_tap_listener(nbds_shark_tap))
		tap_queue_packet(nbds_shark_tap, pinfo,
				 info_new(pinfo, NBDS_TAP_MESSAGE, k, m, op));
}

void nbds_tap_reply(packet_info *pinfo, const struct conn *k, const struct msg *m,
		    const struct op *op)
{
	struct nbds_tap_info *info;

	if (!have_tap_listener(nbds_shark_tap))
		return;
	info = info_new(pinfo, NBDS_TAP_REPLY, k, m, op);
	info->error = op->failed ? op->error : 0;
	info->data_bytes = op->data_bytes;
	info->timed = op->request != NO_INDEX;
	info->request_time = time_of(op->request_time);
	info->reply_time = time_of(op->end_time);
	tap_queue_packet(nbds_shark_tap, pinfo, info);
}

void nbds_tap_finding(packet_info *pinfo, const struct nbds_finding *f)
{
	struct nbds_tap_info *info;

	if (!have_tap_listener(nbds_shark_tap))
		return;
	info = info_new(pinfo, NBDS_TAP_FINDING, NULL, NULL, NULL);
	info->finding = f;
	tap_queue_packet(nbds_shark_tap, pinfo, info);
}

void nbds_stats_register(void)
{
}
