/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdaudit.c - audits NBD captures, or live traffic, and reports.
 *
 * Exit status: 0 nothing at or above --fail-on; 1 something was; 2 bad usage,
 * an input that could not be read to its end, or a report that could not be
 * written; 3 nothing was audited, or less than --min-judged.  Where several
 * hold: 2, then 1, then 3.  docs/nbdaudit.md is the manual.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>

#include "audit_options.h"
#include "baseline/baseline.h"
#include "capture/live.h"
#include "capture/privileges.h"
#include "extraction.h"
#include "log/log.h"
#include "merge/merge.h"
#include "metrics/metrics.h"
#include "options/keys.h"
#include "options/options.h"
#include "options/shared.h"
#include "outputs.h"
#include "pipeline/pipeline.h"
#include "probing.h"
#include "progress.h"
#include "relay/relay.h"
#include "report/report.h"

/* Packets between two looks at the clock, the stop flag and the output. */
#define BATCH 512

/* What a signal stops; NULL: none. What the relay has handed on is still audited. */
static struct nbds_pipeline *_Atomic running;
static struct nbds_relay *_Atomic relaying;

/* --- one capture --- */

static volatile sig_atomic_t stopped; /* a signal came */

static void on_signal(int number)
{
	struct nbds_pipeline *p = running;
	struct nbds_relay *r = relaying;
	int before = errno;

	(void)number;
	stopped = 1;
	probing_stop();
	if (r)
		nbds_relay_stop(r);
	else if (p)
		nbds_pipeline_stop(p);
	errno = before;
}

/*
 * Whatever would end the program ends the capture: the report is written, and the
 * saved file is whole.  Who asks twice by key or by kill(1) means it.
 */
static void catch_signals(void)
{
	static const struct {
		int number;
		bool once;
	} signals[] = {
		{SIGINT, true},   {SIGTERM, true},  {SIGQUIT, true},    {SIGHUP, false},
		{SIGUSR1, false}, {SIGUSR2, false}, {SIGALRM, false},   {SIGVTALRM, false},
		{SIGPROF, false}, {SIGPWR, false},  {SIGSTKFLT, false}, {SIGPOLL, false},
		{SIGXCPU, false},
	};
	struct sigaction action = {.sa_handler = on_signal}, before;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		/* nohup(1), and shells of what runs in the background. */
		if (sigaction(signals[i].number, NULL, &before) == 0 &&
		    before.sa_handler == SIG_IGN)
			continue;
		action.sa_flags = signals[i].once ? (int)SA_RESETHAND : 0;
		sigaction(signals[i].number, &action, NULL);
	}
}

/* Said at once: who relies on the file can still do something. */
static void tell_save_error(const struct nbds_pipeline *p, const struct audit_options *o,
			    bool *told)
{
	if (*told || !nbds_pipeline_save_error(p)[0])
		return;
	*told = true;
	nbds_complain("%s: %s", o->shared.save, nbds_pipeline_save_error(p));
}

/* What packets can make of the program ends here: it asks for nothing more. */
static void confine(const struct nbds_metrics *metrics)
{
	char err[256];

	if (!nbds_shared_confine(metrics, relaying, err, sizeof(err)))
		nbds_complain("%s", err);
}

/* --- metrics --- */

/* Time has passed. */
static void update_metrics(struct nbds_metrics *metrics)
{
	const char *trouble;

	nbds_metrics_update(metrics);
	trouble = nbds_metrics_trouble(metrics);
	if (trouble)
		nbds_complain("%s", trouble);
}

/* What was said of the relay. */
struct relay_told {
	uint64_t refused, crowded, dropped;
	time_t last;
	bool unread; /* nobody reads the report */
};

/* What its user would not notice: at most once a second, and `finally` all of it. */
static void tell_relay(const struct nbds_pipeline *p, struct relay_told *told, bool finally)
{
	struct nbds_relay_status status;
	struct timespec now;
	uint64_t dropped;

	if (!relaying)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec == told->last && !finally)
		return;
	told->last = now.tv_sec;
	nbds_relay_status(relaying, &status);
	if (status.refused > told->refused)
		nbds_complain("the server is not reached, %" PRIu64 " client%s closed: %s",
			      status.refused - told->refused,
			      status.refused - told->refused == 1 ? " was" : "s were",
			      status.error);
	if (status.crowded && !told->crowded)
		nbds_complain(
			"clients wait: no more connections can be open at a time (ulimit -n)");
	dropped = nbds_pipeline_origin_dropped(p);
	if (dropped > told->dropped && (!told->dropped || finally))
		nbds_complain("the audit %s behind: %" PRIu64
			      " packets of it are missing; the traffic is not touched by that",
			      finally ? "was" : "is", dropped);
	told->refused = status.refused;
	told->crowded = status.crowded;
	told->dropped = dropped;
}

/* Steps to the end and reports. The exit status, findings apart. `last`: nothing is
 * opened after it. */
static int run(struct nbds_pipeline *p, struct nbds_report *report, const char *name,
	       const struct audit_options *o, const struct extraction *x, FILE *out, bool last)
{
	struct progress progress;
	enum nbds_step step;
	bool save_told = false, extracted = true;
	struct relay_told told = {0};

	progress_begin(&progress, name, &o->report, out);
	if (!audit_is_live(o))
		nbds_metrics_attach(o->running_metrics, p);
	nbds_report_begin(report, name, p);
	nbds_pipeline_threads(p);
	if (last)
		confine(o->running_metrics);
	for (;;) {
		step = nbds_pipeline_step(p, BATCH);
		if (step > NBDS_STEP_IDLE)
			break;
		if (ferror(out) || (step == NBDS_STEP_IDLE && outputs_reader_gone(out))) {
			/* Clients and server of a relay have nothing to do with that. */
			if (!relaying)
				break;
			if (!told.unread)
				nbds_complain("the report cannot be written any more; bytes are "
					      "handed on until a signal comes");
			told.unread = true;
		}
		progress_show(&progress, p, report);
		update_metrics(o->running_metrics);
		tell_save_error(p, o, &save_told);
		tell_relay(p, &told, false);
	}
	progress_erase(&progress);
	nbds_metrics_detach(o->running_metrics);
	tell_relay(p, &told, true);
	if (ferror(out) || step <= NBDS_STEP_IDLE)
		return STATUS_TROUBLE;
	if (step == NBDS_STEP_ERROR)
		nbds_complain("%s: %s", name, nbds_pipeline_error(p));
	if (x && x->in >= 0)
		extracted = extraction_cut(x, p, report, name, o);
	nbds_report_end(report, step == NBDS_STEP_ERROR ? nbds_pipeline_error(p) : "");
	return step == NBDS_STEP_ERROR || !extracted ? STATUS_TROUBLE : STATUS_OK;
}

static int audit_file(const char *file, struct nbds_pipeline_config *config,
		      struct nbds_report *report, const struct audit_options *o, FILE *out,
		      bool last)
{
	char err[512];
	struct extraction x;
	struct nbds_pipeline *p;
	int status;

	if (!extraction_open(&x, file, o))
		return STATUS_TROUBLE;
	p = nbds_pipeline_open(file, config, err, sizeof(err));
	if (!p) {
		nbds_complain("%s: %s", file, err);
		nbds_report_unreadable(report, file, err);
		extraction_close(&x);
		return STATUS_TROUBLE;
	}
	status = run(p, report, file, o, &x, out, last);
	/* What the last one took is given back by ending: taking it apart would take longer
	 * than some captures need to be read. Where it is looked for leaks it is done. */
	if (!last || NBDS_ASSERTING)
		nbds_pipeline_close(p, NULL, 0);
	extraction_close(&x);
	return status;
}

static bool save_packets(struct nbds_pipeline *p, const struct audit_options *o)
{
	if (!o->shared.save || nbds_pipeline_save(p, o->shared.save) == 0)
		return true;
	nbds_complain("%s: %s", o->shared.save, nbds_pipeline_error(p));
	return false;
}

static int audit_live(char **words, int count, struct nbds_pipeline_config *config,
		      struct nbds_report *report, const struct audit_options *o, FILE *out)
{
	char *filter = nbds_option_filter(words, count);
	bool borrowed = nbds_privileges_borrowed();
	struct nbds_pipeline *p;
	bool save_told;
	char err[512];
	int status, session = -1;

	if (!filter) {
		nbds_complain("out of memory");
		return STATUS_TROUBLE;
	}
	catch_signals();
	p = nbds_pipeline_open_live(o->shared.interface, *filter ? filter : NULL, config, err,
				    sizeof(err));
	free(filter);
	if (!p) {
		nbds_complain("%s: %s", o->shared.interface, err);
		return STATUS_TROUBLE;
	}
	/* Root's own file may be one that only root can write. */
	if (!borrowed && !save_packets(p, o))
		goto failed;
	nbds_live_hurry();
	session = nbds_live_hurry_session();
	if (nbds_privileges_drop(o->shared.user, err, sizeof(err)) < 0) {
		nbds_complain("%s", err);
		goto failed;
	}
	if (borrowed && !save_packets(p, o))
		goto failed;
	nbds_metrics_attach(o->running_metrics, p);
	if (!nbds_metrics_begin(o->running_metrics, err, sizeof(err))) {
		nbds_complain("%s", err);
		goto failed;
	}
	nbds_shared_metrics_tell(&o->shared, o->running_metrics);
	running = p;
	if (stopped)
		nbds_pipeline_stop(p);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "Listening on %s; interrupt (Ctrl-C) for the report.\n",
			o->shared.interface);
	setvbuf(out, NULL, _IOLBF, 0);
	status = run(p, report, o->shared.interface, o, NULL, out, true);
	running = NULL;
	nbds_live_relax_session(session);
	save_told = nbds_pipeline_save_error(p)[0];
	if (nbds_pipeline_close(p, err, sizeof(err)) < 0) {
		if (!save_told)
			nbds_complain("%s: %s",
				      o->shared.save ? o->shared.save : o->shared.interface, err);
		status = STATUS_TROUBLE;
	}
	return status;
failed:
	nbds_live_relax_session(session);
	nbds_metrics_detach(o->running_metrics);
	nbds_pipeline_close(p, NULL, 0);
	return STATUS_TROUBLE;
}

/* One report of several. */
static int merge(struct nbds_merge *m, struct nbds_report *report, FILE *out)
{
	int status = STATUS_OK;
	char err[2048];

	for (size_t i = 0; i < nbds_merge_captures(m) && !ferror(out); i++) {
		if (nbds_merge_capture(m, i, report, err, sizeof(err)))
			continue;
		nbds_complain("%s: %s", nbds_merge_name(m, i), err);
		status = STATUS_TROUBLE;
	}
	if (nbds_merge_left_out(m))
		nbds_complain("%lu lines of messages, or of what --why, --baseline and --probe "
			      "added, are not merged",
			      nbds_merge_left_out(m));
	return status;
}

/* The reports, looked at so far; NULL: they cannot be merged. */
static struct nbds_merge *open_reports(char **files, int count, const struct audit_options *o)
{
	struct nbds_merge *m = nbds_merge_open(files, (size_t)count);
	const char *bare = m ? nbds_merge_summary_only(m) : NULL;

	if (!m) {
		nbds_complain("out of memory");
	} else if (bare && !o->report.summary && !o->report.quiet) {
		nbds_complain(
			"%s: the report was written with --summary, and has no findings: merge "
			"with --summary, too",
			bare);
		nbds_merge_free(m);
		m = NULL;
	}
	return m;
}

/* With the rights of who runs the program: files, and sockets. */
static int audit_relay(struct nbds_pipeline_config *config, struct nbds_report *report,
		       const struct audit_options *o, FILE *out)
{
	struct nbds_endpoint listening, server;
	char err[512], name[NBDS_RELAY_NAME], comment[NBDS_ORIGIN_WORDS];
	struct nbds_pipeline *p = NULL;
	struct nbds_relay *relay;
	struct nbds_view *view;
	int status = STATUS_TROUBLE;
	bool save_told;

	if (!nbds_endpoint_parse(o->shared.listen, true, &listening, err, sizeof(err)) ||
	    !nbds_endpoint_parse(o->shared.connect, false, &server, err, sizeof(err))) {
		nbds_complain("%s", err);
		return STATUS_TROUBLE;
	}
	catch_signals();
	nbds_relay_name(o->shared.listen, o->shared.connect, o->report.ascii, name);
	nbds_relay_comment(&listening, &server, comment, sizeof(comment));
	/* There is one order of all that it sees: strictly later is later. */
	config->engine.epsilon = 1;
	view = nbds_view_new(NBDS_VIEW_BYTES, name, comment);
	relay = view ? nbds_relay_open(&listening, &server, view, err, sizeof(err)) : NULL;
	if (!relay) {
		nbds_complain("%s", view ? err : "out of memory");
		nbds_view_free(view);
		return STATUS_TROUBLE;
	}
	p = nbds_pipeline_open_origin(nbds_view_origin(view), config, err, sizeof(err));
	if (!p) {
		nbds_complain("%s", err);
		nbds_relay_close(relay);
		return STATUS_TROUBLE;
	}
	if (!save_packets(p, o))
		goto done;
	nbds_metrics_attach(o->running_metrics, p);
	if (nbds_privileges_drop(o->shared.user, err, sizeof(err)) < 0 ||
	    !nbds_metrics_begin(o->running_metrics, err, sizeof(err)) ||
	    !nbds_relay_start(relay, err, sizeof(err))) {
		nbds_complain("%s", err);
		goto done;
	}
	nbds_shared_metrics_tell(&o->shared, o->running_metrics);
	relaying = relay;
	if (stopped)
		nbds_relay_stop(relay);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "Relaying %s to %s; interrupt (Ctrl-C) for the report.\n",
			o->shared.listen, o->shared.connect);
	setvbuf(out, NULL, _IOLBF, 0);
	status = run(p, report, name, o, NULL, out, true);
	relaying = NULL;
done:
	nbds_metrics_detach(o->running_metrics);
	nbds_relay_close(relay);
	save_told = nbds_pipeline_save_error(p)[0];
	if (nbds_pipeline_close(p, err, sizeof(err)) < 0) {
		if (!save_told)
			nbds_complain("%s: %s", o->shared.save, err);
		status = STATUS_TROUBLE;
	}
	return status;
}

/* The exit status of a report without trouble. */
static int judge(const struct nbds_report *report, const struct audit_options *o)
{
	if (!o->report.never_fail && nbds_report_reached(report, o->report.fail_on))
		return STATUS_FOUND;
	if (nbds_report_least_judged(report) < o->min_judged) {
		nbds_complain("%.1f %% of what clients read was judged, less than --min-judged=%g",
			      nbds_report_least_judged(report), o->min_judged);
		return STATUS_UNAUDITED;
	}
	if (nbds_report_unaudited(report) && !o->report.allow_unaudited)
		return STATUS_UNAUDITED;
	return STATUS_OK;
}

/* The earlier report, of as many captures as this one. */
static bool load_baseline(struct audit_options *o, char **files, int count, int captures)
{
	char err[256];

	for (int i = 0; !audit_is_live(o) && i < count; i++) {
		if (strcmp(files[i], "-") || strcmp(o->baseline, "-"))
			continue;
		nbds_complain("the earlier report and the capture cannot both come from standard "
			      "input");
		return false;
	}
	o->report.compare = nbds_baseline_load(o->baseline, err, sizeof(err));
	if (!o->report.compare) {
		nbds_complain("%s: %s", o->baseline, err);
		return false;
	}
	if (nbds_compare_captures(o->report.compare) == (unsigned)captures)
		return true;
	nbds_complain("%s: it is the report of %u captures, and this one is of %d", o->baseline,
		      nbds_compare_captures(o->report.compare), captures);
	nbds_compare_free(o->report.compare);
	return false;
}

/* As the options want; also if they want none. */
static bool open_metrics(struct audit_options *o, char **files, int count)
{
	const char *file = o->shared.metrics.file;

	return nbds_shared_metrics_open(&o->shared, "nbdaudit",
					file && !audit_is_live(o) &&
						outputs_is_input(file, files, count),
					&o->running_metrics);
}

static bool close_metrics(struct audit_options *o)
{
	struct nbds_metrics *metrics = o->running_metrics;

	o->running_metrics = NULL;
	return nbds_shared_metrics_close(metrics);
}

/* --- log --- */

/* Connects, before anything is confined or confines. */
static bool open_log(struct audit_options *o)
{
	char err[256];

	if (!o->log)
		return true;
	o->report.hooks = &nbds_log_hooks;
	o->report.hooks_ctx = nbds_log_open(o->log, NBDSCOPE_VERSION, err, sizeof(err));
	if (!o->report.hooks_ctx)
		nbds_complain("--log: %s", err);
	return o->report.hooks_ctx;
}

/* False: the logger did not take all. What came too fast is said, and is no trouble. */
static bool close_log(const struct audit_options *o)
{
	struct nbds_log *log = o->report.hooks_ctx;
	uint64_t lost = log ? nbds_log_finish(log) : 0;
	int reason = log ? nbds_log_error(log) : 0;

	if (lost && reason)
		nbds_complain("--log: %" PRIu64 " entries were not logged: %s", lost,
			      strerror(reason));
	else if (lost)
		nbds_complain("--log: %" PRIu64
			      " findings were not logged: more than %u within %d s",
			      lost, NBDS_LOG_BURST, NBDS_LOG_INTERVAL);
	nbds_log_close(log);
	return !reason;
}

int main(int argc, char **argv)
{
	struct audit_options o = {.report.fail_on = NBDS_VIOLATION,
				  .probing.config.seed = 1,
				  .threads = NBDS_THREADS_USEFUL};
	struct nbds_pipeline_config config = {0};
	struct nbds_merge *reports = NULL;
	struct nbds_report *report;
	struct nbds_tls_reader *keys;
	bool follow;
	char err[NBDS_OPTION_ERROR];
	FILE *out = stdout;
	int status, captures;

	o.shared.severity = NBDS_NOTE;
	nbds_program(argv, "nbdaudit");
	status = audit_options_parse(argc, argv, &o);
	if (status >= 0)
		return status;
	/* Files are read and written with the rights of who runs the program. */
	if (nbds_privileges_borrowed() && (!o.shared.interface || o.output)) {
		if (o.shared.interface) {
			nbds_complain("--output with --interface: not with the set-user-ID bit");
			return STATUS_TROUBLE;
		}
		if (nbds_privileges_drop(NULL, err, sizeof(err)) < 0) {
			nbds_complain("%s", err);
			return STATUS_TROUBLE;
		}
	}
	/* A reader that goes away, or a file that may not grow, is an error in writing, not
	 * an end. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	captures = audit_is_live(&o) || o.probing.config.uri ? 1 : argc - optind;
	if (o.merge) {
		reports = open_reports(argv + optind, argc - optind, &o);
		if (!reports)
			return STATUS_TROUBLE;
		captures = (int)nbds_merge_captures(reports);
	}
	/* Before anything is written: it may be the same file. */
	if (o.baseline && !load_baseline(&o, argv + optind, argc - optind, captures)) {
		nbds_merge_free(reports);
		return STATUS_TROUBLE;
	}
	if (!o.shared.engine.memory)
		o.shared.engine.memory = NBDS_MEMORY_DEFAULT;
	follow = audit_is_live(&o);
	for (int i = optind; i < argc && !o.shared.interface; i++)
		follow |= !strcmp(argv[i], "-"); /* which may come from a live capture */
	keys = nbds_keys_open(o.shared.tls_keys, follow, o.shared.engine.memory, err);
	if (!keys) {
		nbds_complain("%s", err);
		nbds_merge_free(reports);
		nbds_compare_free(o.report.compare);
		return STATUS_TROUBLE;
	}
	if (!outputs_open(&o, argv + optind, argc - optind, &out)) {
		nbds_merge_free(reports);
		nbds_compare_free(o.report.compare);
		nbds_tls_reader_free(keys);
		return STATUS_TROUBLE;
	}
	if (o.report.format == NBDS_REPORT_TEXT)
		outputs_paper(out, &o.report);
	o.report.live = audit_is_live(&o);
	o.report.several = captures > 1;
	/* What findings take while they wait is a share of the whole. */
	o.report.memory = o.shared.engine.memory / 8;
	o.shared.engine.memory -= o.report.memory;
	o.report.version = NBDSCOPE_VERSION;
	if (!open_log(&o) || !open_metrics(&o, argv + optind, argc - optind)) {
		nbds_log_close(o.report.hooks_ctx);
		nbds_merge_free(reports);
		nbds_compare_free(o.report.compare);
		nbds_tls_reader_free(keys);
		return STATUS_TROUBLE;
	}
	report = nbds_report_new(out, &o.report);
	if (!report) {
		nbds_complain("out of memory");
		nbds_merge_free(reports);
		nbds_compare_free(o.report.compare);
		close_metrics(&o);
		nbds_log_close(o.report.hooks_ctx);
		nbds_tls_reader_free(keys);
		return STATUS_TROUBLE;
	}
	o.shared.engine.tls = keys;
	config.engine = o.shared.engine;
	config.threads = o.threads;
	nbds_keys_use(keys, &config);
	nbds_report_callbacks(report, &config.ops);
	config.ctx = report;

	status = STATUS_OK;
	if (reports) {
		status = merge(reports, report, out);
	} else if (o.probing.config.uri) {
		catch_signals();
		status = probing_run(&o.probing, &config, report, &stopped, STATUS_UNAUDITED);
	} else if (o.shared.interface) {
		status = audit_live(argv + optind, argc - optind, &config, report, &o, out);
	} else if (o.shared.listen) {
		status = audit_relay(&config, report, &o, out);
	} else {
		for (int i = optind; i < argc && !ferror(out); i++) {
			int one = audit_file(argv[i], &config, report, &o, out, i == argc - 1);

			if (one > status)
				status = one;
		}
	}
	if (!close_metrics(&o))
		status = STATUS_TROUBLE;
	if (!close_log(&o))
		status = STATUS_TROUBLE;
	nbds_report_finish(report);
	if (nbds_report_lost(report)) {
		nbds_complain("%" PRIu64 " findings are missing from the report: out of memory",
			      nbds_report_lost(report));
		status = STATUS_TROUBLE;
	}
	if (nbds_report_error(report)) {
		nbds_complain("%s are missing from the report: cannot keep them in a temporary "
			      "file: %s",
			      o.report.format == NBDS_REPORT_HTML ? "captures" : "messages",
			      strerror(nbds_report_error(report)));
		status = STATUS_TROUBLE;
	}
	if (status == STATUS_OK || status == STATUS_UNAUDITED) {
		int judged = judge(report, &o);

		if (judged == STATUS_FOUND || status == STATUS_OK)
			status = judged;
	}
	nbds_report_free(report);
	nbds_compare_free(o.report.compare);
	nbds_merge_free(reports);
	nbds_tls_reader_free(keys);

	if (outputs_close(out, &o) < 0)
		status = STATUS_TROUBLE;
	return status;
}
