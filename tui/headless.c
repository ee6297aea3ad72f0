/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Without a screen: what is counted is for others to see, and what cannot be done is said.
 */
#include <poll.h>

#include "../analyzer/options/options.h"
#include "ui.h"

/* ms that the end may take: packets under way are judged. And between two looks at whether
 * it is to come: a signal may be there just before this waits. */
#define END_MS  30000
#define LOOK_MS 500

static bool over(const struct snapshot *s)
{
	return s && (s->state == STATE_DONE || s->state == STATE_FAILED);
}

void headless_run(struct ui *ui)
{
	struct pollfd p = {.fd = worker_fd(ui->worker), .events = POLLIN};
	bool cancelled = false;
	uint64_t notices = 0;

	while (!over(ui->s)) {
		struct snapshot *s;
		int got;

		if (ui_ended() && !cancelled) {
			cancelled = true;
			worker_cancel(ui->worker);
		}
		got = poll(&p, 1, cancelled ? END_MS : LOOK_MS);
		if (got == 0 && cancelled)
			break;
		if (got <= 0)
			continue;
		s = worker_take(ui->worker);
		if (s)
			ui->s = s;
		if (s && s->notices != notices && s->notice[0]) {
			notices = s->notices;
			nbds_complain("%s", s->notice);
		}
	}
}
