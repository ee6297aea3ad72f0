/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_capture.c - analyzer/capture: files of every kind, whole and damaged,
 * the saved file, and the loopback interface where the rights are there.
 *
 * Files are made here byte by byte, so that the reader is held against the
 * format and not against a library that both sides share; real captures
 * (NBDSCOPE_CAPTURES) are held against capinfos.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <bzlib.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lz4frame.h>
#include <lzma.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "analyzer/capture/capture.h"
#include "analyzer/capture/pcapng.h"

/* --- bytes and files ------------------------------------------------------ */

struct bytes {
	uint8_t *data;
	size_t length, size;
	bool big; /* byte order of put16() and so on */
};

static char directory[64];
static char path[128]; /* the file under test */

static void put(struct bytes *b, const void *data, size_t length)
{
	if (!b->data || b->size - b->length < length) {
		b->size = 2 * (b->length + length) + 64;
		b->data = realloc(b->data, b->size);
		assert_non_null(b->data);
	}
	if (length)
		memcpy(b->data + b->length, data, length);
	b->length += length;
}

static void put_number(struct bytes *b, uint64_t value, int size)
{
	uint8_t out[8];

	for (int i = 0; i < size; i++)
		out[b->big ? size - 1 - i : i] = (uint8_t)(value >> 8 * i);
	put(b, out, (size_t)size);
}

static void put16(struct bytes *b, uint32_t value)
{
	put_number(b, value, 2);
}

static void put32(struct bytes *b, uint32_t value)
{
	put_number(b, value, 4);
}

static void put64(struct bytes *b, uint64_t value)
{
	put_number(b, value, 8);
}

static void clear(struct bytes *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

static void write_file(const void *data, size_t length)
{
	FILE *file;

	/* Some file systems write a file that is overwritten to the disk at once. */
	unlink(path);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

/* The bytes of test packet `n` (from 0): each packet is another size. */
static uint32_t packet_size(int n)
{
	return 14 + (uint32_t)n * 7 % 1500;
}

static const uint8_t *packet_bytes(int n)
{
	static uint8_t bytes[2048];

	for (uint32_t i = 0; i < packet_size(n); i++)
		bytes[i] = (uint8_t)(n * 31 + (int)i);
	return bytes;
}

enum { FIRST_SECOND = 1700000000 };

/* A classic file of `count` packets, one second and one unit apart; the second
 * packet was cut by 5 bytes. */
static struct bytes classic(bool big, bool nano, int count)
{
	struct bytes b = {.big = big};

	put32(&b, nano ? 0xa1b23c4d : 0xa1b2c3d4);
	put16(&b, 2);
	put16(&b, 4);
	put32(&b, 0);
	put32(&b, 0);
	put32(&b, 262144);
	put32(&b, 1);
	for (int n = 0; n < count; n++) {
		put32(&b, FIRST_SECOND + (uint32_t)n);
		put32(&b, (uint32_t)n);
		put32(&b, packet_size(n));
		put32(&b, packet_size(n) + (n == 1 ? 5 : 0));
		put(&b, packet_bytes(n), packet_size(n));
	}
	return b;
}

static int64_t classic_time(int n, bool nano)
{
	return (FIRST_SECOND + (int64_t)n) * 1000000000 + n * (nano ? 1 : 1000);
}

enum packing { PLAIN, GZIP, ZSTD_FRAME, LZ4_FRAME, XZ, BZIP2, PACKINGS };

static const char *const packing_names[] = {NULL, "gzip", "zstd", "lz4", "xz", "bzip2"};

/* Appends `data`, compressed as one member or frame, to `out`. */
static void pack(struct bytes *out, enum packing packing, const void *data, size_t length)
{
	size_t space = length * 2 + 4096, size = 0;
	uint8_t *packed = malloc(space);
	z_stream z = {0};

	assert_non_null(packed);
	switch (packing) {
	case GZIP:
		assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY),
				 Z_OK);
		z.next_in = (uint8_t *)data;
		z.avail_in = (uInt)length;
		z.next_out = packed;
		z.avail_out = (uInt)space;
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		size = space - z.avail_out;
		deflateEnd(&z);
		break;
	case ZSTD_FRAME:
		size = ZSTD_compress(packed, space, data, length, 3);
		assert_false(ZSTD_isError(size));
		break;
	case LZ4_FRAME: {
		LZ4F_preferences_t checked = {.frameInfo.contentChecksumFlag =
						      LZ4F_contentChecksumEnabled};

		size = LZ4F_compressFrame(packed, space, data, length, &checked);
		assert_false(LZ4F_isError(size));
		break;
	}
	case XZ:
		assert_int_equal(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, NULL, data, length,
							 packed, &size, space),
				 LZMA_OK);
		break;
	case BZIP2: {
		unsigned room = (unsigned)space;

		assert_int_equal(BZ2_bzBuffToBuffCompress((char *)packed, &room, (char *)data,
							  (unsigned)length, 1, 0, 0),
				 BZ_OK);
		size = room;
		break;
	}
	default:
		put(out, data, length);
	}
	put(out, packed, size);
	free(packed);
}

static struct nbds_capture *open_path(const char *name)
{
	char err[512] = "";
	struct nbds_capture *c = nbds_capture_open(name, err, sizeof(err));

	if (!c)
		fail_msg("%s: %s", name, err);
	return c;
}

/* Opening `path` fails with a line that contains `part`. */
static void assert_refused(const char *name, const char *part)
{
	char err[512] = "";
	struct nbds_capture *c = nbds_capture_open(name, err, sizeof(err));

	assert_null(c);
	if (!strstr(err, part) || strchr(err, '\n'))
		fail_msg("expected \"%s\" in: %s", part, err);
}

/* Reads to the end; the packets are those of classic(). Returns how many. */
static int read_all(struct nbds_capture *c, bool nano)
{
	struct nbds_packet p;
	int n = 0, status;

	while ((status = nbds_capture_next(c, &p)) == 1) {
		assert_int_equal(p.frame, n + 1);
		assert_int_equal(p.time, classic_time(n, nano));
		assert_int_equal(p.caplen, packet_size(n));
		assert_int_equal(p.len, packet_size(n) + (n == 1 ? 5 : 0));
		assert_int_equal(p.interface, 0);
		assert_int_equal(p.linktype, 1);
		assert_memory_equal(p.data, packet_bytes(n), p.caplen);
		n++;
	}
	/* The end stays the end, and an error an error. */
	assert_int_equal(nbds_capture_next(c, &p), status);
	return n;
}

static void assert_whole(struct nbds_capture *c, int count, bool nano, enum packing packing)
{
	struct nbds_capture_info info;
	uint64_t bytes = 0;

	assert_int_equal(read_all(c, nano), count);
	assert_string_equal(nbds_capture_error(c), "");
	nbds_capture_info(c, &info);
	for (int n = 0; n < count; n++)
		bytes += packet_size(n);
	assert_int_equal(info.frames, count);
	assert_int_equal(info.bytes, bytes);
	assert_int_equal(info.truncated_frames, count > 1);
	assert_int_equal(info.interfaces, 1);
	assert_true(info.complete);
	assert_false(info.dropped_known);
	assert_int_equal(info.start, count ? classic_time(0, nano) : 0);
	assert_int_equal(info.end, count ? classic_time(count - 1, nano) : 0);
	assert_string_equal(info.format, nano ? "pcap (nanosecond)" : "pcap");
	if (packing == PLAIN)
		assert_null(info.compression);
	else
		assert_string_equal(info.compression, packing_names[packing]);
}

/* --- classic files and compression ---------------------------------------- */

static void test_classic(void **state)
{
	static const int counts[] = {0, 1, 2, 40, 3000};
	struct nbds_capture_info info;
	struct nbds_capture *c;

	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
			struct bytes plain = classic(kind & 1, kind & 2, counts[i]);

			for (enum packing packing = PLAIN; packing < PACKINGS; packing++) {
				struct bytes packed = {0};

				pack(&packed, packing, plain.data, plain.length);
				write_file(packed.data, packed.length);
				c = open_path(path);
				assert_whole(c, counts[i], kind & 2, packing);
				nbds_capture_info(c, &info);
				assert_int_equal(info.size, packed.length);
				assert_int_equal(info.position, packed.length);
				assert_int_equal(nbds_capture_close(c), 0);
				clear(&packed);
			}
			clear(&plain);
		}
	}
}

/* Members and frames in a row, split where it hurts, with skippable frames
 * before, between and behind. */
static void test_several_frames(void **state)
{
	static const uint8_t skippable[] = {0x53, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5};
	struct bytes plain = classic(false, false, 50);
	static const size_t cuts[] = {1, 3, 4, 23, 24, 25, 40, 41, 700, 701};

	(void)state;
	for (enum packing packing = GZIP; packing < PACKINGS; packing++) {
		struct bytes packed = {0};
		struct nbds_capture *c;
		size_t at = 0;

		for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
			if (packing == ZSTD_FRAME || packing == LZ4_FRAME)
				put(&packed, skippable, sizeof(skippable));
			pack(&packed, packing, plain.data + at, cuts[i] - at);
			pack(&packed, packing, "", 0);
			at = cuts[i];
		}
		pack(&packed, packing, plain.data + at, plain.length - at);
		if (packing == ZSTD_FRAME || packing == LZ4_FRAME)
			put(&packed, skippable, sizeof(skippable));
		else
			put(&packed, (uint8_t[512]){0}, 512);
		write_file(packed.data, packed.length);
		c = open_path(path);
		assert_whole(c, 50, false, packing);
		nbds_capture_close(c);
		clear(&packed);
	}
	clear(&plain);
}

/* Standard input: from a file, and from a pipe that brings few bytes at once. */
static void test_standard_input(void **state)
{
	struct bytes plain = classic(true, true, 60);
	int saved = dup(STDIN_FILENO);

	(void)state;
	for (enum packing packing = PLAIN; packing < PACKINGS; packing++) {
		struct nbds_capture_info info;
		struct bytes packed = {0};
		struct nbds_capture *c;
		int fd, ends[2];
		pid_t child;

		pack(&packed, packing, plain.data, plain.length);
		write_file(packed.data, packed.length);
		fd = open(path, O_RDONLY);
		assert_true(fd >= 0);
		dup2(fd, STDIN_FILENO);
		close(fd);
		c = open_path("-");
		assert_whole(c, 60, true, packing);
		nbds_capture_close(c);

		assert_int_equal(pipe(ends), 0);
		fflush(NULL);
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			for (size_t at = 0; at < packed.length; at += 11) {
				size_t rest = packed.length - at;

				if (write(ends[1], packed.data + at, rest < 11 ? rest : 11) < 0)
					_exit(1);
			}
			_exit(0);
		}
		close(ends[1]);
		dup2(ends[0], STDIN_FILENO);
		close(ends[0]);
		c = open_path("-");
		assert_whole(c, 60, true, packing);
		nbds_capture_info(c, &info);
		assert_int_equal(info.size, 0);
		assert_int_equal(info.position, packed.length);
		nbds_capture_close(c);
		assert_int_equal(waitpid(child, NULL, 0), child);
		clear(&packed);
	}
	dup2(saved, STDIN_FILENO);
	close(saved);
	clear(&plain);
}

static void test_refused(void **state)
{
	static const uint8_t legacy[] = {0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0};
	static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9};
	struct bytes packed = {0}, header = classic(false, false, 0);

	(void)state;
	assert_refused("/nonexistent/file.pcap", "No such file or directory");
	assert_refused(directory, "is a directory");
	write_file("", 0);
	assert_refused(path, "the file is empty");
	write_file("abc", 3);
	assert_refused(path, "not a capture file: it has only 3 bytes");
	write_file("not a capture at all", 20);
	assert_refused(path, "it begins with 6e 6f 74 20");
	write_file(header.data, 23);
	assert_refused(path, "ends in the middle of its header");
	header.data[4] = 77; /* version 77.4 */
	write_file(header.data, header.length);
	assert_refused(path, "version");
	write_file(legacy, sizeof(legacy));
	assert_refused(path, "legacy LZ4");
	write_file(skippable, sizeof(skippable));
	assert_refused(path, "behind a skippable frame");
	write_file(skippable, sizeof(skippable) - 1);
	assert_refused(path, "in the middle of a skippable frame");
	for (enum packing packing = GZIP; packing < PACKINGS; packing++) {
		packed.length = 0;
		pack(&packed, packing, "", 0);
		write_file(packed.data, packed.length);
		assert_refused(path, "empty (once decompressed)");
		write_file(packed.data, 6);
		assert_refused(path, "data end in the middle");
	}
	/* xz: a dictionary of 4 GiB, of which nothing is used */
	packed.length = 0;
	pack(&packed, XZ, header.data, header.length);
	size_t check = 12 + packed.data[12] * 4u;
	uint8_t *lzma2 = memmem(packed.data + 14, check - 14, "\x21\x01", 2);
	assert_non_null(lzma2);
	lzma2[2] = 40;
	uint32_t crc = lzma_crc32(packed.data + 12, check - 12, 0);
	for (unsigned i = 0; i < 4; i++)
		packed.data[check + i] = (uint8_t)(crc >> 8 * i);
	write_file(packed.data, packed.length);
	assert_refused(path, "need more than 128 MiB of memory");
	if (geteuid() != 0) {
		write_file(header.data, header.length);
		chmod(path, 0);
		assert_refused(path, "Permission denied");
		unlink(path);
	}
	clear(&packed);
	clear(&header);
}

/* Reads what is left of a damaged file; true if the error contains `part`. */
static int read_damaged(const char *part)
{
	struct nbds_capture *c = open_path(path);
	struct nbds_capture_info info;
	int count = read_all(c, false);

	nbds_capture_info(c, &info);
	assert_int_equal(info.frames, count);
	assert_false(info.complete);
	if (!strstr(nbds_capture_error(c), part) || strchr(nbds_capture_error(c), '\n'))
		fail_msg("expected \"%s\" in: %s", part, nbds_capture_error(c));
	nbds_capture_close(c);
	return count;
}

/* Cut behind every byte: every whole packet comes, then a line that says which
 * one was cut. */
static void test_cut(void **state)
{
	struct bytes b = classic(false, false, 4);
	size_t ends[5] = {24};

	(void)state;
	for (int n = 0; n < 4; n++)
		ends[n + 1] = ends[n] + 16 + packet_size(n);
	assert_int_equal(ends[4], b.length);
	for (size_t length = 24; length < b.length; length++) {
		char line[128];
		int whole = 0;

		while (ends[whole + 1] <= length)
			whole++;
		write_file(b.data, length);
		if (length == ends[whole]) {
			struct nbds_capture *c = open_path(path);

			assert_whole(c, whole, false, PLAIN);
			nbds_capture_close(c);
			continue;
		}
		snprintf(line, sizeof(line),
			 "the file ends in the middle of a packet (frame %d); %s", whole + 1,
			 whole == 0   ? "no frame was read"
			 : whole == 1 ? "frame 1 was read"
			 : whole == 2 ? "frames 1 to 2 were read"
				      : "frames 1 to 3 were read");
		assert_int_equal(read_damaged(line), whole);
	}
	clear(&b);
}

static void test_cut_compressed(void **state)
{
	struct bytes plain = classic(false, false, 30);

	(void)state;
	for (enum packing packing = GZIP; packing < PACKINGS; packing++) {
		struct bytes packed = {0};
		int most = 0;

		pack(&packed, packing, plain.data, plain.length / 2);
		pack(&packed, packing, plain.data + plain.length / 2,
		     plain.length - plain.length / 2);
		for (size_t length = 1; length < packed.length; length++) {
			char err[512] = "";
			struct nbds_capture *c;

			write_file(packed.data, length);
			c = nbds_capture_open(path, err, sizeof(err));
			if (c) {
				int count;

				nbds_capture_close(c);
				count = read_damaged(" in the middle");
				assert_true(count >= most && count <= 30);
				most = count;
			} else {
				assert_true(err[0]);
			}
		}
		assert_true(most >= 14); /* at least those of the first frame */
		clear(&packed);
	}
	clear(&plain);
}

/* A flipped byte in compressed data never crashes, and what comes out either is
 * right or ends with an error. */
static void test_damaged_compressed(void **state)
{
	struct bytes plain = classic(false, false, 30);

	(void)state;
	for (enum packing packing = GZIP; packing < PACKINGS; packing++) {
		struct bytes packed = {0};
		int refused = 0, stopped = 0;

		pack(&packed, packing, plain.data, plain.length);
		for (size_t at = 4; at < packed.length; at++) {
			char err[512] = "";
			struct nbds_capture *c;
			struct nbds_packet p;

			packed.data[at] ^= 0x55;
			write_file(packed.data, packed.length);
			packed.data[at] ^= 0x55;
			c = nbds_capture_open(path, err, sizeof(err));
			if (!c) {
				refused++;
				continue;
			}
			while (nbds_capture_next(c, &p) == 1)
				;
			stopped += nbds_capture_error(c)[0] != 0;
			nbds_capture_close(c);
		}
		assert_true(refused + stopped > (int)packed.length / 2);
		clear(&packed);
	}
	clear(&plain);
}

/* Seconds have 32 bits without sign: 2038 is no end. */
static void test_late_times(void **state)
{
	struct bytes b = classic(true, true, 2);
	struct nbds_capture *c;
	struct nbds_packet p;

	(void)state;
	memset(b.data + 24, 0xff, 4);
	write_file(b.data, b.length);
	c = open_path(path);
	assert_int_equal(nbds_capture_next(c, &p), 1);
	assert_int_equal(p.time, (int64_t)UINT32_MAX * 1000000000);
	nbds_capture_close(c);
	clear(&b);
}

static void test_damaged_classic(void **state)
{
	struct bytes b = classic(false, false, 4);
	size_t third = 24 + 16 + packet_size(0) + 16 + packet_size(1);

	(void)state;
	memset(b.data + third + 8, 0x7f, 4);
	write_file(b.data, b.length);
	assert_int_equal(read_damaged("the file is damaged at frame 3 ("), 2);
	clear(&b);
}

/* A length is damage beyond what any packet has; up to that, what is beyond the file's own
 * limit is cut off. */
static void test_lengths_classic(void **state)
{
	static const struct {
		uint32_t length;
		const char *error; /* NULL: none */
	} lengths[] = {
		{0, NULL},
		{100, NULL},
		{101, NULL},
		{262144, NULL},
		{262145, "the file is damaged at frame 2 ("},
		{UINT32_MAX, "the file is damaged at frame 2 ("},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		for (int big = 0; big < 2; big++) {
			struct bytes b = classic(big, false, 1);
			uint32_t snaplen = big ? htonl(100) : 100, length = lengths[i].length;
			struct nbds_capture *c;
			struct nbds_packet p;

			memcpy(b.data + 16, &snaplen, 4);
			for (int n = 0; n < 3; n++) {
				put32(&b, FIRST_SECOND);
				put32(&b, UINT32_MAX);
				put32(&b, length);
				put32(&b, UINT32_MAX);
				for (uint32_t at = 0; at < length && !lengths[i].error; at++) {
					uint8_t byte = (uint8_t)at;

					put(&b, &byte, 1);
				}
			}
			write_file(b.data, b.length);
			if (lengths[i].error) {
				assert_int_equal(read_damaged(lengths[i].error), 1);
				clear(&b);
				continue;
			}
			c = open_path(path);
			assert_int_equal(nbds_capture_next(c, &p), 1);
			for (int n = 0; n < 3; n++) {
				assert_int_equal(nbds_capture_next(c, &p), 1);
				assert_int_equal(p.caplen, length < 100 ? length : 100);
				assert_int_equal(p.len, UINT32_MAX);
				assert_int_equal(p.time, FIRST_SECOND * INT64_C(1000000000) +
								 UINT32_MAX * INT64_C(1000));
				for (uint32_t at = 0; at < p.caplen; at++)
					assert_int_equal(p.data[at], (uint8_t)at);
			}
			assert_int_equal(nbds_capture_next(c, &p), 0);
			nbds_capture_close(c);
			clear(&b);
		}
	}
}

/* Somebody makes a file shorter while it is read: it ends there. */
static void test_shortened(void **state)
{
	struct bytes b = classic(false, false, 4000);
	struct nbds_capture *c;
	struct nbds_packet p;
	int n = 0, status;

	(void)state;
	assert_true(b.length > 2 << 20);
	write_file(b.data, b.length);
	c = open_path(path);
	assert_int_equal(nbds_capture_next(c, &p), 1);
	assert_int_equal(truncate(path, 100), 0);
	while ((status = nbds_capture_next(c, &p)) == 1)
		n++;
	assert_true(n > 0);
	assert_int_equal(status, -1);
	assert_non_null(strstr(nbds_capture_error(c), "the file ends in the middle of a packet"));
	nbds_capture_close(c);
	clear(&b);
}

/* --- pcapng --------------------------------------------------------------- */

/* Begins a block and returns where; end_block() fills the lengths in. */
static size_t begin_block(struct bytes *b, uint32_t type)
{
	size_t at = b->length;

	put32(b, type);
	put32(b, 0);
	return at;
}

static void end_block(struct bytes *b, size_t at)
{
	struct bytes length = {.big = b->big};

	while (b->length % 4)
		put(b, "", 1);
	put32(b, 0);
	put32(&length, (uint32_t)(b->length - at));
	memcpy(b->data + at + 4, length.data, 4);
	memcpy(b->data + b->length - 4, length.data, 4);
	clear(&length);
}

static void put_option(struct bytes *b, uint32_t code, const void *value, size_t length)
{
	put16(b, code);
	put16(b, (uint32_t)length);
	put(b, value, length);
	while (b->length % 4)
		put(b, "", 1);
}

static void put_option64(struct bytes *b, uint32_t code, uint64_t value)
{
	put16(b, code);
	put16(b, 8);
	put64(b, value);
}

static void put_section(struct bytes *b, bool big)
{
	size_t at;

	b->big = big;
	at = begin_block(b, 0x0a0d0d0a);
	put32(b, 0x1a2b3c4d);
	put16(b, 1);
	put16(b, 0);
	put64(b, UINT64_MAX);
	put_option(b, 4, "a test", 6);
	put32(b, 0);
	end_block(b, at);
}

/* `resolution` 6 without an option of it, as by default; `offset` likewise 0. */
static void put_interface(struct bytes *b, uint32_t linktype, uint8_t resolution, int64_t offset,
			  uint32_t snaplen)
{
	size_t at = begin_block(b, 1);

	put16(b, linktype);
	put16(b, 0);
	put32(b, snaplen);
	put_option(b, 2, "eth0", 4);
	if (resolution != 6)
		put_option(b, 9, &resolution, 1);
	if (offset)
		put_option64(b, 14, (uint64_t)offset);
	put32(b, 0);
	end_block(b, at);
}

static void put_packet(struct bytes *b, uint32_t interface, uint64_t time, int n)
{
	size_t at = begin_block(b, 6);

	put32(b, interface);
	put32(b, (uint32_t)(time >> 32));
	put32(b, (uint32_t)time);
	put32(b, packet_size(n));
	put32(b, packet_size(n) + (n == 1 ? 5 : 0));
	put(b, packet_bytes(n), packet_size(n));
	end_block(b, at);
}

static void put_statistics(struct bytes *b, uint32_t interface, uint64_t ifdrop, uint64_t osdrop)
{
	size_t at = begin_block(b, 5);

	put32(b, interface);
	put64(b, 0);
	put_option64(b, 4, 1000);
	put_option64(b, 5, ifdrop);
	put_option64(b, 7, osdrop);
	put32(b, 0);
	end_block(b, at);
}

/* A block of a kind that is skipped. */
static void put_other(struct bytes *b, uint32_t type, size_t length)
{
	uint8_t *rest = calloc(1, length + 1);
	size_t at = begin_block(b, type);

	assert_non_null(rest);
	put(b, rest, length);
	end_block(b, at);
	free(rest);
}

static struct nbds_capture *open_bytes(const struct bytes *b)
{
	write_file(b->data, b->length);
	return open_path(path);
}

static void assert_next(struct nbds_capture *c, uint64_t frame, int n, int64_t time,
			uint32_t interface, int linktype)
{
	struct nbds_packet p;

	if (nbds_capture_next(c, &p) != 1)
		fail_msg("frame %" PRIu64 ": %s", frame, nbds_capture_error(c));
	assert_int_equal(p.frame, frame);
	assert_int_equal(p.time, time);
	assert_int_equal(p.caplen, packet_size(n));
	assert_int_equal(p.len, packet_size(n) + (n == 1 ? 5 : 0));
	assert_int_equal(p.interface, interface);
	assert_int_equal(p.linktype, linktype);
	assert_memory_equal(p.data, packet_bytes(n), p.caplen);
}

static void assert_end(struct nbds_capture *c)
{
	struct nbds_packet p;

	assert_int_equal(nbds_capture_next(c, &p), 0);
	assert_string_equal(nbds_capture_error(c), "");
	assert_int_equal(nbds_capture_close(c), 0);
}

/* Every block type, two sections in either order, several interfaces. */
static void test_pcapng(void **state)
{
	(void)state;
	for (int order = 0; order < 4; order++) {
		struct nbds_capture_info info;
		struct nbds_capture *c;
		struct bytes b = {0};
		size_t at;

		put_section(&b, order & 1);
		put_other(&b, 4, 40);         /* name resolution */
		put_other(&b, 10, 1000);      /* secrets */
		put_other(&b, 0xbad, 8);      /* custom: has a frame's number */
		put_other(&b, 0x7fffffff, 0); /* unknown */
		put_interface(&b, 1, 6, 0, 0);
		put_packet(&b, 0, 1700000000000001, 0);
		put_interface(&b, 101, 9, 0, 100);
		put_packet(&b, 1, 1700000000000000002, 1);
		put_packet(&b, 0, 1700000000000003, 2);
		put_statistics(&b, 0, 3, 4);
		put_statistics(&b, 1, 0, 1);
		put_statistics(&b, 0, 5, 6);                   /* replaces the first */
		put_statistics(&b, 1, UINT64_MAX, UINT64_MAX); /* unknown: says nothing */

		at = begin_block(&b, 3); /* simple packet: no time, cut at snaplen 0 = whole */
		put32(&b, packet_size(3));
		put(&b, packet_bytes(3), packet_size(3));
		end_block(&b, at);

		put_section(&b, order & 2);
		put_interface(&b, 276, 9, 0, packet_size(1));
		at = begin_block(&b, 2); /* obsolete packet block, 7 dropped */
		put16(&b, 0);
		put16(&b, 7);
		put32(&b, (uint32_t)(1700000000000000004ull >> 32));
		put32(&b, (uint32_t)1700000000000000004ull);
		put32(&b, packet_size(4));
		put32(&b, packet_size(4));
		put(&b, packet_bytes(4), packet_size(4));
		end_block(&b, at);
		at = begin_block(&b, 3); /* and one that snaplen did cut */
		put32(&b, packet_size(1) + 5);
		put(&b, packet_bytes(1), packet_size(1));
		end_block(&b, at);
		at = begin_block(&b, 6); /* with options: a comment, and 2 dropped */
		put32(&b, 0);
		put32(&b, (uint32_t)(1700000000000000006ull >> 32));
		put32(&b, (uint32_t)1700000000000000006ull);
		put32(&b, packet_size(6));
		put32(&b, packet_size(6));
		put(&b, packet_bytes(6), packet_size(6));
		while (b.length % 4)
			put(&b, "", 1);
		put_option(&b, 1, "hello", 5);
		put_option64(&b, 4, 2);
		end_block(&b, at);

		c = open_bytes(&b);
		assert_next(c, 2, 0, 1700000000000001000, 0, 1);
		assert_next(c, 3, 1, 1700000000000000002, 1, 12);
		assert_next(c, 4, 2, 1700000000000003000, 0, 1);
		assert_next(c, 5, 3, 1700000000000003000, 0, 1);
		assert_next(c, 6, 4, 1700000000000000004, 2, 276);
		assert_next(c, 7, 1, 1700000000000000004, 2, 276);
		assert_next(c, 8, 6, 1700000000000000006, 2, 276);
		nbds_capture_info(c, &info);
		assert_string_equal(info.format, "pcapng");
		assert_int_equal(info.frames, 7);
		assert_int_equal(info.interfaces, 3);
		assert_int_equal(info.truncated_frames, 2);
		assert_int_equal(info.start, 1700000000000000002);
		assert_int_equal(info.end, 1700000000000003000);
		assert_true(info.dropped_known);
		assert_int_equal(info.dropped, 5 + 6 + 0 + 1 + 7 + 2);
		assert_end(c);
		clear(&b);
	}
}

/* The end, and as much as can be counted was dropped. */
static void assert_end_dropped(struct nbds_capture *c)
{
	struct nbds_capture_info info;
	struct nbds_packet p;

	assert_int_equal(nbds_capture_next(c, &p), 0);
	nbds_capture_info(c, &info);
	assert_true(info.dropped_known);
	assert_int_equal(info.dropped, UINT64_MAX);
	assert_int_equal(nbds_capture_close(c), 0);
}

/* What a file says that was dropped may be any number: it never wraps to a small one. */
static void test_pcapng_drops(void **state)
{
	(void)state;
	for (int kind = 0; kind < 3; kind++) {
		struct nbds_capture *c;
		struct bytes b = {0};

		put_section(&b, false);
		put_interface(&b, 1, 9, 0, 0);
		put_interface(&b, 1, 9, 0, 0);
		for (uint32_t i = 0; i < 2; i++) {
			size_t at = begin_block(&b, 6);

			put32(&b, kind == 1 ? i : 0);
			put32(&b, 0);
			put32(&b, 1);
			put32(&b, packet_size(0));
			put32(&b, packet_size(0));
			put(&b, packet_bytes(0), packet_size(0));
			while (b.length % 4)
				put(&b, "", 1);
			if (kind < 2)
				put_option64(&b, 4, UINT64_C(1) << 63);
			end_block(&b, at);
		}
		if (kind == 2)
			put_statistics(&b, 1, UINT64_C(1) << 63, UINT64_C(1) << 63);
		c = open_bytes(&b);
		assert_next(c, 1, 0, 1, 0, 1);
		assert_next(c, 2, 0, 1, kind == 1, 1);
		assert_end_dropped(c);
		clear(&b);
	}
}

/* Larger than the first buffer, and compressed. */
static void test_pcapng_large(void **state)
{
	struct bytes b = {0}, packed = {0};

	(void)state;
	put_section(&b, false);
	put_interface(&b, 1, 9, 0, 0);
	for (int n = 0; n < 2000; n++) {
		put_packet(&b, 0, 1000 + (uint64_t)n, n);
		if (n % 500 == 7)
			put_other(&b, 10, 3 << 20);
	}
	for (enum packing packing = PLAIN; packing < PACKINGS; packing++) {
		struct nbds_capture *c;

		packed.length = 0;
		pack(&packed, packing, b.data, b.length);
		c = open_bytes(&packed);
		for (int n = 0; n < 2000; n++)
			assert_next(c, (uint64_t)n + 1, n, 1000 + n, 0, 1);
		assert_end(c);
	}
	clear(&b);
	clear(&packed);
}

static void test_pcapng_times(void **state)
{
	static const struct {
		uint8_t resolution;
		int64_t offset;
		uint64_t units;
		int64_t time;
	} rows[] = {
		{6, 0, 1700000000123456, 1700000000123456000},
		{9, 0, 1700000000123456789, 1700000000123456789},
		{0, 0, 1700000000, 1700000000000000000},
		{3, 0, 1700000000123, 1700000000123000000},
		{12, 0, 1700000000123456789, 1700000000123456},
		{19, 0, UINT64_MAX, 1844674407},
		{28, 0, UINT64_MAX, 1},
		{29, 0, UINT64_MAX, 0},
		{127, 0, UINT64_MAX, 0},
		/* powers of two: 2^-0, 2^-1, 2^-10, 2^-30, 2^-32, 2^-63, 2^-64 and on */
		{0x80, 0, 1700000000, 1700000000000000000},
		{0x81, 0, 3, 1500000000},
		{0x8a, 0, 1700000000ull * 1024 + 512, 1700000000500000000},
		{0x9e, 0, (1700000000ull << 30) + 1, 1700000000000000000},
		{0x9e, 0, (1700000000ull << 30) + 3, 1700000000000000002},
		{0xa0, 0, (1700000000ull << 32) + (1u << 31), 1700000000500000000},
		{0xbf, 0, 1ull << 62, 500000000},
		{0xc0, 0, 1ull << 63, 500000000},
		{0xff, 0, UINT64_MAX, 0},
		/* if_tsoffset, also negative */
		{6, 1700000000, 123456, 1700000000123456000},
		{9, -1, 1700000001000000000, 1700000000000000000},
		{9, 4000000000, 1, 4000000000000000001},
		{0xa0, 1700000000, 1u << 31, 1700000000500000000},
		{9, 8000000000, 1, 8000000000000000001},
		{9, 8000000000, 1000000000000000000, 9000000000000000000},
		/* what does not fit stays at the ends */
		{6, 0, UINT64_MAX, INT64_MAX},
		{0, 0, UINT64_MAX, INT64_MAX},
		{0x80, 0, UINT64_MAX, INT64_MAX},
		{9, 0, UINT64_MAX, INT64_MAX},
		{9, 0, INT64_MAX, INT64_MAX},
		{9, 0, (uint64_t)INT64_MAX / 2, INT64_MAX / 2},
		{9, 0, (uint64_t)INT64_MAX / 2 + 1, INT64_MAX / 2 + 1},
		{9, 8000000000, 8000000000000000000, INT64_MAX},
		{9, -4000000000, 5000000000000000000, 1000000000000000000},
		{6, 9300000000, 5, INT64_MAX},
		{6, INT64_MAX, 0, INT64_MAX},
		{6, INT64_MIN, UINT64_MAX, INT64_MIN},
		{6, 9300000000, 0, INT64_MAX},
		{6, -9300000000, 5, INT64_MIN},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct nbds_capture *c;
		struct nbds_packet p;
		struct bytes b = {0};

		put_section(&b, i & 1);
		put_interface(&b, 1, rows[i].resolution, rows[i].offset, 0);
		put_packet(&b, 0, rows[i].units, 0);
		c = open_bytes(&b);
		assert_int_equal(nbds_capture_next(c, &p), 1);
		if (p.time != rows[i].time)
			fail_msg("resolution %#x offset %" PRId64 " units %" PRIu64 ": %" PRId64
				 ", not %" PRId64,
				 rows[i].resolution, rows[i].offset, rows[i].units, p.time,
				 rows[i].time);
		assert_end(c);
		clear(&b);
	}
}

static void test_pcapng_cut(void **state)
{
	struct bytes b = {0};
	size_t ends[4], interface;

	(void)state;
	put_section(&b, false);
	interface = b.length;
	put_interface(&b, 1, 6, 0, 0);
	for (int n = 0; n < 4; n++) {
		ends[n] = b.length;
		put_packet(&b, 0, (uint64_t)classic_time(n, false) / 1000, n);
	}
	for (size_t length = 4; length < b.length; length++) {
		int whole = 0;
		char line[128];

		while (whole < 3 && ends[whole + 1] <= length)
			whole++;
		write_file(b.data, length);
		if (length == ends[whole] || length == interface) {
			struct nbds_capture *c = open_path(path);

			assert_int_equal(read_all(c, false), whole);
			assert_string_equal(nbds_capture_error(c), "");
			nbds_capture_close(c);
			continue;
		}
		/* The first eight bytes tell that it is a packet. */
		if (length > ends[0] && length - ends[whole] >= 8)
			snprintf(line, sizeof(line), "in the middle of a packet (frame %d); ",
				 whole + 1);
		else
			snprintf(line, sizeof(line), "in the middle of a block; ");
		assert_int_equal(read_damaged(line), whole);
	}
	clear(&b);
}

static void test_pcapng_damaged(void **state)
{
	enum {
		LENGTH_ODD,
		LENGTH_SHORT,
		LENGTH_HUGE,
		LENGTHS_DIFFER,
		NO_INTERFACE,
		CAPLEN,
		SHORT_PACKET,
		SHORT_INTERFACE,
		SHORT_STATISTICS,
		STATISTICS_OF_NONE,
		SIMPLE_CAPLEN,
		SHORT_SIMPLE,
		NO_INTERFACE_YET,
		SECTION_ORDER,
		VERSION,
		SHORT_SECTION,
		KINDS,
	};
	static const char *const parts[KINDS] = {
		[LENGTH_ODD] = "a block of 65 bytes",
		[LENGTH_SHORT] = "a block of 8 bytes",
		[LENGTH_HUGE] = "larger than the limit of 64 MiB",
		[LENGTHS_DIFFER] = "the two lengths of a block differ",
		[NO_INTERFACE] = "a block of interface 1,",
		[CAPLEN] = "a packet of 4294967295 bytes does not fit its block",
		[SHORT_PACKET] = "packet block of 28 bytes",
		[SHORT_INTERFACE] = "interface block of 16 bytes",
		[SHORT_STATISTICS] = "statistics block of 20 bytes",
		[STATISTICS_OF_NONE] = "a block of interface 9,",
		[SIMPLE_CAPLEN] = "a packet of 5 bytes does not fit its block",
		[SHORT_SIMPLE] = "packet block of 12 bytes",
		[NO_INTERFACE_YET] = "a block of interface 0,",
		[SECTION_ORDER] = "byte order magic 0x01020304",
		[VERSION] = "pcapng version 2.0 is not known",
		[SHORT_SECTION] = "section header of 24 bytes",
	};

	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		for (int big = 0; big < 2; big++) {
			struct bytes b = {0}, value = {.big = big};
			size_t at;

			put_section(&b, big);
			put_interface(&b, 1, 6, 0, 0);
			put_packet(&b, 0, (uint64_t)classic_time(0, false) / 1000, 0);
			at = b.length;
			switch (kind) {
			case LENGTH_ODD:
			case LENGTH_SHORT:
			case LENGTH_HUGE:
				put_packet(&b, 0, 0, 1);
				put32(&value, kind == LENGTH_ODD     ? 65
					      : kind == LENGTH_SHORT ? 8
								     : (64u << 20) + 4);
				memcpy(b.data + at + 4, value.data, 4);
				break;
			case LENGTHS_DIFFER:
				put_packet(&b, 0, 0, 1);
				b.data[b.length - 2] ^= 1;
				break;
			case NO_INTERFACE:
				put_packet(&b, 1, 0, 1);
				break;
			case CAPLEN:
				put_packet(&b, 0, 0, 1);
				memset(b.data + at + 20, 0xff, 4);
				break;
			case SHORT_PACKET:
				put_other(&b, 6, 16);
				break;
			case SHORT_INTERFACE:
				put_other(&b, 1, 4);
				break;
			case SHORT_STATISTICS:
				put_other(&b, 5, 8);
				break;
			case STATISTICS_OF_NONE:
				put_statistics(&b, 9, 1, 1);
				break;
			case SIMPLE_CAPLEN:
				at = begin_block(&b, 3);
				put32(&b, 5);
				put32(&b, 0);
				end_block(&b, at);
				break;
			case SHORT_SIMPLE:
				put_other(&b, 3, 0);
				break;
			case NO_INTERFACE_YET: /* those of the first section are gone */
				put_section(&b, big);
				break;
			case SECTION_ORDER:
				put_section(&b, big);
				memcpy(b.data + at + 8, "\1\2\3\4", 4);
				break;
			case VERSION:
				put_section(&b, big);
				b.data[at + 12 + big] = 2;
				break;
			case SHORT_SECTION:
				at = begin_block(&b, 0x0a0d0d0a);
				put32(&b, 0x1a2b3c4d);
				put64(&b, 0);
				end_block(&b, at);
				break;
			}
			put_packet(&b, 0, 0, 1);
			write_file(b.data, b.length);
			assert_int_equal(read_damaged(parts[kind]), 1);
			clear(&b);
			clear(&value);
		}
	}
}

/* Options whose lengths lie are ignored, the packets still come. */
static void test_pcapng_bad_options(void **state)
{
	struct nbds_capture *c;
	struct bytes b = {0};
	size_t at;

	(void)state;
	put_section(&b, false);
	at = begin_block(&b, 1);
	put16(&b, 1);
	put16(&b, 0);
	put32(&b, 0);
	put16(&b, 9);
	put16(&b, 0); /* if_tsresol without a value */
	put16(&b, 14);
	put16(&b, 60000); /* longer than the block */
	put32(&b, 0);
	end_block(&b, at);
	put_packet(&b, 0, 1700000000000001, 0);
	c = open_bytes(&b);
	assert_next(c, 1, 0, 1700000000000001000, 0, 1);
	assert_end(c);
	clear(&b);
}

/* --- saving --------------------------------------------------------------- */

/* A file saved from one with two interfaces has its packets and drops. */
static void test_save(void **state)
{
	struct nbds_capture_info info;
	struct nbds_capture *c;
	struct nbds_packet p;
	struct bytes b = {0};
	char saved[128], command[256];
	uint8_t head[128];
	uint32_t word, at = 0;
	FILE *file;

	(void)state;
	snprintf(saved, sizeof(saved), "%s/saved.pcapng", directory);
	put_section(&b, true);
	put_interface(&b, 276, 6, 0, 0);
	put_interface(&b, 101, 9, 0, 0);
	put_packet(&b, 1, 1700000000000000000, 0);
	put_packet(&b, 1, 1700000000000000001, 1);
	put_packet(&b, 0, 1700000000000003, 2);
	put_statistics(&b, 1, 3, 4);
	c = open_bytes(&b);
	assert_int_equal(nbds_capture_save(c, saved), 0);
	assert_int_equal(nbds_capture_save(c, saved), -1);
	assert_string_not_equal(nbds_capture_error(c), "");
	while (nbds_capture_next(c, &p) == 1)
		;
	assert_int_equal(nbds_capture_close(c), 0);

	c = open_path(saved);
	assert_next(c, 1, 0, 1700000000000000000, 1, 12);
	assert_next(c, 2, 1, 1700000000000000001, 1, 12);
	assert_next(c, 3, 2, 1700000000000003000, 0, 276);
	assert_int_equal(nbds_capture_next(c, &p), 0);
	nbds_capture_info(c, &info);
	assert_true(info.dropped_known);
	assert_int_equal(info.dropped, 7);
	assert_int_equal(info.interfaces, 2);
	assert_end(c);

	/* Its link types are those of files: raw IP is 101 there. */
	assert_non_null(file = fopen(saved, "rb"));
	assert_int_equal(fread(head, 1, sizeof(head), file), sizeof(head));
	fclose(file);
	for (int i = 0; i < 2; i++) {
		memcpy(&word, head + at + 4, 4);
		at += word;
		memcpy(&word, head + at, 4);
		assert_int_equal(word, 1); /* interface description */
		memcpy(&word, head + at + 8, 4);
		assert_int_equal(word, i ? 101 : 276);
	}

	/* Others can read it. */
	if (system("command -v capinfos >/dev/null 2>&1") == 0) {
		snprintf(command, sizeof(command),
			 "capinfos -Mc %s 2>&1 | grep -q 'Number of packets: *3$'", saved);
		assert_int_equal(system(command), 0);
	} else {
		print_message("capinfos is missing: the saved file is only read by ourselves\n");
	}
	clear(&b);
	unlink(saved);
}

/* A saving that ends, another that begins, a file read through a descriptor, and comments
 * that a reader passes over. */
static void test_save_end(void **state)
{
	struct bytes b = classic(false, false, 100);
	char saved[2][128], err[256], comment[600];
	struct nbds_pcapng_writer *w;
	uint8_t text[1024];
	struct nbds_capture *c;
	struct nbds_packet p;
	unsigned counts[2] = {0};
	ssize_t size;
	int fd;

	(void)state;
	for (int i = 0; i < 2; i++)
		snprintf(saved[i], sizeof(saved[i]), "%s/part%d.pcapng", directory, i);
	c = open_bytes(&b);
	assert_int_equal(nbds_capture_save_end(c), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(nbds_capture_next(c, &p), 1);
		assert_int_equal(nbds_capture_save(c, saved[i]), 0);
		for (int k = 0; k < 10 + i; k++)
			assert_int_equal(nbds_capture_next(c, &p), 1);
		assert_int_equal(nbds_capture_save_end(c), 0);
		assert_int_equal(nbds_capture_next(c, &p), 1);
	}
	assert_int_equal(nbds_capture_close(c), 0);
	for (int i = 0; i < 2; i++) {
		fd = open(saved[i], O_RDONLY);
		assert_non_null(c = nbds_capture_open_fd(fd, err, sizeof(err)));
		while (nbds_capture_next(c, &p) == 1)
			counts[i]++;
		assert_int_equal(counts[i], 10 + i);
		nbds_capture_close(c);
	}
	assert_null(nbds_capture_open_fd(-1, err, sizeof(err)));

	/* A comment that is too long is cut, and not within a character. */
	memset(comment, 'x', sizeof(comment) - 1);
	comment[sizeof(comment) - 1] = '\0';
	for (size_t i = 1; i + 2 < sizeof(comment); i += 2)
		memcpy(comment + i, "\xc3\xa9", 2);
	fd = open(saved[0], O_RDWR | O_TRUNC);
	assert_non_null(w = nbds_pcapng_writer_new(dup(fd)));
	p = (struct nbds_packet){.frame = 1, .caplen = 3, .len = 3, .data = (const uint8_t *)"abc"};
	assert_int_equal(nbds_pcapng_write_interface(w, 1, 0, NULL), 0);
	assert_int_equal(nbds_pcapng_write_commented(w, &p, "first"), 0);
	assert_int_equal(nbds_pcapng_write_commented(w, &p, comment), 0);
	assert_int_equal(nbds_pcapng_write_commented(w, &p, ""), 0);
	assert_int_equal(nbds_pcapng_finish(w), 0);
	size = pread(fd, text, sizeof(text), 0);
	assert_true(size > 0);
	assert_non_null(memmem(text, (size_t)size, "\1\0\5\0first", 9));
	assert_null(memmem(text, (size_t)size, "\xc3\0", 2));
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_non_null(c = nbds_capture_open_fd(fd, err, sizeof(err)));
	for (int i = 0; i < 3; i++)
		assert_int_equal(nbds_capture_next(c, &p), 1);
	assert_end(c);
	clear(&b);
	for (int i = 0; i < 2; i++)
		unlink(saved[i]);
}

static void test_save_fails(void **state)
{
	struct bytes b = classic(false, false, 3000);
	struct nbds_capture *c;
	struct nbds_packet p;
	int count = 0;

	(void)state;
	c = open_bytes(&b);
	assert_int_equal(nbds_capture_save(c, "/nonexistent/saved.pcapng"), -1);
	assert_non_null(strstr(nbds_capture_error(c), "No such file or directory"));
	nbds_capture_close(c);
	if (access("/dev/full", W_OK) == 0) {
		c = open_bytes(&b);
		assert_int_equal(nbds_capture_save(c, "/dev/full"), 0);
		while (nbds_capture_next(c, &p) == 1)
			count++;
		assert_int_equal(count, 3000);
		assert_non_null(strstr(nbds_capture_save_error(c), "No space left"));
		assert_string_equal(nbds_capture_error(c), "");
		errno = 0;
		assert_int_equal(nbds_capture_close(c), -1);
		assert_int_equal(errno, ENOSPC);
	}
	clear(&b);
}

/* --- real captures -------------------------------------------------------- */

/* `text` is "1700000000.123456789" with any number of decimals. */
static int64_t parse_time(const char *text)
{
	char *end;
	int64_t seconds = strtoll(text, &end, 10), fraction = 0;
	int digits = 0;

	if (*end++ == '.')
		for (; *end >= '0' && *end <= '9' && digits < 9; end++, digits++)
			fraction = fraction * 10 + (*end - '0');
	for (; digits < 9; digits++)
		fraction *= 10;
	return seconds * 1000000000 + fraction;
}

/* One line of capinfos -TrSBcdae: name, packets, bytes on the wire, start, end. */
static void compare_with_capinfos(char *line)
{
	char *field[5], *rest = line;
	struct nbds_capture_info info;
	struct nbds_capture *c;
	struct nbds_packet p;
	uint64_t length = 0;
	int status;

	for (int i = 0; i < 5; i++) {
		field[i] = strsep(&rest, "\t\n");
		assert_non_null(field[i]);
	}
	c = open_path(field[0]);
	while ((status = nbds_capture_next(c, &p)) == 1)
		length += p.len;
	nbds_capture_info(c, &info);
	if (info.frames != strtoull(field[1], NULL, 10) || length != strtoull(field[2], NULL, 10) ||
	    info.start != parse_time(field[3]) || info.end != parse_time(field[4]))
		fail_msg("%s: %" PRIu64 " frames, %" PRIu64 " bytes, %" PRId64 " to %" PRId64
			 "; capinfos says %s, %s, %s, %s",
			 field[0], info.frames, length, info.start, info.end, field[1], field[2],
			 field[3], field[4]);
	if (strstr(field[0], "cut-file")) {
		assert_int_equal(status, -1);
		assert_non_null(strstr(nbds_capture_error(c), "(frame 33); frames 1 to 32 were"));
	} else {
		assert_int_equal(status, 0);
		assert_true(info.complete);
	}
	nbds_capture_close(c);
}

static void test_real_captures(void **state)
{
	const char *captures = getenv("NBDSCOPE_CAPTURES");
	char command[1024], line[4096];
	FILE *capinfos;
	int count = 0;

	(void)state;
	if (!captures || !*captures || access(captures, R_OK) < 0) {
		print_message("skipped: no captures (NBDSCOPE_CAPTURES names their directory)\n");
		skip();
	}
	if (system("command -v capinfos >/dev/null 2>&1") != 0) {
		print_message("skipped: capinfos is missing\n");
		skip();
	}
	snprintf(command, sizeof(command),
		 "find '%s' -name '*.pcap*' -type f -exec capinfos -TrBScdae {} + 2>/dev/null",
		 captures);
	capinfos = popen(command, "r");
	assert_non_null(capinfos);
	while (fgets(line, sizeof(line), capinfos)) {
		compare_with_capinfos(line);
		count++;
	}
	pclose(capinfos);
	print_message("%d captures compared with capinfos\n", count);
	assert_true(count > 0);
}

/* --- live ----------------------------------------------------------------- */

static struct nbds_capture *open_loopback(const char *filter)
{
	char err[512] = "";
	struct nbds_capture *c = nbds_capture_open_live("lo", filter, 0, err, sizeof(err));

	if (!c && strstr(err, "cap_net_raw")) {
		print_message("skipped: %s\n", err);
		skip();
	}
	if (!c)
		fail_msg("%s", err);
	return c;
}

static void test_live(void **state)
{
	int sender = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(to);
	struct nbds_capture_info info;
	struct nbds_capture *c;
	struct nbds_packet p;
	char filter[64], saved[128];
	int got = 0;

	(void)state;
	assert_true(sender >= 0);
	assert_int_equal(bind(sender, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(getsockname(sender, (struct sockaddr *)&to, &size), 0);
	snprintf(filter, sizeof(filter), "udp port %u", ntohs(to.sin_port));
	c = open_loopback(filter);
	snprintf(saved, sizeof(saved), "%s/live.pcapng", directory);
	assert_int_equal(nbds_capture_save(c, saved), 0);
	assert_int_equal(nbds_capture_next(c, &p), 0); /* nothing yet: waits, and returns */
	for (int i = 0; i < 10; i++)
		assert_int_equal(sendto(sender, &to, 10, 0, (struct sockaddr *)&to, size), 10);
	for (int tries = 0; tries < 50 && got < 10; tries++) {
		int status = nbds_capture_next(c, &p);

		assert_true(status >= 0);
		if (status == 0)
			continue;
		got++;
		assert_int_equal(p.frame, got);
		assert_int_equal(p.linktype, 1);
		assert_int_equal(p.len, 14 + 20 + 8 + 10);
		assert_int_equal(p.caplen, p.len);
		assert_true(p.time > (int64_t)1700000000 * 1000000000);
	}
	nbds_capture_info(c, &info);
	assert_int_equal(got, 10);
	assert_int_equal(info.frames, 10);
	assert_string_equal(info.format, "live");
	assert_true(info.complete);
	assert_true(info.dropped_known);
	assert_int_equal(info.dropped, 0);
	assert_int_equal(nbds_capture_close(c), 0);
	close(sender);

	c = open_path(saved);
	for (got = 0; nbds_capture_next(c, &p) == 1; got++)
		assert_int_equal(p.len, 14 + 20 + 8 + 10);
	assert_int_equal(got, 10);
	assert_int_equal(p.time, info.end);
	nbds_capture_info(c, &info);
	assert_true(info.dropped_known);
	assert_end(c);
	unlink(saved);
}

static void test_live_errors(void **state)
{
	char err[512] = "";

	(void)state;
	nbds_capture_close(open_loopback(NULL));
	assert_null(nbds_capture_open_live("lo", "tcp porto 1", 0, err, sizeof(err)));
	assert_non_null(strstr(err, "the filter \"tcp porto 1\" is not valid: "));
	assert_null(nbds_capture_open_live("nosuchdevice0", NULL, 0, err, sizeof(err)));
	assert_non_null(strstr(err, "there is no interface \"nosuchdevice0\"; there are: any"));
	assert_non_null(strstr(err, ", lo"));
}

/* Without the right to capture, the line says how to get it. */
static void test_live_permission(void **state)
{
	pid_t child;
	int status;

	(void)state;
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char err[512] = "";
		struct nbds_capture *c;

		if (geteuid() == 0 && setuid(65534) < 0)
			_exit(2);
		c = nbds_capture_open_live("lo", NULL, 0, err, sizeof(err));
		_exit(c ? 3 : strstr(err, "no permission to capture on lo: run as root") == NULL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) >= 2)
		skip(); /* the right cannot be given up here */
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int make_directory(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/nbdscope-test-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/capture", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classic),
		cmocka_unit_test(test_several_frames),
		cmocka_unit_test(test_standard_input),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_cut_compressed),
		cmocka_unit_test(test_damaged_compressed),
		cmocka_unit_test(test_late_times),
		cmocka_unit_test(test_damaged_classic),
		cmocka_unit_test(test_lengths_classic),
		cmocka_unit_test(test_shortened),
		cmocka_unit_test(test_pcapng),
		cmocka_unit_test(test_pcapng_large),
		cmocka_unit_test(test_pcapng_drops),
		cmocka_unit_test(test_pcapng_times),
		cmocka_unit_test(test_pcapng_cut),
		cmocka_unit_test(test_pcapng_damaged),
		cmocka_unit_test(test_pcapng_bad_options),
		cmocka_unit_test(test_save),
		cmocka_unit_test(test_save_end),
		cmocka_unit_test(test_save_fails),
		cmocka_unit_test(test_real_captures),
		cmocka_unit_test(test_live),
		cmocka_unit_test(test_live_errors),
		cmocka_unit_test(test_live_permission),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
