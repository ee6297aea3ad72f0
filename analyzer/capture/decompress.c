/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * decompress.c - opens inputs and decompresses them as a stream. See source.h.
 *
 * The decompressors share one loop, nbds_source_read(): it keeps raw bytes
 * coming and knows whether the input ended inside a frame (gzip calls it a
 * member, xz and bzip2 a stream).  A decompressor only does one step: from s->in
 * to the caller's memory, and tells whether it is now inside a frame.
 *
 * libarchive has filters for all of them, which are as fast (0.9 to 1.05 of the
 * time for 250 MB of each) but do not do here.  They hand out whole buffers only:
 * of a gzip file that is cut, 120 kB of packets before the cut were none, and of a
 * pipe nothing comes before 64 kB are there or it ends.  gzip's checksums are not
 * looked at, and what follows a member that is no other one is passed over in
 * silence: the capture would be called complete.  What xz may allocate is not
 * bounded, and layers of compression are opened up to 25 deep.
 */
#include "source.h"
#include <base/bytes.h>

#include <bzlib.h>
#include <errno.h>
#include <fcntl.h>
#include <lz4frame.h>
#include <lzma.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { RAW_SIZE = 256 * 1024, STEP_SIZE = 16 * 1024, WAIT_MS = 100 };

/* The first four bytes as they stand in the file. */
#define MAGIC_GZIP       0x1f8b0000u /* RFC 1952, 2.3.1; two bytes */
#define MAGIC_ZSTD       0x28b52ffdu /* RFC 8878, 3.1.1 */
#define MAGIC_LZ4        0x04224d18u /* LZ4 frame format 1.6 */
#define MAGIC_LZ4_LEGACY 0x02214c18u
#define MAGIC_SKIPPABLE  0x502a4d18u /* 0x50 to 0x5f; of zstd and LZ4 alike */
#define MAGIC_XZ         0xfd377a58u /* .xz file format 1.1, 2.1.1.1; two more follow */
#define MAGIC_BZIP2      0x425a6830u /* "BZh", and "1" to "9" */

/* What xz data may make us allocate, as zstd's may by its window: `xz -9` needs a half. */
#define XZ_MEMORY (UINT64_C(130) << 20)

enum compression { PLAIN, GZIP, ZSTD, LZ4, XZ, BZIP2 };

static const char *const kind_names[] = {NULL, "gzip", "zstd", "lz4", "xz", "bzip2"};

struct nbds_source {
	int fd;
	bool own_fd;
	enum compression kind;
	bool in_frame; /* a compressed frame has begun and not ended */
	bool raw_end;  /* the file has no more bytes */
	uint64_t position, size;
	off_t start; /* where the file stood when it was opened; -1: it cannot be read twice */
	bool (*waiting)(void *ctx); /* NULL: nobody wants to know */
	void *waiting_ctx;

	uint8_t *in; /* RAW_SIZE raw bytes, of which [in_at, in_len) are to come */
	size_t in_at, in_len;

	uint8_t head[NBDS_SOURCE_PEEK]; /* plain bytes that were peeked at */
	size_t head_at, head_len;

	z_stream z;
	bool z_ready;
	ZSTD_DStream *zstd;
	LZ4F_dctx *lz4;
	lzma_stream xz;
	bz_stream bzip2;
	bool bzip2_ready;
	uint64_t ended; /* frames */
	char error[160];
};

__attribute__((format(printf, 2, 3))) static int fail(struct nbds_source *s, const char *format,
						      ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->error, sizeof(s->error), format, args);
	va_end(args);
	return -1;
}

/* Waits for bytes, or for the end, as long as those who wait agree. */
static bool wait_for_bytes(struct nbds_source *s)
{
	struct pollfd wait = {.fd = s->fd, .events = POLLIN};

	if (poll(&wait, 1, 0) != 0)
		return true;
	do {
		if (!s->waiting(s->waiting_ctx))
			return false;
	} while (poll(&wait, 1, WAIT_MS) == 0);
	return true;
}

/* read() that waits where the descriptor would not. */
static ssize_t read_raw(struct nbds_source *s, void *buffer, size_t size)
{
	for (;;) {
		ssize_t got;

		if (s->waiting && !wait_for_bytes(s)) {
			s->raw_end = true;
			return 0;
		}
		got = read(s->fd, buffer, size);

		if (got > 0)
			s->position += (uint64_t)got;
		if (got >= 0) {
			s->raw_end = got == 0;
			return got;
		}
		if (errno == EAGAIN || errno == EWOULDBLOCK) {
			struct pollfd wait = {.fd = s->fd, .events = POLLIN};

			poll(&wait, 1, -1);
		} else if (errno != EINTR) {
			return fail(s, "cannot read: %s", strerror(errno));
		}
	}
}

/* More bytes behind those in s->in. 0 also at the end of the file. */
static int fill(struct nbds_source *s)
{
	ssize_t got;

	if (s->in_at) {
		memmove(s->in, s->in + s->in_at, s->in_len - s->in_at);
		s->in_len -= s->in_at;
		s->in_at = 0;
	}
	if (s->raw_end || s->in_len == RAW_SIZE)
		return 0;
	got = read_raw(s, s->in + s->in_len, RAW_SIZE - s->in_len);
	if (got < 0)
		return -1;
	s->in_len += (size_t)got;
	return 0;
}

/* At least `count` raw bytes in s->in, or all that there are. */
static int fill_to(struct nbds_source *s, size_t count)
{
	while (s->in_len - s->in_at < count && !s->raw_end)
		if (fill(s) < 0)
			return -1;
	return 0;
}

static size_t raw_left(const struct nbds_source *s)
{
	return s->in_len - s->in_at;
}

/* Skippable frames hold other programs' notes; what counts comes behind. */
static int skip_frame(struct nbds_source *s)
{
	const uint8_t *p = s->in + s->in_at + 4;
	uint64_t left =
		8 + ((uint64_t)p[3] << 24 | (uint64_t)p[2] << 16 | (uint64_t)p[1] << 8 | p[0]);

	while (left) {
		size_t step = raw_left(s) < left ? raw_left(s) : (size_t)left;

		s->in_at += step;
		left -= step;
		if (left && s->raw_end)
			return fail(s, "the file ends in the middle of a skippable frame");
		if (left && fill(s) < 0)
			return -1;
	}
	return 0;
}

/* "BZh1" to "BZh9", and then the mark of a block (pi) or of the end (its square root). */
static bool is_bzip2(const uint8_t *p, size_t size)
{
	uint32_t magic = nbds_be32(p);

	if (magic <= MAGIC_BZIP2 || magic > MAGIC_BZIP2 + 9)
		return false;
	p += 4;
	size = size < 8 ? size - 4 : 4;
	return !memcmp(p, "\x31\x41\x59\x26", size) || !memcmp(p, "\x17\x72\x45\x38", size);
}

static int recognise(struct nbds_source *s)
{
	uint32_t magic;
	bool skipped = false;

	for (;;) {
		if (fill_to(s, 8) < 0)
			return -1;
		if (raw_left(s) < 4)
			return skipped ? fail(s, "no data behind a skippable frame") : 0;
		magic = nbds_be32(s->in + s->in_at);
		if ((magic & 0xf0ffffff) != MAGIC_SKIPPABLE || raw_left(s) < 8)
			break;
		if (skip_frame(s) < 0)
			return -1;
		skipped = true;
	}
	if ((magic & 0xffff0000) == MAGIC_GZIP) {
		if (inflateInit2(&s->z, 15 + 16) != Z_OK)
			return fail(s, "not enough memory to decompress");
		s->z_ready = true;
		s->kind = GZIP;
	} else if (magic == MAGIC_ZSTD) {
		s->zstd = ZSTD_createDStream();
		if (!s->zstd)
			return fail(s, "not enough memory to decompress");
		s->kind = ZSTD;
	} else if (magic == MAGIC_LZ4) {
		if (LZ4F_isError(LZ4F_createDecompressionContext(&s->lz4, LZ4F_VERSION)))
			return fail(s, "not enough memory to decompress");
		s->kind = LZ4;
	} else if (magic == MAGIC_XZ) {
		s->xz = (lzma_stream)LZMA_STREAM_INIT;
		s->kind = XZ;
	} else if (is_bzip2(s->in + s->in_at, raw_left(s))) {
		s->kind = BZIP2;
	} else if (magic == MAGIC_LZ4_LEGACY) {
		return fail(s, "the legacy LZ4 format is not supported: "
			       "decompress it with lz4 -d first");
	} else if (skipped) {
		return fail(s, "neither zstd nor LZ4 data behind a skippable frame");
	}
	return 0;
}

static struct nbds_source *open_fd(int fd, bool own, char *err, size_t errsize)
{
	struct nbds_source *s = calloc(1, sizeof(*s));
	struct stat status;

	if (s)
		s->in = malloc(RAW_SIZE);
	if (!s || !s->in) {
		snprintf(err, errsize, "not enough memory");
		free(s);
		if (own && fd >= 0)
			close(fd);
		return NULL;
	}
	s->own_fd = own;
	s->fd = fd;
	s->start = -1;
	if (s->fd < 0 || fstat(s->fd, &status) < 0) {
		snprintf(err, errsize, "cannot open: %s", strerror(errno));
		goto failed;
	}
	if (S_ISDIR(status.st_mode)) {
		snprintf(err, errsize, "is a directory, not a capture file");
		goto failed;
	}
	if (isatty(s->fd)) {
		snprintf(err, errsize, "is a terminal, not a capture file");
		goto failed;
	}
	if (S_ISREG(status.st_mode)) {
		off_t start = lseek(s->fd, 0, SEEK_CUR);

		if (start > 0 && start < status.st_size)
			s->size = (uint64_t)(status.st_size - start);
		else
			s->size = (uint64_t)status.st_size;
		s->start = start;
		posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	}
	if (recognise(s) < 0) {
		snprintf(err, errsize, "%s", s->error);
		goto failed;
	}
	return s;

failed:
	nbds_source_close(s);
	return NULL;
}

struct nbds_source *nbds_source_open(const char *path, char *err, size_t errsize)
{
	bool standard_input = !strcmp(path, "-");

	return open_fd(standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY),
		       !standard_input, err, errsize);
}

struct nbds_source *nbds_source_open_fd(int fd, char *err, size_t errsize)
{
	return open_fd(fd, true, err, errsize);
}

void nbds_source_close(struct nbds_source *s)
{
	if (!s)
		return;
	if (s->own_fd && s->fd >= 0)
		close(s->fd);
	if (s->z_ready)
		inflateEnd(&s->z);
	ZSTD_freeDStream(s->zstd);
	LZ4F_freeDecompressionContext(s->lz4);
	if (s->kind == XZ)
		lzma_end(&s->xz);
	if (s->bzip2_ready)
		BZ2_bzDecompressEnd(&s->bzip2);
	free(s->in);
	free(s);
}

/*
 * One step of a decompressor: takes from s->in, writes up to `size` (at most
 * STEP_SIZE) bytes to `out`, keeps s->in_frame.  Returns how many bytes were written.  On damage,
 * sets s->error; bytes written before it still count.
 */
static size_t step_gzip(struct nbds_source *s, uint8_t *out, size_t size)
{
	int result;

	if (!s->in_frame) {
		inflateReset(&s->z);
		s->in_frame = true;
	}
	s->z.next_in = s->in + s->in_at;
	s->z.avail_in = (uInt)raw_left(s);
	s->z.next_out = out;
	s->z.avail_out = (uInt)size;
	result = inflate(&s->z, Z_NO_FLUSH);
	s->in_at = s->in_len - s->z.avail_in;
	if (result == Z_STREAM_END)
		s->in_frame = false;
	else if (result != Z_OK && result != Z_BUF_ERROR)
		fail(s, "the gzip data are damaged (%s)", s->z.msg ? s->z.msg : zError(result));
	return size - s->z.avail_out;
}

static size_t step_zstd(struct nbds_source *s, uint8_t *out, size_t size)
{
	ZSTD_inBuffer from = {s->in, s->in_len, s->in_at};
	ZSTD_outBuffer to = {out, size, 0};
	size_t result = ZSTD_decompressStream(s->zstd, &to, &from);

	s->in_at = from.pos;
	s->in_frame = result != 0;
	if (ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge)
		fail(s, "the zstd data need a window of more than 128 MiB: "
			"decompress them with zstd -d --long=31 first");
	else if (ZSTD_isError(result))
		fail(s, "the zstd data are damaged (%s)", ZSTD_getErrorName(result));
	return to.pos;
}

static size_t step_lz4(struct nbds_source *s, uint8_t *out, size_t size)
{
	size_t from = raw_left(s), to = size;
	size_t result = LZ4F_decompress(s->lz4, out, &to, s->in + s->in_at, &from, NULL);

	if (LZ4F_isError(result)) {
		fail(s, "the lz4 data are damaged (%s)", LZ4F_getErrorName(result));
		return 0;
	}
	s->in_at += from;
	s->in_frame = result != 0;
	return to;
}

static size_t step_xz(struct nbds_source *s, uint8_t *out, size_t size)
{
	lzma_ret result = LZMA_OK;

	if (!s->in_frame) {
		result = lzma_stream_decoder(&s->xz, XZ_MEMORY, 0);
		s->in_frame = true;
	}
	s->xz.next_in = s->in + s->in_at;
	s->xz.avail_in = raw_left(s);
	s->xz.next_out = out;
	s->xz.avail_out = size;
	if (result == LZMA_OK)
		result = lzma_code(&s->xz, LZMA_RUN);
	s->in_at = s->in_len - s->xz.avail_in;
	if (result == LZMA_STREAM_END) {
		s->in_frame = false;
		s->ended++;
	} else if (result == LZMA_MEMLIMIT_ERROR) {
		fail(s, "the xz data need more than 128 MiB of memory: "
			"decompress them with xz -d first");
	} else if (result == LZMA_MEM_ERROR) {
		fail(s, "not enough memory to decompress");
	} else if (result != LZMA_OK && result != LZMA_BUF_ERROR) {
		fail(s, "the xz data are damaged%s",
		     result == LZMA_OPTIONS_ERROR ? " (unknown filter or option)" : "");
	}
	return size - s->xz.avail_out;
}

static size_t step_bzip2(struct nbds_source *s, uint8_t *out, size_t size)
{
	int result = BZ_OK;

	if (!s->in_frame) {
		if (s->bzip2_ready)
			BZ2_bzDecompressEnd(&s->bzip2);
		s->bzip2 = (bz_stream){0};
		result = BZ2_bzDecompressInit(&s->bzip2, 0, 0);
		s->bzip2_ready = result == BZ_OK;
		s->in_frame = true;
	}
	s->bzip2.next_in = (char *)s->in + s->in_at;
	s->bzip2.avail_in = (unsigned)raw_left(s);
	s->bzip2.next_out = (char *)out;
	s->bzip2.avail_out = (unsigned)size;
	if (result == BZ_OK)
		result = BZ2_bzDecompress(&s->bzip2);
	s->in_at = s->in_len - s->bzip2.avail_in;
	if (result == BZ_STREAM_END) {
		s->in_frame = false;
		s->ended++;
	} else if (result == BZ_MEM_ERROR) {
		fail(s, "not enough memory to decompress");
	} else if (result != BZ_OK) {
		fail(s, "the bzip2 data are damaged%s",
		     result == BZ_DATA_ERROR ? " (wrong checksum)" : "");
	}
	return size - s->bzip2.avail_out;
}

static size_t step(struct nbds_source *s, uint8_t *out, size_t size)
{
	switch (s->kind) {
	case GZIP:
		return step_gzip(s, out, size);
	case ZSTD:
		return step_zstd(s, out, size);
	case XZ:
		return step_xz(s, out, size);
	case BZIP2:
		return step_bzip2(s, out, size);
	default:
		return step_lz4(s, out, size);
	}
}

static ssize_t read_compressed(struct nbds_source *s, uint8_t *out, size_t size)
{
	const char *name = kind_names[s->kind];

	/* zstd and LZ4 do not say what they wrote before they found damage: what is lost
	 * there is a step. */
	if (size > STEP_SIZE)
		size = STEP_SIZE;
	for (;;) {
		size_t before, got;

		if (!raw_left(s) && fill(s) < 0)
			return -1;
		/* Tapes and block devices leave zeroes behind the last member; between
		 * streams of xz they are padding (2.2). */
		if (!s->in_frame && ((s->kind == GZIP && s->z.total_in) || s->ended))
			while (raw_left(s) && s->in[s->in_at] == 0)
				s->in_at++;
		if (!raw_left(s)) {
			if (!s->raw_end)
				continue;
			if (!s->in_frame)
				return 0;
		}
		before = raw_left(s);
		got = step(s, out, size);
		if (got)
			return (ssize_t)got;
		if (s->error[0])
			return -1;
		if (s->in_frame && raw_left(s) == before)
			return before ? fail(s, "the %s data are damaged", name)
				      : fail(s, "the %s data end in the middle", name);
	}
}

ssize_t nbds_source_read(struct nbds_source *s, void *buffer, size_t size)
{
	size_t count;

	if (s->head_at < s->head_len) {
		count = s->head_len - s->head_at;
		if (count > size)
			count = size;
		memcpy(buffer, s->head + s->head_at, count);
		s->head_at += count;
		return (ssize_t)count;
	}
	if (s->error[0])
		return -1;
	if (s->kind != PLAIN)
		return read_compressed(s, buffer, size);
	if (raw_left(s)) {
		count = raw_left(s) < size ? raw_left(s) : size;
		memcpy(buffer, s->in + s->in_at, count);
		s->in_at += count;
		return (ssize_t)count;
	}
	return s->raw_end ? 0 : read_raw(s, buffer, size);
}

ssize_t nbds_source_peek(struct nbds_source *s, uint8_t *bytes, size_t size)
{
	if (size > sizeof(s->head))
		size = sizeof(s->head);
	while (s->head_len < size) {
		uint8_t more[NBDS_SOURCE_PEEK];
		size_t have = s->head_len;
		ssize_t got;

		s->head_len = 0; /* what is peeked already does not come again */
		got = nbds_source_read(s, more, size - have);
		s->head_len = have;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		memcpy(s->head + have, more, (size_t)got);
		s->head_len += (size_t)got;
	}
	if (size > s->head_len)
		size = s->head_len;
	memcpy(bytes, s->head, size);
	return (ssize_t)size;
}

void nbds_source_on_wait(struct nbds_source *s, bool (*waiting)(void *ctx), void *ctx)
{
	s->waiting = waiting;
	s->waiting_ctx = ctx;
}

bool nbds_source_can_reread(const struct nbds_source *s)
{
	return s->kind == PLAIN && s->start >= 0;
}

bool nbds_source_reread(const struct nbds_source *s, uint64_t at, uint8_t *bytes, size_t size)
{
	if (!nbds_source_can_reread(s) || at > (uint64_t)INT64_MAX - (uint64_t)s->start)
		return false;
	while (size) {
		ssize_t got = pread(s->fd, bytes, size, s->start + (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) /* somebody has made the file shorter */
			return false;
		at += (uint64_t)got;
		bytes += got;
		size -= (size_t)got;
	}
	return true;
}

const char *nbds_source_error(const struct nbds_source *s)
{
	return s->error;
}

const char *nbds_source_compression(const struct nbds_source *s)
{
	return kind_names[s->kind];
}

uint64_t nbds_source_position(const struct nbds_source *s)
{
	return s->position - (s->kind == PLAIN ? raw_left(s) : 0);
}

uint64_t nbds_source_size(const struct nbds_source *s)
{
	return s->size;
}
