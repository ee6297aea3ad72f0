/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * capture.c - capture files and interfaces to packets. See capture.h.
 *
 *	file ─ source ─┬─ classic reader ─────────┐
 *	               ├─ stdio stream ─ libpcap ─┤
 *	               └─ pcapng reader ──────────┼─ packets ─ (saved file)
 *	interface ─ live ─────────────────────────┤
 *	relay ───── origin ───────────────────────┘
 *
 * libpcap judges the header of classic files; what the reader of classic.h does not
 * read it reads whole, from a stdio stream that is laid over the source, so that plain
 * and compressed files take the same way.
 */
#include "capture.h"
#include "classic.h"
#include "live.h"
#include "pcapng.h"
#include "source.h"
#include <base/bytes.h>

#include <errno.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STREAM_BUFFER = 128 * 1024, FLUSH_NS = 500000000 };

/* First four bytes of classic capture files, written big-endian. */
#define MAGIC_MICRO    0xa1b2c3d4u
#define MAGIC_NANO     0xa1b23c4du
#define MAGIC_MODIFIED 0xa1b2cd34u /* longer record headers; old, libpcap knows it */

enum capture_kind { CLASSIC, LIBPCAP, PCAPNG, LIVE, ORIGIN };
enum state { READING, ENDED, FAILED };

struct nbds_capture {
	enum capture_kind kind;
	enum state state;
	struct nbds_source *source;
	struct nbds_classic *classic;
	FILE *stream; /* LIBPCAP: over `source`, with `stream_buffer` */
	char *stream_buffer;
	pcap_t *pcap;
	int linktype;
	uint32_t snaplen; /* CLASSIC and LIBPCAP: of the file, and units of its times */
	bool nanoseconds;
	uint64_t others; /* PCAPNG: records that are no packets, and have numbers of frames */
	struct nbds_pcapng *pcapng;
	struct nbds_live *live;
	struct nbds_capture_origin origin;
	struct nbds_pcapng_writer *save;
	int64_t flushed; /* clock: when the saved file was last brought up to date */
	bool save_apart; /* by who calls nbds_capture_save_packet(), with this: */
	struct nbds_capture_info save_info;
	struct nbds_capture_info info;
	char error[512], save_error[128], refusal[512];
};

__attribute__((format(printf, 2, 3))) static int fail(struct nbds_capture *c, const char *format,
						      ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(c->error, sizeof(c->error), format, args);
	va_end(args);
	return -1;
}

/* Reading ends here for `reason`; says how far it came. */
static int stop(struct nbds_capture *c, const char *reason)
{
	c->state = FAILED;
	if (c->info.frames == 0)
		return fail(c, "%s; no frame was read", reason);
	if (c->info.frames == 1)
		return fail(c, "%s; frame 1 was read", reason);
	return fail(c, "%s; frames 1 to %" PRIu64 " were read", reason, c->info.frames);
}

static int stop_in_packet(struct nbds_capture *c)
{
	char reason[96];

	snprintf(reason, sizeof(reason),
		 "the file ends in the middle of a packet (frame %" PRIu64 ")", c->info.frames + 1);
	return stop(c, reason);
}

static ssize_t read_stream(void *cookie, char *buffer, size_t size)
{
	return nbds_source_read(cookie, buffer, size);
}

/* The stream of libpcap. Its buffer is larger than stdio's own, for fewer calls
 * of the kernel, and it is not locked: one thread reads it. */
static int open_stream(struct nbds_capture *c)
{
	static const cookie_io_functions_t functions = {.read = read_stream};

	c->stream_buffer = malloc(STREAM_BUFFER);
	if (!c->stream_buffer)
		return -1;
	c->stream = fopencookie(c->source, "rb", functions);
	if (!c->stream)
		return -1;
	setvbuf(c->stream, c->stream_buffer, _IOFBF, STREAM_BUFFER);
	__fsetlocking(c->stream, FSETLOCKING_BYCALLER);
	return 0;
}

/* The file's header was judged. */
static void know(struct nbds_capture *c, pcap_t *pcap)
{
	c->linktype = pcap_datalink(pcap);
	c->snaplen = (uint32_t)pcap_snapshot(pcap);
}

/* All classic files, by libpcap. */
static int open_libpcap(struct nbds_capture *c)
{
	char detail[PCAP_ERRBUF_SIZE] = "";

	c->kind = LIBPCAP;
	if (open_stream(c) < 0)
		return fail(c, "not enough memory");
	c->pcap = pcap_fopen_offline_with_tstamp_precision(c->stream, PCAP_TSTAMP_PRECISION_NANO,
							   detail);
	if (c->pcap) {
		know(c, c->pcap);
		return 0;
	}
	if (nbds_source_error(c->source)[0])
		return fail(c, "%s", nbds_source_error(c->source));
	if (feof(c->stream))
		return fail(c, "the file ends in the middle of its header");
	return fail(c, "%s", detail);
}

static int open_classic(struct nbds_capture *c, bool nanoseconds)
{
	uint8_t header[NBDS_CLASSIC_HEADER];
	ssize_t have = nbds_source_peek(c->source, header, sizeof(header));
	char detail[PCAP_ERRBUF_SIZE] = "";
	pcap_t *pcap = NULL;
	FILE *stream;

	c->info.format = nanoseconds ? "pcap (nanosecond)" : "pcap";
	c->info.interfaces = 1;
	c->nanoseconds = nanoseconds;
	if (have < (ssize_t)sizeof(header))
		return open_libpcap(c); /* it says why */
	stream = fmemopen(header, sizeof(header), "rb");
	if (!stream)
		return fail(c, "not enough memory");
	pcap = pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_NANO, detail);
	if (!pcap) {
		fclose(stream);
		return fail(c, "%s", detail);
	}
	know(c, pcap);
	pcap_close(pcap); /* and the stream */
	if (!nbds_classic_reads(header, c->linktype))
		return open_libpcap(c);
	/* What was peeked at comes in one piece. */
	if (nbds_source_read(c->source, header, sizeof(header)) != sizeof(header))
		return fail(c, "%s", nbds_source_error(c->source));
	c->kind = CLASSIC;
	c->classic = nbds_classic_new(c->source, header, c->linktype, c->snaplen);
	return c->classic ? 0 : fail(c, "not enough memory");
}

static int open_pcapng(struct nbds_capture *c)
{
	c->kind = PCAPNG;
	c->info.format = "pcapng";
	c->pcapng = nbds_pcapng_new(c->source);
	return c->pcapng ? 0 : fail(c, "not enough memory");
}

static int open_file(struct nbds_capture *c)
{
	uint8_t first[4];
	ssize_t have = nbds_source_peek(c->source, first, sizeof(first));
	uint32_t magic;

	if (have < 0)
		return fail(c, "%s", nbds_source_error(c->source));
	if (have == 0)
		return fail(c, nbds_source_compression(c->source)
				       ? "the file is empty (once decompressed)"
				       : "the file is empty");
	if (have < (ssize_t)sizeof(first))
		return fail(c, "not a capture file: it has only %zd byte%s", have,
			    have == 1 ? "" : "s");
	magic = nbds_be32(first);
	switch (magic) {
	case NBDS_PCAPNG_MAGIC:
		return open_pcapng(c);
	case MAGIC_MICRO:
	case MAGIC_MODIFIED:
	case __builtin_bswap32(MAGIC_MICRO):
	case __builtin_bswap32(MAGIC_MODIFIED):
		return open_classic(c, false);
	case MAGIC_NANO:
	case __builtin_bswap32(MAGIC_NANO):
		return open_classic(c, true);
	default:
		return fail(c,
			    "not a pcap or pcapng file (it begins with %02x %02x %02x %02x); "
			    "editcap can convert other captures",
			    first[0], first[1], first[2], first[3]);
	}
}

static struct nbds_capture *new_capture(char *err, size_t errsize)
{
	struct nbds_capture *c = calloc(1, sizeof(*c));

	if (!c)
		snprintf(err, errsize, "not enough memory");
	return c;
}

/* `source` is the capture's; NULL: `err` says why already. */
static struct nbds_capture *open_source(struct nbds_source *source, char *err, size_t errsize)
{
	struct nbds_capture *c = source ? new_capture(err, errsize) : NULL;

	if (!c) {
		nbds_source_close(source);
		return NULL;
	}
	c->source = source;
	if (open_file(c) < 0) {
		snprintf(err, errsize, "%s", c->error);
		nbds_capture_close(c);
		return NULL;
	}
	c->info.compression = nbds_source_compression(c->source);
	c->info.size = nbds_source_size(c->source);
	return c;
}

struct nbds_capture *nbds_capture_open(const char *path, char *err, size_t errsize)
{
	return open_source(nbds_source_open(path, err, errsize), err, errsize);
}

struct nbds_capture *nbds_capture_open_fd(int fd, char *err, size_t errsize)
{
	return open_source(nbds_source_open_fd(fd, err, errsize), err, errsize);
}

struct nbds_capture *nbds_capture_open_live(const char *device, const char *filter,
					    uint32_t snaplen, char *err, size_t errsize)
{
	struct nbds_capture *c = new_capture(err, errsize);

	if (!c)
		return NULL;
	c->kind = LIVE;
	c->info.format = "live";
	c->info.interfaces = 1;
	c->live = nbds_live_open(device, filter, snaplen, nbds_live_buffer(), err, errsize);
	if (!c->live) {
		free(c);
		return NULL;
	}
	c->linktype = nbds_live_linktype(c->live);
	return c;
}

struct nbds_capture *nbds_capture_open_origin(const struct nbds_capture_origin *origin, char *err,
					      size_t errsize)
{
	struct nbds_capture *c = new_capture(err, errsize);

	if (!c) {
		origin->close(origin->origin);
		return NULL;
	}
	c->kind = ORIGIN;
	c->info.format = "live";
	c->info.interfaces = 1;
	c->info.dropped_known = true;
	c->origin = *origin;
	c->linktype = origin->linktype;
	return c;
}

static int stop_damaged(struct nbds_capture *c, const char *detail)
{
	char reason[PCAP_ERRBUF_SIZE + 64];

	snprintf(reason, sizeof(reason), "the file is damaged at frame %" PRIu64 " (%s)",
		 c->info.frames + 1, detail);
	return stop(c, reason);
}

static int next_classic(struct nbds_capture *c, struct nbds_packet *p)
{
	int result = nbds_classic_next(c->classic, p);

	if (result == 0)
		c->state = ENDED;
	if (result >= 0)
		return result;
	if (nbds_classic_cut_packet(c->classic))
		return stop_in_packet(c);
	if (nbds_classic_damaged(c->classic))
		return stop_damaged(c, nbds_classic_error(c->classic));
	return stop(c, nbds_classic_error(c->classic));
}

static int next_libpcap(struct nbds_capture *c, struct nbds_packet *p)
{
	struct pcap_pkthdr *head;
	const u_char *data;

	switch (pcap_next_ex(c->pcap, &head, &data)) {
	case 1:
		/* The file has 32 bits without sign, to the year 2106. */
		p->time = (int64_t)(uint32_t)head->ts.tv_sec * 1000000000 + head->ts.tv_usec;
		p->caplen = head->caplen;
		p->len = head->len;
		p->interface = 0;
		p->linktype = c->linktype;
		p->data = data;
		return 1;
	case PCAP_ERROR_BREAK:
		c->state = ENDED;
		return 0;
	default:
		if (ferror(c->stream))
			return stop(c, nbds_source_error(c->source));
		if (feof(c->stream))
			return stop_in_packet(c);
		return stop_damaged(c, pcap_geterr(c->pcap));
	}
}

static int next_pcapng(struct nbds_capture *c, struct nbds_packet *p)
{
	int result = nbds_pcapng_next(c->pcapng, p);

	/* Numbers of frames are Wireshark's. */
	c->others += nbds_pcapng_passed(c->pcapng);
	if (result == 0)
		c->state = ENDED;
	if (result >= 0)
		return result;
	if (nbds_pcapng_cut_packet(c->pcapng))
		return stop_in_packet(c);
	return stop(c, nbds_pcapng_error(c->pcapng));
}

/* Saving goes on without effect once it has failed, and the reading as before. */
static void saved(struct nbds_capture *c, int result)
{
	if (result < 0 && !c->save_error[0])
		snprintf(c->save_error, sizeof(c->save_error), "cannot save the packets: %s",
			 strerror(errno));
}

/* The saved file is that of half a second ago at most: others may look at it, and
 * a disk that is full is found to be. */
static void flush_saved(struct nbds_capture *c, bool quiet)
{
	struct timespec t;
	int64_t now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
	if (!quiet && now - c->flushed < FLUSH_NS)
		return;
	c->flushed = now;
	saved(c, nbds_pcapng_flush(c->save));
}

static int live_result(struct nbds_capture *c, int result)
{
	if (result < 0)
		return stop(c, c->kind == LIVE ? nbds_live_error(c->live)
					       : c->origin.error(c->origin.origin));
	if (!c->save_apart && c->save)
		flush_saved(c, result == 0);
	return result;
}

void nbds_capture_interface(const struct nbds_capture *c, uint32_t interface,
			    struct nbds_pcapng_interface *i)
{
	*i = (struct nbds_pcapng_interface){.linktype = c->linktype, .resolution = 9};
	switch (c->kind) {
	case CLASSIC:
	case LIBPCAP:
		i->snaplen = c->snaplen;
		if (!c->nanoseconds)
			i->resolution = 6;
		break;
	case PCAPNG:
		nbds_pcapng_interface(c->pcapng, interface, i);
		break;
	case LIVE:
		i->snaplen = nbds_live_snaplen(c->live);
		i->name = nbds_live_device(c->live);
		break;
	case ORIGIN:
		i->snaplen = c->origin.snaplen;
		i->name = c->origin.name;
		i->comment = c->origin.comment;
		break;
	}
}

void nbds_capture_keep_words(struct nbds_capture *c,
			     void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s),
			     void *ctx)
{
	if (c->kind == PCAPNG)
		nbds_pcapng_keep_words(c->pcapng, secrets, ctx);
}

const char *nbds_capture_comment(const struct nbds_capture *c)
{
	return c->kind == PCAPNG ? nbds_pcapng_comment(c->pcapng) : NULL;
}

static void describe_interface(struct nbds_capture *c, uint32_t interface)
{
	struct nbds_pcapng_interface i;

	nbds_capture_interface(c, interface, &i);
	nbds_pcapng_describe_interface(c->save, &i);
}

static void save_packet(struct nbds_capture *c, const struct nbds_packet *p)
{
	if (!c->save)
		return;
	while (nbds_pcapng_written_interfaces(c->save) <= p->interface)
		describe_interface(c, nbds_pcapng_written_interfaces(c->save));
	saved(c, nbds_pcapng_write_packet(c->save, p));
}

/* A packet was read: counts it, and saves it. */
static void handed_out(struct nbds_capture *c, struct nbds_packet *p)
{
	struct nbds_capture_info *info = &c->info;

	/* Some writers give the shorter length here; no packet has fewer bytes
	 * than were captured of it. */
	if (p->len < p->caplen)
		p->len = p->caplen;
	if (info->frames++ == 0)
		info->start = info->end = p->time;
	else if (p->time > info->end)
		info->end = p->time;
	else if (p->time < info->start)
		info->start = p->time;
	p->frame = info->frames + c->others;
	info->bytes += p->caplen;
	info->truncated_frames += p->len > p->caplen;
	if (!c->save_apart)
		save_packet(c, p);
}

int nbds_capture_next(struct nbds_capture *c, struct nbds_packet *p)
{
	int result;

	if (c->state != READING)
		return c->state == ENDED ? 0 : -1;
	if (c->kind == CLASSIC)
		result = next_classic(c, p);
	else if (c->kind == LIBPCAP)
		result = next_libpcap(c, p);
	else if (c->kind == PCAPNG)
		result = next_pcapng(c, p);
	else if (c->kind == ORIGIN)
		return fail(c, "packets of a relay are handed out several at a time");
	else
		result = live_result(c, nbds_live_next(c->live, p));
	if (result == 1)
		handed_out(c, p);
	return result;
}

bool nbds_capture_is_file(const struct nbds_capture *c)
{
	return c->source && c->info.size;
}

bool nbds_capture_is_live(const struct nbds_capture *c)
{
	return c->kind == LIVE;
}

bool nbds_capture_lend(struct nbds_capture *c, uint8_t *(*lend)(void *ctx), void *ctx)
{
	if (c->kind != CLASSIC)
		return false;
	nbds_classic_lend(c->classic, lend, ctx);
	return true;
}

bool nbds_capture_can_reread(const struct nbds_capture *c)
{
	return c->kind == CLASSIC && nbds_source_can_reread(c->source);
}

uint64_t nbds_capture_place(const struct nbds_capture *c, const uint8_t *bytes)
{
	return nbds_capture_can_reread(c) ? nbds_classic_place(c->classic, bytes) : 0;
}

bool nbds_capture_reread(const struct nbds_capture *c, uint64_t place, uint8_t *bytes, size_t size)
{
	return nbds_capture_can_reread(c) && nbds_source_reread(c->source, place, bytes, size);
}

struct handing {
	struct nbds_capture *c;
	void (*each)(void *ctx, struct nbds_packet *p);
	void *ctx;
};

static void hand_out(void *ctx, struct nbds_packet *p)
{
	const struct handing *h = ctx;

	handed_out(h->c, p);
	h->each(h->ctx, p);
}

int nbds_capture_each(struct nbds_capture *c, int most,
		      void (*each)(void *ctx, struct nbds_packet *p), void *ctx)
{
	struct handing h = {c, each, ctx};

	if (c->state != READING)
		return c->state == ENDED ? 0 : -1;
	if (c->kind == ORIGIN)
		return live_result(c, c->origin.each(c->origin.origin, most, hand_out, &h));
	return live_result(c, nbds_live_each(c->live, most, hand_out, &h));
}

bool nbds_capture_over(const struct nbds_capture *c)
{
	return c->kind == ORIGIN && c->origin.over(c->origin.origin);
}

uint64_t nbds_capture_origin_dropped(const struct nbds_capture *c)
{
	return c->kind == ORIGIN ? c->origin.dropped(c->origin.origin) : 0;
}

void nbds_capture_on_wait(struct nbds_capture *c, bool (*waiting)(void *ctx), void *ctx)
{
	if (c->source)
		nbds_source_on_wait(c->source, waiting, ctx);
}

/* The other thread has its own errors. */
static int refuse(struct nbds_capture *c, const char *reason)
{
	snprintf(c->refusal, sizeof(c->refusal), "%s", reason);
	return c->save_apart ? -1 : fail(c, "%s", reason);
}

const char *nbds_capture_save_refusal(const struct nbds_capture *c)
{
	return c->refusal;
}

int nbds_capture_save(struct nbds_capture *c, const char *path)
{
	char reason[512];

	if (c->save)
		return refuse(c, "the packets are saved already");
	c->save = nbds_pcapng_create(path, reason, sizeof(reason));
	return c->save ? 0 : refuse(c, reason);
}

int nbds_capture_save_fd(struct nbds_capture *c, int fd)
{
	if (c->save) {
		close(fd);
		return refuse(c, "the packets are saved already");
	}
	c->save = nbds_pcapng_writer_new(fd);
	return c->save ? 0 : refuse(c, "not enough memory");
}

void nbds_capture_save_apart(struct nbds_capture *c)
{
	c->save_apart = true;
}

void nbds_capture_save_packet(struct nbds_capture *c, const struct nbds_packet *p)
{
	save_packet(c, p);
}

void nbds_capture_save_time(struct nbds_capture *c, const struct nbds_capture_info *info,
			    bool quiet)
{
	c->save_info = *info;
	if (c->save)
		flush_saved(c, quiet);
}

const char *nbds_capture_save_error(const struct nbds_capture *c)
{
	return c->save_error;
}

void nbds_capture_info(struct nbds_capture *c, struct nbds_capture_info *info)
{
	uint64_t ifdrop, osdrop;

	if (c->source)
		c->info.position = nbds_source_position(c->source);
	if (c->kind == PCAPNG) {
		c->info.interfaces = nbds_pcapng_interfaces(c->pcapng);
		c->info.dropped_known = nbds_pcapng_dropped(c->pcapng, &c->info.dropped);
	} else if (c->kind == LIVE) {
		c->info.dropped_known = nbds_live_drops(c->live, &ifdrop, &osdrop);
		c->info.dropped = ifdrop + osdrop;
		c->info.dropped_interface = ifdrop;
	} else if (c->kind == ORIGIN) {
		c->info.dropped = c->origin.dropped(c->origin.origin);
	}
	c->info.complete = c->state == ENDED ||
			   ((c->kind == LIVE || c->kind == ORIGIN) && c->state == READING);
	*info = c->info;
}

const struct nbds_capture_info *nbds_capture_counts(const struct nbds_capture *c)
{
	return &c->info;
}

const char *nbds_capture_error(const struct nbds_capture *c)
{
	return c->error;
}

/* What was dropped goes into the saved file too. */
static void save_drops(struct nbds_capture *c)
{
	uint64_t ifdrop = 0, osdrop = 0;
	int64_t end = c->info.end;
	bool known = false;

	if (c->save_apart) {
		known = c->save_info.dropped_known;
		ifdrop = c->save_info.dropped_interface;
		osdrop = c->save_info.dropped - ifdrop;
		end = c->save_info.end;
	} else if (c->kind == LIVE) {
		known = nbds_live_drops(c->live, &ifdrop, &osdrop);
	} else if (c->kind == PCAPNG) {
		known = nbds_pcapng_dropped(c->pcapng, &osdrop);
	} else if (c->kind == ORIGIN) {
		osdrop = c->origin.dropped(c->origin.origin);
		known = true;
	}
	if (!known)
		return;
	if (!nbds_pcapng_written_interfaces(c->save))
		describe_interface(c, 0);
	nbds_pcapng_write_drops(c->save, 0, end, ifdrop, osdrop);
}

int nbds_capture_save_end(struct nbds_capture *c)
{
	struct nbds_pcapng_writer *save = c->save;

	if (!save)
		return 0;
	save_drops(c);
	c->save = NULL;
	c->save_error[0] = '\0';
	return nbds_pcapng_finish(save);
}

int nbds_capture_close(struct nbds_capture *c)
{
	int result = 0, reason = 0;

	if (!c)
		return 0;
	result = nbds_capture_save_end(c);
	reason = errno;
	if (c->pcap)
		pcap_close(c->pcap); /* and the stream */
	else if (c->stream)
		fclose(c->stream);
	free(c->stream_buffer);
	nbds_classic_free(c->classic);
	nbds_pcapng_free(c->pcapng);
	nbds_live_close(c->live);
	if (c->kind == ORIGIN)
		c->origin.close(c->origin.origin);
	nbds_source_close(c->source);
	free(c);
	if (result < 0)
		errno = reason;
	return result;
}
