/* SPDX-License-Identifier: GPL-2.0-or-later */
/* analyzer/session/latency.h - counting latencies (see nbdscope/engine.h). */
#ifndef NBDS_SESSION_LATENCY_H
#define NBDS_SESSION_LATENCY_H

#include <nbdscope/engine.h>

void latency_add(struct nbds_latency *l, uint64_t ns);

#endif
