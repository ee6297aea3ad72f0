/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pcapng_write.c - writes pcapng. See pcapng.h; the blocks are described in
 * draft-ietf-opsawg-pcapng, section 4.
 *
 * Every block goes to the file whole, so that a file flushed at any time between
 * calls can be read; and what is left of one that did not fit on the disk is cut
 * off again.
 */
#include "pcapng.h"

#include <errno.h>
#include <pcap/dlt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>

#include "create.h"

enum {
	OPTIONS_MAX = 2400,
	SECTION_MAX = 2000, /* bytes of a comment of the section, */
	COMMENT_MAX = 1000, /* and of one of a packet, of which there may be two */
	NANOSECONDS = 9,
	BUFFER_FIRST = 256 * 1024,
};

struct nbds_pcapng_writer {
	int fd;
	uint8_t *buffer; /* whole blocks, but while one is put together */
	size_t used, room;
	off_t end;  /* of the whole blocks in the file */
	int failed; /* errno of the first failure */
	uint32_t interfaces;
	uint8_t *resolutions; /* of each: powers of a tenth of a second */
};

/* Options of one block; what does not fit is left out. */
struct block_options {
	uint8_t bytes[OPTIONS_MAX];
	uint32_t length;
};

static uint32_t padding(uint32_t length)
{
	return -length & 3;
}

static void add_option(struct block_options *o, uint16_t code, const void *value, size_t length)
{
	uint16_t head[2] = {code, (uint16_t)length};

	/* Four bytes stay free for the end of the options. */
	if (length > sizeof(o->bytes) || o->length + 4 + length + 3 + 4 > sizeof(o->bytes))
		return;
	memcpy(o->bytes + o->length, head, 4);
	memcpy(o->bytes + o->length + 4, value, length);
	memset(o->bytes + o->length + 4 + length, 0, padding((uint32_t)length));
	o->length += 4 + (uint32_t)length + padding((uint32_t)length);
}

/* A text of at most `most` bytes, not cut off in the middle of a character. */
static void add_text(struct block_options *o, uint16_t code, const char *text, size_t most)
{
	size_t length = text ? strlen(text) : 0;

	if (length > most) {
		length = most;
		while (length && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	}
	if (length)
		add_option(o, code, text, length);
}

static void end_options(struct block_options *o)
{
	memset(o->bytes + o->length, 0, 4);
	o->length += 4;
}

/* Room for a block. */
static bool reserve(struct nbds_pcapng_writer *w, size_t more)
{
	size_t room = w->room ? w->room : BUFFER_FIRST;
	uint8_t *buffer;

	if (w->room && more <= w->room - w->used)
		return true;
	while (room - w->used < more)
		room *= 2;
	buffer = realloc(w->buffer, room);
	if (!buffer) {
		w->failed = ENOMEM;
		return false;
	}
	w->buffer = buffer;
	w->room = room;
	return true;
}

static void put(struct nbds_pcapng_writer *w, const void *bytes, size_t length)
{
	if (!length)
		return;
	NBDS_ASSERT(length <= w->room - w->used);
	memcpy(w->buffer + w->used, bytes, length);
	w->used += length;
}

/* How many of the first `length` bytes of the buffer are whole blocks. */
static size_t whole_blocks(const struct nbds_pcapng_writer *w, size_t length)
{
	size_t at = 0;
	uint32_t block;

	while (length - at >= 8) {
		memcpy(&block, w->buffer + at + 4, 4);
		NBDS_ASSERT(block >= 12 && block <= w->used - at);
		if (block > length - at)
			break;
		at += block;
	}
	return at;
}

/* Bytes written. Fewer than there are: errno says why. */
static size_t write_bytes(int fd, const uint8_t *bytes, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = write(fd, bytes + done, length - done);
		struct pollfd full = {.fd = fd, .events = POLLOUT};

		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			poll(&full, 1, -1);
		else if (errno != EINTR)
			break;
	}
	return done;
}

static void write_out(struct nbds_pcapng_writer *w)
{
	size_t done;

	if (w->failed || !w->used)
		return;
	done = write_bytes(w->fd, w->buffer, w->used);
	if (done < w->used) {
		w->failed = errno;
		w->end += (off_t)whole_blocks(w, done);
		/* A pipe cannot be cut, and who reads it sees where it ends. */
		if (ftruncate(w->fd, w->end) < 0)
			return;
	} else {
		w->end += (off_t)w->used;
	}
	w->used = 0;
}

static int result(const struct nbds_pcapng_writer *w)
{
	errno = w->failed;
	return w->failed ? -1 : 0;
}

/* type, length, fixed part, data with padding, options, length again */
static int put_block(struct nbds_pcapng_writer *w, uint32_t type, const void *fixed,
		     uint32_t fixed_length, const void *data, uint32_t data_length,
		     const struct block_options *o)
{
	static const uint8_t zeroes[4];
	uint32_t length =
		12 + fixed_length + data_length + padding(data_length) + (o ? o->length : 0);
	uint32_t head[2] = {type, length};

	if (w->used + length > BUFFER_FIRST)
		write_out(w);
	if (w->failed || !reserve(w, length))
		return result(w);
	put(w, head, sizeof(head));
	put(w, fixed, fixed_length);
	put(w, data, data_length);
	put(w, zeroes, padding(data_length));
	if (o)
		put(w, o->bytes, o->length);
	put(w, &length, 4);
	return result(w);
}

struct nbds_pcapng_writer *nbds_pcapng_create(const char *path, char *err, size_t errsize)
{
	struct nbds_pcapng_writer *w;
	char why[256];
	int fd;

	/* The packets hold what is on the disks: a new file is for its owner alone. */
	if (strcmp(path, "-")) {
		fd = nbds_create(path, 0600, why, sizeof(why));
	} else {
		fd = dup(STDOUT_FILENO);
		snprintf(why, sizeof(why), "%s", strerror(errno));
	}
	if (fd < 0) {
		snprintf(err, errsize, "%s", why);
		return NULL;
	}
	w = nbds_pcapng_writer_new(fd);
	if (!w)
		snprintf(err, errsize, "not enough memory");
	return w;
}

struct nbds_pcapng_writer *nbds_pcapng_writer_new(int fd)
{
	return nbds_pcapng_writer_commented(fd, NULL);
}

struct nbds_pcapng_writer *nbds_pcapng_writer_commented(int fd, const char *comment)
{
	struct nbds_pcapng_writer *w = calloc(1, sizeof(*w));
	struct {
		uint32_t magic;
		uint16_t major, minor;
		int64_t length;
	} section = {0x1a2b3c4d, 1, 0, -1};
	struct block_options o = {.length = 0};

	if (!w) {
		close(fd);
		return NULL;
	}
	w->fd = fd;
	/* Not the beginning, if it is a standard output that others wrote to. */
	w->end = lseek(fd, 0, SEEK_CUR);
	if (w->end < 0)
		w->end = 0;
	add_text(&o, 1, comment, SECTION_MAX); /* opt_comment */
	add_option(&o, 4, "nbdscope", 8);      /* shb_userappl */
	end_options(&o);
	put_block(w, NBDS_PCAPNG_MAGIC, &section, 16, NULL, 0, &o);
	return w;
}

int nbds_pcapng_write_interface(struct nbds_pcapng_writer *w, int linktype, uint32_t snaplen,
				const char *name)
{
	const struct nbds_pcapng_interface i = {
		.linktype = linktype,
		.snaplen = snaplen,
		.resolution = NANOSECONDS,
		.name = name,
	};

	return nbds_pcapng_describe_interface(w, &i);
}

int nbds_pcapng_describe_interface(struct nbds_pcapng_writer *w,
				   const struct nbds_pcapng_interface *i)
{
	struct {
		uint16_t linktype, reserved;
		uint32_t snaplen;
	} fixed = {(uint16_t)i->linktype, 0, i->snaplen};
	struct block_options o = {.length = 0};
	uint8_t resolution = i->resolution <= NANOSECONDS ? i->resolution : NANOSECONDS;
	uint8_t *larger;

	/* Raw IP is the one kind whose number in files is not the library's. */
	if (i->linktype == DLT_RAW || i->linktype == 14)
		fixed.linktype = 101;
	larger = realloc(w->resolutions, w->interfaces + 1);
	if (!larger) {
		w->failed = ENOMEM;
		return result(w);
	}
	w->resolutions = larger;
	w->resolutions[w->interfaces++] = resolution;
	add_text(&o, 1, i->comment, NBDS_PCAPNG_WORDS_MAX);     /* opt_comment */
	add_text(&o, 2, i->name, NBDS_PCAPNG_WORDS_MAX);        /* if_name */
	add_text(&o, 3, i->description, NBDS_PCAPNG_WORDS_MAX); /* if_description */
	add_option(&o, 9, &resolution, 1);                      /* if_tsresol */
	end_options(&o);
	return put_block(w, 1, &fixed, sizeof(fixed), NULL, 0, &o);
}

/* In units of the interface. */
static uint64_t time_stamp(const struct nbds_pcapng_writer *w, uint32_t interface, int64_t time)
{
	uint64_t units = (uint64_t)time;

	if (interface < w->interfaces)
		for (int r = w->resolutions[interface]; r < NANOSECONDS; r++)
			units /= 10;
	return units;
}

uint32_t nbds_pcapng_written_interfaces(const struct nbds_pcapng_writer *w)
{
	return w->interfaces;
}

int nbds_pcapng_write_packet(struct nbds_pcapng_writer *w, const struct nbds_packet *p)
{
	return nbds_pcapng_write_commented(w, p, NULL);
}

int nbds_pcapng_write_commented(struct nbds_pcapng_writer *w, const struct nbds_packet *p,
				const char *comment)
{
	return nbds_pcapng_write_commented2(w, p, comment, NULL);
}

int nbds_pcapng_write_commented2(struct nbds_pcapng_writer *w, const struct nbds_packet *p,
				 const char *comment, const char *second)
{
	uint64_t time = time_stamp(w, p->interface, p->time);
	uint32_t fixed[5] = {p->interface, (uint32_t)(time >> 32), (uint32_t)time, p->caplen,
			     p->len};
	struct block_options o = {.length = 0};

	add_text(&o, 1, comment, COMMENT_MAX); /* opt_comment */
	add_text(&o, 1, second, COMMENT_MAX);
	if (!o.length)
		return put_block(w, 6, fixed, sizeof(fixed), p->data, p->caplen, NULL);
	end_options(&o);
	return put_block(w, 6, fixed, sizeof(fixed), p->data, p->caplen, &o);
}

int nbds_pcapng_write_drops(struct nbds_pcapng_writer *w, uint32_t interface, int64_t time,
			    uint64_t ifdrop, uint64_t osdrop)
{
	uint64_t stamp = time_stamp(w, interface, time);
	uint32_t fixed[3] = {interface, (uint32_t)(stamp >> 32), (uint32_t)stamp};
	struct block_options o = {.length = 0};

	add_option(&o, 5, &ifdrop, 8); /* isb_ifdrop */
	add_option(&o, 7, &osdrop, 8); /* isb_osdrop */
	end_options(&o);
	return put_block(w, 5, fixed, sizeof(fixed), NULL, 0, &o);
}

int nbds_pcapng_write_secrets(struct nbds_pcapng_writer *w, const struct nbds_pcapng_secrets *s)
{
	uint32_t fixed[2] = {s->kind, s->length};

	return put_block(w, 10, fixed, sizeof(fixed), s->data, s->length, NULL);
}

int nbds_pcapng_flush(struct nbds_pcapng_writer *w)
{
	write_out(w);
	return result(w);
}

int nbds_pcapng_finish(struct nbds_pcapng_writer *w)
{
	int failed;

	write_out(w);
	if (close(w->fd) < 0 && !w->failed)
		w->failed = errno;
	failed = w->failed;
	free(w->buffer);
	free(w->resolutions);
	free(w);
	errno = failed;
	return failed ? -1 : 0;
}
