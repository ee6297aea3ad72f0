/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pcapng_write.c - writes pcapng. See pcapng.h; the blocks are described in
 * draft-ietf-opsawg-pcapng, section 4.
 *
 * Every block goes to the stream whole, so that a file flushed at any time
 * between calls can be read.
 */
#include "pcapng.h"

#include <errno.h>
#include <fcntl.h>
#include <pcap/dlt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STREAM_BUFFER = 256 * 1024, OPTIONS_MAX = 256 };

struct nbds_pcapng_writer {
	FILE *file;
	char *buffer;
	int failed; /* errno of the first failure */
	uint32_t interfaces;
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

static void end_options(struct block_options *o)
{
	memset(o->bytes + o->length, 0, 4);
	o->length += 4;
}

static void put(struct nbds_pcapng_writer *w, const void *bytes, size_t length)
{
	errno = 0;
	if (!w->failed && length && fwrite(bytes, 1, length, w->file) != length)
		w->failed = errno ? errno : EIO;
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
	struct nbds_pcapng_writer *w = calloc(1, sizeof(*w));
	struct {
		uint32_t magic;
		uint16_t major, minor;
		int64_t length;
	} section = {0x1a2b3c4d, 1, 0, -1};
	struct block_options o = {.length = 0};
	int fd = -1;

	if (!w || !(w->buffer = malloc(STREAM_BUFFER))) {
		snprintf(err, errsize, "not enough memory");
		free(w);
		return NULL;
	}
	/* The packets hold what is on the disks: a new file is for its owner alone. */
	fd = strcmp(path, "-") ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
			       : dup(STDOUT_FILENO);
	w->file = fd < 0 ? NULL : fdopen(fd, "wb");
	if (!w->file) {
		snprintf(err, errsize, "cannot create %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		free(w->buffer);
		free(w);
		return NULL;
	}
	setvbuf(w->file, w->buffer, _IOFBF, STREAM_BUFFER);
	add_option(&o, 4, "nbdscope", 8); /* shb_userappl */
	end_options(&o);
	put_block(w, NBDS_PCAPNG_MAGIC, &section, 16, NULL, 0, &o);
	return w;
}

int nbds_pcapng_write_interface(struct nbds_pcapng_writer *w, int linktype, uint32_t snaplen,
				const char *name)
{
	struct {
		uint16_t linktype, reserved;
		uint32_t snaplen;
	} fixed = {(uint16_t)linktype, 0, snaplen};
	struct block_options o = {.length = 0};
	uint8_t nanoseconds = 9;

	/* Raw IP is the one kind whose number in files is not the library's. */
	if (linktype == DLT_RAW || linktype == 14)
		fixed.linktype = 101;
	if (name)
		add_option(&o, 2, name, strlen(name)); /* if_name */
	add_option(&o, 9, &nanoseconds, 1);            /* if_tsresol */
	end_options(&o);
	w->interfaces++;
	return put_block(w, 1, &fixed, sizeof(fixed), NULL, 0, &o);
}

uint32_t nbds_pcapng_written_interfaces(const struct nbds_pcapng_writer *w)
{
	return w->interfaces;
}

int nbds_pcapng_write_packet(struct nbds_pcapng_writer *w, const struct nbds_packet *p)
{
	uint64_t time = (uint64_t)p->time;
	uint32_t fixed[5] = {p->interface, (uint32_t)(time >> 32), (uint32_t)time, p->caplen,
			     p->len};

	return put_block(w, 6, fixed, sizeof(fixed), p->data, p->caplen, NULL);
}

int nbds_pcapng_write_drops(struct nbds_pcapng_writer *w, uint32_t interface, int64_t time,
			    uint64_t ifdrop, uint64_t osdrop)
{
	uint32_t fixed[3] = {interface, (uint32_t)((uint64_t)time >> 32), (uint32_t)time};
	struct block_options o = {.length = 0};

	add_option(&o, 5, &ifdrop, 8); /* isb_ifdrop */
	add_option(&o, 7, &osdrop, 8); /* isb_osdrop */
	end_options(&o);
	return put_block(w, 5, fixed, sizeof(fixed), NULL, 0, &o);
}

int nbds_pcapng_flush(struct nbds_pcapng_writer *w)
{
	errno = 0;
	if (!w->failed && fflush(w->file))
		w->failed = errno ? errno : EIO;
	return result(w);
}

int nbds_pcapng_finish(struct nbds_pcapng_writer *w)
{
	int failed;

	nbds_pcapng_flush(w);
	errno = 0;
	if (fclose(w->file) && !w->failed)
		w->failed = errno ? errno : EIO;
	failed = w->failed;
	free(w->buffer);
	free(w);
	errno = failed;
	return failed ? -1 : 0;
}
