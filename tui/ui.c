/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ui.c - keys, snapshots, and the loop. See ui.h.
 */
#include "ui.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NCURSES_WIDECHAR 1
#include <curses.h>

#include "text.h"

#define NOTICE_NS INT64_C(6000000000)
#define SECOND_NS INT64_C(1000000000)

/* All is drawn so many times more after the size has changed. */
#define REDRAWS 2u

/* So often keys are said to be there, and none is: the terminal is gone. */
#define NO_KEYS_MAX 32

/* Two clicks on one place within so much time open it. */
#define TWICE_NS INT64_C(400000000)

const struct screen_view *const views[SCREEN_COUNT] = {
	[SCREEN_EXPORTS] = &view_exports,   [SCREEN_CONNECTIONS] = &view_connections,
	[SCREEN_ORDER] = &view_order,       [SCREEN_MESSAGES] = &view_messages,
	[SCREEN_FINDINGS] = &view_findings, [SCREEN_LATENCY] = &view_latency,
	[SCREEN_HELP] = &view_help,         [SCREEN_SETUP] = &view_setup,
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

const struct screen_view *ui_view(const struct ui *ui)
{
	return views[ui->screen];
}

struct table *ui_table(struct ui *ui)
{
	switch (ui->screen) {
	case SCREEN_EXPORTS:
		return &ui->exports;
	case SCREEN_CONNECTIONS:
		return &ui->connections;
	case SCREEN_FINDINGS:
		return &ui->findings;
	default:
		return NULL;
	}
}

int64_t ui_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

/* --- what screens ask for --- */

int64_t ui_since(const struct ui *ui, int64_t time)
{
	return (int64_t)((uint64_t)time - (uint64_t)ui->s->start);
}

char *ui_time(const struct ui *ui, int64_t time, char text[TIME_TEXT])
{
	int64_t ns = ((time % SECOND_NS) + SECOND_NS) % SECOND_NS;
	time_t seconds = (time_t)((time - ns) / SECOND_NS);
	struct tm tm;

	if (!ui->absolute)
		snprintf(text, TIME_TEXT, "%.6f", (double)ui_since(ui, time) / 1e9);
	else if (localtime_r(&seconds, &tm))
		snprintf(text, TIME_TEXT, "%02d:%02d:%02d.%06d", tm.tm_hour, tm.tm_min, tm.tm_sec,
			 (int)(ns / 1000));
	else
		snprintf(text, TIME_TEXT, "?");
	return text;
}

const char *ui_time_title(const struct ui *ui)
{
	return ui->absolute ? "TIME OF DAY" : "TIME (s)";
}

int64_t ui_age(const struct ui *ui, int64_t time)
{
	int64_t age = (int64_t)((uint64_t)ui->s->now - (uint64_t)time);

	return age > 0 ? age : 0;
}

const struct export_row *ui_export(const struct ui *ui, uint32_t id)
{
	for (size_t i = 0; id && ui->s && i < ui->s->export_count; i++)
		if (ui->s->exports[i].id == id)
			return &ui->s->exports[i];
	return NULL;
}

const struct connection_row *ui_connection(const struct ui *ui, uint32_t id)
{
	for (size_t i = 0; id && ui->s && i < ui->s->connection_count; i++)
		if (ui->s->connections[i].id == id)
			return &ui->s->connections[i];
	return NULL;
}

const struct export_row *ui_order_export(const struct ui *ui)
{
	const struct export_row *x = ui_export(ui, ui->order_export);
	size_t row = table_row(&ui->exports);

	if (x || !ui->s)
		return x;
	if (ui->only_export && (x = ui_export(ui, ui->only_export)))
		return x;
	return row < ui->s->export_count ? &ui->s->exports[row] : NULL;
}

void ui_notice(struct ui *ui, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(ui->notice, sizeof(ui->notice), format, args);
	va_end(args);
	ui->notice_until = ui_clock() + NOTICE_NS;
	ui->dirty = true;
}

void ui_want(struct ui *ui)
{
	struct wanted w;
	const struct export_row *x = ui_order_export(ui);
	size_t row = table_row(&ui->connections);

	memset(&w, 0, sizeof(w));
	if (ui->screen == SCREEN_ORDER && x)
		w.export = x->id;
	if (ui->screen == SCREEN_CONNECTIONS && ui->connection_detail && ui->s &&
	    row < ui->s->connection_count)
		w.connection = ui->s->connections[row].id;
	row = table_row(&ui->exports);
	if (ui->screen == SCREEN_EXPORTS && ui->s && row < ui->s->export_count)
		w.history = ui->s->exports[row].id;
	w.latency = ui->screen == SCREEN_LATENCY;
	w.scope = ui->latency_scope;
	w.scope_id = ui->latency_id;
	if (!memcmp(&w, &ui->wanted, sizeof(w)))
		return;
	ui->wanted = w;
	worker_want(ui->worker, &w);
}

void ui_go(struct ui *ui, unsigned screen)
{
	if (screen == SCREEN_HELP && ui->screen != SCREEN_HELP) {
		ui->before_help = ui->screen;
		ui->help_scroll = 0;
	}
	if (screen == SCREEN_SETUP && ui->screen != SCREEN_SETUP)
		ui->before_setup = ui->screen;
	/* The flush order is that of the export that was pointed at. */
	if (screen == SCREEN_ORDER && ui->screen == SCREEN_EXPORTS) {
		ui->order_export = 0;
		ui->order_flush = ui->order_right = 0;
	}
	/* What was said, or is typed, is about the screen that is left. */
	if (screen != ui->screen) {
		ui->notice_until = 0;
		prompt_close(ui);
	}
	/* Whoever follows an alarm wants to see what it was about. */
	if (screen == SCREEN_FINDINGS && ui->alarm)
		table_select(&ui->findings, ui->alarm);
	ui->screen = screen;
	if (views[screen]->update && ui->s)
		views[screen]->update(ui);
	ui_want(ui);
	ui->dirty = true;
}

static size_t word_bytes(const char *text, int *columns, int most)
{
	char one[8];
	size_t n = 0;

	*columns = 0;
	while (text[n] && text[n] != ' ' && text[n] != '\n') {
		size_t len = 1;
		int wide;

		while (((unsigned char)text[n + len] & 0xc0) == 0x80 && len < 4)
			len++;
		memcpy(one, text + n, len);
		one[len] = '\0';
		wide = columns_of(one);
		if (*columns + wide > most && *columns)
			break;
		*columns += wide;
		n += len;
	}
	return n;
}

int ui_wrap(int y, int x, int width, int rows, int *skip, enum style style, const char *text)
{
	int used = 0;

	if (width < 1)
		return 0;
	do {
		char line[2048];
		size_t len = 0;
		int columns = 0;

		while (*text && *text != '\n') {
			int wide, between = columns ? 1 : 0;
			size_t n = word_bytes(text, &wide, width);

			if (columns && columns + 1 + wide > width)
				break;
			if (len + n + 2 > sizeof(line))
				break;
			if (between)
				line[len++] = ' ';
			memcpy(line + len, text, n);
			len += n;
			columns += between + wide;
			text += n;
			while (*text == ' ')
				text++;
		}
		line[len] = '\0';
		if (*text == '\n')
			text++;
		if (*skip > 0) {
			--*skip;
		} else {
			if (used == rows)
				break;
			put(y + used, x, width, style, line);
			used++;
		}
	} while (*text);
	return used;
}

/* --- snapshots --- */

/* The newest violation of what is going on; of a file, the first one. */
static void watch_findings(struct ui *ui)
{
	const struct snapshot *s = ui->s;
	bool file = s->state == STATE_LOADING || s->finite;

	if (file && ui->alarm)
		return;
	for (size_t i = 0; i < s->finding_count; i++) {
		const struct found *f = s->findings[file ? i : s->finding_count - 1 - i];

		if (f->finding->severity != NBDS_VIOLATION)
			continue;
		if (f->number > ui->alarms_seen && f->number > ui->alarm)
			ui->alarm = f->number;
		break;
	}
}

static void take(struct ui *ui)
{
	struct snapshot *s;

	if (ui->paused && ui->s && ui->s->state != STATE_REPLAY)
		return;
	s = worker_take(ui->worker);
	if (!s)
		return;
	ui->s = s;
	if (s->notices != ui->notices_seen) {
		ui->notices_seen = s->notices;
		ui_notice(ui, "%s", s->notice);
	}
	table_update(&ui->exports);
	table_update(&ui->connections);
	table_update(&ui->findings);
	/* What is not looked at is not kept alive. */
	if (ui->screen == SCREEN_MESSAGES)
		view_messages.update(ui);
	else if (ui->messages.view.count && !ui->paused)
		log_view_close(worker_log(ui->worker), &ui->messages.view);
	ui_want(ui);
	watch_findings(ui);
	ui->dirty = true;
}

/* --- keys --- */

static void toggle_pause(struct ui *ui)
{
	if (!ui->s)
		return;
	if (ui->s->state == STATE_DONE || ui->s->state == STATE_FAILED) {
		ui_notice(ui, "All is read: there is nothing to pause.");
		return;
	}
	ui->paused = !ui->paused;
	if (ui->s->state == STATE_REPLAY)
		worker_hold(ui->worker, ui->paused);
	if (!ui->paused)
		take(ui);
}

static void search_again(struct ui *ui, int direction)
{
	if (!ui->search[0])
		prompt_open(ui, PROMPT_SEARCH, "");
	else if (ui->s && !ui_view(ui)->search(ui, ui->search, direction, false))
		ui_notice(ui, "\"%s\" is nowhere here.", ui->search);
}

static void change_speed(struct ui *ui, double factor)
{
	double speed;

	if (!ui->s || ui->s->state != STATE_REPLAY) {
		ui_notice(ui, "Only a replay (--replay=SPEED) has a speed.");
		return;
	}
	speed = (ui->speed > 0 ? ui->speed : ui->s->replay_speed) * factor;
	if (speed < 1.0 / 1024 || speed > 1 << 20)
		return;
	ui->speed = speed;
	worker_replay_speed(ui->worker, speed);
}

/* What the cursor is at, its packets: where to? */
static void ask_frames(struct ui *ui)
{
	char name[200] = "";
	struct pick *p;

	if (!ui->s || !ui_view(ui)->pick)
		return;
	if (!worker_keeps(ui->worker)) {
		ui_notice(ui, "No packets are kept (--ring=0): none can be saved afterwards.");
		return;
	}
	p = ui_view(ui)->pick(ui, name, sizeof(name));
	if (!p || !p->count) {
		pick_free(p);
		ui_notice(ui, "There is nothing here whose packets could be saved.");
		return;
	}
	pick_free(ui->pick);
	ui->pick = p;
	prompt_open(ui, PROMPT_FRAMES, name);
	ui->prompt.offered = true;
}

static void back(struct ui *ui)
{
	struct table *t = ui_table(ui);

	if (t && t->filter[0]) {
		t->filter[0] = '\0';
		table_update(t);
	} else if (ui->s && ui->s->state == STATE_LOADING) {
		worker_cancel(ui->worker);
	} else if (ui->paused) {
		toggle_pause(ui);
	}
}

static void act(struct ui *ui, enum action action)
{
	const struct screen_view *v = ui_view(ui);
	struct table *t = ui_table(ui);

	ui->dirty = true;
	if (action >= ACTION_SCREEN && action <= ACTION_SCREEN_LAST) {
		ui_go(ui, action - ACTION_SCREEN);
		return;
	}
	/* So does what is offered to sort by. */
	if (t && t->menu && table_action(t, action))
		return;
	/* Esc ends a filter before it goes back. */
	if (action == ACTION_BACK && t && t->filter[0]) {
		back(ui);
		return;
	}
	/* What is hidden by a slip of the finger may be what matters. */
	if (action == ACTION_CLEAR && ui->s) {
		prompt_open(ui, PROMPT_CLEAR, "");
		return;
	}
	if ((ui->s || ui->screen == SCREEN_HELP) && v->action && v->action(ui, action))
		return;
	switch (action) {
	case ACTION_QUIT:
		ui->quit = true;
		break;
	case ACTION_HELP:
		ui_go(ui, SCREEN_HELP);
		break;
	case ACTION_NEXT_SCREEN:
		ui_go(ui, ui->screen + 1 < SCREEN_TABS ? ui->screen + 1 : 0);
		break;
	case ACTION_PREVIOUS_SCREEN:
		ui_go(ui, ui->screen ? ui->screen - 1 : SCREEN_TABS - 1);
		break;
	case ACTION_BACK:
		back(ui);
		break;
	case ACTION_SEARCH:
		prompt_open(ui, PROMPT_SEARCH, "");
		break;
	case ACTION_SEARCH_NEXT:
		search_again(ui, 1);
		break;
	case ACTION_SEARCH_PREVIOUS:
		search_again(ui, -1);
		break;
	case ACTION_FILTER:
		prompt_open(ui, PROMPT_FILTER, t ? t->filter : ui->messages.filter_text);
		break;
	case ACTION_SAVE:
		prompt_open(ui, PROMPT_SAVE, "");
		break;
	case ACTION_SETUP:
		ui_go(ui, SCREEN_SETUP);
		break;
	case ACTION_SAVE_FRAMES:
		ask_frames(ui);
		break;
	case ACTION_SAVE_END:
		if (ui->s && ui->s->saving)
			prompt_open(ui, PROMPT_SAVE_END, "");
		else
			ui_notice(ui, "No packets are being saved.");
		break;
	case ACTION_PAUSE:
		toggle_pause(ui);
		break;
	case ACTION_SLOWER:
		change_speed(ui, 0.5);
		break;
	case ACTION_FASTER:
		change_speed(ui, 2);
		break;
	case ACTION_TIMES:
		ui->absolute = !ui->absolute;
		ui_notice(ui, ui->absolute ? "Times are those of the day, in the time zone of here."
					   : "Times are seconds since the first packet.");
		break;
	case ACTION_REDRAW:
		screen_redraw();
		break;
	default:
		break;
	}
}

static void mouse(struct ui *ui)
{
	static int last_y = -1, last_x;
	static int64_t last;
	enum hit kind;
	MEVENT event;
	int value = 0;
	bool twice;

	if (getmouse(&event) != OK)
		return;
	if (event.bstate & BUTTON4_PRESSED) {
		for (int i = 0; i < 3; i++)
			act(ui, hit_find(event.y, event.x, &value) == HIT_DETAIL ? ACTION_DETAIL_UP
										 : ACTION_UP);
		return;
	}
	if (event.bstate & BUTTON5_PRESSED) {
		for (int i = 0; i < 3; i++)
			act(ui, hit_find(event.y, event.x, &value) == HIT_DETAIL
					? ACTION_DETAIL_DOWN
					: ACTION_DOWN);
		return;
	}
	if (!(event.bstate & (BUTTON1_PRESSED | BUTTON1_CLICKED | BUTTON1_DOUBLE_CLICKED)))
		return;
	twice = event.y == last_y && abs(event.x - last_x) < 3 && ui_clock() - last < TWICE_NS;
	last_y = event.y;
	last_x = event.x;
	last = ui_clock();
	kind = hit_find(event.y, event.x, &value);
	ui->dirty = true;
	switch (kind) {
	case HIT_TAB:
		ui_go(ui, (unsigned)value);
		break;
	case HIT_KEY:
		act(ui, (enum action)value);
		break;
	case HIT_NONE:
		break;
	default:
		if (ui_view(ui)->click && ui->s)
			ui_view(ui)->click(ui, kind, value,
					   twice || (event.bstate & BUTTON1_DOUBLE_CLICKED));
	}
}

/* Returns how many there were. */
static unsigned read_keys(struct ui *ui)
{
	unsigned count = 0;
	wint_t c;
	int got;

	while (!ui->quit && (got = get_wch(&c)) != ERR) {
		bool special = got == KEY_CODE_YES;

		count++;
		ui->dirty = true;
		if (special && c == KEY_RESIZE) {
			/* what was on its way meanwhile is not where it was meant to be; and a
			 * terminal may be some time behind */
			screen_redraw();
			ui->resized = ui_clock();
			ui->redraws = REDRAWS;
			continue;
		}
		if (special && c == KEY_MOUSE) {
			mouse(ui);
		} else if (!special && c == 3) {
			ui->quit = true;
		} else if (ui->prompt.kind) {
			prompt_key(ui, c, special);
		} else if (special || c < 256) {
			act(ui, key_action((int)c, ui->screen));
		}
	}
	return count;
}

/* --- the loop --- */

/* When all is drawn once more for a size that is new; 0: not any more. */
static int64_t redraw_at(const struct ui *ui)
{
	static const int64_t after[REDRAWS] = {3 * SECOND_NS / 2, SECOND_NS / 4};

	return ui->redraws ? ui->resized + after[ui->redraws - 1] : 0;
}

/* ms until there is something to do even if nothing happens. */
static int patience(const struct ui *ui, int64_t drawn, bool ready)
{
	int64_t now = ui_clock(), until = now + SECOND_NS;

	if (ui->busy)
		return 0;
	if (ready && drawn + ui->setup.refresh < until)
		until = drawn + ui->setup.refresh;
	if (ui->notice_until > now && ui->notice_until < until)
		until = ui->notice_until;
	if (ui->redraws && redraw_at(ui) < until)
		until = redraw_at(ui);
	return until > now ? (int)((until - now) / 1000000) + 1 : 0;
}

void ui_catch_signals(void)
{
	/* Whatever would end the program ends it well. */
	static const int numbers[] = {SIGTERM, SIGHUP,    SIGINT,  SIGQUIT, SIGUSR1,
				      SIGUSR2, SIGALRM,   SIGPROF, SIGPWR,  SIGVTALRM,
				      SIGPOLL, SIGSTKFLT, SIGXCPU};
	struct sigaction action = {.sa_handler = on_signal}, before;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN)
			continue;
		sigaction(numbers[i], &action, NULL);
	}
	/* What cannot be written is an error, not an end. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

bool ui_ended(void)
{
	return ended;
}

void ui_run(struct ui *ui)
{
	unsigned keyless = 0;
	int64_t drawn = 0;
	bool ready = true;
	uint64_t behind = 0;
	char err[200];

	views_init(ui);
	setup_apply(ui, err, sizeof(err));
	if (err[0] && !ui->notice_until)
		ui_notice(ui, "%s", err);
	ui->dirty = true;
	while (!ui->quit && !ended) {
		struct pollfd fds[] = {
			{.fd = screen_fd(), .events = POLLIN},
			/* What is ready is not waited for. */
			{.fd = ready ? -1 : worker_fd(ui->worker), .events = POLLIN},
			/* Whether it is gone is told unasked. */
			{.fd = STDOUT_FILENO},
		};
		int got = poll(fds, 3, patience(ui, drawn, ready));

		if ((fds[0].revents | fds[2].revents) & (POLLHUP | POLLERR | POLLNVAL))
			break;
		if (got > 0 && fds[0].revents)
			keyless = read_keys(ui) ? 0 : keyless + 1;
		else /* the size may have changed, before poll(), too, which get_wch() tells */
			read_keys(ui);
		if (keyless > NO_KEYS_MAX)
			break;
		if (fds[1].revents)
			ready = true;
		if (ui->busy) {
			ui->busy = false;
			if (ui->screen == SCREEN_MESSAGES && ui->s)
				view_messages.update(ui);
			ui->dirty = true;
		}
		if (ready && ui_clock() - drawn >= ui->setup.refresh) {
			take(ui);
			ready = false;
			if (ui->paused && ui->s) {
				uint64_t total = log_total(worker_log(ui->worker));

				/* While paused only this number moves. */
				ready = false;
				ui->dirty |= total != behind;
				behind = total;
			}
		}
		if (ui->notice_until && ui->notice_until <= ui_clock()) {
			ui->notice_until = 0;
			ui->dirty = true;
		}
		if (ui->redraws && redraw_at(ui) <= ui_clock()) {
			ui->redraws--;
			screen_redraw();
			ui->dirty = true;
		}
		if (ui->dirty) {
			ui_draw(ui);
			drawn = ui_clock();
		}
	}
	views_free(ui);
}

void views_init(struct ui *ui)
{
	lists_init(ui);
	findings_init(ui);
	ui->messages.follow = true;
	ui->messages.view.first = 1;
	ui->messages.from = SCREEN_COUNT;
}

void views_free(struct ui *ui)
{
	table_free(&ui->exports);
	table_free(&ui->connections);
	table_free(&ui->findings);
	log_view_close(worker_log(ui->worker), &ui->messages.view);
	pick_free(ui->pick);
	free(ui->messages.matches);
	nbds_buf_free(&ui->messages.line);
}
