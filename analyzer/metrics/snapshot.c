/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapshot.c - see snapshot.h. */
#include "snapshot.h"

void nbds_metrics_packets_add(struct nbds_metrics_packets *sum, struct nbds_pipeline *p)
{
	struct nbds_pipeline_info info;

	nbds_pipeline_info(p, &info);
	sum->frames += info.capture.frames;
	sum->bytes += info.capture.bytes;
	sum->truncated += info.capture.truncated_frames;
	sum->lost_interface += info.capture.dropped_interface;
	sum->lost_kernel += info.capture.dropped - info.capture.dropped_interface;
	sum->unfollowed[NBDS_UNFOLLOWED_NOT_TCP] += info.ip.not_tcp;
	sum->unfollowed[NBDS_UNFOLLOWED_MALFORMED] += info.ip.malformed;
	sum->unfollowed[NBDS_UNFOLLOWED_UNKNOWN_LINK] += info.ip.unknown_link;
	sum->unfollowed[NBDS_UNFOLLOWED_HEADERS] += info.ip.truncated_headers;
	sum->unfollowed[NBDS_UNFOLLOWED_FRAGMENTS] += info.ip.fragments_lost;
	sum->unfollowed[NBDS_UNFOLLOWED_CHECKSUM] += info.tcp.bad_checksums;
}
