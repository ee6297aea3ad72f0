/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log.c - entries for the journal and for syslog. See log.h.
 */
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include <base/assert.h>

#include "../report/buf.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define SYSLOG_SOCKET  "/dev/log"

/* ms that a logger which is behind is waited for. */
#define PATIENCE 1000

#define LEVELS     (NBDS_VIOLATION + 1)
#define FIELDS_MAX 16

struct nbds_log {
	enum nbds_log_where where;
	int syslog; /* its socket, or -1 */
	struct nbds_buf fields[FIELDS_MAX];
	unsigned field_count;
	struct nbds_buf line;
	bool window;           /* one has begun, */
	struct timespec since; /* then */
	unsigned sent;         /* entries in it */
	uint64_t left[LEVELS]; /* findings that were not sent and not said */
	uint64_t lost;         /* entries that were not sent, of all time */
	int error;             /* errno of the last that failed; 0: none did */
	bool behind;           /* the logger did not take the last one in time */
};

/* The longest text of a name that is in an entry; the whole is in the JSON. */
#define NAME_MOST 1024

/* --- entries --- */

static struct nbds_buf *field(struct nbds_log *log, const char *name)
{
	struct nbds_buf *b;

	NBDS_ASSERT(log->field_count < FIELDS_MAX);
	b = &log->fields[log->field_count++];
	nbds_buf_clear(b);
	nbds_buf_puts(b, name);
	nbds_buf_puts(b, "=");
	return b;
}

static void begin(struct nbds_log *log, const char *id, int priority)
{
	log->field_count = 0;
	nbds_buf_puts(field(log, "MESSAGE_ID"), id);
	nbds_buf_printf(field(log, "PRIORITY"), "%d", priority);
	nbds_buf_puts(field(log, "SYSLOG_IDENTIFIER"), "nbdaudit");
}

/* Names are escaped, and cut where they are long. */
static void put_name(struct nbds_buf *b, const void *name, size_t len)
{
	nbds_buf_escape(b, name, len < NAME_MOST ? len : NAME_MOST);
	if (len > NAME_MOST)
		nbds_buf_puts(b, "...");
}

static bool to_journal(struct nbds_log *log)
{
	struct iovec parts[FIELDS_MAX];
	int status;

	for (unsigned i = 0; i < log->field_count; i++) {
		if (log->fields[i].failed) {
			log->error = ENOMEM;
			return false;
		}
		parts[i].iov_base = log->fields[i].s;
		parts[i].iov_len = log->fields[i].len;
	}
	status = sd_journal_sendv(parts, (int)log->field_count);
	if (status < 0)
		log->error = -status;
	return status >= 0;
}

/* A datagram to a logger that may be behind. */
static bool send_line(struct nbds_log *log)
{
	struct iovec part = {log->line.s, log->line.len};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	struct pollfd wait = {.fd = log->syslog, .events = POLLOUT};
	struct timespec now, from;
	int left, reason;

	if (log->line.failed) {
		log->error = ENOMEM;
		return false;
	}
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (;;) {
		/* sendmsg() is what a confined program may still call */
		if (sendmsg(log->syslog, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
			log->behind = false;
			return true;
		}
		reason = errno;
		if (reason != EAGAIN && reason != EINTR)
			break;
		clock_gettime(CLOCK_MONOTONIC, &now);
		left = PATIENCE - (int)((now.tv_sec - from.tv_sec) * 1000 +
					(now.tv_nsec - from.tv_nsec) / 1000000);
		if (left <= 0 || log->behind)
			break;
		/* A full queue of the other side does not always wake who waits. */
		poll(&wait, 1, left < 20 ? left : 20);
	}
	/* it is not waited for again until it has taken something */
	log->behind = reason == EAGAIN;
	log->error = reason;
	return false;
}

/* As syslog(3) would write it, whose losses nobody hears of. */
static bool to_syslog(struct nbds_log *log, int priority, const char *json)
{
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t seconds = time(NULL);
	struct tm tm = {0};

	localtime_r(&seconds, &tm);
	nbds_buf_clear(&log->line);
	nbds_buf_printf(&log->line, "<%d>%s %2d %02d:%02d:%02d nbdaudit[%d]: @cee: %s",
			LOG_USER | priority, months[tm.tm_mon % 12], tm.tm_mday, tm.tm_hour,
			tm.tm_min, tm.tm_sec, (int)getpid(), json);
	return send_line(log);
}

/* `json`: what syslog gets. */
static bool deliver(struct nbds_log *log, int priority, const char *json)
{
	bool sent = log->where == NBDS_LOG_JOURNAL ? to_journal(log)
						   : to_syslog(log, priority, json);

	log->lost += !sent;
	return sent;
}

/* --- what is not sent --- */

static int priority_of(int level)
{
	static const int priorities[LEVELS] = {
		[NBDS_NOTE] = LOG_INFO,
		[NBDS_HAZARD] = LOG_NOTICE,
		[NBDS_SUSPECT] = LOG_WARNING,
		[NBDS_VIOLATION] = LOG_ERR,
	};

	return level < 0 ? LOG_INFO : priorities[level];
}

/* {"message_id":"...","version":... for syslog; closed by the caller. */
static struct nbds_buf *json_begin(struct nbds_buf *b, const char *id, const char *text)
{
	nbds_buf_clear(b);
	nbds_json_open(b, '{');
	nbds_json_member_string(b, "message_id", id);
	nbds_json_member_string(b, "msg", text);
	return b;
}

static void put_counts(struct nbds_buf *b, const uint64_t counts[LEVELS])
{
	for (int s = NBDS_VIOLATION; s >= NBDS_NOTE; s--) {
		nbds_buf_count(b, counts[s], nbds_severity_name((enum nbds_severity)s), NULL);
		nbds_buf_puts(b, s == NBDS_NOTE ? "" : ", ");
	}
}

static void say_left(struct nbds_log *log)
{
	uint64_t all = 0;
	struct nbds_buf json = {0}, *b;
	int worst = 0;

	for (int s = 0; s < LEVELS; s++) {
		all += log->left[s];
		worst = log->left[s] ? s : worst;
	}
	if (!all)
		return;
	begin(log, NBDS_LOG_ID_NOT_SENT,
	      worst == NBDS_VIOLATION ? priority_of(worst) : LOG_WARNING);
	b = field(log, "MESSAGE");
	nbds_buf_puts(b, "not logged, but in the report: ");
	put_counts(b, log->left);
	json_begin(&json, NBDS_LOG_ID_NOT_SENT, strchr(nbds_buf_text(b), '=') + 1);
	nbds_buf_printf(field(log, "NBDSCOPE_NOT_SENT"), "%" PRIu64, all);
	nbds_json_member_u64(&json, "not_sent", all);
	nbds_json_close(&json, '}');
	if (deliver(log, worst == NBDS_VIOLATION ? LOG_ERR : LOG_WARNING, nbds_buf_text(&json)))
		memset(log->left, 0, sizeof(log->left));
	nbds_buf_free(&json);
	log->sent++;
}

/* May another one of this level be sent? A new interval begins with what the last one
 * left. */
static bool within(struct nbds_log *log, int level)
{
	unsigned most = level == NBDS_VIOLATION ? NBDS_LOG_BURST
						: NBDS_LOG_BURST - NBDS_LOG_BURST / 4;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!log->window || now.tv_sec - log->since.tv_sec >= NBDS_LOG_INTERVAL) {
		log->window = true;
		log->since = now;
		log->sent = 0;
		say_left(log);
	}
	return log->sent < most;
}

/* --- what a report calls --- */

static void member_number(struct nbds_log *log, const char *name, uint64_t number)
{
	if (number)
		nbds_buf_printf(field(log, name), "%" PRIu64, number);
}

static void on_finding(void *ctx, const char *name, const struct nbds_finding *f, uint64_t frame,
		       const char *json)
{
	static const char *const sides[] = {
		[NBDS_FAULT_SERVER] = "server",
		[NBDS_FAULT_CLIENT] = "client",
		[NBDS_FAULT_EITHER] = "either",
	};
	struct nbds_log *log = ctx;
	struct nbds_buf *b, syslog = {0};

	if (!within(log, (int)f->severity)) {
		log->left[f->severity] += f->count;
		log->lost++;
		return;
	}
	begin(log, NBDS_LOG_ID_FINDING, priority_of((int)f->severity));
	b = field(log, "MESSAGE");
	nbds_buf_printf(b, "%s: %s [%s]: %s (", nbds_severity_name(f->severity), f->rule->name,
			f->rule->ref, f->message);
	put_name(b, name, strlen(name));
	if (frame)
		nbds_buf_printf(b, ", frame %" PRIu64, frame);
	nbds_buf_puts(b, ")");
	nbds_buf_puts(field(log, "NBDSCOPE_RULE"), f->rule->name);
	nbds_buf_puts(field(log, "NBDSCOPE_REF"), f->rule->ref);
	nbds_buf_puts(field(log, "NBDSCOPE_LEVEL"), nbds_severity_name(f->severity));
	nbds_buf_puts(field(log, "NBDSCOPE_SIDE"), sides[nbds_finding_side(f)]);
	put_name(field(log, "NBDSCOPE_CAPTURE"), name, strlen(name));
	member_number(log, "NBDSCOPE_FRAME", frame);
	member_number(log, "NBDSCOPE_CONNECTION", f->connection);
	member_number(log, "NBDSCOPE_COUNT", f->count);
	if (f->export_name)
		put_name(field(log, "NBDSCOPE_EXPORT"), f->export_name, f->export_name_len);
	if (f->command)
		nbds_buf_puts(field(log, "NBDSCOPE_COMMAND"), f->command);
	nbds_buf_puts(field(log, "NBDSCOPE_JSON"), json);
	if (log->where == NBDS_LOG_SYSLOG) {
		/* the object, and before its members what only a log has */
		nbds_buf_printf(&syslog, "{\"message_id\":\"%s\",\"msg\":", NBDS_LOG_ID_FINDING);
		nbds_json_string(&syslog, strchr(nbds_buf_text(b), '=') + 1);
		nbds_buf_puts(&syslog, ",\"file\":");
		nbds_json_bytes(&syslog, name, strlen(name));
		nbds_buf_puts(&syslog, ",");
		nbds_buf_puts(&syslog, *json ? json + 1 : "}");
	}
	log->sent++;
	if (!deliver(log, priority_of((int)f->severity), nbds_buf_text(&syslog)))
		log->left[f->severity] += f->count;
	nbds_buf_free(&syslog);
}

static void on_capture(void *ctx, const char *name, const char *verdict, const uint64_t *findings,
		       const char *error)
{
	struct nbds_log *log = ctx;
	struct nbds_buf json = {0}, *b;
	int priority = *error || !strcmp(verdict, "unaudited") ? LOG_WARNING : LOG_INFO;

	for (int s = NBDS_HAZARD; s < LEVELS; s++)
		if (findings[s] && priority_of(s) < priority)
			priority = priority_of(s);
	say_left(log);
	begin(log, NBDS_LOG_ID_END, priority);
	b = field(log, "MESSAGE");
	put_name(b, name, strlen(name));
	nbds_buf_printf(b, ": %s: ", verdict);
	put_counts(b, findings);
	if (*error) {
		nbds_buf_puts(b, "; incomplete: ");
		put_name(b, error, strlen(error));
	}
	json_begin(&json, NBDS_LOG_ID_END, strchr(nbds_buf_text(b), '=') + 1);
	nbds_json_key(&json, "file");
	nbds_json_bytes(&json, name, strlen(name));
	nbds_json_member_string(&json, "verdict", verdict);
	nbds_json_key(&json, "findings");
	nbds_json_open(&json, '{');
	for (int s = NBDS_VIOLATION; s >= NBDS_NOTE; s--)
		nbds_json_member_u64(&json, nbds_severity_name((enum nbds_severity)s), findings[s]);
	nbds_json_close(&json, '}');
	nbds_json_close(&json, '}');
	put_name(field(log, "NBDSCOPE_CAPTURE"), name, strlen(name));
	nbds_buf_puts(field(log, "NBDSCOPE_VERDICT"), verdict);
	log->sent++;
	deliver(log, priority, nbds_buf_text(&json));
	nbds_buf_free(&json);
}

const struct nbds_report_hooks nbds_log_hooks = {.finding = on_finding, .capture = on_capture};

/* --- opening and closing --- */

/* A datagram socket that somebody listens on; -1: errno says why not. */
static int reach(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), reason;

	_Static_assert(sizeof(JOURNAL_SOCKET) <= sizeof(to.sun_path), "no room for the path");
	_Static_assert(sizeof(SYSLOG_SOCKET) <= sizeof(to.sun_path), "no room for the path");
	memcpy(to.sun_path, path, strlen(path) + 1);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	reason = errno;
	if (fd >= 0)
		close(fd);
	errno = reason;
	return -1;
}

struct nbds_log *nbds_log_open(enum nbds_log_where where, const char *version, char *err,
			       size_t errsize)
{
	const char *path = where == NBDS_LOG_JOURNAL ? JOURNAL_SOCKET : SYSLOG_SOCKET;
	struct nbds_log *log = calloc(1, sizeof(*log));
	int fd = log ? reach(path) : -1;
	struct nbds_buf json = {0}, *b;

	if (fd < 0) {
		snprintf(err, errsize, "nobody listens on %s: %s", path,
			 strerror(log ? errno : ENOMEM));
		free(log);
		return NULL;
	}
	log->where = where;
	log->syslog = -1;
	/* libsystemd has a socket of its own, and is silent where nobody listens */
	if (where == NBDS_LOG_JOURNAL)
		close(fd);
	else
		log->syslog = fd;
	tzset();
	begin(log, NBDS_LOG_ID_BEGIN, LOG_INFO);
	b = field(log, "MESSAGE");
	nbds_buf_printf(b, "nbdaudit %s logs what it finds", version);
	json_begin(&json, NBDS_LOG_ID_BEGIN, strchr(nbds_buf_text(b), '=') + 1);
	nbds_json_member_string(&json, "version", version);
	nbds_json_close(&json, '}');
	nbds_buf_puts(field(log, "NBDSCOPE_VERSION"), version);
	if (!deliver(log, LOG_INFO, nbds_buf_text(&json))) {
		snprintf(err, errsize, "%s does not take what is sent: %s", path,
			 strerror(log->error));
		nbds_buf_free(&json);
		nbds_log_close(log);
		return NULL;
	}
	nbds_buf_free(&json);
	return log;
}

uint64_t nbds_log_finish(struct nbds_log *log)
{
	say_left(log);
	return log->lost;
}

int nbds_log_error(const struct nbds_log *log)
{
	return log->error;
}

void nbds_log_close(struct nbds_log *log)
{
	if (!log)
		return;
	if (log->syslog >= 0)
		close(log->syslog);
	for (unsigned i = 0; i < FIELDS_MAX; i++)
		nbds_buf_free(&log->fields[i]);
	nbds_buf_free(&log->line);
	free(log);
}
